"""Keys at rest: the master keys with their states, and the service's own keys.

Knows sealed bytes only: the caller gives the function that seals. Must not know the seal key. A master key is
published, active, verifying, retired, in this order. Two unique indexes keep the rule that at most one key is active and
at most one is published.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import func, insert, select, update

from caveats import KeyState
from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import (
    KeyConflict,
    KeyInUse,
    RowDamaged,
    StoreUnavailable,
    UnknownMasterKey,
)
from caveats_service.storage.records import SealedKey
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.instance import issued_until_now
from caveats_service.storage.repositories.rows import all_records, find_record
from caveats_service.storage.tables import labelled_tokens, master_keys, meta, service_keys

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

SealFor: TypeAlias = Callable[[int, str], bytes]
"""Makes a master key and seals it for this row id and key id. It runs within the transaction: no I/O."""


class KeyRepository(Repository):
    """The operations on keys. Repeating one, also on another node, changes nothing."""

    @operation
    async def list(self) -> tuple[SealedKey, ...]:
        """All master keys, retired ones included, oldest first."""
        async with self._database.read() as connection:
            return await all_records(
                connection, SealedKey, select(master_keys).order_by(master_keys.c.row_id)
            )

    @operation
    async def publish(
        self, seal: SealFor, *, now: datetime, actor: str, replacing: str | None = None, first: bool = False
    ) -> SealedKey:
        """Add a key that verifies and does not issue yet. If a key is published already, return that one.

        `replacing`: the key id that must be active, so that two nodes replace an old key once. `first`: no key may be
        active, so that two nodes make one first key. Raises `KeyConflict` if that is not so.
        """
        async with self._database.exclusive_write() as connection:
            active = await _only(connection, KeyState.ACTIVE)
            if replacing is not None and active != replacing:
                raise KeyConflict(f"{replacing} is no longer the active key")
            if first and active is not None:
                raise KeyConflict(f"{active} is active already")
            waiting = await _only(connection, KeyState.PUBLISHED)
            if waiting is not None:
                return await _existing(connection, waiting)
            newest = (await connection.execute(select(func.max(master_keys.c.row_id)))).scalar_one()
            floor = (await connection.execute(select(meta.c.key_floor))).scalar_one()
            row_id = max(newest or 0, floor) + 1
            key_id = f"k{row_id}"
            await connection.execute(
                insert(master_keys).values(
                    row_id=row_id,
                    key_id=key_id,
                    state=KeyState.PUBLISHED,
                    sealed=seal(row_id, key_id),
                    created_at=now,
                )
            )
            await _moved(connection)
            await audit.record(connection, at=now, actor=actor, action="key.publish", subject=key_id)
            return await _existing(connection, key_id)

    @operation
    async def activate(self, key_id: str, *, retire_after: datetime, now: datetime, actor: str) -> SealedKey:
        """Issue under this published key from now on. The active key before it verifies until `retire_after`.

        It verifies for longer if tokens were issued that live longer, as the settings were then. Raises `UnknownMasterKey`, and `KeyConflict` for a verifying or retired key.
        """
        async with self._database.exclusive_write() as connection:
            key = await _existing(connection, key_id)
            if key.state is KeyState.ACTIVE:
                return key
            if key.state is not KeyState.PUBLISHED:
                raise KeyConflict(f"{key_id} is {key.state.value}: only a published key can be activated")
            before = await _only(connection, KeyState.ACTIVE)
            if before is not None:
                issued = await issued_until_now(connection)
                retire_after = issued.last_end(retire_after, timedelta(0))
                await _update(
                    connection,
                    before,
                    state=KeyState.VERIFYING,
                    verifying_since=now,
                    retire_after=retire_after,
                )
            await _update(connection, key_id, state=KeyState.ACTIVE, activated_at=now)
            await _moved(connection)
            await audit.record(
                connection, at=now, actor=actor, action="key.activate", subject=key_id, before=before or ""
            )
            return await _existing(connection, key_id)

    @operation
    async def retire(self, key_id: str, *, now: datetime, actor: str, force: bool = False) -> SealedKey:
        """Destroy a key: no token under it verifies any more.

        Raises `UnknownMasterKey`, `KeyConflict` for the active key, and `KeyInUse` while tokens under it may be alive,
        unless `force`.
        """
        async with self._database.exclusive_write() as connection:
            key = await _existing(connection, key_id)
            if key.state is KeyState.RETIRED:
                return key
            if key.state is KeyState.ACTIVE:
                raise KeyConflict(f"{key_id} is the active key: activate another one first")
            if not force and key.retire_after is not None and now < key.retire_after:
                raise KeyInUse(key_id, key.retire_after, await _labelled(connection, key, now))
            await _update(connection, key_id, state=KeyState.RETIRED, sealed=b"", retired_at=now)
            await _moved(connection)
            await audit.record(
                connection, at=now, actor=actor, action="key.retire", subject=key_id, forced=force
            )
            retired = await _existing(connection, key_id)
        # The sealed bytes are overwritten in the file; now also in the log, unless a reader is in the way.
        with contextlib.suppress(StoreUnavailable):
            await self._database.checkpoint()
        return retired

    @operation
    async def service_key(self, name: str, sealed: bytes) -> bytes:
        """Keep this sealed key if there is none of that name yet. Returns the one that is kept. Raises `RowDamaged`."""
        query = select(service_keys.c.sealed).where(service_keys.c.name == name)
        async with self._database.exclusive_write() as connection:
            kept = (await connection.execute(query)).scalar_one_or_none()
            if kept is None:
                await connection.execute(insert(service_keys).values(name=name, sealed=sealed))
                kept = sealed
            if not isinstance(kept, bytes):
                raise RowDamaged(service_keys.name)
            return kept


async def _only(connection: AsyncConnection, state: KeyState) -> str | None:
    query = select(master_keys.c.key_id).where(master_keys.c.state == state)
    return (await connection.execute(query)).scalar_one_or_none()


async def _existing(connection: AsyncConnection, key_id: str) -> SealedKey:
    query = select(master_keys).where(master_keys.c.key_id == key_id)
    key = await find_record(connection, SealedKey, query)
    if key is None:
        raise UnknownMasterKey(f"there is no key {key_id}")
    return key


async def _update(connection: AsyncConnection, key_id: str, **values: object) -> None:
    await connection.execute(update(master_keys).where(master_keys.c.key_id == key_id).values(values))


async def _moved(connection: AsyncConnection) -> None:
    """Move the counter that other nodes watch."""
    await connection.execute(update(meta).values(key_sequence=meta.c.key_sequence + 1))


async def _labelled(connection: AsyncConnection, key: SealedKey, now: datetime) -> int:
    """How many labelled tokens, issued while this key was the active one, are alive."""
    issued = labelled_tokens.c.issued_at
    query = (
        select(func.count())
        .select_from(labelled_tokens)
        .where(
            labelled_tokens.c.expires_at > now,
            issued >= (key.activated_at or key.created_at),
            issued <= (key.verifying_since or now),
        )
    )
    return (await connection.execute(query)).scalar_one()
