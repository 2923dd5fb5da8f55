"""How many requests were answered in each minute of the last hour, how many of them with a no, and how many failed.

Knows minutes and numbers; knows no HTTP. The counts are of one process and end with it: what has to be kept is asked for
again and again by whatever keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

_MINUTES = 60
_MINUTE = 60
"""Seconds."""


class Outcome(Enum):
    """What became of a request. Everything that is neither a refusal nor a failure is an answer."""

    ANSWERED = 0
    REFUSED = 1
    """The credential, the caveats or a rate limit said no."""
    FAILED = 2
    """The service could not do what it should."""


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """The requests of one minute. `requests`: all of them; `refused` and `failed` are among them."""

    at: datetime
    """When the minute began."""
    requests: int
    refused: int
    failed: int


class RequestCounts:
    """The counts of the last hour: a ring of 60 minutes, however many requests there are."""

    def __init__(self, now: datetime) -> None:
        """`now`: since when requests are counted."""
        self.since = now
        self._ring: list[tuple[int, list[int]]] = [(-1, [0, 0, 0])] * _MINUTES

    def add(self, outcome: Outcome, now: datetime) -> None:
        """Count a request that was answered now."""
        minute = int(now.timestamp()) // _MINUTE
        place = minute % _MINUTES
        if self._ring[place][0] != minute:
            self._ring[place] = (minute, [0, 0, 0])
        self._ring[place][1][outcome.value] += 1

    def last_hour(self, now: datetime) -> tuple[MinuteCount, ...]:
        """The last sixty minutes, this one among them, oldest first; none from before the count began."""
        last = int(now.timestamp()) // _MINUTE
        first = max(last - _MINUTES + 1, int(self.since.timestamp()) // _MINUTE)
        return tuple(map(self._of, range(first, last + 1)))

    def _of(self, minute: int) -> MinuteCount:
        found, numbers = self._ring[minute % _MINUTES]
        answered, refused, failed = numbers if found == minute else (0, 0, 0)
        return MinuteCount(
            datetime.fromtimestamp(minute * _MINUTE, UTC), answered + refused + failed, refused, failed
        )
