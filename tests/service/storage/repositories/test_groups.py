"""Groups: members are users, and a name is a user's or a group's, never both."""

from __future__ import annotations

import asyncio

import pytest

from caveats_service.storage import (
    GroupExists,
    Store,
    UnknownGroup,
    UnknownUser,
    UserExists,
)
from tests.support.store import (
    DAY,
    NOW,
    alice,
)


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
