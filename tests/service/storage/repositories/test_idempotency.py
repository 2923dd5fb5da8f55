"""Idempotency keys: a repetition gets the first answer and changes nothing, whoever is faster and whatever fails."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from caveats import BranchRevocation, TokenRevocation, UserRevocation
from caveats_service.storage import (
    AlreadyDone,
    Idempotency,
    IdempotencyConflict,
    LabelExists,
    LabelledToken,
    RevocationRecord,
    Store,
    StoreBroken,
    StoreUnavailable,
    UnknownUser,
)
from tests.support.store import refuse_a_second_record, token_id

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DIGEST, OTHER = bytes(32), bytes([1]) * 32


@pytest_asyncio.fixture
async def store(place: Any) -> AsyncIterator[Store]:
    store: Store = place.store()
    await store.migrate()
    await store.users.create("alice", "hash", now=NOW, actor="a")
    yield store
    await store.close()


def sealed(result: RevocationRecord | None) -> bytes:
    return b"sealed" if result is None else b"sealed %d" % result.sequence


def once(key: str = "key", **given: Any) -> Idempotency:
    return replace(Idempotency("alice", key, DIGEST, NOW + DAY, sealed), **given)


async def recalled(store: Store, key: str) -> bytes | None:
    """The reply that a repetition gets under this key of alice's; None if the key was free, and then it is taken."""
    try:
        await store.replies.remember(once(key), now=NOW)
    except AlreadyDone as done:
        return done.sealed_reply
    return None


async def label(store: Store, given: Idempotency, labelled: str = "T1", username: str = "alice") -> None:
    token = LabelledToken(labelled, username, "", "*", "photos", NOW, NOW + DAY)
    await store.labels.add(token, now=NOW, actor="alice", once=given)


async def state(place: Any) -> list[Any]:
    return [
        await place.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("labelled_tokens", "revocations", "meta", "audit", "idempotency")
    ]


OPERATIONS: dict[str, Callable[[Store, Idempotency], Awaitable[object]]] = {
    "label": lambda store, given: label(store, given, labelled=f"T{secrets.token_hex(8)}"),
    "revoke-token": lambda store, given: store.revocations.revoke(
        TokenRevocation(token_id(1), NOW + DAY), now=NOW, actor="alice", once=given
    ),
    "revoke-branch": lambda store, given: store.revocations.revoke(
        BranchRevocation(token_id(1), bytes(16), NOW + DAY), now=NOW, actor="alice", once=given
    ),
    "revoke-user": lambda store, given: store.revocations.revoke(
        UserRevocation("alice", NOW, NOW + DAY), now=NOW, actor="alice", once=given
    ),
    "remember": lambda store, given: store.replies.remember(given, now=NOW),
}
operation = pytest.mark.parametrize("operate", OPERATIONS.values(), ids=OPERATIONS)


@operation
async def test_a_repetition_gets_the_first_answer_and_changes_nothing(
    store: Store, place: Any, operate: Callable[[Store, Idempotency], Awaitable[object]]
) -> None:
    result = await operate(store, once())
    before = await state(place)
    for _ in range(2):
        with pytest.raises(AlreadyDone) as done:
            await operate(store, once(seal_reply=lambda _: b"another"))
        assert done.value.sealed_reply == sealed(result if isinstance(result, RevocationRecord) else None)
    assert await state(place) == before


@operation
async def test_a_key_that_belongs_to_another_request_is_refused_and_nothing_changes(
    store: Store, place: Any, operate: Callable[[Store, Idempotency], Awaitable[object]]
) -> None:
    await store.replies.remember(once(), now=NOW)
    before = await state(place)
    with pytest.raises(IdempotencyConflict):
        await operate(store, once(digest=OTHER))
    assert await state(place) == before


@operation
async def test_of_many_at_once_on_two_nodes_one_acts_and_all_get_its_answer(
    store: Store, place: Any, operate: Callable[[Store, Idempotency], Awaitable[object]]
) -> None:
    other = place.store()

    def saying(n: int) -> Idempotency:
        return once(seal_reply=lambda _: b"reply %d" % n)

    given = [saying(n) for n in range(20)]
    done = await asyncio.gather(
        *(operate(at, one) for at, one in zip([store, other] * 10, given, strict=True)),
        return_exceptions=True,
    )
    await other.close()
    replies = {one.sealed_reply for one in done if isinstance(one, AlreadyDone)}
    (winner,) = [n for n, one in enumerate(done) if not isinstance(one, BaseException)]
    assert sum(isinstance(one, AlreadyDone) for one in done) == 19
    assert replies == {b"reply %d" % winner}
    labels, revocations, *_ = await state(place)
    assert len(labels) + len(revocations) <= 1


@operation
async def test_a_key_is_its_callers_own_and_free_again_when_its_time_is_up(
    store: Store, operate: Callable[[Store, Idempotency], Awaitable[object]]
) -> None:
    await store.replies.remember(once(seal_reply=lambda _: b"alice's"), now=NOW)
    await store.replies.remember(once("old", expires_at=NOW, seal_reply=lambda _: b"old"), now=NOW - DAY)
    await operate(store, once(caller="bob"))
    assert await recalled(store, "key") == b"alice's"
    await operate(store, once("old"))
    assert (await recalled(store, "old") or b"").startswith(b"sealed")


async def test_an_operation_that_fails_leaves_its_key_free(store: Store) -> None:
    with pytest.raises(UnknownUser):
        await label(store, once(), username="bob")
    await label(store, once())
    with pytest.raises(LabelExists):
        await label(store, once("another"))
    assert await recalled(store, "another") is None


async def test_a_reply_that_cannot_be_sealed_undoes_the_deed(store: Store, place: Any) -> None:
    def fail(_result: RevocationRecord | None) -> bytes:
        raise ValueError("no seal")

    before = await state(place)
    with pytest.raises(ValueError, match="no seal"):
        await store.revocations.revoke(
            TokenRevocation(token_id(1), NOW), now=NOW, actor="a", once=once(seal_reply=fail)
        )
    assert await state(place) == before


async def test_whoever_fails_of_many_at_once_fails_alone(store: Store, place: Any) -> None:
    def fail(_result: RevocationRecord | None) -> bytes:
        raise ValueError("no seal")

    await refuse_a_second_record(place, "once only")
    first = await store.revocations.revoke(
        TokenRevocation(token_id(2), NOW), now=NOW, actor="a", reason="once only"
    )
    await store.replies.remember(once("used"), now=NOW)
    wrong = {
        3: once("used", digest=OTHER),
        5: once("used"),
        7: once("unsealed", seal_reply=fail),
        9: once("twice"),
        11: once("twice", digest=OTHER),
    }
    done = await asyncio.gather(
        *(
            store.revocations.revoke(
                BranchRevocation(token_id(1), bytes([n]) * 16, NOW),
                now=NOW,
                actor="a",
                reason="once only" if n == 13 else "",
                once=wrong.get(n, once(f"own {n}")),
            )
            for n in range(60)
        ),
        return_exceptions=True,
    )
    failed = {n: type(one) for n, one in enumerate(done) if isinstance(one, BaseException)}
    later = 11 if 11 in failed else 9
    assert failed == {
        3: IdempotencyConflict,
        5: AlreadyDone,
        7: ValueError,
        later: IdempotencyConflict,
        13: StoreBroken,
    }
    records = [first, *(one for one in done if isinstance(one, RevocationRecord))]
    assert sorted(record.sequence for record in records) == list(range(1, 57))
    assert tuple(sorted(records, key=sequence_of)) == (await store.revocations.page(0)).records
    assert len(await store.audit.list(limit=1000)) == 57
    for n in (0, 30, 59):
        assert await recalled(store, f"own {n}") == b"sealed %d" % sequence_of(done[n])


def sequence_of(record: Any) -> int:
    return int(record.sequence)


async def test_a_reply_that_cannot_be_kept_undoes_the_deed(store: Store, place: Any) -> None:
    await place.execute("DROP TABLE idempotency; CREATE TABLE idempotency (caller TEXT)")
    with pytest.raises(StoreUnavailable):
        await store.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a", once=once())
    assert (await store.revocations.page(0)).last_sequence == 0


async def test_only_expired_replies_are_pruned(store: Store) -> None:
    await store.replies.remember(once("short", expires_at=NOW), now=NOW - DAY)
    await store.replies.remember(once("long"), now=NOW)
    assert await store.replies.prune(now=NOW - DAY) == 0
    assert await store.replies.prune(now=NOW) == 1
    assert await recalled(store, "long") == b"sealed"


@pytest.mark.parametrize("length", [0, 31, 33])
async def test_a_digest_has_thirty_two_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        once(digest=bytes(length))


async def test_no_sealed_reply_is_shown() -> None:
    assert "s3cret" not in repr(AlreadyDone(b"s3cret"))
    assert "sealed" not in repr(once())
