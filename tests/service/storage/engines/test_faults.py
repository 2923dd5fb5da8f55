"""The store under faults: killed, full, locked, spoiled. What was acknowledged stays; the rest never was."""

# ruff: noqa: ASYNC222, ASYNC251  a test has its loop to itself and may block

from __future__ import annotations

import asyncio
import inspect
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from caveats import TokenRevocation, UserRevocation
from caveats_service.storage import Idempotency, LabelledToken, Store, StoreError, StoreUnavailable
from caveats_service.storage.engines.backup import integrity_problems
from caveats_service.storage.engines.transactions import Repository
from caveats_service.storage.repositories import idempotency, labels, revocations
from tests.support.store import SqlitePlace, token_id

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

PRELUDE = """
import asyncio, os, resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
from caveats import UserRevocation
from caveats_service.storage import Store, StoreUnavailable
from caveats_service.storage.engines.backup import integrity_problems

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
URL, NAME = sys.argv[1], sys.argv[2]
PATH = Path(URL.removeprefix("sqlite:///"))

async def revoke(store, n):
    return await store.revocations.revoke(UserRevocation(f"{NAME}-{n}", NOW, NOW), now=NOW, actor=NAME)
"""


def start(code: str, place: Any, name: str = "w") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, place.url, name], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def file(tmp_path: Path) -> SqlitePlace:
    return SqlitePlace(tmp_path / "caveats.db")


@pytest_asyncio.fixture
async def file_store(file: SqlitePlace) -> AsyncIterator[Store]:
    store = file.store(patience=timedelta(seconds=0.3))
    await store.migrate()
    yield store
    await store.close()


async def revoked(store: Store) -> set[str]:
    """The users and token ids."""
    page = await store.revocations.page(0, limit=1_000_000)
    return {getattr(record.entry, "user", None) or record.entry.token_id for record in page.records}


async def test_whatever_was_acknowledged_before_a_kill_is_there_and_nothing_else(place: Any) -> None:
    acknowledged: set[str] = set()
    pick = random.Random(7)
    for round_ in range(6):
        writer = start(
            """
async def main():
    store = Store(URL)
    await store.migrate()
    for n in range(100_000):
        await revoke(store, n)
        print(f"{NAME}-{n}", flush=True)

asyncio.run(main())
""",
            place,
            f"w{round_}",
        )
        assert writer.stdout is not None
        acknowledged.add(writer.stdout.readline().strip())
        time.sleep(pick.uniform(0, 0.3))
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0]
        acknowledged.update(line for line in rest.split("\n")[:-1] if line)

    begun = time.monotonic()
    store = place.store()
    await store.migrate()
    found = await revoked(store)
    assert time.monotonic() - begun < 2
    assert acknowledged <= found
    assert len(found) - len(acknowledged) <= 6
    assert (
        (await store.revocations.page(0)).last_sequence
        == len(found)
        == len(await store.audit.list(limit=1_000_000))
    )
    await store.close()
    if place.kind == "sqlite":
        assert integrity_problems(place.path) == ()


async def test_eight_writing_processes_never_see_a_locked_database(place: Any) -> None:
    code = """
async def main():
    store = Store(URL)
    await store.migrate()
    await store.ping()
    end, n = time.monotonic() + 3, 0
    while time.monotonic() < end:
        await revoke(store, n)
        n += 1
    await store.close()
    print(n)

asyncio.run(main())
"""
    writers = [start(code, place, f"w{n}") for n in range(8)]
    outputs = [writer.communicate(timeout=60)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8
    store = place.store()
    assert len(await revoked(store)) == sum(int(output) for output in outputs)
    assert all(int(output) > 0 for output in outputs)
    await store.close()


async def test_many_tasks_of_one_process_read_and_write_together(place: Any) -> None:
    store = place.store()
    await store.migrate()

    async def write(n: int) -> None:
        await store.revocations.revoke(TokenRevocation(token_id(n), NOW), now=NOW, actor="a")

    async def read() -> None:
        page = await store.revocations.page(0)
        assert [entry.sequence for entry in page.records] == list(range(1, page.last_sequence + 1))

    await asyncio.gather(*(write(n) for n in range(150)), *(read() for _ in range(150)))
    assert len(await revoked(store)) == 150
    await store.close()


async def test_a_cancelled_write_happens_wholly_or_not_at_all(place: Any) -> None:
    store = place.store()
    await store.migrate()
    pick = random.Random(11)
    done: set[str] = set()

    async def write(user: str) -> None:
        await store.revocations.revoke(UserRevocation(user, NOW, NOW), now=NOW, actor="a")
        done.add(user)

    for round_ in range(40):
        tasks = [asyncio.create_task(write(f"T{round_}-{n}")) for n in range(5)]
        await asyncio.sleep(pick.uniform(0, 0.01))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await write("last")  # nothing is left behind that would hold it up for ever
    found = await revoked(store)
    assert done <= found
    assert (
        (await store.revocations.page(0)).last_sequence
        == len(found)
        == len(await store.audit.list(limit=10_000))
    )
    await store.close()


async def test_a_database_locked_for_too_long_is_unavailable_for_writing_but_not_for_reading(
    file_store: Store, file: SqlitePlace
) -> None:
    store = file_store
    other = sqlite3.connect(file.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
    assert time.monotonic() - begun < 2
    await store.ping()
    other.execute("ROLLBACK")
    other.close()
    assert (
        await store.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
    ).sequence == 1


async def test_writers_that_wait_too_long_for_their_turn_are_told_so(store: Store, place: Any) -> None:
    hasty = place.store(patience=timedelta(seconds=1))
    for one, other in ((hasty, hasty), (store, hasty)):
        async with one.exclusive_write():
            with pytest.raises(StoreUnavailable):
                await other.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
    await hasty.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
    await hasty.close()


def test_a_full_disk_is_unavailable_and_the_store_goes_on_when_there_is_room(file: SqlitePlace) -> None:
    child = start(
        """
async def main():
    store = Store(URL)
    await store.migrate()
    await revoke(store, 0)
    size = max(Path(f"{PATH}{end}").stat().st_size for end in ("", "-wal"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, resource.RLIM_INFINITY))
    written, failed = 1, 0
    for n in range(1, 2000):
        try:
            await revoke(store, n)
            written += 1
        except StoreUnavailable:
            failed += 1
            if failed == 5:
                break
    assert failed == 5, "the disk was never full"
    await store.ping()
    store._written_at = -9
    try:
        await store.check_writable()
    except StoreUnavailable:
        pass
    else:
        raise AssertionError("a full disk takes no writes")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await store.check_writable()
    assert (await revoke(store, "room")).sequence == written + 1
    await store.close()
    assert integrity_problems(PATH) == ()
    print("ok")

asyncio.run(main())
""",
        file,
    )
    assert child.communicate(timeout=60)[0] == "ok\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not write")
def test_a_database_that_may_not_be_written_is_unavailable_for_writing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = SqlitePlace(Path(folder) / "caveats.db")
        child = start(
            """
async def main():
    store = Store(URL)
    await store.migrate()
    await store.close()
    for file in (PATH, Path(f"{PATH}.lock")):
        file.chmod(0o444)
    PATH.parent.chmod(0o755)
    Path(f"{PATH}.lock").chmod(0o666)
    os.setgroups([])
    os.setresuid(65534, 65534, 65534)
    store = Store(URL)
    try:
        await revoke(store, 0)
    except StoreUnavailable as error:
        print("unavailable")
    await store.close()

asyncio.run(main())
""",
            place,
        )
        assert child.communicate(timeout=60)[0] == "unavailable\n"


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        await SqlitePlace(tmp_path / "file" / "caveats.db").store().migrate()


async def test_a_store_that_was_never_migrated_is_unavailable(place: Any, tmp_path: Path) -> None:
    for target in (place, SqlitePlace(tmp_path / "caveats.db")):
        store = target.store()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
        await store.close()


@pytest.mark.parametrize("content", [b"no database " * 1000, bytes(8192)], ids=["text", "zeros"])
async def test_a_spoiled_file_is_unavailable_and_never_overwritten(file: SqlitePlace, content: bytes) -> None:
    file.path.write_bytes(content)
    store = file.store(patience=timedelta(seconds=0.2))
    with pytest.raises(StoreUnavailable):
        await store.migrate()
    await store.close()
    assert file.path.read_bytes() == content


SECRET = "s3cret-" + "hash"
BREAK = {
    "sqlite": "DROP TABLE users",
    "postgresql": "ALTER TABLE users ADD CHECK (password_hash <> 's3cret-hash')",
}


async def test_no_message_repeats_what_was_to_be_written(store: Store, place: Any) -> None:
    await store.users.create("alice", "hash", now=NOW, actor="a")
    await place.execute(BREAK[place.kind])
    with pytest.raises(StoreUnavailable) as failed:
        await store.users.set_password("alice", SECRET, now=NOW, actor="a")
    assert SECRET not in "".join(traceback.format_exception(failed.value))
    assert SECRET not in repr(failed.value)


async def test_a_store_opened_before_a_fork_refuses_afterwards(store: Store) -> None:
    await store.ping()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(store.ping())
        except StoreError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert b"before a fork" in os.read(reader, 100)
    os.close(reader)
    await store.ping()


async def test_a_closed_store_opens_again_on_use(store: Store) -> None:
    await store.close()
    await store.close()
    await store.ping()


async def test_pruning_much_takes_several_transactions_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (labels, revocations, idempotency):
        monkeypatch.setattr(module, "_BATCH", 3)
    await store.users.create("alice", "hash", now=NOW, actor="a")
    for n in range(7):
        await store.revocations.revoke(
            TokenRevocation(token_id(n), NOW - timedelta(hours=n)), now=NOW, actor="a"
        )
        token = LabelledToken(f"T{n}", "alice", "", "*", "photos", NOW, NOW)
        await store.labels.add(token, now=NOW, actor="a")
        await store.replies.remember(Idempotency("alice", f"{n}", bytes(32), NOW, lambda _: b""), now=NOW)
    assert await store.revocations.prune(now=NOW, actor="a", grace=timedelta(0)) == 7
    assert await store.labels.prune(now=NOW, actor="a") == 7
    assert await store.replies.prune(now=NOW) == 7
    page = await store.revocations.page(0)
    assert (page.floor, page.last_sequence, page.records) == (7, 7, ())
    counts = [entry.detail["count"] for entry in await store.audit.list() if entry.action.endswith("prune")]
    assert counts == [1, 3, 3, 1, 3, 3]


def cuttable(owner: type) -> set[str]:
    """The coroutine methods that are cut off with their caller: no operations, and nothing that runs one."""
    return {
        name
        for name, member in inspect.getmembers(owner, inspect.iscoroutinefunction)
        if not name.startswith("_")
        and not hasattr(member, "__wrapped__")
        and "run" not in inspect.unwrap(member).__code__.co_names
    }


def test_every_operation_runs_to_its_end_whatever_becomes_of_its_caller(tmp_path: Path) -> None:
    # These close what is open, only wait for a thread, or are used within an operation.
    assert cuttable(Store) == {"backup", "close", "rows", "server_time"}
    repositories = [
        each for each in vars(Store(f"sqlite:///{tmp_path}/x.db")).values() if isinstance(each, Repository)
    ]
    assert len(repositories) > 10
    for repository in repositories:  # pruning consists of whole steps, and closing changes no row
        assert cuttable(type(repository)) <= {"prune", "close"}, type(repository)
