"""Keys at rest: from published to active to verifying to retired, and never back; service keys that stay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from caveats import KeyState
from caveats_service.storage import (
    KeyConflict,
    KeyInUse,
    Store,
    UnknownMasterKey,
)
from tests.support.store import (
    DAY,
    NOW,
    alice,
    label,
    rotate,
    seal,
)


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


async def test_the_first_service_key_of_a_name_stays(store: Store, place: Any) -> None:
    other = place.store()
    kept = await asyncio.gather(
        *(at.keys.service_key("box", b"sealed %d" % n) for n, at in enumerate([store, other] * 4))
    )
    await other.close()
    assert len(set(kept)) == 1
    assert await store.keys.service_key("box", b"late") == kept[0]
    assert await store.keys.service_key("other", b"another") == b"another"
