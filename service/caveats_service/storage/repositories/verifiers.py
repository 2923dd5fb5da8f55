"""Verifiers: apps that verify locally. Each may fetch the keys of its audience, encrypted for its public key.

Knows public keys only. Must not know audience keys or boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from caveats import new_token_id
from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import UnknownVerifier
from caveats_service.storage.records import VerifierApp
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.rows import all_records, find_record
from caveats_service.storage.tables import verifiers

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


class VerifierRepository(Repository):
    """The operations on verifiers."""

    @operation
    async def add(
        self, *, audience: str, public_key: bytes, name: str, now: datetime, actor: str
    ) -> VerifierApp:
        """Register a verifier, under a new id. `public_key`: X25519, 32 bytes. `name`: a label for people."""
        verifier_id = new_token_id(now)
        async with self._database.write() as connection:
            await connection.execute(
                insert(verifiers).values(
                    verifier_id=verifier_id,
                    audience=audience,
                    public_key=public_key,
                    name=name,
                    created_at=now,
                    created_by=actor,
                )
            )
            await audit.record(
                connection,
                at=now,
                actor=actor,
                action="verifier.add",
                subject=verifier_id,
                audience=audience,
                name=name,
            )
            return await _existing(connection, verifier_id)

    @operation
    async def get(self, verifier_id: str) -> VerifierApp | None:
        """The verifier with this id, revoked or not, or None."""
        async with self._database.read() as connection:
            return await _find(connection, verifier_id)

    @operation
    async def list(
        self, *, audience: str | None = None, after: str = "", limit: int = 1000
    ) -> tuple[VerifierApp, ...]:
        """At most `limit` verifiers, of one audience or of all, oldest first, revoked ones included.

        `after`: the last id of the previous page.
        """
        query = select(verifiers).where(verifiers.c.verifier_id > after)
        if audience is not None:
            query = query.where(verifiers.c.audience == audience)
        query = query.order_by(verifiers.c.verifier_id).limit(limit)
        async with self._database.read() as connection:
            return await all_records(connection, VerifierApp, query)

    @operation
    async def removed_ids(self) -> frozenset[str]:
        """The ids of the verifiers that were revoked."""
        query = select(verifiers.c.verifier_id).where(verifiers.c.revoked_at.is_not(None))
        async with self._database.read() as connection:
            return frozenset(await connection.scalars(query))

    @operation
    async def revoke(self, verifier_id: str, *, now: datetime, actor: str) -> VerifierApp:
        """Give this verifier no more keys. Repeating it keeps the first time. Raises `UnknownVerifier`."""
        async with self._database.exclusive_write() as connection:
            verifier = await _existing(connection, verifier_id)
            if verifier.revoked_at is not None:
                return verifier
            await connection.execute(
                update(verifiers).where(verifiers.c.verifier_id == verifier_id).values(revoked_at=now)
            )
            await audit.record(connection, at=now, actor=actor, action="verifier.revoke", subject=verifier_id)
            return await _existing(connection, verifier_id)


async def _find(connection: AsyncConnection, verifier_id: str) -> VerifierApp | None:
    query = select(verifiers).where(verifiers.c.verifier_id == verifier_id)
    return await find_record(connection, VerifierApp, query)


async def _existing(connection: AsyncConnection, verifier_id: str) -> VerifierApp:
    verifier = await _find(connection, verifier_id)
    if verifier is None:
        raise UnknownVerifier(f"there is no verifier {verifier_id}")
    return verifier
