"""Migrations: the shipped files make the schema, all of it or nothing, and only in our own databases."""

# ruff: noqa: ASYNC220  a test has its loop to itself and may block

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from caveats import KeyState, TokenRevocation
from caveats_service.storage import Change, ChangeKind, SchemaError, SchemaTooNew, Store, tables
from caveats_service.storage.engines import migrate
from tests.support.store import new_place, token_id

pytestmark = pytest.mark.slow

HEAD = max(path.name[:4] for path in (migrate.LOCATION / "versions").glob("0*.py"))
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
_T = TypeVar("_T")


async def look(place: Any, at: Callable[[Connection], _T]) -> _T:
    store = place.store()
    try:
        async with store.read() as connection:
            return await connection.run_sync(at)  # type: ignore[no-any-return]
    finally:
        await store.close()


async def table_names(place: Any) -> set[str]:
    return set(await look(place, lambda connection: inspect(connection).get_table_names()))


async def content(place: Any) -> dict[str, Any]:
    return {
        table: await place.rows(f"SELECT * FROM {table} ORDER BY 1") for table in await table_names(place)
    }


async def migrated(place: Any) -> None:
    store = place.store()
    try:
        await store.migrate()
        await store.ping()
    finally:
        await store.close()


async def test_the_migrations_make_what_the_schema_says(place: Any) -> None:
    await migrated(place)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    assert await look(place, differences) == []


async def test_the_migrations_make_the_same_checks_as_the_schema(place: Any, tmp_path: Path) -> None:
    await migrated(place)

    def checks(connection: Connection) -> dict[str, list[object]]:
        inspector = inspect(connection)
        return {
            table: sorted(
                (check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)
            )
            for table in inspector.get_table_names()
            if table != "alembic_version"
        }

    found = await look(place, checks)
    async with new_place(place.kind, tmp_path / "direct") as direct:
        folder = tmp_path / "direct" / "data"
        folder.mkdir(parents=True)
        (folder / "caveats.db").touch()  # no connection makes a file
        store = direct.store()
        async with store.write() as connection:
            await connection.run_sync(tables.metadata.create_all)
        await store.close()
        assert found == await look(direct, checks)
    assert len(found) == len(tables.metadata.tables)


async def test_migrating_again_changes_nothing(place: Any) -> None:
    await migrated(place)
    before = await content(place)
    await migrated(place)
    assert await content(place) == before


FIRST = """
INSERT INTO users VALUES ('alice', 'hash', true, '*', 1, NULL, 1);
INSERT INTO master_keys VALUES (1, 'k1', 'active', {sealed}, 1, 1, NULL, NULL, NULL);
INSERT INTO labelled_tokens VALUES ('T1', 'alice', 'a note', '*', 'photos', 1, 1795262400000, NULL);
INSERT INTO revocations VALUES (1, 'token', 'T1', NULL, NULL, NULL, 1795262400000, 1, 'alice', '');
UPDATE meta SET revocation_sequence = 1, epoch = 7, seal_canary = {canary};
"""


async def test_a_database_of_the_first_schema_is_brought_up_with_all_that_it_holds(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = migrate.LOCATION
    monkeypatch.setattr(migrate, "LOCATION", location_with(tmp_path, None))
    for later in (tmp_path / "migrations" / "versions").glob("000[2-9]_*.py"):
        later.unlink()
    old = place.store()
    await old.migrate()
    await old.close()
    assert not {"verifiers", "service_keys", "idempotency", "groups"} & await table_names(place)
    binary = {"sqlite": "CAST('{}' AS BLOB)", "postgresql": "'{}'::bytea"}[place.kind]
    await place.execute(FIRST.format(sealed=binary.format("sealed"), canary=binary.format("canary")))
    before = await content(place)

    monkeypatch.setattr(migrate, "LOCATION", shipped)
    await migrated(place)
    after = await content(place)
    assert {table: rows for table, rows in after.items() if table in before} == {
        **before,
        "alembic_version": [(HEAD,)],
        "meta": [(*before["meta"][0], 0, None, "{}", 0)],
        "labelled_tokens": [(*before["labelled_tokens"][0], "[]")],
    }
    store: Store = place.store()
    page = await store.revocations.page(1)
    assert (page.epoch, page.last_sequence) == (7, 1)
    assert await store.instance.set_seal_canary(b"another") == b"canary"
    (key,) = await store.keys.list()
    assert (key.state, key.sealed) == (KeyState.ACTIVE, b"sealed")
    revoked = await store.revocations.revoke(
        TokenRevocation(token_id(2), NOW + timedelta(days=1)), now=NOW, actor="alice"
    )
    assert revoked.sequence == 2
    changes = store.changes.follow()
    assert await anext(changes) == Change(ChangeKind.MISSED, 2)
    await store.keys.publish(lambda *_: b"new", now=NOW, actor="alice")
    assert await anext(changes) == Change(ChangeKind.KEY, 1)
    await changes.aclose()
    await store.close()


async def test_eight_first_starts_at_once_make_one_database(place: Any) -> None:
    code = (
        "import asyncio, sys\nfrom caveats_service.storage import Store\n"
        "async def main():\n    store = Store(sys.argv[1])\n    await store.migrate()\n"
        "    await store.ping()\n    await store.close()\nasyncio.run(main())\n"
    )
    starts = [subprocess.Popen([sys.executable, "-c", code, place.url]) for _ in range(8)]
    assert [start.wait(timeout=60) for start in starts] == [0] * 8
    assert len(await place.rows("SELECT instance_id FROM meta")) == 1


async def test_a_newer_schema_is_refused_clearly_and_left_alone(place: Any) -> None:
    await migrated(place)
    await place.execute("UPDATE alembic_version SET version_num = '0042'")
    before = await content(place)
    with pytest.raises(SchemaTooNew, match=f"0042.*{HEAD}"):
        await migrated(place)
    assert await content(place) == before


async def test_a_database_of_another_program_is_refused_and_left_alone(place: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    await place.execute("CREATE TABLE theirs (x INTEGER)")
    with pytest.raises(SchemaError, match="another program"):
        await migrated(place)
    assert await table_names(place) == {"theirs"}


NEXT = '''"""A revision that dies, or fails, half-way.

Revision ID: 9999
Revises: {head}
"""

import os

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    op.create_table("first_half", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("UPDATE meta SET epoch = 77")
    {fault}
    op.create_table("second_half", sa.Column("id", sa.Integer, primary_key=True))
'''


def location_with(tmp_path: Path, fault: str | None) -> Path:
    location = tmp_path / "migrations"
    shutil.copytree(
        migrate.LOCATION, location, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    if fault is not None:
        (location / "versions" / "9999_next.py").write_text(NEXT.format(fault=fault, head=HEAD))
    shutil.rmtree(location / "versions" / "__pycache__", ignore_errors=True)
    return location


@pytest.mark.parametrize(
    ("fault", "ending"),
    [("os.kill(os.getpid(), 9)", -signal.SIGKILL), ("os._exit(3)", 3), ("raise RuntimeError('fault')", 1)],
    ids=["killed", "exited", "failed"],
)
async def test_a_migration_that_dies_half_way_is_undone_and_runs_again(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, ending: int
) -> None:
    await migrated(place)
    before = await content(place)
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom caveats_service.storage import Store\n"
        "from caveats_service.storage.engines import migrate\n"
        "migrate.LOCATION = Path(sys.argv[2])\nasyncio.run(Store(sys.argv[1]).migrate())\n"
    )
    dying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, place.url, str(location_with(tmp_path, fault))),
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert await dying.wait() == ending
    assert await content(place) == before
    await migrated(place)  # the old version goes on

    monkeypatch.setattr(migrate, "LOCATION", location_with(tmp_path, "pass"))
    await migrated(place)
    assert await table_names(place) == set(before) | {"first_half", "second_half"}
