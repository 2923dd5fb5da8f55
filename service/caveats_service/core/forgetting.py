"""The time by which a process forgets and destroys what has expired. Knows two clocks and no store.

A machine's clock can be ahead for a while. By it a token that was revoked has expired, and its revocation could be
forgotten; when the clock is right again, the token would live. So what a process removes by itself, it removes by a time
that is never ahead of the time that has passed since its start on a clock that nobody can set.

The clock can be ahead at the start already, before the network has told the time. Then it is far later than what was
written down before. It may also be that nothing was written for long. So a start after such a gap removes nothing for an
hour, and no start does for ten seconds.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = timedelta(minutes=10)
"""How long after they have expired revocations are forgotten: clocks are corrected by a little all the time."""
_NEVER = datetime.min.replace(tzinfo=UTC)
_ALWAYS = 10.0
"""Seconds after the start in which nothing is destroyed."""
_BELIEVED = 3600.0
"""Seconds after which a clock is believed that is later than expected and runs as the other one does: it was set right."""


def uptime() -> float:
    """Seconds on a clock that nobody can set. Where the system can tell, it also runs while the machine sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class ForgettingTime:
    """The earlier of the time of day, and the time of day at the start plus what has passed since."""

    def __init__(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds, as `uptime` gives them."""
        self._now = now
        self.monotonic = monotonic
        self._began_at, self._began = now(), monotonic()
        self._started = self._began
        self._before: datetime | None = None
        self._ahead: tuple[timedelta, float] | None = None
        """By how much the clock is ahead of what has passed, and since when it has been by just so much."""
        self._latest = self()

    def __call__(self) -> datetime:
        """By when, if it has expired before, something may be removed."""
        now, tick = self._now(), self.monotonic()
        expected = self._began_at + timedelta(seconds=tick - self._began)
        if now - expected <= LATE:
            self._ahead = None
        elif self._ahead is None or abs(now - expected - self._ahead[0]) > LATE:
            self._ahead = (now - expected, tick)
        elif tick - self._ahead[1] >= _BELIEVED:
            self._began_at, self._began, self._ahead = now, tick, None
            return now
        return min(now, expected)

    def known_before(self, latest: datetime | None) -> None:
        """Take note of the latest time that was written down before this process began; None if nothing was."""
        self._before = latest

    @property
    def is_doubtful(self) -> bool:
        """Whether the clock may be ahead since the start: it is far later than all that was written down before."""
        passed = self.monotonic() - self._started
        if self._before is None or passed >= _BELIEVED:
            return False
        return self() > self._before + timedelta(seconds=passed) + LATE

    @property
    def may_destroy(self) -> bool:
        """Whether keys may be destroyed and rows removed that have expired."""
        return self.monotonic() - self._started >= _ALWAYS and not self.is_doubtful

    def forgotten_before(self) -> datetime:
        """What had expired by then may be forgotten: nothing, while nothing may be destroyed."""
        return self() - LATE if self.may_destroy else _NEVER

    def went_back(self) -> bool:
        """Whether it is earlier than it was, by more than `LATE`; True once.

        Then the clock was ahead at the start, and too much may have been forgotten.
        """
        now = self()
        went_back = now < self._latest - LATE
        self._latest = now if went_back else max(now, self._latest)
        return went_back
