"""Accounts: a name is given once, a hash is replaced and never shown, a change that ends all tokens revokes them with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from caveats import UserRevocation
from caveats_service.storage import (
    TOLERATED_SKEW,
    GroupExists,
    Idempotency,
    LastAdministrator,
    NamesTaken,
    NewUser,
    RevocationRecord,
    Store,
    UnknownUser,
    UserExists,
)
from tests.support.store import (
    DAY,
    NOW,
    add_agent,
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


async def test_a_deleted_user_leaves_a_name_that_neither_a_user_nor_a_group_gets(store: Store) -> None:
    await alice(store)
    await store.users.create("bob", "hash", now=NOW, actor="a")
    await store.labels.add(label("T1"), now=NOW, actor="a")
    await store.groups.put("ops", ["alice", "bob"], now=NOW, actor="a")
    await add_agent(store, 1)
    record = await store.users.delete("alice", now=NOW, actor="root", revoke_for=DAY)
    assert isinstance(record.entry, UserRevocation)
    assert record.entry.user == "alice"
    assert await store.users.get("alice") is None
    assert [user.username for user in await store.users.list()] == ["bob"]
    assert (await store.labels.list("alice"), await store.agents.list()) == ((), ())
    group = await store.groups.get("ops")
    assert group is not None
    assert group.members == ("bob",)
    with pytest.raises(UserExists, match="was deleted"):
        await store.users.create("alice", "hash", now=NOW, actor="a")
    with pytest.raises(GroupExists, match="was deleted"):
        await store.groups.put("alice", [], now=NOW, actor="a")
    with pytest.raises(UnknownUser):
        await store.users.delete("alice", now=NOW, actor="root", revoke_for=DAY)


async def test_of_administrators_who_delete_each_other_at_once_one_stays(store: Store) -> None:
    for name in ("ann", "bea"):
        await store.users.create(name, "hash", now=NOW, actor="a", is_admin=True)
    done = await asyncio.gather(
        *(store.users.delete(name, now=NOW, actor="a", revoke_for=DAY) for name in ("ann", "bea")),
        return_exceptions=True,
    )
    assert sum(isinstance(one, LastAdministrator) for one in done) == 1
    assert len(await store.users.list()) == 1


async def test_a_label_that_is_added_while_its_user_is_deleted_goes_too_or_is_refused(store: Store) -> None:
    await alice(store)
    added = [store.labels.add(label(f"T{n}"), now=NOW, actor="alice") for n in range(10)]
    gone = store.users.delete("alice", now=NOW, actor="root", revoke_for=DAY)
    done = await asyncio.gather(*added[:5], gone, *added[5:], return_exceptions=True)
    assert isinstance(done[5], RevocationRecord)
    assert all(one is None or isinstance(one, UnknownUser) for one in [*done[:5], *done[6:]])
    assert await store.labels.list("alice") == ()


async def test_a_reply_to_the_user_is_forgotten_and_one_to_a_user_of_a_name_that_begins_so_is_kept(
    store: Store, place: Any
) -> None:
    await alice(store)
    callers = ("alice", f"alice/{'0f' * 16}", "alice/b@c.d", "alice2", f"alice2/{'0f' * 16}")
    for caller in callers:
        once = Idempotency(caller, "a key of mine", bytes(32), NOW + DAY, lambda _: b"reply")
        await store.replies.remember(once, None, now=NOW)
    await store.users.delete("alice", now=NOW, actor="root", revoke_for=DAY)
    assert {caller for (caller,) in await place.rows("SELECT caller FROM idempotency")} == set(callers[2:])


async def test_accounts_are_added_all_or_none(store: Store) -> None:
    await alice(store)
    many = [NewUser(f"user{n}", f"hash {n}") for n in range(2500)]
    with pytest.raises(NamesTaken) as refusal:
        await store.users.create_all([*many, NewUser("alice", "hash")], now=NOW, actor="root")
    assert refusal.value.why == {"alice": "user"}
    assert await store.users.count() == 1
    odd = NewUser("odd", "hash", is_admin=True, scope="a:b", is_disabled=True, must_change_password=True)
    await store.users.create_all([*many, odd], now=NOW, actor="root")
    assert await store.users.count() == 2502
    found = await store.users.get("odd")
    assert found is not None
    assert (found.is_admin, found.scope, found.disabled_at, found.must_change_password) == (
        True,
        "a:b",
        NOW,
        True,
    )
    assert len(await store.audit.list(limit=5000)) == 2502


async def test_names_that_are_taken_are_told_with_why(store: Store) -> None:
    await alice(store)
    await store.users.create("gone", "hash", now=NOW, actor="a")
    await store.users.delete("gone", now=NOW, actor="a", revoke_for=DAY)
    await store.groups.put("ops", [], now=NOW, actor="a")
    taken = await store.users.taken(["alice", "gone", "ops", "free"])
    assert taken == {"alice": "user", "gone": "deleted", "ops": "group"}
