"""Attempts of all nodes and workers, by key: those that have failed, and those that are under way.

Knows keys as hashes, numbers and times; knows neither passwords nor what was tried. An attempt takes a place under each of
its keys before it begins, so that attempts at many nodes at once cannot outrun the count. Not audited: nobody decides it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from caveats_service.storage.engines.transactions import Repository, in_batches, operation
from caveats_service.storage.records import AttemptLimit, AttemptRefusal
from caveats_service.storage.repositories.rows import delete_expired
from caveats_service.storage.tables import attempts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_BATCH = 5000


class AttemptRepository(Repository):
    """The operations on attempts."""

    @operation
    async def begin(
        self, attempt: str, limits: Sequence[AttemptLimit], *, now: datetime, failed: bool = False
    ) -> AttemptRefusal | None:
        """Take a place under each key, or none and say why. `attempt`: an id that no other has.

        `failed`: it counts whatever comes of it. The times are the database's, if it has a clock of its own.
        """
        async with self._database.exclusive_write() as connection:
            now = await self._database.server_time(connection) or now
            keys = [limit.key for limit in limits]
            query = select(attempts).where(attempts.c.key.in_(keys), attempts.c.expires_at > now)
            rows = (await connection.execute(query)).all()
            for limit in limits:
                own = [row for row in rows if row.key == limit.key]
                ends = sorted(row.expires_at for row in own if row.failed)
                if len(ends) >= limit.amount:
                    return AttemptRefusal((ends[len(ends) - limit.amount] - now).total_seconds())
                if len(own) >= limit.amount:
                    return AttemptRefusal(None)
            values = [
                {"attempt": attempt, "key": one.key, "failed": failed, "expires_at": now + one.within}
                for one in limits
            ]
            await connection.execute(insert(attempts), values)
            return None

    @operation
    async def failed(self, attempt: str, limits: Sequence[AttemptLimit]) -> None:
        """It counts from now on, until its time is over. `limits`: those that it has begun with."""
        async with self._database.write() as connection:
            await connection.execute(
                update(attempts).where(attempts.c.attempt == attempt).values(failed=True)
            )

    @operation
    async def end(self, attempt: str, limits: Sequence[AttemptLimit], *, clear: Sequence[bytes] = ()) -> None:
        """Give its places back. `limits`: those that it has begun with. `clear`: keys under which nothing that has failed counts any more."""
        async with self._database.write() as connection:
            await connection.execute(delete(attempts).where(attempts.c.attempt == attempt))
            if clear:
                await connection.execute(delete(attempts).where(attempts.c.key.in_(clear), attempts.c.failed))

    async def close(self) -> None:
        """Nothing of its own is open."""

    async def prune(self, *, now: datetime) -> int:
        """Delete what counts no more; returns how many."""
        return await in_batches(lambda: self._prune(now), _BATCH)

    @operation
    async def _prune(self, now: datetime) -> int:
        async with self._database.write() as connection:
            return await delete_expired(connection, attempts, now=now, limit=_BATCH)
