"""What the cluster benchmarks run against: nodes in processes of their own, on a PostgreSQL database made for them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.sample import AUDIENCE
from caveats.token import decode_base64, encode_base64
from caveats_client.verifiers.registration import Registration

if TYPE_CHECKING:
    from collections.abc import Iterator

POSTGRES = os.environ.get("CAVEATS_TEST_POSTGRES", "postgresql://root@127.0.0.1:5432/test")
_PASSWORD = "the admin of a moment"
_TICKS = os.sysconf("SC_CLK_TCK")


async def _ask(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


@contextlib.contextmanager
def database() -> Iterator[str]:
    """An empty database by its address, dropped in the end."""
    name = f"caveats_bench_{secrets.token_hex(6)}"
    asyncio.run(_ask(POSTGRES, f"CREATE DATABASE {name}"))
    try:
        yield urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{name}"))
    finally:
        asyncio.run(_ask(POSTGRES, f"DROP DATABASE {name} WITH (FORCE)"))


@dataclass
class Node:
    """One `caveats-service serve`."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def serving(self) -> list[int]:
        """The processes that answer: its workers, or itself."""
        return [pid for pid in _children(self.pid) if _sockets(pid) and not _tracks(pid)] or [self.pid]


@contextlib.contextmanager
def nodes(database_url: str, count: int, *, workers: int = 1) -> Iterator[list[Node]]:
    """So many nodes on one database, ready."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caveats-bench-")))
        running = []
        for number in range(count):
            port = free_port()
            environment = {
                **{name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")},
                "CAVEATS_DATABASE_URL": database_url,
                "CAVEATS_DATA_DIR": str(folder / str(number)),
                "CAVEATS_SEAL_KEY": encode_base64(bytes(range(32))),
                "CAVEATS_ADMIN_PASSWORD": _PASSWORD,
                "CAVEATS_PORT": str(port),
                "CAVEATS_LOG_LEVEL": "warning",
                "CAVEATS_REVOKE_LIMIT_TOKEN": "100000/minute",
                "CAVEATS_REVOKE_LIMIT_ADDRESS": "100000/minute",
            }
            command = "from caveats_service.cli import main; main()"
            process = subprocess.Popen(
                [sys.executable, "-c", command, "serve", "--workers", str(workers)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            stack.callback(_end, process)
            running.append(Node(port, process.pid))
            if number == 0:
                _await_ready(process, port)  # one alone makes the schema, the first key and the admin
        for node in running:
            _await_ready(process, node.port)
        yield running


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _await_ready(process: subprocess.Popen[bytes], port: int) -> None:
    patience = time.monotonic() + 120
    while time.monotonic() < patience and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.02)
    raise RuntimeError("a node did not start")


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Caller:
    """One connection to a node that stays, and an administrator's token."""

    def __init__(self, node: Node) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
        self._connection.connect()
        assert self._connection.sock is not None
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._node = node
        self.admin = ""

    def ask(self, method: str, path: str, credential: str = "", **members: object) -> tuple[int, Any]:
        """Status and JSON."""
        headers = {"Content-Type": "application/json"}
        if credential:
            headers["Authorization"] = f"Bearer {credential}"
        body = json.dumps(members) if members or method == "POST" else None
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None

    def sign_in(self) -> Caller:
        """As an administrator."""
        members = {"username": "admin", "password": _PASSWORD, "scope": "* caveats:*"}
        self.admin = self._made("/v1/tokens", "", **members)["token"]
        return self

    def issue(self) -> str:
        """A token for the audience of the benchmarks."""
        return str(self._made("/v1/tokens", self.admin, audience=AUDIENCE, scope="photos:*")["token"])

    def register(self, path: Path) -> None:
        """A verifier; its file."""
        own = Registration.generate()
        key = encode_base64(own.public_key)
        made = self._made("/v1/verifiers", self.admin, audience=AUDIENCE, public_key=key, name=path.name)
        own.registered(
            url=self._node.url,
            audience=AUDIENCE,
            verifier_id=made["verifier_id"],
            service_public_key=decode_base64(made["service_public_key"]),
        ).save(path)

    def _made(self, path: str, credential: str, **members: object) -> Any:
        status, answer = self.ask("POST", path, credential, **members)
        if status != 201:
            raise RuntimeError(f"{path}: {status} {answer}")
        return answer


def at_once(count: int, work: Any) -> None:
    """`work(number)` in as many threads."""
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


# What processes cost, and whose a connection is


def cpu_seconds(pids: list[int]) -> float:
    """Processor time that these processes have had."""
    total = 0.0
    for pid in pids:
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(parts[11]) + int(parts[12])) / _TICKS
    return total


def resident(pid: int) -> int:
    """Bytes of this process in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def server_of(connection: socket.socket, among: list[int]) -> int | None:
    """Which of these processes has the other end of a connection to 127.0.0.1."""
    local, remote = (f"0100007F:{end[1]:04X}" for end in (connection.getpeername(), connection.getsockname()))
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    inode = next((line[9] for line in lines if line[1:3] == [local, remote]), "")
    return next((pid for pid in among if f"socket:[{inode}]" in _sockets(pid)), None)


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(entry.name))
    return found


def _tracks(pid: int) -> bool:
    return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _sockets(pid: int) -> set[str]:
    found = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(handle.readlink().name)
    return {name for name in found if name.startswith("socket:")}
