"""The audit trail: every change names its actor, and a change that cannot be audited does not happen."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from caveats import BranchRevocation, TokenRevocation, UserRevocation
from caveats_service.storage import (
    Decision,
    ShownCredential,
    Store,
    StoreUnavailable,
    tables,
)
from tests.support.store import (
    DAY,
    NOW,
    VISIT,
    add_agent,
    add_verifier,
    alice,
    interaction,
    label,
    rotate,
    seal,
    token_id,
)

BRANCH = bytes(range(16))


async def revoke_a_verifier(store: Store) -> None:
    (app,) = await store.verifiers.list()
    await store.verifiers.revoke(app.verifier_id, now=NOW, actor="root")


async def remove_an_agent(store: Store) -> None:
    (agent,) = await store.agents.list()
    await store.agents.remove(agent.agent_id, now=NOW, actor="root")


MUTATIONS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "user.create": lambda store: store.users.create("bob", "hash", now=NOW, actor="root"),
    "user.set_password": lambda store: store.users.set_password("alice", "new", now=NOW, actor="root"),
    "user.rehash": lambda store: store.users.replace_hash("alice", "hash", "new", now=NOW, actor="root"),
    "user.disable": lambda store: store.users.disable("alice", now=NOW, actor="root"),
    "user.enable": lambda store: store.users.enable("alice", now=NOW, actor="root"),
    "user.set_admin": lambda store: store.users.set_admin("alice", is_admin=True, now=NOW, actor="root"),
    "user.unset_admin": lambda store: store.users.set_admin("alice", is_admin=False, now=NOW, actor="root"),
    "key.publish": lambda store: store.keys.publish(seal, now=NOW, actor="root"),
    "key.activate": lambda store: store.keys.activate("k2", retire_after=NOW, now=NOW, actor="root"),
    "key.retire": lambda store: store.keys.retire("k2", now=NOW, actor="root"),
    "token.label": lambda store: store.labels.add(label("T2"), now=NOW, actor="root"),
    "token.prune": lambda store: store.labels.prune(now=NOW + DAY, actor="root"),
    "revocation.token": lambda store: store.revocations.revoke(
        TokenRevocation(token_id(2), NOW), now=NOW, actor="root"
    ),
    "revocation.branch": lambda store: store.revocations.revoke(
        BranchRevocation(token_id(1), BRANCH, NOW), now=NOW, actor="root"
    ),
    "revocation.user": lambda store: store.revocations.revoke(
        UserRevocation("alice", NOW, NOW), now=NOW, actor="root"
    ),
    "revocation.prune": lambda store: store.revocations.prune(now=NOW + 2 * DAY, actor="root"),
    "verifier.add": lambda store: add_verifier(store, actor="root"),
    "verifier.revoke": revoke_a_verifier,
    "group.put": lambda store: store.groups.put("dev", ["alice"], now=NOW, actor="root"),
    "group.delete": lambda store: store.groups.delete("ops", now=NOW, actor="root"),
    "group.add_member": lambda store: store.groups.add_member("empty", "alice", now=NOW, actor="root"),
    "group.remove_member": lambda store: store.groups.remove_member("ops", "alice", now=NOW, actor="root"),
    "agent.add": lambda store: add_agent(store, 2, actor="root"),
    "agent.remove": remove_an_agent,
    "interaction.ask": lambda store: store.interactions.take_part(
        VISIT, ShownCredential("alice"), as_asker=True, now=NOW, actor="root"
    ),
    "interaction.approve": lambda store: store.interactions.take_part(
        VISIT, ShownCredential("alice"), as_asker=False, now=NOW, actor="root"
    ),
    "interaction.granted": lambda store: store.interactions.decide(
        VISIT, Decision.GRANTED, until=NOW + DAY, now=NOW, actor="root"
    ),
    "interaction.denied": lambda store: store.interactions.decide(
        VISIT, Decision.DENIED, until=NOW + DAY, now=NOW, actor="root"
    ),
    "user.delete": lambda store: store.users.delete("alice", now=NOW, actor="root", revoke_for=DAY),
    "revocation.bump_epoch": lambda store: store.revocations.bump_epoch(now=NOW, actor="root"),
}


NO_ROOM = {
    "sqlite": "CREATE TRIGGER no_room BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END",
    "postgresql": "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION 'no room'; END $$;"
    "CREATE TRIGGER no_room BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION no_room()",
}


async def prepare(store: Store, action: str) -> None:
    """What each mutation needs: a user, a label, a revocation, groups, an agent, an interaction, an active key and, for some, a waiting one."""
    await alice(store)
    await store.labels.add(label("T1"), now=NOW, actor="a")
    await store.revocations.revoke(TokenRevocation(token_id(1), NOW), now=NOW, actor="a")
    await rotate(store)
    await add_verifier(store)
    await store.groups.put("ops", ["alice"], now=NOW, actor="a")
    await store.groups.put("empty", [], now=NOW, actor="a")
    await add_agent(store, 1)
    await store.interactions.begin(interaction(), most=10, now=NOW)
    if action != "key.publish":
        await store.keys.publish(seal, now=NOW, actor="a")


@pytest.mark.parametrize("action", MUTATIONS)
async def test_every_change_names_its_actor_in_the_audit_trail(store: Store, action: str) -> None:
    await prepare(store, action)
    await MUTATIONS[action](store)
    entry = (await store.audit.list(limit=1))[0]
    assert (entry.action, entry.actor) == (action, "root")
    assert "hash" not in json.dumps(dict(entry.detail))


@pytest.mark.parametrize("action", MUTATIONS)
async def test_a_change_that_cannot_be_audited_does_not_happen(store: Store, place: Any, action: str) -> None:
    await prepare(store, action)
    await place.execute(NO_ROOM[place.kind])
    before = [await place.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables.metadata.tables]
    with pytest.raises(StoreUnavailable):
        await MUTATIONS[action](store)
    after = [await place.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables.metadata.tables]
    assert after == before


async def test_the_audit_trail_is_read_newest_first_page_by_page(store: Store) -> None:
    for n in range(5):
        await store.revocations.revoke(TokenRevocation(token_id(n), NOW), now=NOW, actor="a", reason="why")
    first = await store.audit.list(limit=2)
    second = await store.audit.list(before=first[-1].id, limit=2)
    assert [entry.subject for entry in (*first, *second)] == [token_id(n) for n in (4, 3, 2, 1)]
    assert first[0].detail == {"sequence": 5, "reason": "why"}
    assert first[0].at == NOW
