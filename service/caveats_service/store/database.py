"""Connections and transactions: how the store reaches its database, and what a failure to reach it is called.

Knows the engine, SQLite's ways and the lock file. Must not know any table but `meta`.

SQLite is opened on first use, so after a fork. Readers see one snapshot each and never wait. Writers take
turns: first in this process (a lock), then among processes (BEGIN IMMEDIATE, tried again and again), so that
nobody sees "database is locked" because two transactions wanted to become writers at once.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, event, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from .errors import DatabaseInUse, StoreError, StoreUnavailable
from .schema import meta

_Self = TypeVar("_Self", bound="Database")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

PATIENCE: Final = timedelta(seconds=5)
_STEP: Final = 0.02

# secure_delete: a retired key's bytes are overwritten, not only unlinked.
_PRAGMAS: Final = ("foreign_keys=ON", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF")


def sqlite_url(path: Path) -> URL:
    """The address of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite+aiosqlite", database=str(path))


def database_exists(path: Path) -> bool:
    """Whether a SQLite file holds anything (a first start that died early may leave an empty one)."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def whole(
    method: Callable[Concatenate[_Self, _Arguments], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate[_Self, _Arguments], Coroutine[Any, Any, _Result]]:
    """Let an operation run to its end even if its caller is cancelled.

    Cutting a driver off in the middle leaves a connection behind whose open transaction holds up all writers.
    """

    @functools.wraps(method)
    async def run(self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        task = asyncio.create_task(method(self, *args, **kwargs))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    return run


class Database:
    """One database as one process sees it. `patience`: how long a writer or a connection is waited for."""

    def __init__(self, url: URL | str, *, patience: timedelta = PATIENCE) -> None:
        self._url = make_url(url)
        if self._url.drivername != "sqlite+aiosqlite" or not self._url.database:
            raise StoreError("the store speaks to a SQLite file: sqlite+aiosqlite:///path")
        self.path: Final = Path(self._url.database)
        self._patience = patience.total_seconds()
        self._readers = self._engine(connections=10, busy_timeout=self._patience)
        event.listen(self._readers.sync_engine, "begin", _begin)
        # One connection, because writers take turns. It waits in SQLite for a moment only: see `_begin_writing`.
        self._writer = self._engine(connections=1, busy_timeout=_STEP)
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._presence: Presence | None = None
        self._pid = 0

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection on which every statement sees the same snapshot."""
        with _failures():
            self._open()
            async with self._readers.begin() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: durable on leaving, undone on any exception."""
        with _failures():
            self._open()
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
            try:
                async with self._writer.begin() as connection:
                    await self._begin_writing(connection)
                    yield connection
            finally:
                self._turn.release()

    @contextlib.asynccontextmanager
    async def write_alone(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in which what was read stays true until it ends, on PostgreSQL as well."""
        async with self.write() as connection:
            await connection.execute(select(meta.c.id).with_for_update())
            yield connection

    @whole
    async def checkpoint(self) -> bool:
        """Fold the log into the file, so that overwritten bytes are gone; False if a reader is in the way."""
        with _failures():
            self._open()
            async with asyncio.timeout(self._patience), self._turn, self._writer.connect() as connection:
                result = await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                return bool(result.scalar_one() == 0)

    async def close(self) -> None:
        """Close all connections, after what still runs on them; the next use opens new ones."""
        while self._running:
            await asyncio.wait(self._running)
        if self._pid == os.getpid():
            await self._readers.dispose()
            await self._writer.dispose()
        if self._presence is not None:
            self._presence.leave()
            self._presence = None
        self._pid = 0

    def _engine(self, *, connections: int, busy_timeout: float) -> AsyncEngine:
        # The driver is told (isolation_level None) to begin nothing by itself: it would leave out DDL and reads.
        engine = create_async_engine(
            self._url,
            connect_args={"timeout": busy_timeout, "isolation_level": None},
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self._patience,
        )
        event.listen(engine.sync_engine, "connect", _on_connect)
        return engine

    async def _begin_writing(self, connection: AsyncConnection) -> None:
        """Wait for other processes.

        SQLite's own waiting sleeps longer and longer, so that a newcomer overtakes whoever has waited for
        seconds; when it begins anew after every short step, all have the same chance.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                locked = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not locked or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(random.uniform(0, _STEP / 4))  # noqa: S311  chance, not secrecy
            else:
                return

    def _open(self) -> None:
        """Say that this process uses the database, before its first connection."""
        if self._presence is None:
            try:
                self._presence = Presence.shared(self.path)
            except DatabaseInUse as error:
                raise StoreUnavailable(str(error)) from error
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            raise StoreError("this store was opened before a fork; make one in each process")


class Presence:
    """A lock on the file beside the database: shared by whoever uses it, exclusive for a restore.

    The kernel drops it with the process, so no stale lock is left behind by a kill.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def shared(cls, database: Path) -> "Presence":
        """Be one of the users of this database."""
        return cls._locked(database, fcntl.LOCK_SH, "the database is being restored")

    @classmethod
    def exclusive(cls, database: Path) -> "Presence":
        """Be the only one; `DatabaseInUse` if anyone is there."""
        return cls._locked(database, fcntl.LOCK_EX, "a service is running on this database: stop it first")

    @classmethod
    def _locked(cls, database: Path, mode: int, refusal: str) -> "Presence":
        handle = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise DatabaseInUse(refusal) from error
        except OSError:
            os.close(handle)
            raise
        return cls(handle)

    def leave(self) -> None:
        """Be gone."""
        os.close(self._handle)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn whatever the driver, the pool or the disk says into `StoreUnavailable`."""
    try:
        yield
    except DBAPIError as error:
        raise StoreUnavailable(f"{type(error.orig).__name__}: {error.orig}") from error
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


def _on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
