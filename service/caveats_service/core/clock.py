"""The clock. Nothing else in the service reads the time of day; tests hand in a clock of their own.

`ClockCheck` compares it with the clock of the database: revocations of all that a user has are by time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from caveats_service.core import log
from caveats_service.storage import TOLERATED_SKEW

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats_service.storage import Store


def utc_now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)


class ClockCheck:
    """Whether this node's clock agrees with that of the database, as far as `TOLERATED_SKEW` allows."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._told = False

    async def trouble(self) -> str | None:
        """What is wrong with this node's clock, for people; None if nothing is. Raises `StoreUnavailable`."""
        before = self._now()
        there = await self._store.instance.server_time()
        if there is None:
            return None
        ahead, behind = before - there, there - self._now()  # at least so much, however long the answer took
        off = max(ahead, behind)
        if off <= TOLERATED_SKEW:
            return None
        side = "ahead of" if ahead > behind else "behind"
        return (
            f"this node's clock is {off.total_seconds():.1f} s {side} the database's;"
            f" at most {TOLERATED_SKEW.total_seconds():g} s is tolerated"
        )

    async def watch(self) -> bool:
        """Whether the clock is right. Logs that it is off, once until it is right again."""
        trouble = await self.trouble()
        if trouble is not None and not self._told:
            log.error("clock_is_off", detail=trouble)
        elif trouble is None and self._told:
            log.info("clock_is_right")
        self._told = trouble is not None
        return trouble is None
