"""A PostgreSQL database, which many nodes share.

Knows asyncpg and PostgreSQL's error codes. Works through a pooler in transaction mode: no session keeps state, no
prepared statement has a name, and each transaction sets what it needs. Where the server gives fewer connections than were
asked for, operations wait for those at hand. No wait is longer than the patience: for the
network, a connection of the pool, a lock or an answer. The server ends the transaction of a node that is frozen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import ssl
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from sqlalchemy import Connection, event, exc, inspect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, PoolProxiedConnection

from caveats_service.storage.engines.engine import COUNTERS, KEYS_OF_A_HISTORY, META, Counters, Progress
from caveats_service.storage.engines.queue import Clock, FairQueue
from caveats_service.storage.errors import (
    BackupElsewhere,
    BadValue,
    DatabaseFull,
    DatabaseReadOnly,
    StoreBroken,
    StoreError,
    StoreUnavailable,
    TransactionAborted,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine.interfaces import ExceptionContext

PATIENCE = timedelta(seconds=1.5)
CHANNEL = "caveats"
CONNECTIONS = 12
_KEPT = 2
"""Connections that are not for everybody: the one that listens, and the one for `exclusive_write`."""
_ASK_AGAIN = 5.0
"""Seconds after which one connection more is asked for, where the server has refused it."""
_LOOK_EVERY = 0.25
_HISTORY = (
    "CASE WHEN pg_is_in_recovery() THEN '' ELSE concat_ws('/',"
    " (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8),"
    " (SELECT oid FROM pg_database WHERE datname = current_database()), 'meta'::regclass::oid) END"
)
"""The server, its timeline, which a standby leaves when it is promoted, the database and the table, which a restore makes."""
_EXCLUSIVE = f", history IS DISTINCT FROM {_HISTORY} FROM {META} FOR UPDATE"
_ENTER_HISTORY = f"""
UPDATE {META} SET history = {_HISTORY},
    epoch = CASE WHEN history IS NULL THEN epoch
        ELSE greatest(epoch + 1, extract(epoch FROM clock_timestamp())::bigint) END,
    key_floor = CASE WHEN history IS NULL THEN key_floor
        ELSE key_floor + {KEYS_OF_A_HISTORY} + floor(random() * 100 * {KEYS_OF_A_HISTORY})::int END
"""  # noqa: S608  # no input in it
_MIGRATING = timedelta(minutes=10)
_MIGRATION_LOCK = int.from_bytes(b"caveats\0")

_CONFLICTS = {"40001", "40P01"}
_READ_ONLY = "25006"
# The server takes no writes, or is stopping: all connections to it are closed.
_NOT_WRITABLE = {_READ_ONLY, "57P01", "57P02", "57P03"}
_DISK_FULL = "53100"
_LOST = ("08", "57P")
_FULL = "53300"
# What is wrong with the statement, the schema, the rights or the data: trying again changes nothing.
_FOR_GOOD = ("0A", "2B", "21", "23", "42", "44", "54", "XX")
_TOO_LARGE = ("22", "54000")
# The details of these errors hold row values, which must not get into a log with the exception.
_WITH_VALUES = ("22", "23")
_log = logging.getLogger(__name__)


class Postgres:
    """A PostgreSQL database, used by one process. `patience`: after how long an operation is given up.

    `connections`: the most that the process has at a time, 3 or more.
    """

    history = _HISTORY
    snapshot_time = "transaction_timestamp()"
    write_nothing: tuple[str, ...] = (f"UPDATE {META} SET epoch = epoch",)  # noqa: S608  # no input in it

    def __init__(self, url: str, *, patience: timedelta = PATIENCE, connections: int = CONNECTIONS) -> None:
        self._url = url
        self.deadline: float | None = patience.total_seconds()
        self._patience = patience.total_seconds()
        # An operation that waits for longer has too little time left, and would be cut off in the middle.
        self._queue_patience = self._patience * 2 / 3
        self.clock = Clock()
        self._connections = FairQueue(connections - _KEPT, self._queue_patience, self.clock)
        self.exclusive_queue = FairQueue(1, self._queue_patience, self.clock)
        # The driver's clock runs on while this process is held up: its limit is for the case that ours fails.
        self._engine = self._connecting(4 * self._patience, pool_size=connections - 1, max_overflow=0)
        event.listen(self._engine.sync_engine, "checkout", _alive)
        event.listen(self._engine.sync_engine, "handle_error", _leave_server)
        self._readers = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._writers = self._engine.execution_options(isolation_level="READ COMMITTED")
        milliseconds = round(self._patience * 1000)
        self._begin_writing = (
            f"SELECT set_config('statement_timeout', '{milliseconds}', true),"
            f" set_config('idle_in_transaction_session_timeout', '{2 * milliseconds}', true),"
            " CASE current_setting('synchronous_commit')"
            " WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END"
        )

    def open(self) -> None:
        """Do nothing: the server knows its clients."""

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Errors of the driver, the pool, the network and the server become a `StoreError`: see `_failure`."""
        try:
            yield
        except exc.DBAPIError as error:
            failure = _failure(error.orig, lost=error.connection_invalidated)
            raise failure from (None if _state(error).startswith(_WITH_VALUES) else error)
        except OverflowError:
            raise BadValue from None
        except (exc.SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            failure = _failure(error, lost=_state(error).startswith(_LOST))
            raise failure from (None if _state(error).startswith(_WITH_VALUES) else error)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """REPEATABLE READ, READ ONLY."""
        async with self._connected(self._readers) as connection:
            yield connection

    async def rows(self, connection: AsyncConnection, query: str, *values: int) -> Sequence[Sequence[Any]]:
        """One statement, and so one snapshot, without a transaction around it."""
        driver: Any = (await connection.get_raw_connection()).driver_connection
        rows: list[Sequence[Any]] = await driver.fetch(query, *values)
        return rows

    async def server_time(self, connection: AsyncConnection) -> datetime:
        """The server's clock, not the beginning of the transaction."""
        at: datetime = (await connection.exec_driver_sql("SELECT clock_timestamp()")).scalar_one()
        return at

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """READ COMMITTED; durable even where the server is set to acknowledge before that."""
        async with (
            self._connected(self._writers) as connection,
            self._writing(connection, self._begin_writing),
        ):
            yield connection

    @contextlib.asynccontextmanager
    async def exclusive_write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that locks the row of `meta`. One at a time in this process, on a connection kept for it.

        If the database has another history than the row says, a new epoch begins before anything is written: sequences
        of before, which others may have read, are not given out again in the same epoch.
        """
        async with (
            self.exclusive_queue.turn(),
            self._own() as connection,
            self._writing(connection, self._begin_writing + _EXCLUSIVE),
        ):
            yield connection

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[_Watch]:
        """A connection that listens, and asks four times a second: behind a pooler no notification arrives."""
        connection = await self._connect(self._patience)
        try:
            watch = _Watch(connection)
            await watch.listen()
            yield watch
        finally:
            connection.terminate()

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Upgrade under an advisory lock that ends with the transaction."""
        engine = self._connecting(_MIGRATING.total_seconds(), poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            await connection.run_sync(upgrade)
        await engine.dispose()

    async def exists(self) -> bool:
        """Whether the first migration has run."""
        async with self.read() as connection:
            return await connection.run_sync(lambda sync: inspect(sync).has_table(META))

    async def checkpoint(self) -> bool:
        """False: dead rows stay until the server vacuums, and in its log and copies. They hold sealed bytes only."""
        return False

    async def backup(self, target: Path, progress: Progress | None) -> None:
        """Raise `BackupElsewhere`: PostgreSQL has its own tools."""
        del target, progress
        raise BackupElsewhere("this database is PostgreSQL: back it up with pg_dump or its own archiving")

    async def close(self) -> None:
        """Close all connections. If the server does not answer in time, drop them."""
        try:
            async with asyncio.timeout(self._patience):
                await self._engine.dispose()
        except TimeoutError:
            await self._engine.dispose(close=False)

    @contextlib.asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection, in its turn."""
        async with contextlib.AsyncExitStack() as stack:
            yield await self._take(engine, stack)

    @contextlib.asynccontextmanager
    async def _own(self) -> AsyncIterator[AsyncConnection]:
        """The connection for `exclusive_write`. Where the server gives none for it, one of the others in its turn."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._writers.connect())
            except (exc.DBAPIError, asyncpg.PostgresError) as error:
                if _state(error) != _FULL:
                    raise
                connection = await self._take(self._writers, stack)
            yield connection

    async def _take(self, engine: AsyncEngine, stack: contextlib.AsyncExitStack) -> AsyncConnection:
        """Wait for a turn and connect, until `stack` ends. Fewer turns are given while the server gives no connection."""
        said = ""
        while True:
            async with contextlib.AsyncExitStack() as attempt:
                try:
                    await attempt.enter_async_context(self._connections.turn())
                except StoreUnavailable as error:
                    if not said:
                        raise
                    raise StoreUnavailable(f"{error}; the server says: {said}") from error
                try:
                    connection = await attempt.enter_async_context(engine.connect())
                except (exc.DBAPIError, asyncpg.PostgresError) as error:
                    lost = self._connections.shrink() if _state(error) == _FULL else 0
                    if not lost:
                        raise
                    said = _first_line(getattr(error, "orig", error))
                    _log.warning("the database gives no more connections: %s", said)
                    asyncio.get_running_loop().call_later(_ASK_AGAIN, self._connections.grow, lost)
                    continue
                stack.push_async_exit(attempt.pop_all())
                return connection

    @contextlib.asynccontextmanager
    async def _writing(self, connection: AsyncConnection, begin: str) -> AsyncIterator[None]:
        *_, another_history = (await connection.exec_driver_sql(begin)).one()
        if another_history is True:
            await connection.exec_driver_sql(_ENTER_HISTORY)
        yield
        try:
            await connection.commit()
        except exc.DBAPIError as error:
            if _state(error) in _CONFLICTS:
                raise
            raise StoreUnavailable(
                f"the commit was not acknowledged, so it may have happened: {_first_line(error.orig)}"
            ) from error

    def _connecting(self, patience: float, **pool: Any) -> AsyncEngine:
        async def connect(*_args: object, **_kwargs: object) -> asyncpg.Connection:
            return await self._connect(patience)

        return create_async_engine(
            "postgresql+asyncpg://",
            connect_args={"async_creator_fn": connect, "prepared_statement_cache_size": 0},
            hide_parameters=True,
            **pool,
        )

    async def _connect(self, patience: float) -> asyncpg.Connection:
        """Connect by the URL itself, so that all of libpq's forms work: several hosts, sslmode, a password file."""
        try:
            return await asyncpg.connect(
                self._url,
                timeout=min(patience, 4 * self._patience),
                command_timeout=patience,
                statement_cache_size=0,
                server_settings={"application_name": f"caveats {os.getpid()}"},
            )
        except KeyError:  # getpass, of a numeric user
            raise StoreError(
                "the database's address names no user, and the user of this process has no name to take: "
                "postgresql://user@host:port/database"
            ) from None
        except (asyncpg.exceptions.ClientConfigurationError, ValueError, OverflowError):
            # The cause may repeat the password.
            raise StoreError(
                "the database's address (CAVEATS_DATABASE_URL) is not one: postgresql://user@host:port/database"
            ) from None
        except asyncpg.PostgresError as error:
            if _state(error) == _FULL:
                raise
            kind = type(_failure(error, lost=_state(error).startswith(_LOST)))
            raise kind(
                f"{_place(self._url)} refuses the connection: {_first_line(error)}{_ADVICE}"
            ) from error
        except (asyncpg.InterfaceError, OSError) as error:
            raise StoreUnavailable(
                f"{_place(self._url)} cannot be reached: {_reason(error)}{_ADVICE}"
            ) from error


_ADVICE = "; is CAVEATS_DATABASE_URL right, and does the server run?"
_NUMBER = re.compile(r"\[Errno (\d+)\]")


def _place(url: str) -> str:
    """The server in a URL for messages: its hosts and ports as they are written there, and nothing else of it."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", ()))
    return f"PostgreSQL at {hosts}" if hosts else "PostgreSQL"


def _reason(error: Exception) -> str:
    """Why there is no connection, in words."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case socket.gaierror():
            return f"its name cannot be looked up ({error.strerror})"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message})"
        case ssl.SSLError():  # its number is not the system's
            return _first_line(error)
    # asyncio puts the errors of several addresses into one text, with their numbers.
    number = getattr(error, "errno", None) or next(iter(_NUMBER.findall(str(error))), None)
    return os.strerror(int(number)).lower() if number else _first_line(error)


class _Watch:
    """Woken by NOTIFY, which a trigger on `meta` sends in the transaction that moves a counter."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._woken = asyncio.Event()

    async def listen(self) -> None:
        self._connection.add_termination_listener(lambda _connection: self._woken.set())
        await self._connection.add_listener(CHANNEL, lambda *_notification: self._woken.set())

    async def counters(self) -> Counters:
        self._woken.clear()
        row = await self._connection.fetchrow(COUNTERS)
        if row is None:
            raise StoreUnavailable("the table meta has no row")
        return Counters(*row)

    async def wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY):  # wait_for loses a cancellation that comes with the news
                await self._woken.wait()


def _alive(connection: Any, _entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
    """Replace a connection that the server has closed. The check takes no round trip."""
    if connection.driver_connection.is_closed():
        raise exc.InvalidatePoolError


def _failure(error: BaseException | None, *, lost: bool) -> StoreError:
    """The store's error for one of the driver. `lost`: the connection is gone, or the server ends it.

    A conflict is to be repeated; a value out of range is the caller's to mend; what the server refuses because of rights,
    tables or constraints is for an operator; everything else may go better later.
    """
    state = _state(error)
    message = f"{type(error).__name__} {state}: {_first_line(error)}"
    if state == _READ_ONLY:
        return DatabaseReadOnly(message)
    if state == _DISK_FULL:
        return DatabaseFull(message)
    if state in _CONFLICTS or lost:
        return TransactionAborted(message)
    if state.startswith(_TOO_LARGE) or isinstance(getattr(error, "__cause__", None), asyncpg.DataError):
        return BadValue()
    return StoreBroken(message) if state.startswith(_FOR_GOOD) else StoreUnavailable(message)


def _state(error: BaseException | None) -> str:
    """The SQLSTATE of an error, also if SQLAlchemy has wrapped it; empty if it has none."""
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _leave_server(context: ExceptionContext) -> None:
    if _state(context.original_exception) in _NOT_WRITABLE:
        context.is_disconnect = True


def _first_line(error: BaseException | None) -> str:
    """The message without the server's details, which can hold values."""
    return str(error).partition("\n")[0]
