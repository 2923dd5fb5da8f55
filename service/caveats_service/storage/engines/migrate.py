"""Upgrades of a database to this version's schema, in one transaction.

Knows Alembic. A crash in the middle leaves the old schema, and the next start tries again: both databases roll DDL back,
SQLite as long as nothing commits before the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from caveats_service.storage.errors import SchemaError, SchemaTooNew, SchemaTooOld

LOCATION = Path(__file__).parents[1] / "migrations"


@dataclass(frozen=True, slots=True)
class Step:
    """One migration: the revision that it leads to, and what it does, in one line."""

    revision: str
    summary: str


StepDone: TypeAlias = Callable[[Step], None]
"""Called after a step, which counts once all have been done."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database (None: it is empty), the one of this version, and the steps from one to the other."""

    found: str | None
    wanted: str
    missing: tuple[Step, ...]


def upgrade(connection: Connection, done: StepDone | None = None) -> None:
    """Run the migrations that are missing, within the caller's transaction. Raises as `revision_of`."""
    revision_of(connection)
    config = _config()

    def applied(*, step: Any, **_rest: object) -> None:
        if done is not None:
            done(Step(step.up_revision.revision, step.up_revision.doc))

    config.attributes.update(connection=connection, applied=applied)
    command.upgrade(config, "head")


def schema_of(connection: Connection) -> Schema:
    """What the database has, and what it lacks. Raises as `revision_of`."""
    found = revision_of(connection)
    scripts = ScriptDirectory.from_config(_config())
    newest_first = scripts.iterate_revisions("head", found or "base")
    steps = tuple(Step(script.revision, script.doc) for script in newest_first)[::-1]
    return Schema(found, scripts.get_current_head() or "none", steps)


def require_current(schema: Schema) -> None:
    """Return if nothing is missing. Raises `SchemaTooOld`."""
    if schema.missing:
        raise SchemaTooOld(schema.found or "none", schema.wanted)


def revision_of(connection: Connection) -> str | None:
    """The revision of the schema; None if the database is empty.

    Raises `SchemaTooNew` for a revision that this version does not know, `SchemaError` for another program's tables, and
    for a PostgreSQL database that does not keep Unicode.
    """
    if connection.dialect.name == "postgresql":
        _require_utf8(connection)
    scripts = ScriptDirectory.from_config(_config())
    found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        if inspect(connection).get_table_names():
            raise SchemaError("the database holds tables of another program; choose another")
    elif found not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaTooNew(found, scripts.get_current_head() or "none")
    return found


def _require_utf8(connection: Connection) -> None:
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise SchemaError(
            f"the PostgreSQL database has the encoding {encoding}, and this service needs UTF8: "
            "make another one with `createdb --encoding=UTF8 --template=template0`"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(LOCATION).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
