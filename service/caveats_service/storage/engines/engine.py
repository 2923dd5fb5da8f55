"""The protocol of a database. It has two implementations: `sqlite` and `postgres`.

Knows connections, transactions and the counters in `meta`. Must not know any other table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from caveats_service.storage.engines.queue import Clock, FairQueue

Progress: TypeAlias = Callable[[int, int], None]
"""Called from the copying thread with the number of pages copied and of all pages."""

META = "meta"
"""The table with one row that holds the counters."""
KEYS_OF_A_HISTORY = 1000
"""Another history begins at a number of keys that is so much higher, and up to a hundred times as much by chance: it may
have lost keys of the one before, and never makes others under their ids."""
COUNTERS = f"SELECT epoch, revocation_sequence, key_sequence FROM {META}"  # noqa: S608  # no input in it


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of the database: each grows with every change of its kind."""

    epoch: int
    revocations: int
    keys: int


class Watch(Protocol):
    """A connection of its own that notices what others write."""

    async def counters(self) -> Counters:
        """The counters now."""

    async def wait(self) -> None:
        """Return when something may have been written: at once if the database notifies, otherwise soon."""


class Engine(Protocol):
    """One database as one process sees it."""

    deadline: float | None
    """Seconds after which an operation that has had its turn is given up; None if the engine sees to that."""

    clock: Clock
    """Measures the deadline and the waiting in queues."""

    exclusive_queue: FairQueue
    """The queue for `exclusive_write`."""

    history: str
    """SQL for what the database calls its history, the column `history` where it has no name for it, and the empty text
    for a standby, which has none of its own. Sequences belong to a history: another one gives them out again."""

    snapshot_time: str
    """SQL for a time before which everything is in the snapshot that is read, on the clock of the database's server;
    NULL if all who use the database have one clock, the machine's."""

    write_nothing: tuple[str, ...]
    """Statements that change nothing together, and take the room of a revocation where room can run out."""

    def open(self) -> None:
        """Register this process as a user of the database, before its first connection."""

    def failures(self) -> AbstractContextManager[None]:
        """Turn the errors of the driver, the pool, the network and the disk into `StoreUnavailable`."""

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection on which every statement sees the same snapshot."""

    async def rows(self, connection: AsyncConnection, query: str, *values: int) -> Sequence[Sequence[Any]]:
        """The driver's own rows of a query with $1, $2, ...: for very many rows, without type conversion."""

    async def server_time(self, connection: AsyncConnection) -> datetime | None:
        """The time of the database's server; None if all who use the database have one clock, the machine's."""

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction: committed durably on leaving, rolled back on any exception."""

    def exclusive_write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that excludes all other `exclusive_write`s: what it has read stays true until it ends."""

    def watch(self) -> AbstractAsyncContextManager[Watch]:
        """Open a connection that notices what others write."""

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Run the upgrade in one transaction, one process at a time; create the database's file if it is one."""

    async def exists(self) -> bool:
        """Whether there is a database of this service, or anything else in its place."""

    async def checkpoint(self) -> bool:
        """Remove overwritten bytes from the disk; False if that is not possible now."""

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """Copy the database while the service runs."""

    async def close(self) -> None:
        """Close all connections; the next use opens new ones."""
