"""Revocations: gap-free sequences, one entry for the same target, and readers that never miss one unknowingly."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.dialects import sqlite

import caveats
from caveats import BranchRevocation, TokenRevocation, UserRevocation, new_token_id
from caveats.revocation import row_of
from caveats_service.storage import (
    RevocationPage,
    RevocationRecord,
    Store,
    StoreError,
)
from caveats_service.storage.repositories.revocations import may_cover
from tests.support.store import (
    DAY,
    NOW,
    refuse_a_second_record,
    seal,
    token_id,
)

BRANCH = bytes(range(16))


async def live(store: Store, page_size: int = 2) -> list[RevocationRecord]:
    """What `live_rows` gives page by page, as records."""
    page = await store.revocations.page(0)
    after, found = 0, []
    while rows := await store.revocations.live_rows(after, page.last_sequence, limit=page_size):
        assert len(rows) <= page_size
        after = rows[-1][0]
        found += rows
    records = {record.sequence: record for record in page.records}
    return [records[row[0]] for row in found]


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
    assert (await store.revocations.page(0)).last_sequence == 3
    assert len(await store.audit.list()) == 3


async def test_two_branches_of_one_token_are_two_entries(store: Store) -> None:
    for branch in (BRANCH, bytes(16)):
        await store.revocations.revoke(BranchRevocation(token_id(1), branch, NOW + DAY), now=NOW, actor="a")
    assert len(await live(store)) == 2


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
    assert len(await live(store)) == 2


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
    assert [entry.sequence for entry in await live(store)] == list(range(1, 61))


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
    assert [entry.sequence for entry in await live(store)] == [1, 3]
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
        TokenRevocation(token, NOW),
        TokenRevocation(token, late),
        BranchRevocation(token, b"b" * 16, NOW + DAY),
        UserRevocation("zoë", late, end),
    ]
    rows = await store.revocations.live_rows(0, 4)
    assert rows == [row_of(number, entry) for number, entry in enumerate(expected, 1)]
    assert await store.revocations.live_rows(2, 4, limit=1) == rows[2:3]
    assert await store.revocations.live_rows(4, 4) == []


async def test_a_bumped_epoch_only_grows(store: Store) -> None:
    seconds = int(NOW.timestamp())
    times = (NOW, NOW, NOW - DAY, NOW + timedelta(seconds=9))
    bumped = [await store.revocations.bump_epoch(now=at, actor="root") for at in times]
    assert bumped == [seconds, seconds + 1, seconds + 2, seconds + 9]
    assert (await store.revocations.page(0)).epoch == seconds + 9


async def test_an_epoch_is_left_behind_once_however_many_nodes_see_that_it_is_over(store: Store) -> None:
    ahead = int(NOW.timestamp()) + 1000
    left = [await store.revocations.bump_epoch(now=NOW, actor="service", above=ahead) for _ in range(3)]
    assert left == [ahead + 1] * 3


async def test_rows_of_an_epoch_that_is_over_are_not_given(store: Store) -> None:
    await store.revocations.revoke(TokenRevocation(token_id(1), NOW + DAY), now=NOW, actor="a")
    assert len(await store.revocations.live_rows(0, 1, epoch=1) or ()) == 1
    await store.revocations.bump_epoch(now=NOW, actor="root")
    assert await store.revocations.live_rows(0, 1, epoch=1) is None


@pytest.mark.parametrize("first", ["a reader", "a writer"])
async def test_a_database_that_has_another_history_begins_another_epoch_before_a_sequence_is_given_out_again(
    store: Store, place: Any, first: str
) -> None:
    """Here one that the server did not name so; by a real failover in `tests/cluster/test_failover.py`."""
    before = await store.revocations.page(0)
    await store.keys.publish(seal, now=NOW, actor="a")
    if place.kind == "sqlite":  # a file has no name for its history: a restore begins another epoch
        assert await place.rows("SELECT history FROM meta") == [(None,)]
        return
    ((named,),) = await place.rows("SELECT history FROM meta")
    assert named.count("/") == 3
    await place.execute("UPDATE meta SET history = 'another'")
    if first == "a writer":
        await store.revocations.revoke(TokenRevocation(token_id(1), NOW + DAY), now=NOW, actor="a")
    after = await store.revocations.page(0)
    assert after.epoch > before.epoch
    assert after.must_resync(before.epoch, before.last_sequence)
    assert await place.rows("SELECT history FROM meta") == [(named,)]
    assert (await store.revocations.page(0)).epoch == after.epoch
    await store.keys.activate("k1", retire_after=NOW + DAY, now=NOW, actor="a")
    key = await store.keys.publish(seal, now=NOW, actor="a")
    assert key.row_id > 1000, "k2 may have been made in the history before"


async def test_a_revoked_branch_is_found_by_its_token_and_branch_at_once(store: Store, place: Any) -> None:
    """By the token alone, each new copy that is revoked would read all of them that are there."""
    for branch in (BRANCH, bytes(16)):
        await store.revocations.revoke(BranchRevocation(token_id(1), branch, NOW + DAY), now=NOW, actor="a")
    query = may_cover([BranchRevocation(token_id(n), BRANCH, NOW + DAY) for n in range(2)])[0]
    if place.kind == "postgresql":  # on a few rows it reads the table whatever indexes there are
        indexes = await place.rows("SELECT indexdef FROM pg_indexes WHERE tablename = 'revocations'")
        assert any("(token_id, branch_id)" in definition for (definition,) in indexes)
        return
    sql = str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True}))
    with contextlib.closing(sqlite3.connect(place.path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?")).fetchall()
    assert "USING INDEX revocations_by_branch (token_id=? AND branch_id=?)" in str(plan)


async def test_a_record_is_found_that_revokes_what_is_asked_for_as_long(store: Store) -> None:
    until = NOW + DAY
    other = BranchRevocation(token_id(2), BRANCH, until)
    ancestor = BranchRevocation(token_id(1), BRANCH, until)
    user = UserRevocation("alice", NOW, until)
    for entry in (ancestor, user):
        await store.revocations.revoke(entry, now=NOW, actor="a")

    async def found(*entries: caveats.Revocation) -> int | None:
        record = await store.revocations.find(entries)
        return None if record is None else record.sequence

    assert (
        await found(TokenRevocation(token_id(1), until), BranchRevocation(token_id(1), bytes(16), until))
        is None
    )
    assert await found(other, ancestor) == 1
    assert await found(other, UserRevocation("alice", NOW - DAY, until - DAY / 2)) == 2
    assert await found(other) is None  # the same branch id, of another token
    assert await found(BranchRevocation(token_id(1), BRANCH, until + DAY)) is None
    assert await found(UserRevocation("alice", NOW + DAY, until)) is None
    assert await found() is None
