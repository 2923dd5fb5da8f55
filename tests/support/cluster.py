"""Several nodes in real processes, a PostgreSQL that they share, one of one's own that can be stopped and killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx2 as httpx
import pytest

from caveats import CaveatsError, Context, PrivateKey
from caveats.token import decode_base64, encode_base64
from caveats_client.guards.guard import utc_now
from caveats_client.verifiers.local import LocalVerifier
from tests.support.service import ADMIN_PASSWORD, GENEROUS, Process, basic, bearer, free_port, spawn, until

T = TypeVar("T")
POSTGRES = os.environ.get("CAVEATS_TEST_POSTGRES", "postgresql://root@127.0.0.1:5432/test")
SEAL_KEY = encode_base64(bytes(range(32)))
AUDIENCE = "photos"


# PostgreSQL


async def _ask(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=5, statement_cache_size=0)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def sql(url: str, query: str) -> list[Any]:
    """The rows of one query, on a connection of its own and in a loop of its own."""
    import asyncio

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _ask(url, query)).result()


@contextlib.contextmanager
def shared_database() -> Iterator[str]:
    """An empty database on the server that is there, dropped in the end; the test is skipped without a server."""
    try:
        sql(POSTGRES, "SELECT 1")
    except (OSError, asyncpg.PostgresError) as error:
        pytest.skip(f"no PostgreSQL at CAVEATS_TEST_POSTGRES or 127.0.0.1:5432: {type(error).__name__}")
    name = f"caveats_test_{secrets.token_hex(6)}"
    sql(POSTGRES, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{name}"))
    finally:
        sql(POSTGRES, f"DROP DATABASE {name} WITH (FORCE)")


class PrivatePostgres:
    """A PostgreSQL server of one's own, all of whose processes can be stopped, let go on, and killed."""

    def __init__(
        self,
        folder: Path,
        programs: Path,
        primary: PrivatePostgres | None = None,
        *,
        waits: bool = True,
        through: int | None = None,
    ) -> None:
        """A new one or, with `primary`, its standby, which it `waits` for at every commit from now on.

        `through`: the port at which the standby reaches the primary, if that is not its own.
        """
        self.port = free_port()
        self.url = f"postgresql://caveats@127.0.0.1:{self.port}/caveats"
        self._folder = folder
        self._programs = programs
        self._running: subprocess.Popen[bytes] | None = None
        # The server does not run as root.
        name = next((name for name in ("postgres", "nobody") if _exists(name)), None)
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            assert name is not None
            shutil.chown(folder, name)
            self._as = {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
        data = str(folder / "data")
        if primary is None:
            self._call("initdb", "-D", data, "-U", "caveats", "-A", "trust", "-E", "UTF8", "-N")
            return
        whose = ("-h", "127.0.0.1", "-p", str(through or primary.port), "-U", "caveats")
        self._call("pg_basebackup", *whose, "-D", data, "-R", "-X", "stream", "-c", "fast")
        self.start()
        if not waits:
            until(lambda: sql(primary.url, "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"), 30)
            return
        for statement in ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"):
            sql(primary.url, statement)
        until(lambda: sql(primary.url, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"), 20)

    def _call(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            check=True,
            capture_output=True,
            **self._as,
        )

    def start(self) -> None:
        """Start, and return when it takes connections."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "shared_buffers": "16MB",
            "max_connections": 60,
        }
        with (self._folder / "said.txt").open("ab") as said:
            self._running = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", str(self._folder / "data")),
                    *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
                ],
                cwd=self._folder,
                stdout=said,
                stderr=said,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # one system call between fork and exec
                **self._as,
            )
        until(self._answers, 20)

    def create(self) -> None:
        """The database of the address."""
        sql(self._maintenance, "CREATE DATABASE caveats")

    def pause(self) -> None:
        """Nobody answers any more, and connections stay."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """As if nothing had been."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """All of it, with -9."""
        self._signal(signal.SIGKILL)
        assert self._running is not None
        self._running.wait(10)

    def promote(self) -> None:
        """From now on the standby takes writes."""
        self._call("pg_ctl", "promote", "-D", str(self._folder / "data"), "-w")

    def stop(self) -> None:
        """The end."""
        if self._running is not None and self._running.poll() is None:
            self.resume()
            self._running.send_signal(signal.SIGQUIT)
            self._running.wait(10)

    @property
    def _maintenance(self) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path="/postgres"))

    def _answers(self) -> bool:
        assert self._running is not None
        assert self._running.poll() is None, (self._folder / "said.txt").read_text()
        try:
            return bool(sql(self._maintenance, "SELECT 1"))
        except (OSError, asyncpg.PostgresError):
            return False

    def _signal(self, number: signal.Signals) -> None:
        """First the parent, so that it starts no more children."""
        assert self._running is not None
        os.kill(self._running.pid, number)
        for child in children(self._running.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG: not even kill -9 leaves a server behind


@contextlib.contextmanager
def private_postgres(
    primary: PrivatePostgres | None = None, *, waits: bool = True, through: int | None = None
) -> Iterator[PrivatePostgres]:
    """A server of one's own, with its database, or a standby; the test is skipped where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3].zfill(4))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("no initdb in /usr/lib/postgresql/*/bin or on the path: PostgreSQL is not installed")
    programs = found[-1].parent if found else Path(str(on_path)).parent
    # Not below pytest's own folder, which only its owner can enter.
    folder = Path(tempfile.mkdtemp(prefix="caveats-postgres-"))
    try:
        server = PrivatePostgres(folder, programs, primary, waits=waits, through=through)
        try:
            if primary is None:
                server.start()
                server.create()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# Nodes


def node(folder: Path, database_url: str, *arguments: str, **given: str) -> Process:
    """One `caveats-service serve` on that database."""
    generous = {name.upper(): str(value) for name, value in GENEROUS.items()}
    ours = {
        "DATABASE_URL": database_url,
        "SEAL_KEY": SEAL_KEY,
        "KEY_PROPAGATION": "1s",
        "LOG_LEVEL": "warning",
    }
    return spawn(folder, *arguments, **{**generous, **ours, **given})


def at_once(*works: Callable[[], T]) -> list[T]:
    """All of them at the same time."""
    line = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        line.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(run, work) for work in works]]


@dataclass
class Cluster:
    """Nodes that share a database."""

    database_url: str
    folder: Path
    nodes: list[Process]
    settings: dict[str, str] = field(default_factory=dict)
    clients: list[httpx.Client] = field(default_factory=list)
    _admin: str = ""

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def admin(self) -> dict[str, str]:
        """The headers of an administrator, who signs in once and again when the key was retired."""
        if not (self._admin and authorized(self.clients[0], self._admin, "default", scope="caveats:admin")):
            headers = basic("admin", ADMIN_PASSWORD)
            body = {"scope": "* caveats:*"}
            self._admin = self.clients[0].post("/v1/tokens", json=body, headers=headers).json()["token"]
        return bearer(self._admin)

    def issue(self, at: int = 0, **asked: Any) -> str:
        """A token for the photo app, from this node."""
        body = {"audience": AUDIENCE, "scope": "photos:*", **asked}
        answer = self.clients[at].post("/v1/tokens", json=body, headers=self.admin())
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def keys(self, at: int = 0) -> dict[str, str]:
        """Key ids and their states, as this node sees them."""
        answer = self.clients[at].get("/v1/keys", headers=self.admin())
        assert answer.status_code == 200, answer.text
        return {key["id"]: key["state"] for key in answer.json()["keys"]}

    def rotate(self, at: int = 0, *, now: bool = False) -> httpx.Response:
        return self.clients[at].post("/v1/keys/rotate", json={"now": now}, headers=self.admin())

    def attach(self, at: int = 0, *, url: str | None = None, **options: Any) -> LocalVerifier:
        """A verifier in this process that follows this node, through `url` if that is a way to it. Close it."""
        key = PrivateKey.generate()
        body = {"audience": AUDIENCE, "public_key": encode_base64(key.public_key), "name": "test"}
        answer = self.clients[at].post("/v1/verifiers", json=body, headers=self.admin())
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return LocalVerifier(
            url or self.nodes[at].url,
            audience=AUDIENCE,
            verifier_id=made["verifier_id"],
            private_key=key,
            service_public_key=decode_base64(made["service_public_key"]),
            **options,
        )

    def restart(self, at: int, *arguments: str) -> None:
        """This node again, where it was."""
        given = {**self.settings, "PORT": str(httpx.URL(self.nodes[at].url).port)}
        self.nodes[at] = node(self.folder / str(at), self.database_url, *arguments, **given)


@contextlib.contextmanager
def cluster(
    folder: Path, database_url: str, *arguments: str, count: int = 2, **given: str
) -> Iterator[Cluster]:
    """So many nodes, started at the same moment, each in a folder of its own."""
    # Ports of their own, so that a node can come back where it was.
    starts = [
        lambda at=at: node(folder / str(at), database_url, *arguments, **{"PORT": str(free_port()), **given})
        for at in range(count)
    ]
    nodes = at_once(*starts)
    made = Cluster(database_url, folder, nodes, given)
    try:
        for running in nodes:
            made.clients.append(running.client())
        yield made
    finally:
        for client in made.clients:
            client.close()
        at_once(*(running.stop for running in made.nodes))


# What is asked


def authorized(http: httpx.Client, token: str, audience: str = AUDIENCE, scope: str = "photos:read") -> bool:
    """What a proxy would be told; anything but yes and no is an error."""
    query = {"audience": audience, "scope": scope}
    answer = http.get("/v1/authorize", params=query, headers=bearer(token))
    assert answer.status_code in (200, 401, 403), answer.text
    return answer.status_code == 200


def accepted(verifier: LocalVerifier, token: str) -> bool:
    """What a local verifier says."""
    try:
        verifier.verify(token, Context(now=utc_now(), scopes=("photos:read",)))
    except CaveatsError:
        return False
    return True


def seconds_until(holds: Callable[[], bool], since: float, within: float) -> float:
    """How long after `since` it came to hold."""
    until(holds, within)
    return time.monotonic() - since


class Load:
    """Work done again and again in threads, at a rate; what goes wrong is collected, not raised."""

    def __init__(self, *works: Callable[[], None], per_second: float = 50) -> None:
        self.done = 0
        self.failures: list[str] = []
        self._every = 1 / per_second
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in works]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self, work: Callable[[], None]) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                work()
            except Exception as error:
                self.failures.append(f"{time.monotonic():.3f} {type(error).__name__}: {error}"[:400])
            self.done += 1
            due = max(due + self._every, time.monotonic() - 0.5)
            time.sleep(max(0.0, due - time.monotonic()))


# Processes and their connections


def children(parent: int) -> list[int]:
    """The processes that this one started, and that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[1]) == parent and stat[0] != "Z":
            found.append(int(entry.name))
    return found


def server_of(connection: socket.socket, among: list[int]) -> int | None:
    """Which of these processes has the other end of this connection to 127.0.0.1."""
    ends = connection.getpeername()[1], connection.getsockname()[1]
    local, remote = (f"0100007F:{port:04X}" for port in ends)
    inode = next(
        (
            parts[9]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if (parts := line.split())[1:3] == [local, remote]
        ),
        None,
    )
    for pid in among:
        with contextlib.suppress(OSError):
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if handle.readlink().name == f"socket:[{inode}]":
                        return pid
    return None
