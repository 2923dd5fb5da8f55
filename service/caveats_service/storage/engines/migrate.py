"""Upgrades of a database to this version's schema, all of it or nothing.

Knows Alembic. The whole upgrade is one transaction (DDL is transactional on both databases, on SQLite as long as
nobody commits behind its back), so a crash in the middle leaves the old schema, and the next start tries again.
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
    """Run the migrations that are missing, within the caller's transaction."""
    revision_of(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision_of(connection: Connection) -> str | None:
    """The schema's revision, None if the database is empty; raises if this version does not know it."""
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
