"""What became of labelled tokens: every way in which one can end, which of several came first, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from caveats import BranchRevocation, Parent, TokenRevocation, UserRevocation, new_token_id
from caveats_service.storage import LabelledToken, RevokedBy, Store, TokenFate
from caveats_service.storage.repositories import fates
from tests.support.store import DAY, NOW, alice, label, rotate

HOUR = timedelta(hours=1)
LATER = NOW + HOUR
OWN, PARENT, GRANDPARENT = (new_token_id(NOW - back * HOUR) for back in (0, 1, 2))
BRANCHES = tuple(bytes([n]) * 16 for n in range(6))
LINEAGE = (
    Parent("k2", OWN, BRANCHES[:2]),
    Parent("k1", PARENT, BRANCHES[2:4]),
    Parent("k1", GRANDPARENT, BRANCHES[4:5]),
)
TOKEN = replace(label(OWN), lineage=LINEAGE)
Way = Callable[[Store, datetime], Awaitable[Any]]


def by_id(token_id: str) -> Way:
    return lambda store, at: store.revocations.revoke(
        TokenRevocation(token_id, NOW + DAY), now=at, actor="alice"
    )


def by_branch(token_id: str, branch: int) -> Way:
    return lambda store, at: store.revocations.revoke(
        BranchRevocation(token_id, BRANCHES[branch], NOW + DAY), now=at, actor="alice"
    )


def by_key(key_id: str) -> Way:
    return lambda store, at: store.keys.retire(key_id, force=True, now=at, actor="root")


async def by_user(store: Store, at: datetime, username: str = "alice") -> None:
    entry = UserRevocation(username, at, NOW + DAY)
    await store.revocations.revoke(entry, now=at, actor=username)


@pytest_asyncio.fixture
async def keys(store: Store) -> None:
    """k1, then k2, then k3, which is the active one."""
    await alice(store)
    for hours in (-3, -1, 2):
        await rotate(store, NOW + hours * HOUR)


async def fate(store: Store, token: LabelledToken = TOKEN) -> TokenFate:
    (found,) = await store.fates.of(token.username, [token])
    return found


WAYS: list[Any] = [
    pytest.param(by_id(OWN), RevokedBy.ID, id="by its id"),
    pytest.param(by_branch(OWN, 1), RevokedBy.COPY, id="as the copy that was issued"),
    pytest.param(by_branch(OWN, 0), RevokedBy.COPY, id="as a link of its issuer's chain"),
    pytest.param(by_user, RevokedBy.USER, id="with all of the user's"),
    pytest.param(by_key("k2"), RevokedBy.KEY, id="with its key"),
    pytest.param(by_id(PARENT), RevokedBy.PARENT, id="with its parent, by id"),
    pytest.param(by_id(GRANDPARENT), RevokedBy.PARENT, id="with its parent's parent, by id"),
    pytest.param(by_branch(PARENT, 3), RevokedBy.PARENT, id="with the copy that it came of"),
    pytest.param(by_branch(GRANDPARENT, 4), RevokedBy.PARENT, id="with a copy further up"),
    pytest.param(by_key("k1"), RevokedBy.PARENT, id="with its parent's key"),
    pytest.param(by_branch(OWN, 5), None, id="not with a narrower copy"),
    pytest.param(by_branch(PARENT, 5), None, id="not with another copy of its parent"),
    pytest.param(by_branch(OWN, 3), None, id="not by the branch of another token"),
    pytest.param(by_id(new_token_id(NOW)), None, id="not with another token"),
]


@pytest.mark.parametrize(("way", "by"), WAYS)
async def test_each_way_to_end_is_told_with_its_time(store: Store, keys: None, way: Way, by: Any) -> None:
    await way(store, LATER)
    found = await fate(store)
    assert (found.revoked_by, found.revoked_at) == (by, LATER if by else None)


async def test_narrower_copies_that_are_revoked_are_counted_and_the_token_itself_is_not(
    store: Store, keys: None
) -> None:
    for branch in (4, 5, 5):
        await by_branch(OWN, branch)(store, LATER)
    assert await fate(store) == TokenFate(revoked_copies=2)
    await by_branch(OWN, 1)(store, LATER)
    assert await fate(store) == TokenFate(RevokedBy.COPY, LATER, 2)


async def test_what_came_first_is_told(store: Store, keys: None) -> None:
    for hours, way in enumerate((by_key("k1"), by_user, by_branch(OWN, 1), by_id(OWN))):
        await way(store, LATER - hours * timedelta(minutes=1))
    assert await fate(store) == TokenFate(RevokedBy.ID, LATER - timedelta(minutes=3), 0)


async def test_what_was_issued_after_all_was_revoked_lives_and_its_parent_may_not(
    store: Store, keys: None
) -> None:
    await by_user(store, NOW - HOUR / 2)
    assert (await fate(store)).revoked_by is RevokedBy.PARENT
    assert (await fate(store, replace(TOKEN, lineage=LINEAGE[:1]))).revoked_by is None


async def test_of_several_users_each_has_their_own(store: Store, keys: None) -> None:
    await store.users.create("bob", "hash", now=NOW, actor="root")
    await by_user(store, LATER, "bob")
    assert (await fate(store)).revoked_by is None
    assert (await fate(store, replace(TOKEN, username="bob"))).revoked_by is RevokedBy.USER


async def test_a_key_that_is_not_there_ended_its_tokens_at_a_time_that_is_not_known(
    store: Store, keys: None
) -> None:
    token = replace(TOKEN, lineage=(replace(LINEAGE[0], key_id="k9"),))
    assert await fate(store, token) == TokenFate(RevokedBy.KEY, None, 0)


async def test_of_a_token_that_an_older_version_labelled_the_key_is_found_by_time(
    store: Store, keys: None
) -> None:
    token = replace(TOKEN, lineage=())
    assert (await fate(store, token)).revoked_by is None
    await by_branch(OWN, 1)(store, LATER)
    assert await fate(store, token) == TokenFate(revoked_copies=1)
    await by_key("k2")(store, LATER)
    assert await fate(store, token) == TokenFate(RevokedBy.KEY, LATER, 1)


async def test_of_a_user_who_revokes_without_end_each_token_is_revoked_the_late_ones_at_no_known_time(
    store: Store, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fates, "_MOST_OF_A_USER", 2)
    for hours in (1, 2, 3):
        await by_user(store, NOW + hours * HOUR)
    tokens = [replace(TOKEN, issued_at=NOW + hours * HOUR, lineage=()) for hours in (0, 2, 3, 4)]
    found = await store.fates.of("alice", tokens)
    assert [(one.revoked_by, one.revoked_at) for one in found] == [
        (RevokedBy.USER, NOW + HOUR),
        (RevokedBy.USER, NOW + 2 * HOUR),
        (RevokedBy.USER, None),
        (None, None),
    ]


async def test_a_label_keeps_what_its_token_came_of(store: Store) -> None:
    await alice(store)
    await store.labels.add(TOKEN, now=NOW, actor="alice")
    assert await store.labels.get(OWN) == TOKEN
    assert await store.labels.list("alice") == (TOKEN,)


@pytest.mark.slow
async def test_a_page_of_tokens_each_with_revoked_copies_is_answered(store: Store, keys: None) -> None:
    tokens = [replace(label(new_token_id(NOW)), lineage=()) for _ in range(1000)]
    tokens = [replace(one, lineage=(Parent("k2", one.token_id, BRANCHES[:3]),)) for one in tokens]
    for token in tokens[::2]:
        await by_branch(token.token_id, 2)(store, LATER)
    found = await store.fates.of("alice", tokens)
    assert [one.revoked_by for one in found] == [RevokedBy.COPY, None] * 500
    assert await store.fates.of("alice", []) == ()


@pytest.mark.slow
async def test_a_page_of_tokens_that_came_of_as_many_copies_of_one_is_answered(
    store: Store, keys: None
) -> None:
    """More branches of one token than a query has room for."""
    branches = [(bytes([n // 256, n % 256]) * 8, bytes([255 - n // 256, n % 256]) * 8) for n in range(1000)]
    tokens = [
        replace(label(token_id), lineage=(Parent("k2", token_id, ()), Parent("k1", PARENT, more)))
        for token_id, more in ((new_token_id(NOW), pair) for pair in branches)
    ]
    for first, _ in branches[::10]:
        await store.revocations.revoke(BranchRevocation(PARENT, first, NOW + DAY), now=LATER, actor="alice")
    found = await store.fates.of("alice", tokens)
    assert [one.revoked_by for one in found] == [RevokedBy.PARENT, *[None] * 9] * 100
