"""Databases for the store's tests: a SQLite file, or a PostgreSQL database of one's own that is dropped afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import sqlite3
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from caveats_service.storage import Agent, Decision, Interaction, LabelledToken, Store, VerifierApp

POSTGRES = os.environ.get("CAVEATS_TEST_POSTGRES", "postgresql://root@127.0.0.1:5432/test")
KINDS = ("sqlite", "postgresql")
NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
DAY = timedelta(days=1)
VISIT = bytes(32)
"""The hash by which `interaction()` is found."""


@functools.cache
def _migrated() -> bytes:
    """A SQLite database with all tables and nothing in them: to make one takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "caveats.db"

        async def migrate() -> None:
            store = Store(f"sqlite:///{path}")
            try:
                await store.migrate()
                await store.checkpoint()
            finally:
                await store.close()

        thread = threading.Thread(target=lambda: asyncio.run(migrate()))  # the caller may have a loop
        thread.start()
        thread.join()
        return path.read_bytes()


def new_sqlite_file(path: Path) -> None:
    """Make what `Store.migrate` makes of nothing."""
    path.touch(mode=0o600)
    path.write_bytes(_migrated())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET instance_id = ?", (uuid.uuid4().hex,))


class Place:
    """Where a store can be, and how a test gets at it behind the store's back."""

    url: str

    def store(self, **given: Any) -> Store:
        """Patient, so that a busy machine changes no outcome; tests of the bounds say how patient theirs is."""
        return Store(self.url, **{"patience": timedelta(seconds=30), **given})

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    async def execute(self, statement: str) -> None:
        raise NotImplementedError


class SqlitePlace(Place):
    kind = "sqlite"
    broken = sqlite3.Error

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    async def execute(self, statement: str) -> None:
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                connection.executescript(statement)
        finally:
            connection.close()


class PostgresPlace(Place):
    kind = "postgresql"
    broken = asyncpg.PostgresError

    def __init__(self, url: str) -> None:
        self.url = url
        self._own: asyncpg.Connection | None = None

    async def own(self) -> asyncpg.Connection:
        if self._own is None or self._own.is_closed():
            self._own = await self.connect()
        return self._own

    async def close(self) -> None:
        if self._own is not None:
            await self._own.close()

    async def connect(self, **given: Any) -> asyncpg.Connection:
        return await asyncpg.connect(self.url, statement_cache_size=0, **given)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await (await self.own()).fetch(query)]

    async def execute(self, statement: str) -> None:
        await (await self.own()).execute(statement)

    async def kill(self, only: str = "true") -> int:
        """End the connections of everybody else to this database; returns how many there were."""
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {only}"
        )
        ((killed,),) = await self.rows(query)
        return int(killed)


@asynccontextmanager
async def new_place(kind: str, folder: Path) -> AsyncIterator[Any]:
    """An empty place; the test is skipped where there is no PostgreSQL."""
    if kind == "sqlite":
        yield SqlitePlace(folder / "data" / "caveats.db")
        return
    try:
        admin = await asyncpg.connect(POSTGRES, timeout=2)
    except (OSError, asyncpg.PostgresError) as error:
        pytest.skip(f"no PostgreSQL at CAVEATS_TEST_POSTGRES or 127.0.0.1:5432: {type(error).__name__}")
    name = f"caveats_test_{secrets.token_hex(6)}"
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        try:
            place = PostgresPlace(urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{name}")))
            yield place
            await place.close()
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


def token_id(number: int) -> str:
    """A token id that tells which it is."""
    return f"{number:026d}"


async def refuse_a_second_record(place: Any, reason: str) -> None:
    """Let the database itself refuse every revocation but the first that gives this reason."""
    await place.execute(f"CREATE UNIQUE INDEX only_once ON revocations (reason) WHERE reason = '{reason}'")


async def eventually(what: Any, within: float = 5.0) -> float:
    """Wait until an async question is answered with yes; returns the seconds it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not await what():
        assert loop.time() - begun < within, f"not within {within} s"
        await asyncio.sleep(0.02)
    return loop.time() - begun


class Line:
    """A network between a store and its PostgreSQL that a test can cut, or make swallow everything."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        user = f"{self._target.username}@" if self._target.username else ""
        return urlunsplit(self._target._replace(netloc=f"{user}127.0.0.1:{self.port}"))

    async def up(self) -> None:
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def swallow(self) -> None:
        """Connections stay, new ones are taken, and nobody ever answers."""
        self._flows.clear()

    async def cut(self) -> None:
        """As if the server had died."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._flows.set()
        for end in self._ends:
            end.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._ends.add(writer)
        try:
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port or 5432)
            self._ends.add(back)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


# what tests put into a store


async def alice(store: Store) -> None:
    await store.users.create("alice", "hash", now=NOW, actor="system")


def label(token_id: str, *, lasts: timedelta = DAY) -> LabelledToken:
    return LabelledToken(token_id, "alice", "a note", "photos:read", "photos", NOW, NOW + lasts)


def seal(row_id: int, key_id: str) -> bytes:
    return f"sealed {row_id} {key_id}".encode()


async def rotate(store: Store, now: datetime = NOW) -> str:
    key = await store.keys.publish(seal, now=now, actor="system")
    await store.keys.activate(key.key_id, retire_after=now + DAY, now=now, actor="system")
    return key.key_id


async def add_verifier(
    store: Store, name: str = "app", audience: str = "photos", actor: str = "root"
) -> VerifierApp:
    return await store.verifiers.add(audience=audience, public_key=bytes(32), name=name, now=NOW, actor=actor)


async def add_agent(store: Store, n: int, username: str = "alice", actor: str = "a") -> Agent:
    return await store.agents.add(
        username=username, public_key=bytes([n]) * 32, name="robot", now=NOW, actor=actor
    )


def interaction(n: int = 0, **given: Any) -> Interaction:
    made = Interaction(
        visit_hash=bytes([n]) * 32,
        wait_hash=bytes([n + 100]) * 32,
        token_hash=bytes([n + 200]) * 32,
        identifier=b"id",
        payload=None,
        client_ip="192.0.2.1",
        asker=None,
        approvers=(),
        decision=Decision.OPEN,
        created_at=NOW,
        expires_at=NOW + DAY,
    )
    return replace(made, **given)
