"""Backups: whole, taken while the service writes, never over something; restores: noticed by every reader."""

# ruff: noqa: ASYNC240  a test has its loop to itself and may block

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from caveats import TokenRevocation
from caveats_service.storage import (
    BackupDamaged,
    BackupError,
    BackupExists,
    DatabaseExists,
    DatabaseInUse,
    Store,
    StoreUnavailable,
    files,
    restore_database,
    sqlite_url,
)
from caveats_service.storage.engines import migrate
from caveats_service.storage.engines.backup import integrity_problems
from tests.support.store import rotate, token_id

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "caveats.db"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = Store(sqlite_url(path))
    await store.migrate()
    await store.users.create("alice", "hash", now=NOW, actor="a")
    yield store
    await store.close()


async def test_a_backup_is_one_whole_file_for_its_owner_only(store: Store, backup: Path) -> None:
    seen: list[tuple[int, int]] = []
    await store.backup(backup, progress=lambda done, total: seen.append((done, total)))
    assert backup.stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in backup.parent.iterdir()) == ["backup.db", "data"]
    connection = sqlite3.connect(f"file:{backup}?mode=ro", uri=True)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT username FROM users").fetchall() == [("alice",)]
    connection.close()
    assert seen[-1][0] == seen[-1][1] > 0


async def test_a_backup_taken_under_writing_ends_and_is_one_moment(store: Store, backup: Path) -> None:
    stop = asyncio.Event()

    async def write() -> None:
        n = 0
        while not stop.is_set():
            await store.revocations.revoke(
                TokenRevocation(token_id(n), NOW), now=NOW, actor="a", reason="x" * 20_000
            )
            n += 1

    writer = asyncio.create_task(write())
    await asyncio.sleep(0.5)
    async with asyncio.timeout(10):
        await store.backup(backup)
    stop.set()
    await writer
    connection = sqlite3.connect(backup)
    (sequence,) = connection.execute("SELECT revocation_sequence FROM meta").fetchone()
    (entries,) = connection.execute("SELECT count(*) FROM revocations").fetchone()
    connection.close()
    assert sequence == entries > 0


async def test_a_backup_never_overwrites(store: Store, backup: Path) -> None:
    backup.write_text("precious")
    with pytest.raises(BackupExists):
        await store.backup(backup)
    assert backup.read_text() == "precious"


async def test_a_file_that_appears_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    target = tmp_path / "x"
    with files.temporary_beside(target) as temporary:
        target.write_text("precious")
        with pytest.raises(FileExistsError):
            files.place(temporary, target)
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("taken", [True, False])
async def test_a_file_system_without_hard_links_is_served_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "x"
    with files.temporary_beside(target) as temporary:
        temporary.write_text("new")
        if taken:
            target.write_text("precious")
            with pytest.raises(FileExistsError):
                files.place(temporary, target)
        else:
            files.place(temporary, target)
    assert target.read_text() == ("precious" if taken else "new")


async def test_a_backup_into_a_missing_folder_is_unavailable_and_leaves_nothing(
    store: Store, backup: Path
) -> None:
    with pytest.raises(StoreUnavailable):
        await store.backup(backup.parent / "missing" / "backup.db")
    assert not (backup.parent / "missing").exists()


async def test_a_restore_brings_back_the_moment_and_moves_the_epoch(
    store: Store, path: Path, backup: Path
) -> None:
    await store.backup(backup)
    await store.users.create("bob", "hash", now=NOW, actor="a")
    await store.close()
    done = restore_database(backup, path, now=NOW, actor="cli", force=True)
    await store.migrate()
    assert [user.username for user in await store.users.list()] == ["alice"]
    assert (await store.revocations.page(0)).epoch == done.epoch > 1
    assert (await store.audit.list(limit=1))[0].action == "database.restore"
    async with store.read() as connection:
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one() == "wal"
    assert path.stat().st_mode & 0o077 == 0


async def test_what_was_there_before_a_restore_is_set_aside_whole(
    store: Store, path: Path, backup: Path
) -> None:
    await store.backup(backup)
    await store.users.create("bob", "hash", now=NOW, actor="a")
    await store.close()
    asides = [restore_database(backup, path, now=NOW, actor="cli", force=True).set_aside for _ in range(3)]
    assert None not in asides
    assert len(set(asides)) == 3
    first = asides[0]
    assert first is not None
    connection = sqlite3.connect(first)
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (2,)
    connection.close()


async def test_each_restore_has_an_epoch_of_its_own(store: Store, path: Path, backup: Path) -> None:
    await store.backup(backup)
    await store.close()
    epochs = [
        restore_database(backup, path, now=NOW + timedelta(seconds=later), actor="cli", force=True).epoch
        for later in (0, 0, 5, -100)
    ]
    assert epochs == sorted(set(epochs))
    path.unlink()
    assert restore_database(backup, path, now=NOW + timedelta(days=1), actor="cli").epoch > epochs[-1]


@pytest.mark.slow
async def test_a_key_that_is_made_after_a_restore_has_an_id_that_no_key_had(
    store: Store, path: Path, backup: Path
) -> None:
    """The keys of after the backup are lost, and may still be in verifiers and in tokens."""
    ids = {await rotate(store)}
    await store.backup(backup)
    for _ in range(3):
        ids.add(await rotate(store))
        await store.close()
        restore_database(backup, path, now=NOW, actor="cli", force=True)
        made = await rotate(store)
        assert made not in ids
        ids.add(made)


async def test_a_backup_of_an_older_schema_is_restored(
    store: Store, path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    location = tmp_path / "migrations"
    shutil.copytree(migrate.LOCATION, location)
    for later in (location / "versions").glob("000[5-9]_*.py"):
        later.unlink()
    with monkeypatch.context() as older:
        older.setattr(migrate, "LOCATION", location)
        old = Store(sqlite_url(tmp_path / "old.db"))
        await old.migrate()
        await old.backup(backup)
        await old.close()
    await store.close()
    epoch = restore_database(backup, path, now=NOW, actor="cli", force=True).epoch
    assert (await store.revocations.page(0)).epoch == epoch


async def test_a_backup_restores_into_a_new_place(store: Store, backup: Path, tmp_path: Path) -> None:
    await store.backup(backup)
    target = tmp_path / "elsewhere" / "caveats.db"
    assert restore_database(backup, target, now=NOW, actor="cli").set_aside is None
    other = Store(sqlite_url(target))
    await other.migrate()
    assert await other.users.count() == 1
    await other.close()


async def test_a_database_is_not_replaced_while_somebody_uses_it(
    store: Store, path: Path, backup: Path
) -> None:
    await store.backup(backup)
    with pytest.raises(DatabaseInUse):
        restore_database(backup, path, now=NOW, actor="cli", force=True)
    await store.ping()


async def test_a_database_is_not_replaced_unasked(store: Store, path: Path, backup: Path) -> None:
    await store.backup(backup)
    await store.close()
    with pytest.raises(DatabaseExists):
        restore_database(backup, path, now=NOW, actor="cli")


def empty(backup: Path) -> None:
    backup.write_bytes(b"")


def cut(backup: Path) -> None:
    os.truncate(backup, backup.stat().st_size // 2)


def scribbled(backup: Path) -> None:
    content = bytearray(backup.read_bytes())
    content[4096 * 3 : 4096 * 5] = os.urandom(4096 * 2)
    backup.write_bytes(content)


def foreign(backup: Path) -> None:
    backup.unlink()
    connection = sqlite3.connect(backup)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def from_the_future(backup: Path) -> None:
    connection = sqlite3.connect(backup)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


@pytest.mark.parametrize("spoil", [os.unlink, empty, cut, scribbled, foreign, from_the_future])
async def test_a_backup_that_is_not_whole_or_not_ours_changes_nothing(
    store: Store, path: Path, backup: Path, spoil: object
) -> None:
    await store.backup(backup)
    spoil(backup)  # type: ignore[operator]
    await store.close()
    before = sorted((file.name, file.read_bytes()) for file in path.parent.iterdir())
    with pytest.raises(BackupError) as refused:
        restore_database(backup, path, now=NOW, actor="cli", force=True)
    assert isinstance(refused.value, BackupDamaged)
    assert sorted((file.name, file.read_bytes()) for file in path.parent.iterdir()) == before


async def test_a_database_beyond_reading_can_be_replaced(store: Store, path: Path, backup: Path) -> None:
    await store.backup(backup)
    await store.close()
    path.write_bytes(b"spoiled " * 1000)
    done = restore_database(backup, path, now=NOW, actor="cli", force=True)
    assert done.set_aside is not None
    assert done.set_aside.read_bytes() == b"spoiled " * 1000
    await store.migrate()
    assert await store.users.count() == 1


async def test_a_log_left_behind_by_a_crash_does_not_touch_the_restored_database(
    store: Store, path: Path, backup: Path, tmp_path: Path
) -> None:
    await store.backup(backup)
    await store.users.create("bob", "hash", now=NOW, actor="a")
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", crashed / f"caveats.db{end}")
    assert (crashed / "caveats.db-wal").stat().st_size > 0
    restore_database(backup, crashed / "caveats.db", now=NOW, actor="cli", force=True)
    other = Store(sqlite_url(crashed / "caveats.db"))
    await other.migrate()
    assert [user.username for user in await other.users.list()] == ["alice"]
    await other.close()
    assert integrity_problems(crashed / "caveats.db") == ()


async def test_damage_in_the_database_is_reported(store: Store, path: Path) -> None:
    await store.close()
    assert integrity_problems(path) == ()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO labelled_tokens VALUES ('T', 'nobody', '', '', '', 0, 0, NULL, '[]')",
        )
    connection.close()
    assert integrity_problems(path) == ("labelled_tokens row 1 points to a missing users",)
