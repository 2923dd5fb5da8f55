"""Bringing a database to this version's schema: all of it or nothing.

Knows Alembic and the file's first minute. The whole upgrade is one transaction (SQLite's DDL is transactional
as long as nobody commits behind its back), so a crash in the middle leaves the old schema, and the next start
tries again.
"""

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from caveats_service.durable import sync_folder

from .errors import SchemaError, SchemaTooNew

LOCATION = Path(__file__).parent / "migrations"
_RETRY: Final = 0.02


def upgrade(connection: Connection) -> None:
    """Run what is missing, within the caller's transaction."""
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
            raise SchemaError("the database holds tables of another program; choose another file")
    elif found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(found, scripts.get_current_head() or "none")
    return found


def prepare_file(path: Path, patience: float) -> None:
    """Make the file (0600, its folder 0700) in WAL mode, also when other processes do the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    sync_folder(path.parent)
    # Changing the mode needs the file alone, and SQLite then answers "locked" without waiting.
    deadline = time.monotonic() + patience
    while True:
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY)
        else:
            if mode != "wal":
                raise sqlite3.OperationalError("this file system does not allow write-ahead logging")
            return
        finally:
            connection.close()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(LOCATION).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
