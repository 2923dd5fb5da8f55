"""The row of `meta`: which database this is, how far it is, and the canary of the seal key that belongs to it.

Knows the canary as bytes. Must not know the seal key. The counters are moved by the repositories they count for.
"""

from __future__ import annotations

from sqlalchemy import select, update

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.tables import meta


class InstanceRepository(Repository):
    """The operations on the database's own row."""

    @operation
    async def set_seal_canary(self, canary: bytes) -> bytes:
        """Keep this canary unless there is one; returns the one that is kept."""
        async with self._database.write() as connection:
            await connection.execute(
                update(meta).where(meta.c.seal_canary.is_(None)).values(seal_canary=canary)
            )
            kept = (await connection.execute(select(meta.c.seal_canary))).scalar_one()
            return bytes(kept)
