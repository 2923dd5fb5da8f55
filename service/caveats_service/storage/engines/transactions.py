"""Operations and their transactions, on the engine that the address names.

Must not know any table but `meta`. An operation happens wholly or not at all, also if its caller is cancelled. It is
repeated a few times if the database rolls its transaction back, and it ends within a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import random
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL

from caveats_service.storage.engines.engine import COUNTERS, Engine, Progress, Watch
from caveats_service.storage.engines.migrate import Schema, StepDone, schema_of, upgrade
from caveats_service.storage.engines.postgres import CONNECTIONS, Postgres
from caveats_service.storage.engines.queue import WAITER, Waiter
from caveats_service.storage.engines.sqlite import Sqlite
from caveats_service.storage.errors import StoreError, StoreUnavailable, TransactionAborted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

_Self = TypeVar("_Self", bound="Repository")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_PAUSES = (0.0, 0.02, 0.08, 0.32)
"""Seconds, at most, before each repetition."""

_WRITE_PROVES = 5.0
"""Seconds for which a committed write shows that the database takes writes."""

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = "sqlite:///"


class Database:
    """A database, used by one process.

    `url`: `sqlite:///path` (the path as it is, nothing escaped), `sqlite_url(path)`, or
    `postgresql://user@host:port/database` in any of libpq's forms. `patience`: how long a connection, a lock or
    an answer is waited for; by default the engine's `PATIENCE`. `connections`: the most to PostgreSQL, 3 or more.
    """

    def __init__(
        self, url: URL | str, *, patience: timedelta | None = None, connections: int = CONNECTIONS
    ) -> None:
        self._engine = _engine(url, {} if patience is None else {"patience": patience}, connections)
        self._running: set[asyncio.Task[Any]] = set()
        self._pid = 0
        self._written_at = -_WRITE_PROVES
        self._probe: asyncio.Task[None] | None = None

    # its life

    async def exists(self) -> bool:
        """Whether there is a database already, migrated or not: then its seal key must exist as well."""

        async def work() -> bool:
            with self._engine.failures():
                self._here()
                return await self._engine.exists()

        return await self.run(work)

    async def schema(self) -> Schema:
        """The schema that an existing database has, and what it lacks. Raises `SchemaTooNew`, `SchemaError`."""

        async def work() -> Schema:
            async with self.read() as connection:
                return await connection.run_sync(schema_of)

        return await self.run(work)

    async def migrate(self, done: StepDone | None = None) -> None:
        """Create or upgrade the schema, however long it takes. Raises `SchemaTooNew`, `SchemaError`."""

        async def work() -> None:
            with self._engine.failures():
                self._here()
                await self._engine.migrate(functools.partial(upgrade, done=done))

        await self.run(work, bounded=False)

    async def ping(self) -> None:
        """Return if the database can be read now and has been migrated; otherwise raise `StoreUnavailable`."""

        async def work() -> None:
            async with self.read() as connection:
                (await connection.exec_driver_sql(COUNTERS)).one()

        await self.run(work)

    async def check_writable(self) -> None:
        """Return if the database takes writes, as the last one of this process, within the last 5 s, has shown.

        Otherwise write, once for all callers at a time. Raises `StoreUnavailable`: read-only, full or locked.
        """
        if time.monotonic() - self._written_at < _WRITE_PROVES:
            return
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self.run(self._write_nothing))
            self._probe.add_done_callback(self._settled)
        await asyncio.shield(self._probe)

    async def _write_nothing(self) -> None:
        """A write that changes nothing, and takes the room and the locks of one that does."""
        async with self.exclusive_write() as connection:
            for statement in self._engine.write_nothing:
                await connection.exec_driver_sql(statement)

    async def checkpoint(self) -> bool:
        """Remove overwritten bytes from the disk; False if that is not possible now."""

        async def work() -> bool:
            with self._engine.failures():
                self._open()
                return await self._engine.checkpoint()

        return await self.run(work)

    async def backup(self, target: Path, *, progress: Progress | None = None) -> None:
        """Copy the database (mode 0600) while the service runs. Raises `BackupExists`, `BackupElsewhere`."""
        await self._engine.backup(target, progress)

    async def close(self) -> None:
        """Close all connections, once the operations that run on them have ended; the next use opens new ones."""
        while self._running:
            await asyncio.wait(self._running)
        if self._pid == os.getpid():
            await self._engine.close()
        self._pid = 0

    # transactions, for use within an operation

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which every statement sees the same snapshot."""
        with self._engine.failures():
            self._open()
            async with self._engine.read() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed durably on leaving, rolled back on any exception."""
        async with self._noting_writes(self._engine.write) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def exclusive_write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that excludes all other `exclusive_write`s: what it has read stays true until it ends."""
        async with self._noting_writes(self._engine.exclusive_write) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _noting_writes(
        self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction that shows whether the database takes writes: see `check_writable`."""
        try:
            with self._engine.failures():
                self._open()
                async with begin() as connection:
                    yield connection
        except StoreUnavailable:
            self._written_at = -_WRITE_PROVES
            raise
        self._written_at = time.monotonic()

    def exclusive_turn(self) -> AbstractAsyncContextManager[None]:
        """The turn for `exclusive_write`, for an operation that decides what to write once it has the turn."""
        return self._engine.exclusive_queue.turn()

    async def rows(self, connection: AsyncConnection, query: str, *values: int) -> Sequence[Sequence[Any]]:
        """The driver's own rows of a query with $1, $2, ...: for reading very many, without SQLAlchemy's types."""
        return await self._engine.rows(connection, query, *values)

    @property
    def history(self) -> str:
        """SQL for what the database calls its history: see `Engine`."""
        return self._engine.history

    @property
    def snapshot_time(self) -> str:
        """SQL for the time of what is read: see `Engine`."""
        return self._engine.snapshot_time

    async def server_time(self, connection: AsyncConnection) -> datetime | None:
        """The time of the database's server; None if all who use the database have one clock, the machine's."""
        return await self._engine.server_time(connection)

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[Watch]:
        """A connection of its own that notices what others write. Leave it before the database is closed."""
        with self._engine.failures():
            self._open()
            async with self._engine.watch() as watch:
                yield watch

    async def run(self, work: Callable[[], Awaitable[_Result]], *, bounded: bool = True) -> _Result:
        """Run an operation to its end even if its caller is cancelled, but no longer than the engine's deadline.

        `bounded` false: without a deadline. An aborted transaction is repeated, so `work` must not act outside of it.
        """
        waiter, context = Waiter(self._engine.clock), contextvars.copy_context()
        context.run(WAITER.set, waiter)
        task = asyncio.create_task(_again_if_aborted(work), context=context)
        self._running.add(task)
        task.add_done_callback(self._settled)
        deadline = self._engine.deadline if bounded else None
        with self._engine.clock.running():
            while not task.done():
                left = None if deadline is None else waiter.remaining(deadline)
                if left is not None and left <= 0:
                    task.cancel()
                    raise StoreUnavailable(f"the database has not answered for {deadline:g} s")
                await asyncio.wait({task}, timeout=left)
        return task.result()

    def _open(self) -> None:
        self._here()
        self._engine.open()

    def _here(self) -> None:
        """This process has the database now, and must close it."""
        if self._pid not in (0, os.getpid()):
            raise StoreError("this store was opened before a fork; make one in each process")
        self._pid = os.getpid()

    def _settled(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # asyncio would log it if nobody waits for the task any more


class Repository:
    """A group of operations on one database: methods under `operation`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def _run(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        return await self._database.run(work)


def operation(
    method: Callable[Concatenate[_Self, _Arguments], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate[_Self, _Arguments], Coroutine[Any, Any, _Result]]:
    """Make a repository's method an operation: see `Database.run`.

    A cancelled call of the driver would leave a connection with an open transaction, which blocks all writers.
    """

    @functools.wraps(method)
    async def run(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        return await self._run(lambda: method(self, *args, **kwargs))

    return run


async def _again_if_aborted(work: Callable[[], Awaitable[_Result]]) -> _Result:
    for pause in _PAUSES:
        try:
            return await work()
        except TransactionAborted:
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # chance, not secrecy
    return await work()


async def in_batches(step: Callable[[], Awaitable[int]], size: int) -> int:
    """Repeat a step, which returns how many rows it has handled, until it handles fewer than `size`. Returns the sum."""
    done = 0
    while True:
        some = await step()
        done += some
        if some < size:
            return done


def _engine(url: URL | str, given: dict[str, timedelta], connections: int) -> Engine:
    if isinstance(url, URL):
        if url.drivername == "sqlite+aiosqlite" and url.database:
            return Sqlite(Path(url.database), **given)
    elif url.startswith(_POSTGRES):
        return Postgres(url, connections=connections, **given)
    elif url.startswith(_SQLITE) and url != _SQLITE:
        return Sqlite(Path(url.removeprefix(_SQLITE)), **given)
    raise StoreError("the store's address is sqlite:///path or postgresql://user@host:port/database")
