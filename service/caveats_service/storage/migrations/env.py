"""Alembic's entry: the connection, with its transaction open, is handed in by `store.migrate`.

SQLite alters tables by copying them, and foreign keys cannot be switched off within a transaction: a
migration that must copy `users` drops and recreates the key of `labelled_tokens` around it.
"""

from __future__ import annotations

from alembic import context

from caveats_service.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
    on_version_apply=context.config.attributes["applied"],
)
context.run_migrations()
