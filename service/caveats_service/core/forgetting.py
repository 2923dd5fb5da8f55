"""The time by which a process forgets what has expired. Knows two clocks and no store.

A machine's clock can be ahead for a while. By it a token that was revoked has expired, and its revocation could be
forgotten; when the clock is right again, the token would live. So what a process removes by itself, it removes by a time
that is never ahead of the time that has passed since its start on a clock that nobody can set.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


LATE = timedelta(minutes=10)
"""How long after they have expired revocations are forgotten: clocks are corrected by a little all the time."""


def uptime() -> float:
    """Seconds on a clock that nobody can set. Where the system can tell, it also runs while the machine sleeps."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class ForgettingTime:
    """The earlier of the time of day, and the time of day at the start plus what has passed since."""

    def __init__(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds, as `uptime` gives them."""
        self._now = now
        self._monotonic = monotonic
        self._began = (now(), monotonic())
        self._latest = self()

    def __call__(self) -> datetime:
        """By when, if it has expired before, something may be removed."""
        began_at, began = self._began
        return min(self._now(), began_at + timedelta(seconds=self._monotonic() - began))

    def went_back(self) -> bool:
        """Whether it is earlier than it was, by more than `LATE`; True once.

        Then the clock was ahead at the start, and too much may have been forgotten.
        """
        now = self()
        went_back = now < self._latest - LATE
        self._latest = now if went_back else max(now, self._latest)
        return went_back
