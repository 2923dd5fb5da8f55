"""Agents: programs that sign in as a user, with an X25519 key that an administrator has registered.

Knows public keys only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from caveats import new_token_id
from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import AgentExists, UnknownAgent
from caveats_service.storage.records import Agent
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.rows import all_records, find_record
from caveats_service.storage.repositories.users import existing_user
from caveats_service.storage.tables import agents, users

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


class AgentRepository(Repository):
    """The operations on agents."""

    @operation
    async def add(self, *, username: str, public_key: bytes, name: str, now: datetime, actor: str) -> Agent:
        """Register an agent that signs in as this user. `public_key`: 32 bytes. `name`: a label for people.

        Raises `UnknownUser`, and `AgentExists` if the key is registered already.
        """
        agent_id = new_token_id(now)
        async with self._database.exclusive_write() as connection:
            await existing_user(connection, username)
            try:
                await connection.execute(
                    insert(agents).values(
                        agent_id=agent_id,
                        username=username,
                        public_key=public_key,
                        name=name,
                        created_at=now,
                        created_by=actor,
                    )
                )
            except IntegrityError as error:
                raise AgentExists("an agent has this public key already") from error
            await audit.record(
                connection,
                at=now,
                actor=actor,
                action="agent.add",
                subject=agent_id,
                user=username,
                name=name,
            )
            return await _existing(connection, agent_id)

    @operation
    async def find(self, public_key: bytes) -> Agent | None:
        """The agent with this public key (32 bytes); None if there is none, or if its user is disabled."""
        query = (
            select(agents)
            .join(users, users.c.username == agents.c.username)
            .where(agents.c.public_key == public_key, users.c.disabled_at.is_(None))
        )
        async with self._database.read() as connection:
            return await find_record(connection, Agent, query)

    @operation
    async def list(self, *, after: str = "", limit: int = 100) -> tuple[Agent, ...]:
        """At most `limit` agents, oldest first. `after`: the last id of the previous page."""
        query = select(agents).where(agents.c.agent_id > after).order_by(agents.c.agent_id).limit(limit)
        async with self._database.read() as connection:
            return await all_records(connection, Agent, query)

    @operation
    async def remove(self, agent_id: str, *, now: datetime, actor: str) -> None:
        """Remove an agent: its key signs in as nobody. Raises `UnknownAgent`."""
        async with self._database.exclusive_write() as connection:
            agent = await _existing(connection, agent_id)
            await connection.execute(delete(agents).where(agents.c.agent_id == agent_id))
            await audit.record(
                connection, at=now, actor=actor, action="agent.remove", subject=agent_id, user=agent.username
            )


async def _existing(connection: AsyncConnection, agent_id: str) -> Agent:
    agent = await find_record(connection, Agent, select(agents).where(agents.c.agent_id == agent_id))
    if agent is None:
        raise UnknownAgent(f"there is no agent {agent_id}")
    return agent
