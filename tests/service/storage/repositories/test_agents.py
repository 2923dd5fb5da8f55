"""Agents: found by their key while their user is enabled."""

from __future__ import annotations

import pytest

from caveats_service.storage import (
    AgentExists,
    Store,
    UnknownAgent,
    UnknownUser,
)
from tests.support.store import NOW, add_agent, alice


async def test_an_agent_is_found_by_its_key_while_its_user_is_enabled(store: Store) -> None:
    await alice(store)
    agent = await add_agent(store, 1)
    assert await store.agents.find(agent.public_key) == agent
    assert await store.agents.find(bytes([9]) * 32) is None
    with pytest.raises(AgentExists):
        await add_agent(store, 1)
    with pytest.raises(UnknownUser):
        await add_agent(store, 2, "nobody")
    await store.users.disable("alice", now=NOW, actor="a")
    assert await store.agents.find(agent.public_key) is None
    await store.users.enable("alice", now=NOW, actor="a")
    await store.agents.remove(agent.agent_id, now=NOW, actor="a")
    assert (await store.agents.find(agent.public_key), await store.agents.list()) == (None, ())
    with pytest.raises(UnknownAgent):
        await store.agents.remove(agent.agent_id, now=NOW, actor="a")
