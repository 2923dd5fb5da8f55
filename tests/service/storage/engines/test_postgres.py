"""PostgreSQL: backends killed, lines cut, locks held, conflicts; nobody waits for long, and nothing acknowledged is lost."""

# ruff: noqa: ASYNC220  a test has its loop to itself and may block

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from caveats import KeyState, UserRevocation
from caveats_service.storage import (
    AlreadyDone,
    BackupElsewhere,
    ChangeKind,
    Idempotency,
    LabelledToken,
    Store,
    StoreError,
    StoreUnavailable,
    TransactionAborted,
)
from tests.support.store import Line, eventually, new_place

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOUND = 2.0


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Any]:
    async with new_place("postgresql", tmp_path) as place:
        yield place


@pytest_asyncio.fixture
async def store(place: Any) -> AsyncIterator[Store]:
    store = Store(place.url)
    await store.migrate()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def line(place: Any) -> AsyncIterator[Line]:
    line = Line(place.url)
    await line.up()
    yield line
    await line.cut()


async def revoke(store: Store, user: str) -> None:
    await store.revocations.revoke(UserRevocation(user, NOW, NOW), now=NOW, actor="a")


async def unavailable(work: Any) -> StoreUnavailable:
    """It says so, and soon."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable) as failed:
        await work
    assert time.monotonic() - begun < BOUND
    return failed.value


async def works(store: Store) -> bool:
    try:
        await revoke(store, f"again {secrets.token_hex(4)}")
    except StoreUnavailable:
        return False
    return True


# --- what a transaction is ------------------------------------------------------------------------


async def test_a_read_is_one_snapshot_that_cannot_write(store: Store) -> None:
    async with store.read() as connection:
        shown = [
            (await connection.exec_driver_sql(f"SHOW {name}")).scalar_one()
            for name in ("transaction_isolation", "transaction_read_only")
        ]
        before = (await connection.exec_driver_sql("SELECT count(*) FROM users")).scalar_one()
        await store.users.create("alice", "hash", now=NOW, actor="a")
        after = (await connection.exec_driver_sql("SELECT count(*) FROM users")).scalar_one()
    assert (shown, before, after) == (["repeatable read", "on"], 0, 0)


async def test_a_write_is_bounded_and_durable_even_on_a_server_that_acknowledges_early(
    store: Store, place: Any
) -> None:
    ((name,),) = await place.rows("SELECT current_database()")
    await place.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    other = Store(place.url)
    for writing in (other.write, other.exclusive_write):
        async with writing() as connection:
            shown = [
                (await connection.exec_driver_sql(f"SHOW {name}")).scalar_one()
                for name in (
                    *("transaction_isolation", "synchronous_commit", "statement_timeout"),
                    "idle_in_transaction_session_timeout",
                )
            ]
        assert shown == ["read committed", "on", "1500ms", "3s"]
    await other.close()


async def test_nothing_stays_in_a_session(store: Store) -> None:
    await revoke(store, "T1")
    await store.ping()
    async with store.read() as connection:
        for query, expected in (
            ("SELECT count(*) FROM pg_prepared_statements", 0),
            ("SELECT current_setting('statement_timeout')", "0"),
            ("SELECT count(*) FROM pg_listening_channels()", 0),
        ):
            assert (await connection.exec_driver_sql(query)).scalar_one() == expected


if shutil.which("pgbouncer"):  # a check for whoever has it, not for everybody

    async def test_it_works_behind_a_pooler_in_transaction_mode(place: Any, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        target = urlsplit(place.url)
        config = Path("/tmp") / f"caveats-{secrets.token_hex(6)}.ini"
        config.write_text(
            f"[databases]\n* = host={target.hostname} port={target.port or 5432} user={target.username}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
            "unix_socket_dir =\npool_mode = transaction\ndefault_pool_size = 2\n"
        )
        config.chmod(0o644)
        as_user = ["--user=nobody"] if os.geteuid() == 0 else []
        pooler = subprocess.Popen(["pgbouncer", "-q", *as_user, str(config)], stderr=subprocess.DEVNULL)
        url = f"postgresql://127.0.0.1:{port}{target.path}"
        stores = [Store(url, patience=timedelta(seconds=10)) for _ in range(3)]
        try:
            await eventually(lambda: reaches(stores[0]))
            await asyncio.gather(*(store.migrate() for store in stores))
            changes = stores[0].changes.follow()
            assert (await anext(changes)).kind is ChangeKind.MISSED
            await asyncio.gather(*(revoke(stores[n % 3], f"T{n}") for n in range(60)))
            async with asyncio.timeout(1):
                assert (await anext(changes)).kind is ChangeKind.REVOCATION
            await changes.aclose()
            assert (await stores[1].revocations.page(0)).last_sequence == 60
        finally:
            for store in stores:
                await store.close()
            pooler.terminate()
            pooler.wait()
            config.unlink()


async def reaches(store: Store) -> bool:
    try:
        await store.exists()
    except StoreUnavailable:
        return False
    return True


# --- unavailable, soon, and back by itself --------------------------------------------------------


async def test_backends_killed_under_load_lose_nothing_acknowledged_and_writing_resumes(
    store: Store, place: Any
) -> None:
    acknowledged: set[str] = set()
    failed = 0
    stop = asyncio.Event()

    async def write(name: int) -> None:
        nonlocal failed
        n = 0
        while not stop.is_set():
            n += 1
            try:
                await revoke(store, f"{name}-{n}")
                acknowledged.add(f"{name}-{n}")
            except StoreUnavailable:
                failed += 1

    async def read() -> None:
        while not stop.is_set():
            try:
                page = await store.revocations.page(0, limit=100_000)
            except StoreUnavailable:
                continue
            assert [entry.sequence for entry in page.records] == list(range(1, page.last_sequence + 1))

    tasks = [asyncio.create_task(work) for work in (*(write(n) for n in range(8)), read(), read())]
    killed = 0
    for _ in range(15):
        await asyncio.sleep(0.1)
        killed += await place.kill()
    assert await eventually(lambda: works(store), 5) < 5
    stop.set()
    await asyncio.gather(*tasks)
    assert killed > 15
    page = await store.revocations.page(0, limit=100_000)
    found = {record.entry.user for record in page.records}
    assert acknowledged <= found
    assert [entry.sequence for entry in page.records] == list(range(1, page.last_sequence + 1))
    assert len(await store.audit.list(limit=100_000)) == len(found)


async def test_what_is_retried_under_its_key_until_it_is_answered_happens_once(
    store: Store, place: Any
) -> None:
    """Whatever reply is lost: also that of the commit, when nobody can tell whether it happened."""
    await store.users.create("alice", "hash", now=NOW, actor="a")

    async def insist(n: int) -> bytes:
        for attempt in range(1000):
            reply = b"%d: the answer of attempt %d" % (n, attempt)
            once = Idempotency(
                "alice", f"{n}", bytes(32), NOW + timedelta(days=1), lambda _, kept=reply: kept
            )
            token = LabelledToken(f"{n}-{attempt}", "alice", "", "*", "photos", NOW, NOW)
            try:
                await store.labels.add(token, now=NOW, actor="a", once=once)
            except AlreadyDone as done:
                return done.sealed_reply
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                return reply
        raise AssertionError("never answered")

    pick, killed = random.Random(5), 0
    answers = asyncio.gather(*(insist(n) for n in range(300)))
    for _ in range(10):
        await asyncio.sleep(pick.uniform(0.1, 0.3))
        killed += await place.kill()
    assert killed > 10
    given = await answers
    found = await store.labels.list("alice", limit=1000)
    expected = {token.token_id.partition("-")[0]: token.token_id.partition("-")[2] for token in found}
    assert len(found) == 300
    assert [f"{n}: the answer of attempt {expected[str(n)]}".encode() for n in range(300)] == given


async def test_idle_connections_that_were_killed_are_replaced_unnoticed(store: Store, place: Any) -> None:
    await asyncio.gather(*(store.ping() for _ in range(10)))
    assert await place.kill() > 1
    await asyncio.sleep(0.1)
    await asyncio.gather(*(store.ping() for _ in range(10)))
    await revoke(store, "T1")


async def test_a_server_that_never_answers_is_unavailable_soon_for_everybody(
    place: Any, store: Store, line: Line
) -> None:
    far = Store(line.url)
    await asyncio.gather(*(far.ping() for _ in range(10)))
    line.swallow()
    begun = time.monotonic()
    done = await asyncio.gather(
        *(far.ping() for _ in range(30)),
        *(revoke(far, f"T{n}") for n in range(30)),
        return_exceptions=True,
    )
    assert time.monotonic() - begun < BOUND
    assert {type(one) for one in done} == {StoreUnavailable}
    await unavailable(far.ping())
    await line.up()
    assert await eventually(lambda: works(far), 5) < 5
    await far.close()


async def test_a_server_that_is_away_is_unavailable_soon_and_found_again(
    place: Any, store: Store, line: Line
) -> None:
    far = Store(line.url)
    await far.ping()
    await line.cut()
    for work in (far.ping(), revoke(far, "T1"), far.migrate(), far.exists()):
        await unavailable(work)
    await line.up()
    assert await eventually(lambda: works(far), 5) < 5
    await far.close()


async def test_a_store_that_cannot_be_closed_politely_is_closed(store: Store, line: Line) -> None:
    far = Store(line.url)
    await far.ping()
    line.swallow()
    begun = time.monotonic()
    await far.close()
    assert time.monotonic() - begun < 5


async def test_connections_in_use_are_unavailable_soon_and_revoking_has_one_of_its_own(store: Store) -> None:
    async with asyncio.timeout(5):
        held = [store.read() for _ in range(10)]
        for one in held:
            await one.__aenter__()
        await unavailable(store.ping())
        await revoke(store, "T1")
        for one in held:
            await one.__aexit__(None, None, None)
        await store.ping()


async def test_a_server_that_is_full_is_unavailable(store: Store, place: Any) -> None:
    role = f"caveats_test_{secrets.token_hex(6)}"
    await place.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT SELECT ON meta TO {role}")
    few = Store(f"postgresql://{role}@{place.url.rpartition('@')[2]}")
    try:
        async with few.read() as connection:
            await connection.exec_driver_sql("SELECT 1")
            refused = await unavailable(few.ping())
        assert "too many connections" in str(refused)
        await few.ping()
    finally:
        await few.close()
        await place.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_lock_held_by_another_is_unavailable_for_writing_but_not_for_reading(
    store: Store, place: Any
) -> None:
    other = await place.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT 1 FROM meta FOR UPDATE")
    outcomes = await asyncio.gather(*(unavailable(revoke(store, f"T{n}")) for n in range(20)))
    assert len(outcomes) == 20
    await store.ping()

    async def nobody_waits() -> bool:
        rows = await place.rows(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return not rows

    assert await eventually(nobody_waits, 2) < 2
    await transaction.rollback()
    await other.close()
    await revoke(store, "T1")
    assert (await store.revocations.page(0)).last_sequence == 1


async def test_a_node_frozen_in_the_middle_of_a_transaction_holds_nobody_up(store: Store, place: Any) -> None:
    code = (
        "import asyncio, sys, time\nfrom caveats_service.storage import Store\n"
        "async def main():\n    async with Store(sys.argv[1]).exclusive_write():\n"
        "        print('in', flush=True)\n        time.sleep(600)\nasyncio.run(main())\n"
    )
    frozen = subprocess.Popen([sys.executable, "-c", code, place.url], stdout=subprocess.PIPE, text=True)
    assert frozen.stdout is not None
    assert frozen.stdout.readline() == "in\n"
    frozen.send_signal(signal.SIGSTOP)
    try:
        await unavailable(revoke(store, "T1"))
        assert await eventually(lambda: works(store), 5) < 5
    finally:
        frozen.kill()
        frozen.communicate()


async def test_a_server_that_no_longer_takes_writes_is_left_for_the_one_that_does(
    store: Store, place: Any
) -> None:
    ((name,),) = await place.rows("SELECT current_database()")
    await place.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await place.kill()
    assert "read-only" in str(await unavailable(revoke(store, "T1")))
    await store.ping()
    assert "read-only" in str(await unavailable(store.check_writable()))
    await (await place.own()).execute("SET default_transaction_read_only = off")
    await place.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await store.check_writable()
    await revoke(store, "T1")


# --- conflicts ------------------------------------------------------------------------------------


def conflicts(times: int, state: str) -> str:
    """The first so many insertions into the audit trail are conflicts; a sequence counts through rollbacks."""
    return (
        "CREATE SEQUENCE tries; CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'conflict' USING ERRCODE = '{state}'; END IF;"
        " RETURN NEW; END $$;"
        "CREATE TRIGGER conflict BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION conflict()"
    )


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_conflict_is_tried_again_and_happens_once(store: Store, place: Any, state: str) -> None:
    await place.execute(conflicts(3, state))
    await revoke(store, "T1")
    assert (await store.revocations.page(0)).last_sequence == 1
    assert len(await store.audit.list()) == 1
    assert await place.rows("SELECT last_value FROM tries") == [(4,)]


async def test_a_conflict_without_end_is_unavailable_after_a_few_tries(store: Store, place: Any) -> None:
    await place.execute(conflicts(1_000_000, "40001"))
    assert isinstance(await unavailable(revoke(store, "T1")), TransactionAborted)
    ((tries,),) = await place.rows("SELECT last_value FROM tries")
    assert tries == 5
    assert (await store.revocations.page(0)).last_sequence == 0


async def test_a_deadlock_is_survived(place: Any) -> None:
    store = place.store(patience=timedelta(seconds=4))
    await store.migrate()
    await store.users.create("alice", "hash", now=NOW, actor="a")
    other = await place.connect(server_settings={"deadlock_timeout": "30s"})
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT 1 FROM users FOR UPDATE")
    change = asyncio.create_task(store.users.set_password("alice", "new", now=NOW, actor="a"))
    await asyncio.sleep(0.3)
    await other.execute("SELECT 1 FROM meta FOR UPDATE")  # waits for the store, which waits for us
    await transaction.commit()
    await other.close()
    assert (await change).user.password_hash == "new"
    assert [entry.action for entry in await store.audit.list()] == ["user.set_password", "user.create"]
    await store.close()


async def test_two_nodes_that_rotate_at_once_leave_one_active_key_also_when_one_dies(
    store: Store, place: Any
) -> None:
    """Each publishes, perhaps dies, and activates what waits; again and again, and always one key issues."""
    code = (
        "import asyncio, os, random, sys\nfrom datetime import UTC, datetime\n"
        "from caveats_service.storage import KeyConflict, Store, StoreUnavailable\n"
        "async def main():\n"
        "    store, pick, now = Store(sys.argv[1]), random.Random(int(sys.argv[2])), datetime.now(UTC)\n"
        "    for n in range(12):\n        try:\n"
        "            key = await store.keys.publish(lambda *_: b'sealed', now=now, actor=sys.argv[2])\n"
        "            if n == 10 and sys.argv[2] == '0': os.kill(os.getpid(), 9)\n"
        "            await store.keys.activate(key.key_id, retire_after=now, now=now, actor=sys.argv[2])\n"
        "        except KeyConflict: pass\n"
        "    await store.close()\nasyncio.run(main())\n"
    )
    nodes = [subprocess.Popen([sys.executable, "-c", code, place.url, str(n)]) for n in range(3)]

    async def ended() -> bool:
        keys = await store.keys.list()
        assert sum(key.state is KeyState.ACTIVE for key in keys) <= 1
        assert sum(key.state is KeyState.PUBLISHED for key in keys) <= 1
        return all(node.poll() is not None for node in nodes)

    await eventually(ended, 60)
    assert [node.returncode for node in nodes] == [-signal.SIGKILL, 0, 0]
    key = await store.keys.publish(lambda *_: b"sealed", now=NOW, actor="a")
    await store.keys.activate(key.key_id, retire_after=NOW, now=NOW, actor="a")
    states = [key.state for key in await store.keys.list()]
    assert states.count(KeyState.ACTIVE) == 1
    assert states[-1] is KeyState.ACTIVE
    assert KeyState.PUBLISHED not in states


# --- addresses, and what is a server's own --------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@127.0.0.1:1/d",
        "postgresql://u:hunter2@127.0.0.1:port/d",
        "postgresql://u:hunter2@127.0.0.1:99999/d",
        "postgresql://u:hunter2@127.0.0.1:1/d?sslmode=hunter2",
    ],
    ids=["refused", "bad-port", "large-port", "bad-mode"],
)
async def test_a_password_is_never_repeated(url: str) -> None:
    store = Store(url)
    with pytest.raises(StoreError) as failed:
        await store.ping()
    shown = "".join(traceback.format_exception(failed.value)) + repr(store) + str(vars(store))
    assert "hunter2" not in shown
    await store.close()


async def test_the_first_host_that_takes_writes_is_used(store: Store, place: Any) -> None:
    several = Store(
        place.url.replace("@127.0.0.1", "@127.0.0.1:1,127.0.0.1", 1) + "?target_session_attrs=read-write"
    )
    await several.ping()
    await several.close()


async def test_backups_are_the_servers_own(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BackupElsewhere, match="pg_dump"):
        await store.backup(tmp_path / "backup.db")
    assert not await store.checkpoint()
    assert not (tmp_path / "backup.db").exists()
