"""Noticing what other processes write, soon and without ever missing it unknowingly.

Knows counters only: a change is a hint to look, never the thing itself. The first hint, and the first after the
connection was lost, is that something may have been missed; then each counter that moved is named.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Final

from caveats_service.storage.engines.engine import Counters
from caveats_service.storage.engines.transactions import Database
from caveats_service.storage.errors import StoreUnavailable
from caveats_service.storage.records import Change, ChangeKind

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0


class ChangeStream:
    """The hints of one database."""

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    async def follow(self) -> AsyncIterator[Change]:
        """Hints for as long as they are asked for; a store that is away is waited for.

        On a connection of its own. End the iteration before the store is closed.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._database.watch() as watch:
                    seen = await watch.counters()
                    pause = _FIRST_PAUSE
                    yield Change(ChangeKind.MISSED, seen.revocations)
                    while True:
                        await watch.wait()
                        now = await watch.counters()
                        for change in _moved(seen, now):
                            yield change
                        seen = now
            except StoreUnavailable:
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  chance, not secrecy
                pause = min(2 * pause, _LONGEST_PAUSE)


def _moved(before: Counters, now: Counters) -> Iterator[Change]:
    if now.epoch != before.epoch or now.revocations < before.revocations or now.keys < before.keys:
        yield Change(ChangeKind.MISSED, now.revocations)
        return
    if now.revocations != before.revocations:
        yield Change(ChangeKind.REVOCATION, now.revocations)
    if now.keys != before.keys:
        yield Change(ChangeKind.KEY, now.keys)
