"""Noticing what others write: soon, from every process, through every fault, and never missed unknowingly."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from caveats import UserRevocation
from caveats_service.storage import Change, ChangeKind, Store
from tests.support.store import Line, SqlitePlace, eventually, new_place

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOON = 0.3


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Any]:
    async with new_place("postgresql", tmp_path) as place:
        store = place.store()
        await store.migrate()
        await store.close()
        yield place


async def revoke(store: Store, user: str) -> None:
    await store.revocations.revoke(UserRevocation(user, NOW, NOW), now=NOW, actor="a")


class Follower:
    """Collects what one follower is told, and when."""

    def __init__(self, store: Store) -> None:
        self.seen: list[Change] = []
        self.at: list[float] = []
        self._new = asyncio.Event()
        self._task = asyncio.create_task(self._follow(store))

    async def _follow(self, store: Store) -> None:
        async with aclosing(store.changes.follow()) as changes:
            async for change in changes:
                self.seen.append(change)
                self.at.append(time.monotonic())
                self._new.set()

    async def until(self, kind: ChangeKind, within: float = 3, sequence: int = -1) -> float:
        """Wait for a change of this kind; returns the seconds it took. Forgets what came before it."""
        begun = time.monotonic()
        async with asyncio.timeout(within):
            while True:
                while self.seen:
                    change = self.seen.pop(0)
                    if change.kind is kind and change.sequence >= sequence:
                        return time.monotonic() - begun
                self._new.clear()
                await self._new.wait()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest_asyncio.fixture
async def follower(store: Store) -> AsyncIterator[Follower]:
    follower = Follower(store)
    await follower.until(ChangeKind.MISSED, 5)
    yield follower
    await follower.end()


async def test_the_first_hint_is_that_something_may_have_been_missed(store: Store) -> None:
    await revoke(store, "T1")
    async with aclosing(store.changes.follow()) as changes:
        assert await anext(changes) == Change(ChangeKind.MISSED, 1)


async def test_each_kind_of_change_is_told_soon_with_where_it_is_now(
    store: Store, follower: Follower
) -> None:
    for n in range(1, 4):
        await revoke(store, f"T{n}")
        assert await follower.until(ChangeKind.REVOCATION, sequence=n) < SOON
    await store.keys.publish(lambda *_: b"sealed", now=NOW, actor="a")
    assert await follower.until(ChangeKind.KEY, sequence=1) < SOON
    await store.keys.activate("k1", retire_after=NOW, now=NOW, actor="a")
    await follower.until(ChangeKind.KEY, sequence=2)


async def test_what_another_process_writes_is_told_soon(place: Any, follower: Follower) -> None:
    code = (
        "import asyncio, sys, time\nfrom datetime import UTC, datetime\nfrom caveats import UserRevocation\n"
        "from caveats_service.storage import Store\nnow = datetime.now(UTC)\n"
        "async def main():\n    store = Store(sys.argv[1])\n"
        "    await store.revocations.revoke(UserRevocation('u', now, now), now=now, actor='a')\n"
        "    print(time.monotonic())\n    await store.close()\nasyncio.run(main())\n"
    )
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, place.url), stdout=subprocess.PIPE
    )
    printed, _ = await other.communicate()
    await eventually_seen(follower)
    assert follower.seen == [Change(ChangeKind.REVOCATION, 1)]
    assert follower.at[-1] - float(printed) < SOON


async def eventually_seen(follower: Follower) -> None:
    async def seen() -> bool:
        return bool(follower.seen)

    await eventually(seen, 1)


async def test_other_writing_is_no_change(store: Store, follower: Follower) -> None:
    await store.users.create("alice", "hash", now=NOW, actor="a")
    await store.keys.service_key("box", b"sealed")
    await asyncio.sleep(0.6)
    assert follower.seen == []


async def test_a_feed_that_begins_anew_may_have_been_missed(store: Store, follower: Follower) -> None:
    await store.revocations.bump_epoch(now=NOW, actor="a")
    await follower.until(ChangeKind.MISSED)


async def test_followers_take_no_connection_of_the_pool(store: Store) -> None:
    followers = [Follower(store) for _ in range(12)]
    for follower in followers:
        await follower.until(ChangeKind.MISSED, 5)
    await asyncio.gather(*(revoke(store, f"T{n}") for n in range(12)), *(store.ping() for _ in range(20)))
    for follower in followers:
        await follower.until(ChangeKind.REVOCATION, 1, sequence=12)
        await follower.end()


async def test_a_follower_waits_for_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path / "data" / "caveats.db")
    store = place.store()
    follower = Follower(store)
    await asyncio.sleep(0.3)
    assert not place.path.exists()
    await store.migrate()
    await follower.until(ChangeKind.MISSED, 3)
    await follower.end()
    await store.close()


async def test_a_file_that_is_locked_is_followed_again(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path / "data" / "caveats.db")
    store = place.store(patience=timedelta(seconds=0.2))
    await store.migrate()
    follower = Follower(store)
    await follower.until(ChangeKind.MISSED, 3)
    other = sqlite3.connect(place.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE meta SET revocation_sequence = 9")
    await asyncio.sleep(0.3)
    assert follower.seen == []
    other.execute("COMMIT")
    other.close()
    await follower.until(ChangeKind.REVOCATION, sequence=9)
    await follower.end()
    await store.close()


# --- PostgreSQL -----------------------------------------------------------------------------------


async def test_the_server_tells_within_a_fraction_of_the_polling(server: Any) -> None:
    store, other = server.store(), server.store()
    follower = Follower(store)
    await follower.until(ChangeKind.MISSED, 5)
    took = []
    for n in range(1, 21):
        await revoke(other, f"T{n}")
        took.append(await follower.until(ChangeKind.REVOCATION, sequence=n))
    assert sorted(took)[10] < 0.05
    await follower.end()
    await store.close()
    await other.close()


async def test_only_what_was_committed_is_told_and_nothing_but_kind_and_number(server: Any) -> None:
    told: list[str] = []
    listening = await server.connect()
    await listening.add_listener("caveats", lambda *message: told.append(message[3]))
    store = server.store()
    with pytest.raises(ValueError, match="undo"):
        async with store.exclusive_write() as connection:
            await connection.exec_driver_sql("UPDATE meta SET revocation_sequence = 5, key_sequence = 5")
            raise ValueError("undo")
    await revoke(store, "a token id that is nobody's business")
    await store.keys.publish(lambda *_: b"sealed", now=NOW, actor="a")
    await asyncio.sleep(0.2)
    assert told == ["revocation 1", "key 1"]
    await listening.close()
    await store.close()


async def test_where_nobody_tells_it_is_noticed_by_polling(server: Any) -> None:
    await server.execute("DROP TRIGGER caveats_announce ON meta")
    store = server.store()
    follower = Follower(store)
    await follower.until(ChangeKind.MISSED, 5)
    for n in range(1, 4):
        await revoke(store, f"T{n}")
        assert await follower.until(ChangeKind.REVOCATION, sequence=n) < 0.6
    await follower.end()
    await store.close()


async def test_a_follower_whose_connection_is_killed_is_told_and_follows_again(server: Any) -> None:
    store = server.store()
    follower = Follower(store)
    await follower.until(ChangeKind.MISSED, 5)
    for n in range(1, 4):
        assert await server.kill() >= 1
        await follower.until(ChangeKind.MISSED, 2)
        await revoke(store, f"T{n}")
        await follower.until(ChangeKind.REVOCATION, sequence=n)
    await follower.end()
    await store.close()


@pytest.mark.parametrize("fault", ["cut", "swallow"])
async def test_a_follower_whose_line_is_gone_is_told_when_it_is_back(server: Any, fault: str) -> None:
    line = Line(server.url)
    await line.up()
    near, far = server.store(), Store(line.url)
    follower = Follower(far)
    await follower.until(ChangeKind.MISSED, 5)
    if fault == "cut":
        await line.cut()
    else:
        line.swallow()
    await revoke(near, "T1")
    await asyncio.sleep(3)
    assert follower.seen == []
    await line.up()
    await follower.until(ChangeKind.MISSED, 5, sequence=1)
    await revoke(near, "T2")
    await follower.until(ChangeKind.REVOCATION, sequence=2)
    await follower.end()
    await line.cut()
    await near.close()
    await far.close()


async def test_a_follower_that_ends_leaves_no_connection_behind(server: Any) -> None:
    store = server.store()
    followers = [Follower(store) for _ in range(5)]
    for follower in followers:
        await follower.until(ChangeKind.MISSED, 5)
        await follower.end()
    await store.close()

    async def nobody() -> bool:
        ((others,),) = await server.rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return bool(others == 0)

    await eventually(nobody, 2)
