"""Labelled tokens in the core: who may see and revoke whose, and what is written with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from caveats import TokenRevocation, new_token_id
from caveats_service.core.accounts import OPERATOR, Actor
from caveats_service.core.errors import BadName, Forbidden, NotFound
from caveats_service.core.labels import LabelledTokens
from caveats_service.core.rate_limit import RateLimiter
from caveats_service.core.revoking import Revoker
from caveats_service.settings import Settings
from caveats_service.storage import RevokedBy, Store
from tests.support.store import DAY, KINDS, NOW, SqlitePlace, label, new_place, new_sqlite_file

ALICE, BOB, ROOT = Actor("alice"), Actor("bob"), Actor("root", administers=True)
ID, OTHERS = new_token_id(NOW), new_token_id(NOW)
Operation = Callable[[LabelledTokens, str, Actor], Awaitable[object]]

OPERATIONS: dict[str, Operation] = {
    "list": lambda labels, whose, actor: labels.list(whose, actor=actor),
    "get": lambda labels, whose, actor: labels.get(whose, ID, actor=actor),
    "revoke": lambda labels, whose, actor: labels.revoke(whose, ID, actor=actor),
}
of_each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@pytest_asyncio.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Alice with one labelled token, and bob with another."""
    async with new_place(request.param, tmp_path) as place:
        store: Store = place.store()
        if isinstance(place, SqlitePlace):
            place.path.parent.mkdir()
            new_sqlite_file(place.path)
        else:
            await store.migrate()
        for name, token_id in (("alice", ID), ("bob", OTHERS)):
            await store.users.create(name, "hash", now=NOW, actor="root")
            await store.labels.add(replace(label(token_id), username=name), now=NOW, actor=name)
        yield store
        await store.close()


@pytest.fixture
def labels(store: Store) -> LabelledTokens:
    settings = Settings.load()
    revoker = Revoker(store, RateLimiter(settings), settings, now=lambda: NOW)
    return LabelledTokens(store, revoker, settings, now=lambda: NOW)


@of_each_operation
@pytest.mark.parametrize("actor", [ALICE, ROOT, OPERATOR], ids=lambda actor: actor.username)
async def test_the_user_and_administrators_may(
    labels: LabelledTokens, operation: Operation, actor: Actor
) -> None:
    await operation(labels, "Alice", actor)


@of_each_operation
@pytest.mark.parametrize("whose", ["alice", "nobody"])
async def test_others_may_not_and_are_not_told_who_there_is(
    store: Store, labels: LabelledTokens, operation: Operation, whose: str
) -> None:
    before = await store.audit.list(limit=100)
    with pytest.raises(Forbidden, match="administrators"):
        await operation(labels, whose, BOB)
    assert await store.audit.list(limit=100) == before
    assert (await labels.get("alice", ID, actor=ALICE)).status == "live"


@of_each_operation
async def test_who_is_not_there_has_no_tokens(labels: LabelledTokens, operation: Operation) -> None:
    with pytest.raises(NotFound, match="no such user"):
        await operation(labels, "nobody", ROOT)
    with pytest.raises(BadName):
        await operation(labels, "no/body", ROOT)


@pytest.mark.parametrize("name", ["get", "revoke"])
@pytest.mark.parametrize(
    "token_id", [OTHERS, new_token_id(NOW), "", "T"], ids=["another's", "nobody's", "empty", "too short"]
)
async def test_a_token_is_found_under_its_own_user_only(
    store: Store, labels: LabelledTokens, name: str, token_id: str
) -> None:
    for actor in (ALICE, ROOT):
        with pytest.raises(NotFound, match="alice has no labelled token"):
            await getattr(labels, name)("alice", token_id, actor=actor)
    assert (await labels.get("bob", OTHERS, actor=ROOT)).status == "live"


async def test_a_revocation_names_who_revoked_and_is_written_once(
    store: Store, labels: LabelledTokens
) -> None:
    for _ in range(2):
        record = await labels.revoke("alice", ID, actor=ROOT)
    assert isinstance(record.entry, TokenRevocation)
    written = [entry for entry in await store.audit.list(limit=100) if entry.action == "revocation.token"]
    assert [(entry.actor, entry.subject) for entry in written] == [("root", ID)]
    listed = await labels.get("alice", ID, actor=ALICE)
    assert (listed.status, listed.revoked_by, listed.revoked_at) == ("revoked", RevokedBy.ID, NOW)


async def test_a_list_goes_page_by_page_newest_first(store: Store, labels: LabelledTokens) -> None:
    ids = [ID, *(new_token_id(NOW + n * timedelta(hours=1)) for n in (1, 2))]
    for token_id in ids[1:]:
        await store.labels.add(label(token_id), now=NOW, actor="alice")
    found: list[str] = []
    while page := await labels.list("alice", actor=ROOT, after=found[-1] if found else "", limit=2):
        found += [token.token_id for token in page]
    assert found == ids[::-1]


async def test_an_expired_token_is_expired_and_one_that_was_revoked_before_is_revoked(
    store: Store, labels: LabelledTokens
) -> None:
    old = new_token_id(NOW - 2 * DAY)
    for token_id in (old, new_token_id(NOW - 2 * DAY)):
        await store.labels.add(label(token_id, lasts=-DAY), now=NOW, actor="alice")
    await store.revocations.revoke(TokenRevocation(old, NOW + DAY), now=NOW, actor="alice")
    found = {token.token_id: token.status for token in await labels.list("alice", actor=ALICE)}
    assert sorted(found.values()) == ["expired", "live", "revoked"]
    assert found[old] == "revoked"
