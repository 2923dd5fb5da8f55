"""Those who wait for a decision: one look at the store for all of them, and none while nobody waits.

Whichever node a decision is made on, who waits here hears of it within the pause between two looks.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Final

from caveats_service.core.errors import Busy
from caveats_service.storage import Store, StoreError

_PAUSE: Final = 0.25
_LONGEST: Final = 5.0
"""Seconds after which somebody who waits is looked after: they may have gone."""
MOST: Final = 1000
MOST_FROM_ONE: Final = 500
"""From one address: it cannot take all the places."""
MOST_FOR_ONE: Final = 128
"""For one decision."""


class Waiters:
    """Who waits on this node."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._waiting: dict[bytes, tuple[asyncio.Event, int]] = {}
        self._from: Counter[str] = Counter()
        self._looker: asyncio.Task[None] | None = None
        self._ended = False

    async def keepalives(
        self, wait_hash: bytes, address: str, gone: Callable[[], Awaitable[bool]], every: float
    ) -> AsyncIterator[None]:
        """One each `every` seconds, until there is nothing to wait for any more, or nobody who does.

        Raises `Busy`: at first if there are too many, and whenever the process is about to stop.
        """
        event, others = self._waiting.get(wait_hash, (asyncio.Event(), 0))
        if (
            self._ended
            or others >= MOST_FOR_ONE
            or self._from[address] >= MOST_FROM_ONE
            or self._from.total() >= MOST
        ):
            raise Busy("too many wait for a decision", 5)
        self._waiting[wait_hash] = (event, others + 1)
        self._from[address] += 1
        if self._looker is None or self._looker.done():
            self._looker = asyncio.create_task(self._look())
        now = asyncio.get_running_loop().time
        try:
            due = now() + every
            while not event.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), max(0, min(_LONGEST, due - now())))
                if self._ended:
                    raise Busy("the process is about to stop", 1)
                if not event.is_set() and await gone():
                    return
                if not event.is_set() and now() >= due:
                    yield
                    due = now() + every
        finally:
            self._from[address] -= 1
            if not self._from[address]:
                del self._from[address]
            event, others = self._waiting[wait_hash]
            if others == 1:
                del self._waiting[wait_hash]
            else:
                self._waiting[wait_hash] = (event, others - 1)

    def tell(self, wait_hash: bytes) -> None:
        """It has been decided here."""
        if wait_hash in self._waiting:
            self._waiting[wait_hash][0].set()

    def end(self) -> None:
        """Let everybody go: the process is about to stop."""
        self._ended = True
        for event, _ in self._waiting.values():
            event.set()

    async def _look(self) -> None:
        while self._waiting and not self._ended:
            with contextlib.suppress(StoreError):
                for wait_hash in await self._store.interactions.settled(
                    tuple(self._waiting), now=self._now()
                ):
                    self.tell(wait_hash)
            await asyncio.sleep(_PAUSE)
