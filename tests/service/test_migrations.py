"""Migrations: the shipped files make the schema, all of it or nothing, and only in our own databases."""

# ruff: noqa: ASYNC220, ASYNC240  a test has its loop to itself and may block

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect

from caveats_service.store import SchemaError, SchemaTooNew, Store, migrate, schema, sqlite_url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "caveats.db"


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return found


async def migrated(path: Path) -> None:
    store = Store(sqlite_url(path))
    try:
        await store.migrate()
        await store.ping()
    finally:
        await store.close()


async def test_the_migrations_make_what_the_schema_says(path: Path) -> None:
    await migrated(path)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), schema.metadata))

    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


async def test_the_migrations_make_the_same_checks_as_the_schema(path: Path, tmp_path: Path) -> None:
    await migrated(path)
    engine = create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    schema.metadata.create_all(engine)
    engine.dispose()

    def checks(file: Path) -> dict[str, list[object]]:
        engine = create_engine(f"sqlite:///{file}")
        inspector = inspect(engine)
        found: dict[str, list[object]] = {
            table: [(check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)]
            for table in inspector.get_table_names()
            if table != "alembic_version"
        }
        engine.dispose()
        return found

    assert checks(path) == checks(tmp_path / "direct.db")
    assert len(checks(path)) == len(schema.metadata.tables)


async def test_migrating_again_changes_nothing(path: Path) -> None:
    await migrated(path)
    before = path.read_bytes()
    await migrated(path)
    assert path.read_bytes() == before


async def test_eight_first_starts_at_once_make_one_database(path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom caveats_service.store import Store, sqlite_url\n"
        "async def main():\n    store = Store(sqlite_url(Path(sys.argv[1])))\n    await store.migrate()\n"
        "    print((await store.facts()).instance_id)\n    await store.close()\nasyncio.run(main())\n"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    answers = [start.communicate(timeout=60)[0] for start in starts]
    assert [start.returncode for start in starts] == [0] * 8
    assert len(set(answers)) == 1


async def test_a_newer_schema_is_refused_clearly_and_left_alone(path: Path) -> None:
    await migrated(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '0042'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=r"0042.*0001"):
        await migrated(path)
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(SchemaError, match="another program"):
        await migrated(path)
    assert tables(path) == {"theirs"}


SECOND = '''"""A second revision that dies, or fails, half-way.

Revision ID: 0002
Revises: 0001
"""

import os

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.create_table("first_half", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("UPDATE meta SET epoch = 77")
    {fault}
    op.create_table("second_half", sa.Column("id", sa.Integer, primary_key=True))
'''


def location_with(tmp_path: Path, fault: str) -> Path:
    location = tmp_path / "migrations"
    shutil.copytree(
        migrate.LOCATION, location, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    (location / "versions" / "0002_second.py").write_text(SECOND.format(fault=fault))
    shutil.rmtree(location / "versions" / "__pycache__", ignore_errors=True)
    return location


@pytest.mark.parametrize(
    ("fault", "ending"),
    [("os.kill(os.getpid(), 9)", -signal.SIGKILL), ("os._exit(3)", 3), ("raise RuntimeError('fault')", 1)],
    ids=["killed", "exited", "failed"],
)
async def test_a_migration_that_dies_half_way_is_undone_and_runs_again(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, ending: int
) -> None:
    await migrated(path)
    before = tables(path)
    code = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from caveats_service.store import Store, migrate, sqlite_url\n"
        "migrate.LOCATION = Path(sys.argv[2])\nasyncio.run(Store(sqlite_url(Path(sys.argv[1]))).migrate())\n"
    )
    dying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(path), str(location_with(tmp_path, fault))),
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert await dying.wait() == ending
    assert tables(path) == before
    await migrated(path)  # the old version goes on

    monkeypatch.setattr(migrate, "LOCATION", location_with(tmp_path, "pass"))
    await migrated(path)
    assert tables(path) == before | {"first_half", "second_half"}
