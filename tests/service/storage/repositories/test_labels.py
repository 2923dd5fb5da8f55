"""Labelled tokens: listed newest first, used forward only, forgotten when they expire."""

from __future__ import annotations

import pytest

from caveats_service.storage import (
    LabelExists,
    Store,
)
from tests.support.store import DAY, NOW, alice, label


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
    await store.labels.mark_used({("photos", "T1"): NOW + DAY, ("photos", "T2"): NOW, ("x", "unknown"): NOW})
    await store.labels.mark_used({("photos", "T1"): NOW, ("photos", "T2"): NOW + DAY})
    await store.labels.mark_used({})
    used = {token.token_id: token.last_used_at for token in await store.labels.list("alice")}
    assert used == {"T1": NOW + DAY, "T2": NOW + DAY, "T3": None}


async def test_an_expiry_only_moves_forward_and_for_the_audience_and_the_user_of_the_token(
    store: Store,
) -> None:
    await alice(store)
    await store.labels.add(label("T1"), now=NOW, actor="alice")
    whose = {"audience": "photos", "username": "alice"}
    for other in ({**whose, "audience": "default"}, {**whose, "username": "bob"}):
        await store.labels.extend("T1", **other, expires_at=NOW + 3 * DAY)
    await store.labels.extend("T9", **whose, expires_at=NOW + 3 * DAY)
    assert await store.labels.get("T1") == label("T1")
    for days in (2, 1):
        await store.labels.extend("T1", **whose, expires_at=NOW + days * DAY)
    assert await store.labels.get("T1") == label("T1", lasts=2 * DAY)


async def test_only_expired_labels_are_pruned(store: Store) -> None:
    await alice(store)
    await store.labels.add(label("T1"), now=NOW, actor="alice")
    await store.labels.add(label("T2", lasts=2 * DAY), now=NOW, actor="alice")
    assert await store.labels.prune(now=NOW, actor="system") == 0
    assert await store.labels.prune(now=NOW + DAY, actor="system") == 1
    assert [token.token_id for token in await store.labels.list("alice")] == ["T2"]
