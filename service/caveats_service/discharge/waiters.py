"""Requests that wait for a decision: which wait on this node, how many may, and when they are told.

Knows the store; knows no HTTP. One query asks for all of them, and none is made while nobody waits. A decision on this
node is told at once, one on another node after the next look at the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from caveats_service.core.errors import Busy
from caveats_service.storage import Store, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

_PAUSE = 0.25
"""Seconds between two looks at the store."""
_LONGEST = 5.0
"""Seconds after which a waiter is checked: the client may have hung up."""
MAX_WAITERS = 1000
MAX_PER_ADDRESS = 500
"""One client address cannot take all the places."""
MAX_PER_DECISION = 128


class Waiters:
    """Who waits on this node."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._waiting: dict[bytes, tuple[asyncio.Event, int]] = {}
        """By wait hash: an event, set when the interaction is decided or has expired, and how many wait for it."""
        self._by_address: Counter[str] = Counter()
        self._watcher: asyncio.Task[None] | None = None
        self._ended = False

    async def keepalives(
        self, wait_hash: bytes, address: str, gone: Callable[[], Awaitable[bool]], every: float
    ) -> AsyncIterator[None]:
        """Yield every `every` seconds, until the interaction is decided or has expired, or until `gone` returns True.

        `wait_hash`: 32 bytes. `address`: the client's, by which waiters are limited. Raises `Busy` at the beginning if
        there are too many waiters, and at any time when the process is about to stop.
        """
        event, others = self._waiting.get(wait_hash, (asyncio.Event(), 0))
        if (
            self._ended
            or others >= MAX_PER_DECISION
            or self._by_address[address] >= MAX_PER_ADDRESS
            or self._by_address.total() >= MAX_WAITERS
        ):
            raise Busy("too many requests wait for a decision", 5)
        self._waiting[wait_hash] = (event, others + 1)
        self._by_address[address] += 1
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        now = asyncio.get_running_loop().time
        try:
            due = now() + every
            while not event.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0, min(_LONGEST, due - now()))):
                        await event.wait()
                if self._ended:
                    raise Busy("the process is about to stop", 1)
                if not event.is_set() and await gone():
                    return
                if not event.is_set() and now() >= due:
                    yield
                    due = now() + every
        finally:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
            event, others = self._waiting[wait_hash]
            if others == 1:
                del self._waiting[wait_hash]
            else:
                self._waiting[wait_hash] = (event, others - 1)

    def tell(self, wait_hash: bytes) -> None:
        """Wake those who wait with this wait hash: the interaction is decided or has expired."""
        if wait_hash in self._waiting:
            self._waiting[wait_hash][0].set()

    def end(self) -> None:
        """End all waiting, since the process is about to stop."""
        self._ended = True
        for event, _ in self._waiting.values():
            event.set()

    async def _watch(self) -> None:
        while self._waiting and not self._ended:
            with contextlib.suppress(StoreError):
                for wait_hash in await self._store.interactions.settled(
                    tuple(self._waiting), now=self._now()
                ):
                    self.tell(wait_hash)
            await asyncio.sleep(_PAUSE)
