"""A SQLite file: the embedded default, for one machine.

Knows aiosqlite, the file and its lock. Connections open on first use, so after a fork. Each reader sees one
snapshot and never waits. Writers take turns: in this process by a queue, among processes by BEGIN IMMEDIATE, tried
again and again. So no transaction fails with "database is locked" because two want to write at once.
A file that was deleted or replaced while it is open can still be written, and is lost: nothing written to it is
acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import sqlite3
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiosqlite
from sqlalchemy import URL, Connection, event
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from caveats_service.storage.engines.backup import backup_database
from caveats_service.storage.engines.engine import COUNTERS, META, Counters, Progress
from caveats_service.storage.engines.file_lock import FileLock
from caveats_service.storage.engines.queue import Clock, FairQueue
from caveats_service.storage.errors import (
    BadValue,
    DatabaseFull,
    DatabaseInUse,
    DatabaseReadOnly,
    DatabaseReplaced,
    StoreBroken,
    StoreError,
    StoreUnavailable,
)
from caveats_service.storage.files import create_if_missing, sync_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

PATIENCE = timedelta(seconds=5)
_READERS = 10
_STEP = 0.02
"""Seconds for which SQLite itself waits for a lock."""
_LOOK_EVERY = 0.1
"""Seconds between two looks for changes of other processes."""
_LOGS = ("-wal", "-shm")
"""Ends of the names of the files beside the database, which are there for as long as it is open."""
# What is wrong with the statement, the schema, or the file's content: trying again changes nothing.
_FOR_GOOD = {
    *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE),
    *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_AUTH),
}

_KINDS: dict[int, type[StoreError]] = {
    **dict.fromkeys(_FOR_GOOD, StoreBroken),
    sqlite3.SQLITE_READONLY: DatabaseReadOnly,
    sqlite3.SQLITE_FULL: DatabaseFull,
    sqlite3.SQLITE_TOOBIG: BadValue,
}
"""The errors of SQLite's codes. After all others it may go better later."""
_KINDS_OF_FILES: dict[int, type[StoreError]] = {
    errno.EROFS: DatabaseReadOnly,
    errno.ENOSPC: DatabaseFull,
    errno.EDQUOT: DatabaseFull,
}
"""The same for the system's codes."""

# secure_delete: a retired key's bytes are overwritten, not only unlinked.
_PRAGMAS = ("foreign_keys=ON", "synchronous=FULL", "secure_delete=ON", "trusted_schema=OFF")


def sqlite_url(path: Path) -> URL:
    """The address of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite+aiosqlite", database=str(path))


class Sqlite:
    """A SQLite file, used by one process. `patience`: how long to wait for a writer or a connection."""

    deadline: float | None = None
    snapshot_time = "NULL"
    history = "history"  # a file has no name for it: whoever restores one begins another epoch
    write_nothing: tuple[str, ...] = (  # eight pages and back
        f"UPDATE {META} SET instance_id = instance_id || hex(zeroblob(16384))",  # noqa: S608  # no input in it
        f"UPDATE {META} SET instance_id = substr(instance_id, 1, length(instance_id) - 32768)",  # noqa: S608  # as above
    )

    def __init__(self, path: Path, *, patience: timedelta = PATIENCE) -> None:
        self._path = path
        self._patience = patience.total_seconds()
        self._queue_patience = self._patience
        self.clock = Clock()
        self._reading = FairQueue(_READERS, self._queue_patience, self.clock)
        self._readers = self._engine(connections=_READERS, busy_timeout=self._patience)
        event.listen(self._readers.sync_engine, "begin", _begin)
        # One connection, because writers take turns. It waits in SQLite for a moment only: see `_begin_writing`.
        self._writer = self._engine(connections=1, busy_timeout=_STEP)
        self.exclusive_queue = FairQueue(1, self._queue_patience, self.clock)
        self._file_lock: FileLock | None = None
        self._files = _OpenFiles(path)
        event.listen(self._writer.sync_engine, "connect", lambda *_: self._files.forget(_LOGS))

    def open(self) -> None:
        """Take the shared lock on the file."""
        if self._file_lock is None:
            try:
                self._file_lock = FileLock.shared(self._path)
            except DatabaseInUse as error:
                raise StoreUnavailable(str(error)) from error

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Errors of the driver, the pool and the disk become `StoreUnavailable`."""
        try:
            yield
        except OverflowError:  # a whole number of more than 64 bits
            raise BadValue from None
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            kind = _kind(cause)
            if kind is BadValue:
                raise BadValue from None
            raise kind(self._words(cause)) from error

    def _words(self, error: BaseException | None) -> str:
        """What an error of the driver or the disk says, with the file that it is about."""
        match error:
            case OSError() if error.strerror:
                return f"{error.filename or self._path}: {error.strerror.lower()}"
            case sqlite3.Error() if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN:
                return f"{self._path} cannot be opened: is it a database, and may this user write it and its folder?"
        return f"{type(error).__name__}: {error}"

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A deferred transaction."""
        async with self._reading.turn():
            self._files.require_same()
            async with self._readers.begin() as connection:
                yield connection

    async def rows(self, connection: AsyncConnection, query: str, *values: int) -> Sequence[Sequence[Any]]:
        """The rows, fetched in one visit to the driver's thread."""
        driver: Any = (await connection.get_raw_connection()).driver_connection
        named = {str(number): value for number, value in enumerate(values, 1)}
        rows: list[tuple[Any, ...]] = await driver.execute_fetchall(query, named)
        return rows

    async def server_time(self, connection: AsyncConnection) -> None:
        """None: the file is used by the processes of one machine."""

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the one writing connection."""
        async with self.exclusive_queue.turn():
            self._files.require_same()
            async with self._writer.begin() as connection:
                await self._begin_writing(connection)
                self._files.remember(_LOGS)
                yield connection
                self._files.require_same()
            self._files.require_same()  # what was committed into files that are gone is not acknowledged

    exclusive_write = write

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[_Watch]:
        """A connection that asks ten times a second whether another has committed."""
        connection = await self._connect(self._patience)
        try:
            yield _Watch(connection)
        finally:
            await connection.close()

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Create the file, then upgrade as any writer. Nothing is created while a restore puts a file there."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.open()
        await asyncio.to_thread(prepare_file, self._path, self._patience)
        async with self.write() as connection:
            await connection.run_sync(upgrade)

    async def exists(self) -> bool:
        """Whether the file holds anything: a first start that died early may leave an empty one."""
        try:
            return self._path.stat().st_size > 0
        except FileNotFoundError:
            return False

    async def checkpoint(self) -> bool:
        """Fold the log into the file; False if a reader is in the way."""
        async with self.exclusive_queue.turn(), self._writer.connect() as connection:
            result = await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            return bool(result.scalar_one() == 0)

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """Copy into one file, complete in itself."""
        await asyncio.to_thread(backup_database, self._path, target, progress)

    async def close(self) -> None:
        """Close all connections and release the lock."""
        await self._readers.dispose()
        await self._writer.dispose()
        if self._file_lock is not None:
            self._file_lock.release()
            self._file_lock = None
        self._files.forget(("", *_LOGS))

    def _engine(self, *, connections: int, busy_timeout: float) -> AsyncEngine:
        async def connect(*_args: object, **_named: object) -> aiosqlite.Connection:
            return await self._connect(busy_timeout)

        engine = create_async_engine(
            sqlite_url(self._path),
            connect_args={"async_creator_fn": connect},
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self._patience,
        )
        event.listen(engine.sync_engine, "connect", _on_connect)
        return engine

    async def _connect(self, busy_timeout: float) -> aiosqlite.Connection:
        """A connection to the file, which must be there: only `migrate` makes one.

        The driver is told (isolation_level None) to begin nothing by itself: it would leave out DDL and reads.
        """
        existing = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = aiosqlite.connect(existing, uri=True, isolation_level=None, timeout=busy_timeout)
        thread = connection._thread  # noqa: SLF001  # aiosqlite 0.22 has no other way
        thread.daemon = True  # a process that ends without `close`, as by an exception, does not wait for it
        try:
            return await connection
        except (Exception, asyncio.CancelledError):
            # The thread of a connection that could not be opened ends when it likes. It is waited for, because its last
            # word to an event loop that is closed by then would be a traceback.
            await asyncio.to_thread(thread.join)
            raise

    async def _begin_writing(self, connection: AsyncConnection) -> None:
        """Begin a transaction, after those of other processes.

        SQLite's own waiting sleeps longer each time, so that newcomers overtake a writer that has waited for
        seconds. Here the waiting begins anew after every short step, which gives all the same chance.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                locked = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not locked or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(random.uniform(0, _STEP / 4))  # noqa: S311  # chance, not secrecy
            else:
                return


class _OpenFiles:
    """The files of a database that this process has open, by device and inode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, tuple[int, int]] = {}

    def remember(self, ends: Collection[str]) -> None:
        """These files are open now, by the ends of their names. Those that are remembered already stay so."""
        for end in ends:
            found = self._open.get(end) or self._identity(end)
            if found is not None:
                self._open[end] = found

    def forget(self, ends: Collection[str]) -> None:
        """These files are closed, or opened anew."""
        for end in ends:
            self._open.pop(end, None)

    def require_same(self) -> None:
        """Return if the files under their names are still those that are open. Raises `DatabaseReplaced`. Takes 5 us."""
        self.remember(("",))
        for end, identity in self._open.items():
            if self._identity(end) != identity:
                raise DatabaseReplaced(f"{self._path.name}{end}")

    def _identity(self, end: str) -> tuple[int, int] | None:
        try:
            status = Path(f"{self._path}{end}").stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


class _Watch:
    """Polls `data_version`, a number in shared memory that grows with every commit of another connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._seen: object = None

    async def counters(self) -> Counters:
        self._seen = await self._one("PRAGMA data_version")
        return Counters(*await self._one(COUNTERS))

    async def wait(self) -> None:
        seen = self._seen
        while seen == self._seen:
            await asyncio.sleep(_LOOK_EVERY)
            seen = await self._one("PRAGMA data_version")

    async def _one(self, query: str) -> tuple[int, ...]:
        async with self._connection.execute(query) as cursor:
            row = await cursor.fetchone()
        if row is None:
            raise StoreUnavailable("the table meta has no row")
        return tuple(row)


def _kind(cause: BaseException | None) -> type[StoreError]:
    """The class of the store's error for one of SQLite or of the system."""
    if isinstance(cause, OSError):
        return _KINDS_OF_FILES.get(cause.errno or 0, StoreUnavailable)
    return _KINDS.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF, StoreUnavailable)


def prepare_file(path: Path, patience: float) -> None:
    """Create the file (mode 0600) in WAL mode, also while other processes do the same."""
    create_if_missing(path)
    sync_folder(path.parent)
    # Changing the mode needs the file alone, and SQLite then answers "locked" without waiting.
    deadline = time.monotonic() + patience
    while True:
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_STEP)
        else:
            if mode != "wal":
                raise sqlite3.OperationalError("this file system does not allow write-ahead logging")
            return
        finally:
            connection.close()


def _on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
