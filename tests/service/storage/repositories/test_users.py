"""Accounts: a name is given once, a hash is replaced and never shown, a change that ends all tokens revokes them with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from caveats import UserRevocation
from caveats_service.storage import (
    TOLERATED_SKEW,
    Store,
    UnknownUser,
    UserExists,
)
from tests.support.store import (
    DAY,
    NOW,
    alice,
    label,
)


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
        await store.users.create(name, "hash", now=NOW, actor="a")
    found: list[str] = []
    while page := await store.users.list(after=found[-1] if found else "", limit=3):
        found += [user.username for user in page]
    assert found == names
    assert await store.users.count() == 7


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
        "alice", *arguments, now=NOW + DAY, actor="alice", revoke_for=DAY
    )
    (record,) = (await store.revocations.page(0)).records
    assert done.revocation == record
    assert isinstance(record.entry, UserRevocation)
    assert record.entry.user == "alice"
    assert record.entry.expires_at == record.entry.issued_up_to + DAY


@pytest.mark.parametrize("change", ["set_password", "disable", "revoke"])
async def test_all_that_a_user_has_is_revoked_up_to_a_time_that_no_nodes_clock_is_ahead_of(
    store: Store, place: Any, change: str
) -> None:
    """The later of the node's clock and the database's counts, and a clock that is behind changes nothing."""
    await alice(store)
    there = await store.instance.server_time()
    assert (there is None) == (place.kind == "sqlite")
    for now in (NOW, NOW + 3650 * DAY):
        if change == "revoke":
            record = await store.revocations.revoke_user("alice", kept_for=DAY, now=now, actor="a")
        else:
            arguments = ["new"] if change == "set_password" else []
            ended = getattr(store.users, change)("alice", *arguments, now=now, actor="a", revoke_for=DAY)
            record = (await ended).revocation
        assert record.entry.issued_up_to >= max(now, there or now) + 2 * TOLERATED_SKEW


async def test_each_revocation_of_all_that_a_user_has_is_later_than_the_one_before(store: Store) -> None:
    """What is issued after one has a later time than the clock says, and the next must reach it."""
    await alice(store)
    times = []
    for _ in range(3):
        await store.revocations.revoke_user("alice", kept_for=DAY, now=NOW, actor="a")
        times.append((await store.users.get("alice")).revoked_up_to)  # type: ignore[union-attr]
    assert times == sorted(set(times))


async def test_a_second_password_within_a_millisecond_is_another_one(store: Store) -> None:
    await alice(store)
    changed = [
        (await store.users.set_password("alice", "new", now=NOW, actor="a")).user.password_changed_at
        for _ in range(3)
    ]
    assert changed == sorted(set(changed))


async def test_an_administrator_is_made_and_unmade(store: Store) -> None:
    await alice(store)
    assert (await store.users.set_admin("alice", is_admin=True, now=NOW, actor="root")).is_admin
    assert not (await store.users.set_admin("alice", is_admin=False, now=NOW, actor="root")).is_admin


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.users.set_password("bob", "hash", now=NOW, actor="a"),
        lambda store: store.users.disable("bob", now=NOW, actor="a", revoke_for=DAY),
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
    assert (await store.revocations.page(0)).records == ()
