"""A fair queue for turns, in the order of asking: for a connection, or for the exclusive write.

Knows clocks; must not know what a turn is used for. An operation waits as long as others finish, however many they are:
a burst of requests is no failure of the database. It gives up when none has finished for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

from caveats_service.storage.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_TICK = 0.02
"""Seconds."""


class Clock:
    """Counts seconds, without those in which this process was held up: the database is not late then."""

    def __init__(self) -> None:
        self._at = 0.0
        self._seen = 0.0
        self._users = 0
        self._next: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds since some moment. They are counted only while the clock is `running`."""
        return self._at + min(time.monotonic() - self._seen, 1.5 * _TICK)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the clock run for as long as the block lasts."""
        self._users += 1
        if self._users == 1:
            self._seen = time.monotonic()
            self._tick()
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0 and self._next is not None:
                self._next.cancel()

    def _tick(self) -> None:
        self._at, self._seen = self.now(), time.monotonic()
        self._next = asyncio.get_running_loop().call_later(_TICK, self._tick)


class Waiter:
    """An operation that waits for an answer, and since when. The time of operations before it does not count."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.since = clock.now()
        self.is_queued = False
        self.holds: set[FairQueue] = set()

    def remaining(self, seconds: float) -> float:
        """How many of these seconds are left: all while it is queued, because the queue has a limit of its own."""
        return seconds if self.is_queued else self.since + seconds - self.clock.now()


WAITER: ContextVar[Waiter | None] = ContextVar("waiter", default=None)
"""The operation that runs in this context."""


class FairQueue:
    """A queue for `places` turns at once. `patience`: seconds to wait while no other operation finishes."""

    def __init__(self, places: int, patience: float, clock: Clock) -> None:
        self._places = self._free = places
        self._leaving = 0
        self._patience = patience
        self._clock = clock
        self._line: deque[asyncio.Future[None]] = deque()
        self._done_at = 0.0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold a turn for as long as the block lasts. An operation that holds one already does not wait again.

        Raises `StoreUnavailable` if no other operation finishes within `patience`.
        """
        waiter = WAITER.get() or Waiter(self._clock)
        if self in waiter.holds:
            yield
            return
        if self._free:
            self._free -= 1
        else:
            with self._clock.running():
                await self._wait(waiter)
        waiter.since = max(waiter.since, self._done_at)
        waiter.holds.add(self)
        done = False
        try:
            yield
            done = True
        except StoreError as error:
            done = not isinstance(error, StoreUnavailable)
            raise
        finally:
            waiter.holds.discard(self)
            if self._leaving:
                self._leaving -= 1
            else:
                if done:
                    self._done_at = self._clock.now()
                self._next()

    def shrink(self) -> int:
        """Take away the place of the caller, who holds a turn and ends it at once, and those that are free.

        Returns how many were taken away: 0 if nobody else holds a turn, and nobody could be waited for.
        """
        lost = self._free + 1
        if lost >= self._places:
            return 0
        self._places -= lost
        self._free = 0
        self._leaving += 1
        return lost

    def grow(self, places: int) -> None:
        """Give back places that `shrink` has taken away."""
        self._places += places
        for _ in range(places):
            self._next()

    async def _wait(self, waiter: Waiter) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._line.append(mine)
        waiter.is_queued = True
        try:
            while not mine.done():
                left = max(waiter.since, self._done_at) + self._patience - self._clock.now()
                if left <= 0:
                    raise StoreUnavailable(
                        f"no operation on the database has finished for {self._patience:g} s"
                    )
                await asyncio.wait({mine}, timeout=left)
        except BaseException:
            if not mine.cancel():  # the turn came while this one was leaving
                self._next()
            raise
        finally:
            waiter.is_queued = False

    def _next(self) -> None:
        while self._line:
            first = self._line.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._free += 1
