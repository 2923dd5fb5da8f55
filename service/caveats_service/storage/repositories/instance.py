"""The canary of the seal key, in the only row of `meta`.

Knows the canary as bytes. Must not know the seal key. Other repositories move the counters in that row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.tables import meta

if TYPE_CHECKING:
    from datetime import datetime


class InstanceRepository(Repository):
    """The operations on the database's own row."""

    @operation
    async def server_time(self) -> datetime | None:
        """The time of the database's server; None if all who use the database have one clock, the machine's."""
        async with self._database.read() as connection:
            return await self._database.server_time(connection)

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
