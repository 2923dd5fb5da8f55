"""Issuing clients: other sites that hand tokens to their users, for the users, audiences and scopes that each is held to.

Knows hashes of secrets only. A client's lineage is an id that all it has issued names as its parent: to revoke that id is to
revoke all of it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import ClientExists, UnknownClient
from caveats_service.storage.records import IssuingClient
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.rows import all_records, find_record
from caveats_service.storage.tables import clients

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


class ClientRepository(Repository):
    """The operations on issuing clients."""

    @operation
    async def add(self, client: IssuingClient, *, now: datetime, actor: str) -> None:
        """Add a client. Raises `ClientExists` if one has the name."""
        async with self._database.exclusive_write() as connection:
            try:
                await connection.execute(insert(clients).values(asdict(client)))
            except IntegrityError as error:
                raise ClientExists(f"a client has the name {client.name}") from error
            await audit.record(
                connection,
                at=now,
                actor=actor,
                action="client.add",
                subject=client.client_id,
                name=client.name,
                users=" ".join(client.users),
                groups=" ".join(client.groups),
                audiences=" ".join(client.audiences),
                scope=client.scope,
            )

    @operation
    async def get(self, client_id: str) -> IssuingClient | None:
        """The client with this id, or None."""
        async with self._database.read() as connection:
            return await _find(connection, client_id)

    @operation
    async def list(self, *, after: str = "", limit: int = 100) -> tuple[IssuingClient, ...]:
        """At most `limit` clients, oldest first. `after`: the last id of the previous page."""
        query = select(clients).where(clients.c.client_id > after).order_by(clients.c.client_id).limit(limit)
        async with self._database.read() as connection:
            return await all_records(connection, IssuingClient, query)

    @operation
    async def remove(self, client_id: str, *, now: datetime, actor: str) -> IssuingClient:
        """Remove a client: it is given no more tokens. What it was given dies by its lineage. Raises `UnknownClient`."""
        async with self._database.exclusive_write() as connection:
            client = await _find(connection, client_id)
            if client is None:
                raise UnknownClient(f"there is no client {client_id}")
            await connection.execute(delete(clients).where(clients.c.client_id == client_id))
            await audit.record(
                connection, at=now, actor=actor, action="client.remove", subject=client_id, name=client.name
            )
            return client


async def _find(connection: AsyncConnection, client_id: str) -> IssuingClient | None:
    return await find_record(
        connection, IssuingClient, select(clients).where(clients.c.client_id == client_id)
    )
