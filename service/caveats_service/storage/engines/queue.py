"""Waiting for one's turn, in the order of asking: for a connection, or to be the only one who writes.

A queue that moves is waited in, however long it is: a burst of requests is no fault of the database. One in which
nobody gets done is left in good time. Knows clocks; must not know what a turn is used for.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Final

from caveats_service.storage.errors import StoreError, StoreUnavailable

_TICK: Final = 0.02


class Clock:
    """Seconds, but for those in which this process itself was held up: what is late then is not the database's fault."""

    def __init__(self) -> None:
        self._at = 0.0
        self._seen = 0.0
        self._users = 0
        self._next: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """The time; it goes on only while somebody needs it."""
        return self._at + min(time.monotonic() - self._seen, 1.5 * _TICK)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Somebody needs it."""
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
    """How long an operation has been without an answer. Others that got done before it do not count against it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.since = clock.now()
        self.in_line = False
        self.has: set[FairQueue] = set()

    def left(self, seconds: float) -> float:
        """How much is left of so many seconds. Who stands in line has them all: the line looks after itself."""
        return seconds if self.in_line else self.since + seconds - self.clock.now()


WAITER: Final[ContextVar[Waiter | None]] = ContextVar("asked", default=None)
"""The operation that runs here."""


class FairQueue:
    """So many at once. `patience`: for how many seconds a turn is waited for while nobody gets done."""

    def __init__(self, places: int, patience: float, clock: Clock) -> None:
        self._free = places
        self._patience = patience
        self._clock = clock
        self._line: deque[asyncio.Future[None]] = deque()
        self._done_at = 0.0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One's turn; for an operation that has it already, nothing. Raises `StoreUnavailable` if it does not come."""
        asked = WAITER.get() or Waiter(self._clock)
        if self in asked.has:
            yield
            return
        if self._free:
            self._free -= 1
        else:
            with self._clock.running():
                await self._wait(asked)
        asked.since = max(asked.since, self._done_at)
        asked.has.add(self)
        done = False
        try:
            yield
            done = True
        except StoreError as error:
            done = not isinstance(error, StoreUnavailable)
            raise
        finally:
            if done:
                self._done_at = self._clock.now()
            asked.has.discard(self)
            self._next()

    async def _wait(self, asked: Waiter) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._line.append(mine)
        asked.in_line = True
        try:
            while not mine.done():
                left = max(asked.since, self._done_at) + self._patience - self._clock.now()
                if left <= 0:
                    raise StoreUnavailable(f"nobody has got done with the database for {self._patience:g} s")
                await asyncio.wait({mine}, timeout=left)
        except BaseException:
            if not mine.cancel():  # it has come in the very moment of leaving
                self._next()
            raise
        finally:
            asked.in_line = False

    def _next(self) -> None:
        while self._line:
            first = self._line.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._free += 1
