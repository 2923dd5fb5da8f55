"""The store's operations on both databases: what they promise, in order, repeated, at the same time."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import URL
from store_support import KINDS, new_place, refuse_a_second_record, token_id

import caveats
from caveats import BranchRevocation, KeyState, TokenRevocation, UserRevocation, new_token_id
from caveats.revocation import row_of
from caveats.token import is_token_id
from caveats_service.storage import (
    Agent,
    AgentExists,
    Decision,
    GroupExists,
    Interaction,
    InteractionsFull,
    KeyConflict,
    KeyInUse,
    LabelExists,
    LabelledToken,
    RevocationPage,
    RevocationRecord,
    Store,
    StoreError,
    StoreUnavailable,
    UnknownAgent,
    UnknownGroup,
    UnknownInteraction,
    UnknownMasterKey,
    UnknownUser,
    UnknownVerifier,
    UserExists,
    VerifierApp,
    sqlite_url,
    tables,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
DAY = timedelta(days=1)
BRANCH = bytes(range(16))


@pytest_asyncio.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    async with new_place(request.param, tmp_path) as place:
        yield place


@pytest_asyncio.fixture
async def store(place: Any) -> AsyncIterator[Store]:
    store: Store = place.store()
    await store.migrate()
    yield store
    await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "caveats.db"


@pytest_asyncio.fixture
async def file_store(path: Path) -> AsyncIterator[Store]:
    """For what only a file has."""
    store = Store(sqlite_url(path))
    await store.migrate()
    yield store
    await store.close()


async def alice(store: Store) -> None:
    await store.users.create("alice", "hash", now=NOW, actor="system")


def label(token_id: str, *, lasts: timedelta = DAY) -> LabelledToken:
    return LabelledToken(token_id, "alice", "a note", "photos:read", "photos", NOW, NOW + lasts)


def seal(row_id: int, key_id: str) -> bytes:
    return f"sealed {row_id} {key_id}".encode()


async def live(store: Store, now: datetime, page_size: int = 2) -> list[RevocationRecord]:
    """What `live_rows` gives page by page, as records."""
    page = await store.revocations.page(0)
    after, found = 0, []
    while rows := await store.revocations.live_rows(after, page.last_sequence, now=now, limit=page_size):
        assert len(rows) <= page_size
        after = rows[-1][0]
        found += rows
    records = {record.sequence: record for record in page.records}
    return [records[row[0]] for row in found]


# --- the database ---------------------------------------------------------------------------------


async def test_a_new_database_is_for_its_owner_only_and_says_who_it_is(file_store: Store, path: Path) -> None:
    facts = await file_store.instance.facts()
    assert (facts.epoch, facts.revocation_sequence, facts.seal_canary) == (1, 0, None)
    assert len(facts.instance_id) == 32
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
    assert (await store.instance.facts()).seal_canary == kept[0]


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


# --- users ----------------------------------------------------------------------------------------


async def test_a_user_is_found_as_created_and_the_hash_is_not_shown(store: Store) -> None:
    made = await store.users.create("alice", "s3cret", now=NOW, actor="root", is_admin=True, scope="photos:*")
    assert made == await store.users.get("alice")
    assert (made.is_admin, made.scope, made.is_enabled, made.password_changed_at) == (
        True,
        "photos:*",
        True,
        NOW,
    )
    assert "s3cret" not in repr(made)
    assert await store.users.get("bob") is None


async def test_a_name_is_given_once_also_to_many_at_a_time(store: Store) -> None:
    made = await asyncio.gather(
        *(store.users.create("alice", f"hash {n}", now=NOW, actor="a") for n in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, UserExists) for one in made) == 19
    assert await store.users.count() == 1
    assert len(await store.audit.list()) == 1


async def test_users_are_listed_by_name_page_by_page(store: Store) -> None:
    names = [f"user{n:02}" for n in range(7)]
    for name in reversed(names):
        await store.users.create(name, "hash", now=NOW, actor="a", is_admin=name == "user03")
    found: list[str] = []
    while page := await store.users.list(after=found[-1] if found else "", limit=3):
        found += [user.username for user in page]
    assert found == names
    assert await store.users.count() == 7
    assert await store.users.count(admins_only=True) == 1


async def test_a_new_password_replaces_the_hash_and_says_when(store: Store) -> None:
    await alice(store)
    changed = await store.users.set_password("alice", "new", now=NOW + DAY, actor="alice")
    assert (changed.user.password_hash, changed.user.password_changed_at) == ("new", NOW + DAY)
    assert changed.revocation is None


async def test_fifty_rehashes_at_once_leave_one_new_hash(store: Store) -> None:
    await alice(store)
    won = await asyncio.gather(
        *(store.users.replace_hash("alice", "hash", f"new {n}", now=NOW, actor="alice") for n in range(50))
    )
    assert won.count(True) == 1
    user = await store.users.get("alice")
    assert user is not None
    assert user.password_hash == f"new {won.index(True)}"
    assert [entry.action for entry in await store.audit.list()].count("user.rehash") == 1


async def test_a_rehash_never_undoes_a_password_change(store: Store) -> None:
    await alice(store)
    await store.users.set_password("alice", "changed", now=NOW, actor="alice")
    assert not await store.users.replace_hash("alice", "hash", "rehashed", now=NOW, actor="alice")
    user = await store.users.get("alice")
    assert user is not None
    assert user.password_hash == "changed"


async def test_a_user_is_disabled_and_enabled_and_the_first_time_stands(store: Store) -> None:
    await alice(store)
    await store.users.disable("alice", now=NOW, actor="root")
    again = await store.users.disable("alice", now=NOW + DAY, actor="root")
    assert again.user.disabled_at == NOW
    assert not again.user.is_enabled
    assert (await store.users.enable("alice", now=NOW, actor="root")).is_enabled


@pytest.mark.parametrize("change", ["set_password", "disable"])
async def test_a_change_that_ends_all_tokens_revokes_them_in_the_same_transaction(
    store: Store, change: str
) -> None:
    await alice(store)
    arguments = ["new"] if change == "set_password" else []
    done = await getattr(store.users, change)(
        "alice", *arguments, now=NOW + DAY, actor="alice", revoke_until=NOW + 2 * DAY
    )
    (record,) = await live(store, NOW)
    assert done.revocation == record
    assert record.entry == UserRevocation("alice", NOW + DAY, NOW + 2 * DAY)


async def test_an_administrator_is_made_and_unmade(store: Store) -> None:
    await alice(store)
    assert (await store.users.set_admin("alice", is_admin=True, now=NOW, actor="root")).is_admin
    assert not (await store.users.set_admin("alice", is_admin=False, now=NOW, actor="root")).is_admin


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.users.set_password("bob", "hash", now=NOW, actor="a"),
        lambda store: store.users.disable("bob", now=NOW, actor="a", revoke_until=NOW + DAY),
        lambda store: store.users.enable("bob", now=NOW, actor="a"),
        lambda store: store.users.set_admin("bob", is_admin=True, now=NOW, actor="a"),
        lambda store: store.labels.add(label("T1"), now=NOW, actor="a"),
    ],
    ids=["set-password", "disable", "enable", "set-admin", "label"],
)
async def test_an_unknown_user_is_named_and_nothing_is_written(
    store: Store, change: Callable[[Store], Awaitable[object]]
) -> None:
    with pytest.raises(UnknownUser):
        await change(store)
    assert await store.audit.list() == ()
    assert await live(store, NOW) == []


# --- master keys ----------------------------------------------------------------------------------


async def rotate(store: Store, now: datetime = NOW) -> str:
    key = await store.keys.publish(seal, now=now, actor="system")
    await store.keys.activate(key.key_id, retire_after=now + DAY, now=now, actor="system")
    return key.key_id


async def test_a_key_is_sealed_for_the_row_and_id_that_it_gets(store: Store) -> None:
    key = await store.keys.publish(seal, now=NOW, actor="system")
    assert (key.row_id, key.key_id, key.state, key.sealed) == (1, "k1", KeyState.PUBLISHED, b"sealed 1 k1")
    assert "sealed 1" not in repr(key)


async def test_a_key_passes_from_published_to_active_to_verifying_to_retired(store: Store) -> None:
    await rotate(store)
    await rotate(store, NOW + DAY)
    before, after = await store.keys.list()
    assert (before.state, before.verifying_since, before.retire_after) == (
        KeyState.VERIFYING,
        NOW + DAY,
        NOW + 2 * DAY,
    )
    assert (after.key_id, after.state, after.activated_at) == ("k2", KeyState.ACTIVE, NOW + DAY)
    retired = await store.keys.retire("k1", now=NOW + 2 * DAY, actor="root")
    assert (retired.state, retired.retired_at, retired.sealed) == (KeyState.RETIRED, NOW + 2 * DAY, b"")


async def test_each_step_repeated_changes_nothing(store: Store) -> None:
    first = await store.keys.publish(seal, now=NOW, actor="a")
    assert await store.keys.publish(seal, now=NOW + DAY, actor="b") == first
    active = await store.keys.activate("k1", retire_after=NOW, now=NOW, actor="a")
    assert await store.keys.activate("k1", retire_after=NOW + DAY, now=NOW + DAY, actor="b") == active
    await rotate(store)
    retired = await store.keys.retire("k1", now=NOW + DAY, actor="a")
    assert await store.keys.retire("k1", now=NOW + 2 * DAY, actor="b") == retired
    assert [entry.action for entry in await store.audit.list()] == [
        *("key.retire", "key.activate", "key.publish", "key.activate", "key.publish")
    ]


async def test_rotations_at_the_same_time_leave_one_active_key_and_none_waiting(
    store: Store, place: Any
) -> None:
    await rotate(store)
    other = place.store()

    async def replace(at: Store) -> None:
        key = await at.keys.publish(seal, now=NOW, actor="node", replacing="k1")
        await at.keys.activate(key.key_id, retire_after=NOW + DAY, now=NOW, actor="node")

    done = await asyncio.gather(*(replace(at) for at in (store, other) * 5), return_exceptions=True)
    await other.close()
    assert all(one is None or isinstance(one, KeyConflict) for one in done)
    assert [key.state for key in await store.keys.list()] == [KeyState.VERIFYING, KeyState.ACTIVE]


async def test_nodes_that_find_no_key_at_the_same_time_make_one(store: Store, place: Any) -> None:
    other = place.store()

    async def begin(at: Store) -> None:
        key = await at.keys.publish(seal, now=NOW, actor="node", first=True)
        await at.keys.activate(key.key_id, retire_after=NOW + DAY, now=NOW, actor="node")

    done = await asyncio.gather(*(begin(at) for at in (store, other) * 5), return_exceptions=True)
    with pytest.raises(KeyConflict):  # this one had looked before the others had written
        await begin(other)
    await other.close()
    assert all(one is None or isinstance(one, KeyConflict) for one in done)
    assert [(key.key_id, key.state) for key in await store.keys.list()] == [("k1", KeyState.ACTIVE)]


async def test_two_keys_can_never_be_active_whoever_writes(store: Store, place: Any) -> None:
    await rotate(store)
    await rotate(store)
    with pytest.raises(place.broken):
        await place.execute("UPDATE master_keys SET state = 'active'")


@pytest.mark.parametrize("state", ["verifying", "retired"])
async def test_a_key_never_becomes_active_again(store: Store, state: str) -> None:
    await rotate(store)
    await rotate(store)
    if state == "retired":
        await store.keys.retire("k1", now=NOW, actor="a", force=True)
    with pytest.raises(KeyConflict, match=state):
        await store.keys.activate("k1", retire_after=NOW, now=NOW, actor="a")


async def test_the_active_key_cannot_be_retired_even_by_force(store: Store) -> None:
    await rotate(store)
    with pytest.raises(KeyConflict):
        await store.keys.retire("k1", now=NOW + 100 * DAY, actor="a", force=True)


async def test_a_key_with_live_tokens_is_retired_only_by_force_and_the_refusal_counts_them(
    store: Store,
) -> None:
    await alice(store)
    await rotate(store)
    await store.labels.add(label("T1"), now=NOW, actor="alice")
    await store.labels.add(label("T2", lasts=timedelta(0)), now=NOW, actor="alice")
    await rotate(store, NOW + timedelta(hours=1))
    with pytest.raises(KeyInUse) as refused:
        await store.keys.retire("k1", now=NOW + timedelta(hours=2), actor="root")
    assert refused.value.until == NOW + timedelta(hours=25)
    assert refused.value.labelled == 1
    forced = await store.keys.retire("k1", now=NOW + timedelta(hours=2), actor="root", force=True)
    assert forced.state is KeyState.RETIRED


async def test_a_published_key_can_be_withdrawn_and_its_id_is_not_given_again(store: Store) -> None:
    await rotate(store)
    await store.keys.publish(seal, now=NOW, actor="a")
    await store.keys.retire("k2", now=NOW, actor="a")
    assert (await store.keys.publish(seal, now=NOW, actor="a")).key_id == "k3"


async def test_a_retired_keys_bytes_are_nowhere_on_disk(file_store: Store, path: Path) -> None:
    secret = b"sealed bytes that must go " * 4
    await file_store.keys.publish(lambda *_: secret, now=NOW, actor="a")
    await file_store.keys.activate("k1", retire_after=NOW, now=NOW, actor="a")
    await rotate(file_store)
    assert any(secret in file.read_bytes() for file in path.parent.iterdir())
    await file_store.keys.retire("k1", now=NOW, actor="a", force=True)
    assert not any(secret[:20] in file.read_bytes() for file in path.parent.iterdir())


async def test_an_unknown_key_is_named(store: Store) -> None:
    with pytest.raises(UnknownMasterKey):
        await store.keys.activate("k9", retire_after=NOW, now=NOW, actor="a")
    with pytest.raises(UnknownMasterKey):
        await store.keys.retire("k9", now=NOW, actor="a")


async def test_a_seal_that_fails_leaves_no_key(store: Store) -> None:
    def fail(_row_id: int, _key_id: str) -> bytes:
        raise ValueError("no seal")

    with pytest.raises(ValueError, match="no seal"):
        await store.keys.publish(fail, now=NOW, actor="a")
    assert await store.keys.list() == ()
    assert await store.audit.list() == ()


# --- labelled tokens ------------------------------------------------------------------------------


async def test_a_users_labelled_tokens_are_listed_newest_first_page_by_page(store: Store) -> None:
    await alice(store)
    await store.users.create("bob", "hash", now=NOW, actor="a")
    ids = [f"T{n}" for n in range(7)]
    for name in ids:
        await store.labels.add(label(name), now=NOW, actor="alice")
    found: list[str] = []
    while page := await store.labels.list("alice", after=found[-1] if found else None, limit=3):
        found += [token.token_id for token in page]
    assert found == ids[::-1]
    assert await store.labels.list("bob") == ()
    assert await store.labels.get("T3") == label("T3")
    assert await store.labels.get("T9") is None


async def test_an_id_is_labelled_once(store: Store) -> None:
    await alice(store)
    await store.labels.add(label("T1"), now=NOW, actor="alice")
    with pytest.raises(LabelExists):
        await store.labels.add(label("T1"), now=NOW, actor="alice")


async def test_a_last_use_only_moves_forward(store: Store) -> None:
    await alice(store)
    for name in ("T1", "T2", "T3"):
        await store.labels.add(label(name), now=NOW, actor="alice")
    await store.labels.mark_used({"T1": NOW + DAY, "T2": NOW, "unknown": NOW})
    await store.labels.mark_used({"T1": NOW, "T2": NOW + DAY})
    await store.labels.mark_used({})
    used = {token.token_id: token.last_used_at for token in await store.labels.list("alice")}
    assert used == {"T1": NOW + DAY, "T2": NOW + DAY, "T3": None}


async def test_only_expired_labels_are_pruned(store: Store) -> None:
    await alice(store)
    await store.labels.add(label("T1"), now=NOW, actor="alice")
    await store.labels.add(label("T2", lasts=2 * DAY), now=NOW, actor="alice")
    assert await store.labels.prune(now=NOW, actor="system") == 0
    assert await store.labels.prune(now=NOW + DAY, actor="system") == 1
    assert [token.token_id for token in await store.labels.list("alice")] == ["T2"]


# --- revocations ----------------------------------------------------------------------------------


async def test_each_kind_of_entry_names_what_it_hits_and_nothing_else(store: Store) -> None:
    until = NOW + DAY
    token = await store.revocations.revoke(
        TokenRevocation(token_id(1), until), now=NOW, actor="alice", reason="lost"
    )
    branch = await store.revocations.revoke(
        BranchRevocation(token_id(1), BRANCH, until), now=NOW, actor="alice"
    )
    user = await store.revocations.revoke(UserRevocation("alice", NOW, until), now=NOW, actor="root")
    assert token == RevocationRecord(1, TokenRevocation(token_id(1), until), NOW, "alice", "lost")
    assert branch == RevocationRecord(2, BranchRevocation(token_id(1), BRANCH, until), NOW, "alice", "")
    assert user == RevocationRecord(3, UserRevocation("alice", NOW, until), NOW, "root", "")
    assert await store.revocations.page(0) == RevocationPage(1, 3, 0, (token, branch, user))


async def test_revoking_the_same_again_returns_the_entry_that_is_there(store: Store) -> None:
    until = NOW + DAY
    ways: tuple[Callable[[], Awaitable[RevocationRecord]], ...] = (
        lambda: store.revocations.revoke(TokenRevocation(token_id(1), until), now=NOW, actor="a"),
        lambda: store.revocations.revoke(BranchRevocation(token_id(1), BRANCH, until), now=NOW, actor="a"),
        lambda: store.revocations.revoke(UserRevocation("alice", NOW, until), now=NOW, actor="a"),
    )
    for revoke in ways:
        assert len(set(await asyncio.gather(*(revoke() for _ in range(100))))) == 1
    assert (await store.instance.facts()).revocation_sequence == 3
    assert len(await store.audit.list()) == 3


async def test_two_branches_of_one_token_are_two_entries(store: Store) -> None:
    for branch in (BRANCH, bytes(16)):
        await store.revocations.revoke(BranchRevocation(token_id(1), branch, NOW + DAY), now=NOW, actor="a")
    assert len(await live(store, NOW)) == 2


async def test_a_later_cut_for_a_user_is_a_new_entry_and_an_earlier_one_is_covered(store: Store) -> None:
    until = NOW + 2 * DAY
    first = await store.revocations.revoke(UserRevocation("alice", NOW, until), now=NOW, actor="a")
    later = await store.revocations.revoke(UserRevocation("alice", NOW + DAY, until), now=NOW, actor="a")
    earlier = await store.revocations.revoke(UserRevocation("alice", NOW - DAY, until), now=NOW, actor="a")
    assert (first.sequence, later.sequence) == (1, 2)
    assert earlier == first


async def test_an_entry_that_would_be_forgotten_too_early_does_not_stand_for_a_longer_one(
    store: Store,
) -> None:
    await store.revocations.revoke(TokenRevocation(token_id(1), NOW + DAY), now=NOW, actor="a")
    longer = await store.revocations.revoke(TokenRevocation(token_id(1), NOW + 2 * DAY), now=NOW, actor="a")
    assert longer.entry.expires_at == NOW + 2 * DAY
    assert (
        await store.revocations.revoke(TokenRevocation(token_id(1), NOW + DAY), now=NOW, actor="a") != longer
    )
    assert len(await live(store, NOW)) == 2


async def test_a_refused_entry_leaves_no_gap(store: Store, place: Any) -> None:
    await refuse_a_second_record(place, "once only")
    sequences = []
    for n in range(3):
        given: dict[str, Any] = {"now": NOW, "actor": "a", "reason": "" if n == 2 else "once only"}
        with contextlib.suppress(StoreError):
            record = await store.revocations.revoke(TokenRevocation(token_id(n), NOW), **given)
            sequences.append(record.sequence)
    assert sequences == [1, 2]
    assert [record.sequence for record in (await store.revocations.page(0)).records] == [1, 2]


@pytest.mark.parametrize("length", [0, 15, 17])
@pytest.mark.usefixtures("store")
async def test_a_branch_id_has_sixteen_bytes_whoever_writes(place: Any, length: int) -> None:
    branch = {"sqlite": "zeroblob({})", "postgresql": "decode(repeat('00', {}), 'hex')"}[place.kind]
    with pytest.raises(place.broken):
        await place.execute(
            "INSERT INTO revocations (sequence, kind, token_id, branch_id, expires_at, created_at, revoked_by, reason)"
            f" VALUES (1, 'branch', 'T1', {branch.format(length)}, 0, 0, '', '')"
        )
    assert await place.rows("SELECT count(*) FROM revocations") == [(0,)]


async def test_sequences_have_no_gap_when_many_revoke_at_once(store: Store, place: Any) -> None:
    other = place.store()
    await asyncio.gather(
        *(
            at.revocations.revoke(TokenRevocation(token_id(n), NOW + DAY), now=NOW, actor="a")
            for n, at in enumerate([store, other] * 30)
        )
    )
    await other.close()
    assert [entry.sequence for entry in await live(store, NOW)] == list(range(1, 61))


async def test_a_reader_follows_page_by_page(store: Store) -> None:
    for n in range(5):
        await store.revocations.revoke(TokenRevocation(token_id(n), NOW + DAY), now=NOW, actor="a")
    page = await store.revocations.page(2, limit=2)
    assert [entry.sequence for entry in page.records] == [3, 4]
    assert (page.last_sequence, page.floor, page.epoch) == (5, 0, 1)
    assert not page.must_resync(1, 2)
    assert (await store.revocations.page(5)).records == ()


async def test_pruning_never_drops_a_live_entry_and_sequences_go_on(store: Store) -> None:
    for n, lasts in enumerate((3, 1, 2, 1)):
        await store.revocations.revoke(TokenRevocation(token_id(n), NOW + lasts * DAY), now=NOW, actor="a")
    assert await store.revocations.prune(now=NOW + DAY, actor="system") == 0
    assert await store.revocations.prune(now=NOW + DAY, actor="system", grace=timedelta(0)) == 2
    assert [entry.sequence for entry in await live(store, NOW + DAY)] == [1, 3]
    assert (
        await store.revocations.revoke(TokenRevocation(token_id(9), NOW + DAY), now=NOW, actor="a")
    ).sequence == 5
    assert await store.revocations.prune(now=NOW + 9 * DAY, actor="system") == 3
    page = await store.revocations.page(0)
    assert (page.last_sequence, page.floor, page.records) == (5, 5, ())
    assert (
        await store.revocations.revoke(TokenRevocation(token_id(9), NOW + DAY), now=NOW, actor="a")
    ).sequence == 6


async def test_an_expired_entry_outlives_its_expiry_by_the_grace(store: Store) -> None:
    await store.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
    assert await store.revocations.prune(now=NOW + timedelta(minutes=9), actor="system") == 0
    assert await store.revocations.prune(now=NOW + timedelta(minutes=10), actor="system") == 1


@pytest.mark.parametrize(
    ("epoch", "after", "must"),
    [(1, 3, True), (1, 4, False), (1, 7, False), (1, 8, True), (1, 0, True), (2, 5, True)],
    ids=["below-floor", "at-floor", "at-head", "beyond-head", "from-nothing", "other-epoch"],
)
async def test_a_reader_that_may_have_missed_an_entry_must_resync(
    epoch: int, after: int, *, must: bool
) -> None:
    page = RevocationPage(epoch=1, last_sequence=7, floor=4, records=())
    assert page.must_resync(epoch, after) is must


async def test_live_rows_are_those_of_a_stretch_and_what_the_feed_makes_of_an_entry(store: Store) -> None:
    token, late = new_token_id(NOW), NOW + timedelta(milliseconds=1)
    end = datetime.max.replace(tzinfo=UTC)
    given: dict[str, Any] = {"now": NOW, "actor": "a"}
    await store.revocations.revoke(TokenRevocation(token, NOW), **given)
    await store.revocations.revoke(TokenRevocation(token, late), **given)
    await store.revocations.revoke(BranchRevocation(token, b"b" * 16, NOW + DAY), **given)
    await store.revocations.revoke(UserRevocation("zoë", late, end), **given)
    await store.revocations.revoke(UserRevocation("bob", late, NOW + DAY), **given)
    expected: list[caveats.Revocation] = [
        TokenRevocation(token, late),
        BranchRevocation(token, b"b" * 16, NOW + DAY),
        UserRevocation("zoë", late, end),
    ]
    rows = await store.revocations.live_rows(0, 4, now=NOW)
    assert rows == [row_of(number, entry) for number, entry in enumerate(expected, 2)]
    assert await store.revocations.live_rows(2, 4, now=NOW, limit=1) == rows[1:2]
    assert await store.revocations.live_rows(4, 4, now=NOW) == []


async def test_a_bumped_epoch_only_grows(store: Store) -> None:
    seconds = int(NOW.timestamp())
    times = (NOW, NOW, NOW - DAY, NOW + timedelta(seconds=9))
    bumped = [await store.revocations.bump_epoch(now=at, actor="root") for at in times]
    assert bumped == [seconds, seconds + 1, seconds + 2, seconds + 9]
    assert (await store.revocations.page(0)).epoch == seconds + 9


# --- verifiers, and keys of the service's own -----------------------------------------------------


async def add_verifier(
    store: Store, name: str = "app", audience: str = "photos", actor: str = "root"
) -> VerifierApp:
    return await store.verifiers.add(audience=audience, public_key=bytes(32), name=name, now=NOW, actor=actor)


async def revoke_a_verifier(store: Store) -> None:
    (app,) = await store.verifiers.list()
    await store.verifiers.revoke(app.verifier_id, now=NOW, actor="root")


async def test_a_verifier_is_found_as_registered_under_an_id_of_its_own(store: Store) -> None:
    made = await add_verifier(store)
    assert await store.verifiers.get(made.verifier_id) == made
    assert (made.audience, made.public_key, made.name, made.created_at, made.created_by, made.revoked_at) == (
        *("photos", bytes(32), "app", NOW, "root"),
        None,
    )
    assert is_token_id(made.verifier_id)
    assert (await add_verifier(store)).verifier_id != made.verifier_id
    assert await store.verifiers.get("01M7YN95YR7R4FP3PNER2VPYH8") is None


async def test_verifiers_are_listed_by_id_page_by_page_and_by_audience(store: Store) -> None:
    made = [await add_verifier(store, f"app {n}", "photos" if n % 2 else "thumbs") for n in range(5)]
    made.sort(key=lambda app: app.verifier_id)
    found: list[VerifierApp] = []
    while page := await store.verifiers.list(after=found[-1].verifier_id if found else "", limit=2):
        found += page
    assert found == made
    photos = await store.verifiers.list(audience="photos")
    assert list(photos) == [app for app in made if app.audience == "photos"]


async def test_a_verifier_is_revoked_once_and_the_first_time_stands(store: Store) -> None:
    made = await add_verifier(store)
    for later in (timedelta(0), DAY):
        revoked = await store.verifiers.revoke(made.verifier_id, now=NOW + later, actor="root")
        assert revoked.revoked_at == NOW
    assert await store.verifiers.get(made.verifier_id) == revoked
    with pytest.raises(UnknownVerifier):
        await store.verifiers.revoke("01M7YN95YR7R4FP3PNER2VPYH8", now=NOW, actor="root")


@pytest.mark.parametrize("length", [0, 31, 33])
async def test_a_verifiers_key_has_thirty_two_bytes(store: Store, length: int) -> None:
    with pytest.raises(StoreError):
        await store.verifiers.add(
            audience="photos", public_key=bytes(length), name="app", now=NOW, actor="root"
        )
    assert await store.audit.list() == ()


async def test_the_first_service_key_of_a_name_stays(store: Store, place: Any) -> None:
    other = place.store()
    kept = await asyncio.gather(
        *(at.keys.service_key("box", b"sealed %d" % n) for n, at in enumerate([store, other] * 4))
    )
    await other.close()
    assert len(set(kept)) == 1
    assert await store.keys.service_key("box", b"late") == kept[0]
    assert await store.keys.service_key("other", b"another") == b"another"


# --- groups ---------------------------------------------------------------------------------------


async def test_a_group_has_the_members_that_it_was_last_given(store: Store) -> None:
    for name in ("alice", "bob", "carol"):
        await store.users.create(name, "hash", now=NOW, actor="a")
    await store.groups.put("ops", ["bob", "alice", "bob"], now=NOW, actor="a")
    made = await store.groups.put("ops", ["carol", "alice"], now=NOW + DAY, actor="a")
    assert (made.members, made.created_at) == (("alice", "carol"), NOW)
    assert (await store.groups.add_member("ops", "bob", now=NOW, actor="a")).members == (
        "alice",
        "bob",
        "carol",
    )
    assert (await store.groups.remove_member("ops", "alice", now=NOW, actor="a")).members == ("bob", "carol")
    again = [await store.groups.remove_member("ops", "alice", now=NOW, actor="a") for _ in range(2)]
    assert [*again, await store.groups.get("ops")] == [await store.groups.get("ops")] * 3
    assert await store.groups.of("alice", "bob", "nobody") == {
        "alice": frozenset(),
        "bob": frozenset(("ops",)),
    }


async def test_a_disabled_user_and_a_deleted_group_count_for_nothing(store: Store) -> None:
    await alice(store)
    await store.users.create("bob", "hash", now=NOW, actor="a")
    for name in ("ops", "dev"):
        await store.groups.put(name, ["alice", "bob"], now=NOW, actor="a")
    await store.users.disable("bob", now=NOW, actor="a")
    await store.groups.delete("dev", now=NOW, actor="a")
    assert await store.groups.of("alice", "bob") == {"alice": frozenset(("ops",))}
    with pytest.raises(UnknownGroup):
        await store.groups.delete("dev", now=NOW, actor="a")


async def test_a_name_is_a_users_or_a_groups_also_when_both_want_it_at_once(store: Store) -> None:
    """Who is asked whether somebody is `is-member-of NAME` counts everybody as a member of their own name."""
    await store.users.create("ann", "hash", now=NOW, actor="a")
    with pytest.raises(GroupExists):
        await store.groups.put("ann", [], now=NOW, actor="a")
    await store.groups.put("ops", [], now=NOW, actor="a")
    with pytest.raises(UserExists):
        await store.users.create("ops", "hash", now=NOW, actor="a")
    tries = [
        [
            store.users.create(f"x{n}", "hash", now=NOW, actor="a"),
            store.groups.put(f"x{n}", [], now=NOW, actor="a"),
        ]
        for n in range(5)
    ]
    for pair in tries:
        ended = await asyncio.gather(*pair, return_exceptions=True)
        assert sum(isinstance(one, UserExists | GroupExists) for one in ended) == 1


async def test_groups_are_listed_by_name_page_by_page(store: Store) -> None:
    for name in ("c", "a", "b"):
        await store.groups.put(name, [], now=NOW, actor="a")
    first = await store.groups.list(limit=2)
    second = await store.groups.list(after=first[-1].name, limit=2)
    assert [group.name for group in (*first, *second)] == ["a", "b", "c"]


async def test_a_member_is_a_user_and_whoever_asks_for_another_changes_nothing(store: Store) -> None:
    await alice(store)
    await store.groups.put("ops", ["alice"], now=NOW, actor="a")
    for work in (
        store.groups.put("ops", ["nobody"], now=NOW, actor="a"),
        store.groups.put("new", ["alice", "nobody"], now=NOW, actor="a"),
        store.groups.add_member("ops", "nobody", now=NOW, actor="a"),
    ):
        with pytest.raises(UnknownUser):
            await work
    assert [(group.name, group.members) for group in await store.groups.list()] == [("ops", ("alice",))]


# --- agents and interactions ------------------------------------------------------------------------


VISIT = bytes(32)


async def add_agent(store: Store, n: int, username: str = "alice", actor: str = "a") -> Agent:
    return await store.agents.add(
        username=username, public_key=bytes([n]) * 32, name="robot", now=NOW, actor=actor
    )


async def remove_an_agent(store: Store) -> None:
    (agent,) = await store.agents.list()
    await store.agents.remove(agent.agent_id, now=NOW, actor="root")


async def test_an_agent_is_found_by_its_key_while_its_user_is_enabled(store: Store) -> None:
    await alice(store)
    agent = await add_agent(store, 1)
    assert await store.agents.find(agent.public_key) == agent
    assert await store.agents.find(bytes([9]) * 32) is None
    with pytest.raises(AgentExists):
        await add_agent(store, 1)
    with pytest.raises(UnknownUser):
        await add_agent(store, 2, "nobody")
    await store.users.disable("alice", now=NOW, actor="a")
    assert await store.agents.find(agent.public_key) is None
    await store.users.enable("alice", now=NOW, actor="a")
    await store.agents.remove(agent.agent_id, now=NOW, actor="a")
    assert (await store.agents.find(agent.public_key), await store.agents.list()) == (None, ())
    with pytest.raises(UnknownAgent):
        await store.agents.remove(agent.agent_id, now=NOW, actor="a")


def interaction(n: int = 0, **given: Any) -> Interaction:
    made = Interaction(
        visit_hash=bytes([n]) * 32,
        wait_hash=bytes([n + 100]) * 32,
        token_hash=bytes([n + 200]) * 32,
        identifier=b"id",
        payload=None,
        client_ip="192.0.2.1",
        asker=None,
        approvers=(),
        decision=Decision.OPEN,
        created_at=NOW,
        expires_at=NOW + DAY,
    )
    return replace(made, **given)


async def test_an_interaction_is_found_by_each_of_its_hashes_until_its_time_is_up(store: Store) -> None:
    made = interaction(1, payload=b"ticket", asker="bob")
    await store.interactions.begin(made, most=10, now=NOW)
    for hashed in ({"visit": made.visit_hash}, {"wait": made.wait_hash}, {"token": made.token_hash}):
        assert await store.interactions.find(**hashed, now=NOW) == made
        assert await store.interactions.find(**hashed, now=NOW + DAY) is None
    assert await store.interactions.find(visit=made.wait_hash, now=NOW) is None
    with pytest.raises(UnknownInteraction):
        await store.interactions.decide(
            made.visit_hash, Decision.GRANTED, until=NOW, now=NOW + DAY, actor="a"
        )
    assert await store.interactions.settled([made.wait_hash], now=NOW) == frozenset()
    assert await store.interactions.settled([made.wait_hash, bytes(32)], now=NOW + DAY) == {
        made.wait_hash,
        bytes(32),
    }
    assert await store.interactions.prune(now=NOW) == 0
    assert await store.interactions.prune(now=NOW + DAY) == 1


async def test_interactions_are_bounded_in_number(store: Store) -> None:
    for n in range(3):
        await store.interactions.begin(interaction(n), most=3, now=NOW)
    with pytest.raises(InteractionsFull):
        await store.interactions.begin(interaction(4), most=3, now=NOW)
    later = interaction(4, expires_at=NOW + 2 * DAY)
    await store.interactions.begin(later, most=3, now=NOW + DAY)


async def test_there_is_one_asker_and_one_decision_however_many_want_to_be_it(
    store: Store, place: Any
) -> None:
    other = place.store()
    await store.interactions.begin(interaction(), most=3, now=NOW)
    names = [f"user{n}" for n in range(8)]
    asked = await asyncio.gather(
        *(
            (store, other)[n % 2].interactions.take_part(VISIT, name, as_asker=True, now=NOW, actor=name)
            for n, name in enumerate(names)
        )
    )
    assert len({one.asker for one in asked}) == 1
    await asyncio.gather(
        *(
            (store, other)[n % 2].interactions.take_part(VISIT, name, as_asker=False, now=NOW, actor=name)
            for n, name in enumerate(names)
        )
    )
    decided = await asyncio.gather(
        *(
            (store, other)[n % 2].interactions.decide(
                VISIT,
                (Decision.GRANTED, Decision.DENIED)[n % 2],
                until=NOW + timedelta(hours=n),
                now=NOW + timedelta(minutes=n),
                actor=name,
            )
            for n, name in enumerate(names, 1)
        )
    )
    await other.close()
    assert len(set(decided)) == 1
    assert sorted(decided[0].approvers) == names
    assert await store.interactions.settled([decided[0].wait_hash], now=NOW) == {decided[0].wait_hash}
    late = await store.interactions.take_part(VISIT, "late", as_asker=False, now=NOW, actor="late")
    assert late == decided[0]


# --- audit ----------------------------------------------------------------------------------------


MUTATIONS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "user.create": lambda store: store.users.create("bob", "hash", now=NOW, actor="root"),
    "user.set_password": lambda store: store.users.set_password("alice", "new", now=NOW, actor="root"),
    "user.rehash": lambda store: store.users.replace_hash("alice", "hash", "new", now=NOW, actor="root"),
    "user.disable": lambda store: store.users.disable("alice", now=NOW, actor="root"),
    "user.enable": lambda store: store.users.enable("alice", now=NOW, actor="root"),
    "user.set_admin": lambda store: store.users.set_admin("alice", is_admin=True, now=NOW, actor="root"),
    "user.unset_admin": lambda store: store.users.set_admin("alice", is_admin=False, now=NOW, actor="root"),
    "key.publish": lambda store: store.keys.publish(seal, now=NOW, actor="root"),
    "key.activate": lambda store: store.keys.activate("k2", retire_after=NOW, now=NOW, actor="root"),
    "key.retire": lambda store: store.keys.retire("k2", now=NOW, actor="root"),
    "token.label": lambda store: store.labels.add(label("T2"), now=NOW, actor="root"),
    "token.prune": lambda store: store.labels.prune(now=NOW + DAY, actor="root"),
    "revocation.token": lambda store: store.revocations.revoke(
        TokenRevocation(token_id(2), NOW), now=NOW, actor="root"
    ),
    "revocation.branch": lambda store: store.revocations.revoke(
        BranchRevocation(token_id(1), BRANCH, NOW), now=NOW, actor="root"
    ),
    "revocation.user": lambda store: store.revocations.revoke(
        UserRevocation("alice", NOW, NOW), now=NOW, actor="root"
    ),
    "revocation.prune": lambda store: store.revocations.prune(now=NOW + 2 * DAY, actor="root"),
    "verifier.add": lambda store: add_verifier(store, actor="root"),
    "verifier.revoke": revoke_a_verifier,
    "group.put": lambda store: store.groups.put("dev", ["alice"], now=NOW, actor="root"),
    "group.delete": lambda store: store.groups.delete("ops", now=NOW, actor="root"),
    "group.add_member": lambda store: store.groups.add_member("empty", "alice", now=NOW, actor="root"),
    "group.remove_member": lambda store: store.groups.remove_member("ops", "alice", now=NOW, actor="root"),
    "agent.add": lambda store: add_agent(store, 2, actor="root"),
    "agent.remove": remove_an_agent,
    "interaction.ask": lambda store: store.interactions.take_part(
        VISIT, "alice", as_asker=True, now=NOW, actor="root"
    ),
    "interaction.approve": lambda store: store.interactions.take_part(
        VISIT, "alice", as_asker=False, now=NOW, actor="root"
    ),
    "interaction.granted": lambda store: store.interactions.decide(
        VISIT, Decision.GRANTED, until=NOW + DAY, now=NOW, actor="root"
    ),
    "interaction.denied": lambda store: store.interactions.decide(
        VISIT, Decision.DENIED, until=NOW + DAY, now=NOW, actor="root"
    ),
    "revocation.bump_epoch": lambda store: store.revocations.bump_epoch(now=NOW, actor="root"),
}


NO_ROOM = {
    "sqlite": "CREATE TRIGGER no_room BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END",
    "postgresql": "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'no room'; END $$;"
    "CREATE TRIGGER no_room BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_room()",
}


async def prepare(store: Store, action: str) -> None:
    """What each mutation needs: a user, a label, a revocation, groups, an agent, an interaction, an active key and, for some, a waiting one."""
    await alice(store)
    await store.labels.add(label("T1"), now=NOW, actor="a")
    await store.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
    await rotate(store)
    await add_verifier(store)
    await store.groups.put("ops", ["alice"], now=NOW, actor="a")
    await store.groups.put("empty", [], now=NOW, actor="a")
    await add_agent(store, 1)
    await store.interactions.begin(interaction(), most=10, now=NOW)
    if action != "key.publish":
        await store.keys.publish(seal, now=NOW, actor="a")


@pytest.mark.parametrize("action", MUTATIONS)
async def test_every_change_names_its_actor_in_the_audit_trail(store: Store, action: str) -> None:
    await prepare(store, action)
    await MUTATIONS[action](store)
    entry = (await store.audit.list(limit=1))[0]
    assert (entry.action, entry.actor) == (action, "root")
    assert "hash" not in json.dumps(dict(entry.detail))


@pytest.mark.parametrize("action", MUTATIONS)
async def test_a_change_that_cannot_be_audited_does_not_happen(store: Store, place: Any, action: str) -> None:
    await prepare(store, action)
    await place.execute(NO_ROOM[place.kind])
    before = [await place.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables.metadata.tables]
    with pytest.raises(StoreUnavailable):
        await MUTATIONS[action](store)
    after = [await place.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables.metadata.tables]
    assert after == before


async def test_the_audit_trail_is_read_newest_first_page_by_page(store: Store) -> None:
    for n in range(5):
        await store.revocations.revoke(TokenRevocation(token_id(n), NOW), now=NOW, actor="a", reason="why")
    first = await store.audit.list(limit=2)
    second = await store.audit.list(before=first[-1].id, limit=2)
    assert [entry.subject for entry in (*first, *second)] == [token_id(n) for n in (4, 3, 2, 1)]
    assert first[0].detail == {"sequence": 5, "reason": "why"}
    assert first[0].at == NOW
