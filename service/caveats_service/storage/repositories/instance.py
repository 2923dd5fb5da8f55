"""The database's own row, `meta`: the canary of the seal key, and how late tokens were issued.

Knows the canary as bytes. Must not know the seal key. Other repositories move the counters in that row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import RowDamaged
from caveats_service.storage.repositories.rows import UNREADABLE
from caveats_service.storage.tables import meta

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from caveats_service.storage.records import Issued


class InstanceRepository(Repository):
    """The operations on the database's own row."""

    @operation
    async def server_time(self) -> datetime | None:
        """The time of the database's server; None if all who use the database have one clock, the machine's."""
        async with self._database.read() as connection:
            return await self._database.server_time(connection)

    @operation
    async def issued(self) -> Issued:
        """How late tokens have been issued."""
        async with self._database.read() as connection:
            return await issued_until_now(connection)

    @operation
    async def note_issue(self, life: timedelta, at: datetime) -> None:
        """Write down that tokens are issued up to that time, which can live so long. Not audited: it names no token."""
        async with self._database.exclusive_write() as connection:
            before = await issued_until_now(connection)
            await connection.execute(update(meta).values(issued=before.with_issue(life, at)))

    @operation
    async def set_seal_canary(self, canary: bytes) -> bytes:
        """Keep this canary if there is none yet. Returns the one that is kept."""
        async with self._database.read() as connection:
            kept = await connection.scalar(select(meta.c.seal_canary))
        if kept is not None:
            return bytes(kept)
        async with self._database.write() as connection:
            await connection.execute(
                update(meta).where(meta.c.seal_canary.is_(None)).values(seal_canary=canary)
            )
            kept = (await connection.execute(select(meta.c.seal_canary))).scalar_one()
            return bytes(kept)


async def issued_until_now(connection: AsyncConnection) -> Issued:
    """How late tokens have been issued; nothing is added meanwhile in an `exclusive_write`. Raises `RowDamaged`."""
    try:
        issued: Issued = (await connection.execute(select(meta.c.issued))).scalar_one()
    except UNREADABLE:
        raise RowDamaged(meta.name) from None
    return issued
