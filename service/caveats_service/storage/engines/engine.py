"""What the store asks of a database, whichever it is. There are two: `sqlite.py` and `postgres.py`.

Knows connections and transactions. Must not know any table but `meta`, and nobody above it may know which of
the two it has.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from caveats_service.storage.engines.queue import Clock, FairQueue

Progress: TypeAlias = Callable[[int, int], None]
"""Is told the pages copied and the pages in all, from the copying thread."""

COUNTERS: Final = "SELECT epoch, revocation_sequence, key_sequence FROM meta"


@dataclass(frozen=True, slots=True)
class Counters:
    """How far the database is: each number moves with every change of its kind."""

    epoch: int
    revocations: int
    keys: int


class Watch(Protocol):
    """A connection of its own on which to notice what others write."""

    async def counters(self) -> Counters:
        """Where the database is now."""

    async def wait(self) -> None:
        """Return when something may have been written: at once if the database tells, otherwise soon."""


class Engine(Protocol):
    """One database as one process sees it."""

    deadline: float | None
    """Seconds after which an operation is given up that has had its turn; None if the engine sees to that."""

    in_line: float
    """Seconds for which a turn is waited for while nobody gets done."""

    clock: Clock
    """What both are measured by."""

    alone: FairQueue
    """The line of those who `exclusive_write`."""

    def open(self) -> None:
        """Say that this process uses the database, before its first connection."""

    def failures(self) -> AbstractContextManager[None]:
        """Turn whatever the driver, the pool, the network or the disk says into `StoreUnavailable`."""

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection on which every statement sees the same snapshot."""

    async def rows(self, connection: AsyncConnection, query: str, *values: int) -> Sequence[Sequence[Any]]:
        """What the driver itself makes of a query with $1, $2, ...: for very many rows, read as they are."""

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction: durable on leaving, undone on any exception."""

    def exclusive_write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction in which what was read stays true until it ends: nobody else `exclusive_write`s meanwhile."""

    def watch(self) -> AbstractAsyncContextManager[Watch]:
        """Begin to notice what others write."""

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Run the upgrade in one transaction, one process at a time; make the database's file if it is one."""

    async def exists(self) -> bool:
        """Whether there is a database of this service, or something in its place."""

    async def checkpoint(self) -> bool:
        """See to it that overwritten bytes are gone; False if that is not possible now."""

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """A whole copy, while the service runs."""

    async def integrity_problems(self) -> tuple[str, ...]:
        """What is wrong with the database; nothing if it is whole."""

    async def close(self) -> None:
        """Close all connections; the next use opens new ones."""
