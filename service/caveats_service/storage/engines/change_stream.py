"""The stream of changes that other processes write to the database.

Knows counters only: a change says which counter has moved, not what was written. The first change, and the first after
a lost connection, is MISSED, because nobody listened before it.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from caveats_service.storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from caveats_service.storage.engines.engine import Counters
    from caveats_service.storage.engines.transactions import Database

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0
"""Seconds before the next attempt to connect."""


class ChangeKind(StrEnum):
    """What has changed. MISSED: perhaps everything; nobody listened for a while, or the feed has a new epoch."""

    REVOCATION = "revocation"
    KEY = "key"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Change:
    """One or several changes of a kind. `sequence`: the counter of that kind now."""

    kind: ChangeKind
    sequence: int


class ChangeStream:
    """The changes of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def follow(self) -> AsyncGenerator[Change]:
        """Yield changes without end, on a connection of its own. If the database is not reached, try again.

        Close the generator before the store.
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
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # chance, not secrecy
                pause = min(2 * pause, _LONGEST_PAUSE)


def _moved(before: Counters, now: Counters) -> Iterator[Change]:
    if now.epoch != before.epoch or now.revocations < before.revocations or now.keys < before.keys:
        yield Change(ChangeKind.MISSED, now.revocations)
        return
    if now.revocations != before.revocations:
        yield Change(ChangeKind.REVOCATION, now.revocations)
    if now.keys != before.keys:
        yield Change(ChangeKind.KEY, now.keys)
