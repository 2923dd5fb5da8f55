"""Interactions: found by each of their hashes, bounded in number, decided once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, get_args

import pytest

from caveats_service.storage import (
    Decision,
    InteractionsFull,
    ShownCredential,
    Store,
    UnknownInteraction,
)
from caveats_service.storage.repositories.interactions import HashColumn
from tests.support.store import (
    DAY,
    NOW,
    VISIT,
    interaction,
)


async def test_an_interaction_is_found_by_each_of_its_hashes_until_its_time_is_up(store: Store) -> None:
    made = interaction(1, payload=b"ticket", asker="bob")
    await store.interactions.begin(made, most=10, now=NOW)
    for by in get_args(HashColumn):
        assert await store.interactions.find(by, getattr(made, by), now=NOW) == made
        assert await store.interactions.find(by, getattr(made, by), now=NOW + DAY) is None
    assert await store.interactions.find("visit_hash", made.wait_hash, now=NOW) is None
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
            (store, other)[n % 2].interactions.take_part(
                VISIT, ShownCredential(name), as_asker=True, now=NOW, actor=name
            )
            for n, name in enumerate(names)
        )
    )
    assert len({one.asker for one in asked}) == 1
    await asyncio.gather(
        *(
            (store, other)[n % 2].interactions.take_part(
                VISIT, ShownCredential(name), as_asker=False, now=NOW, actor=name
            )
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
    late = await store.interactions.take_part(
        VISIT, ShownCredential("late"), as_asker=False, now=NOW, actor="late"
    )
    assert late == decided[0]
