"""Upgrades of a database to this version's schema, in one transaction.

Knows Alembic. A crash in the middle leaves the old schema, and the next start tries again: both databases roll DDL back,
SQLite as long as nothing commits before the end.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from caveats_service.storage.errors import SchemaError, SchemaTooNew

LOCATION = Path(__file__).parents[1] / "migrations"


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, within the caller's transaction. Raises as `revision_of`."""
    revision_of(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision_of(connection: Connection) -> str | None:
    """The revision of the schema; None if the database is empty.

    Raises `SchemaTooNew` for a revision that this version does not know, `SchemaError` for another program's tables.
    """
    scripts = ScriptDirectory.from_config(_config())
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        if inspect(connection).get_table_names():
            raise SchemaError("the database holds tables of another program; choose another")
    elif found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(found, scripts.get_current_head() or "none")
    return found


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(LOCATION).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
