"""Interactions: questions that people answer before a discharge. Who asks, who has approved, the decision.

Knows the hashes of an interaction's secrets, never the secrets. A ticket is no secret: only the third party can open it.
The first decision stands. An interaction can be read until it expires.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from sqlalchemy import func, insert, select, update

from caveats_service.storage.engines.transactions import Repository, in_batches, operation
from caveats_service.storage.errors import InteractionsFull, UnknownInteraction
from caveats_service.storage.records import Decision, Interaction, ShownCredential
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.rows import delete_expired, find_record
from caveats_service.storage.tables import interactions, meta

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

HashColumn: TypeAlias = Literal["visit_hash", "wait_hash", "token_hash"]
"""The columns by which an interaction is found."""
_BATCH = 5000
_MOST_APPROVERS = 64


class InteractionRepository(Repository):
    """The operations on interactions. Beginning one is not audited: anybody may ask, and nothing is decided."""

    @operation
    async def begin(self, interaction: Interaction, *, most: int, now: datetime) -> None:
        """Keep a new interaction. Raises `InteractionsFull` if `most` of them have not expired."""
        alive = select(func.count()).select_from(interactions).where(interactions.c.expires_at > now)
        async with self._database.write() as connection:
            if (await connection.execute(alive)).scalar_one() >= most:
                raise InteractionsFull(f"there are {most} interactions already")
            kept = replace(interaction, credentials=await _as_of_now(connection, *interaction.credentials))
            values = {field.name: getattr(kept, field.name) for field in fields(kept)}
            await connection.execute(insert(interactions).values(values))

    @operation
    async def find(self, by: HashColumn, value: bytes, *, now: datetime) -> Interaction | None:
        """The interaction with this hash (32 bytes) in column `by`; None if there is none or it has expired."""
        async with self._database.read() as connection:
            return await _find(connection, by, value, now)

    @operation
    async def take_part(
        self,
        /,
        visit_hash: bytes,
        shown: ShownCredential,
        *,
        as_asker: bool,
        now: datetime,
        actor: str,
        **detail: str,
    ) -> Interaction:
        """Write down that the user who has shown this asks, or that they approve. Returns the interaction after that.

        `detail`: what the audit row says besides. It is unchanged if somebody asks already, if 64 people have approved, or once there is a decision. `visit_hash`:
        32 bytes. Raises `UnknownInteraction`.
        """
        username = shown.username
        async with self._database.exclusive_write() as connection:
            before = await _existing(connection, visit_hash, now)
            if before.decision is not Decision.OPEN:
                return before
            if as_asker:
                if before.asker is not None:
                    return before
                values: dict[str, object] = {"asker": username}
            else:
                if username in before.approvers or len(before.approvers) >= _MOST_APPROVERS:
                    return before
                values = {"approvers": (*before.approvers, username)}
            values["credentials"] = (*before.credentials, *await _as_of_now(connection, shown))
            await connection.execute(
                update(interactions).where(interactions.c.visit_hash == visit_hash).values(values)
            )
            action = "interaction.ask" if as_asker else "interaction.approve"
            await audit.record(
                connection, at=now, actor=actor, action=action, subject=visit_hash.hex(), **detail
            )
            return await _existing(connection, visit_hash, now)

    @operation
    async def decide(
        self,
        /,
        visit_hash: bytes,
        decision: Decision,
        *,
        until: datetime,
        now: datetime,
        actor: str,
        **detail: str,
    ) -> Interaction:
        """Write the decision, unless there is one. Returns the interaction after that.

        `visit_hash`: 32 bytes. `detail`: as for `take_part`. `until`: when the decided interaction expires. Raises `UnknownInteraction`.
        """
        async with self._database.exclusive_write() as connection:
            before = await _existing(connection, visit_hash, now)
            if before.decision is not Decision.OPEN:
                return before
            await connection.execute(
                update(interactions)
                .where(interactions.c.visit_hash == visit_hash)
                .values(decision=decision, decided_at=now, expires_at=until)
            )
            await audit.record(
                connection,
                at=now,
                actor=actor,
                action=f"interaction.{decision.value}",
                subject=visit_hash.hex(),
                asker=before.asker or "",
                approvers=" ".join(before.approvers),
                **detail,
            )
            return await _existing(connection, visit_hash, now)

    @operation
    async def settled(self, waits: Collection[bytes], *, now: datetime) -> frozenset[bytes]:
        """Those of these wait hashes whose interaction is decided, has expired or is unknown."""
        query = select(interactions.c.wait_hash).where(
            interactions.c.wait_hash.in_(waits),
            interactions.c.decision == Decision.OPEN,
            interactions.c.expires_at > now,
        )
        async with self._database.read() as connection:
            still = {row.wait_hash for row in await connection.execute(query)}
            return frozenset(waits) - still

    async def prune(self, *, now: datetime) -> int:
        """Delete the expired interactions; returns how many. Not audited, because nobody decides it."""
        return await in_batches(lambda: self._prune(now), _BATCH)

    @operation
    async def _prune(self, now: datetime) -> int:
        async with self._database.write() as connection:
            return await delete_expired(connection, interactions, now=now, limit=_BATCH)


async def _as_of_now(connection: AsyncConnection, *shown: ShownCredential) -> tuple[ShownCredential, ...]:
    """The credentials with the sequence that the feed has now: a later entry about their users ends them."""
    sequence: int = (await connection.execute(select(meta.c.revocation_sequence))).scalar_one()
    return tuple(replace(one, after_sequence=sequence) for one in shown)


async def _find(
    connection: AsyncConnection, by: HashColumn, value: bytes, now: datetime
) -> Interaction | None:
    query = select(interactions).where(interactions.c[by] == value, interactions.c.expires_at > now)
    return await find_record(connection, Interaction, query)


async def _existing(connection: AsyncConnection, visit_hash: bytes, now: datetime) -> Interaction:
    interaction = await _find(connection, "visit_hash", visit_hash, now)
    if interaction is None:
        raise UnknownInteraction
    return interaction
