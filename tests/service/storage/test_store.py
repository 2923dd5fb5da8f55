"""The database itself: whose it is, where it is, and that times come back as they were."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from caveats_service.storage import (
    Store,
    StoreError,
    sqlite_url,
)
from tests.support.store import (
    NOW,
)


async def test_a_new_database_is_for_its_owner_only_and_says_who_it_is(file_store: Store, path: Path) -> None:
    page = await file_store.revocations.page(0)
    assert (page.epoch, page.last_sequence) == (1, 0)
    async with file_store.read() as connection:
        instance_id = (await connection.exec_driver_sql("SELECT instance_id FROM meta")).scalar_one()
    assert len(instance_id) == 32
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_every_connection_is_durable_and_keeps_references_whole(file_store: Store) -> None:
    async with file_store.read() as connection:
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
        "busy_timeout": 5000,
    }


async def test_nothing_is_opened_before_the_first_use(path: Path) -> None:
    Store(sqlite_url(path))
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite://", "sqlite:///", "sqlite+aiosqlite:///x.db", "mysql://h/d", "x.db", ""),
        URL.create("sqlite+aiosqlite"),
        URL.create("sqlite", database="x.db"),
    ],
)
async def test_an_address_that_is_neither_a_file_nor_a_postgresql_is_refused(url: URL | str) -> None:
    with pytest.raises(StoreError, match=r"sqlite:///path or postgresql://"):
        Store(url)


async def test_a_database_exists_once_it_has_been_migrated(place: Any) -> None:
    store = place.store()
    assert not await store.exists()
    await store.migrate()
    assert await store.exists()
    await store.close()


async def test_a_path_may_hold_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "a?b%20c#d é" / "x&y=z.db"
    for url in (sqlite_url(path), f"sqlite:///{path}"):
        store = Store(url)
        await store.migrate()
        await store.ping()
        await store.close()
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".db"] == ["x&y=z.db"]
    assert path.stat().st_size > 0


async def test_the_first_canary_stays(store: Store) -> None:
    kept = await asyncio.gather(*(store.instance.set_seal_canary(b"canary %d" % n) for n in range(8)))
    assert len(set(kept)) == 1
    assert await store.instance.set_seal_canary(b"late") == kept[0]


async def test_times_are_kept_as_utc_milliseconds_and_come_back_aware(store: Store, place: Any) -> None:
    elsewhere = NOW.astimezone(tz=None) + timedelta(microseconds=999)
    user = await store.users.create("alice", "hash", now=elsewhere, actor="system")
    assert user.created_at == NOW
    assert user.created_at.tzinfo is UTC
    assert await place.rows("SELECT created_at FROM users") == [(1_795_262_400_250,)]


async def test_a_naive_time_is_refused(store: Store) -> None:
    with pytest.raises((TypeError, StoreError)):
        await store.users.create("alice", "hash", now=datetime(2026, 1, 1), actor="system")
    assert await store.users.get("alice") is None
