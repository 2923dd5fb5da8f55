"""The real service for tests: under uvicorn in a thread (cheap passwords, a clock to turn), or as its own process."""

from __future__ import annotations

import asyncio
import atexit
import base64
import contextlib
import json
import logging
import os
import re
import select
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import httpx2 as httpx
import structlog
import uvicorn
from click.testing import CliRunner

from caveats import Macaroon
from caveats_service.app import create_app
from caveats_service.cli.app import app as commands
from caveats_service.core.clock import utc_now
from caveats_service.core.forgetting import uptime
from caveats_service.core.passwords import PasswordProfile
from caveats_service.runtime import ServiceRuntime
from caveats_service.server.uvicorn import options
from caveats_service.settings import Settings
from caveats_service.storage.encryption import load_seal_key
from tests.support.store import new_sqlite_file

CHEAP = PasswordProfile(1, 8)
ADMIN_PASSWORD = "admin's password"
PASSWORD = "correct horse"
T = TypeVar("T")
CLIENT: dict[str, Any] = {"timeout": 60, "trust_env": False, "verify": ssl.create_default_context()}
"""For every client: a context of its own would cost each 50 ms."""
GENEROUS = {
    "admin_password": ADMIN_PASSWORD,
    "open_registration": True,
    "login_limit_account": "100000/minute",
    "login_limit_address": "100000/minute",
    "register_limit_address": "100000/minute",
    "interaction_limit_address": "100000/minute",
    "revoke_limit_token": "100000/minute",
    "revoke_limit_address": "100000/minute",
    "max_revoked_branches": 100_000,
}


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self, at: datetime | None = None) -> None:
        self.at = at or datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **how_far: float) -> None:
        self.at += timedelta(**how_far)


@dataclass
class Service:
    """A service that answers, and what tests want of it."""

    url: str
    runtime: ServiceRuntime
    settings: Settings
    loop: asyncio.AbstractEventLoop
    app: Any
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **kwargs: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, **{**CLIENT, **kwargs})

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the server's own loop."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(60)

    def call(self, work: Callable[[], T]) -> T:
        """Call `work` in the server's own thread."""

        async def run() -> T:
            return work()

        return self.run(run())


# A server in a thread sleeps a tenth of a second before it hears `should_exit`, and another before it ends.
uvicorn.server.asyncio = SimpleNamespace(  # type: ignore[assignment]
    **{**vars(asyncio), "sleep": lambda seconds: asyncio.sleep(seconds / 20)}
)


def new_settings(folder: Path, **given: Any) -> Settings:
    """The settings of a service with its files in `folder`, which holds what a first start makes before anything else."""
    settings = Settings.load(**{"data_dir": folder, "port": 0, **GENEROUS, **given})
    beside = settings.seal_key is None and settings.seal_key_path.parent == settings.data_dir
    if (
        settings.on_sqlite
        and beside
        and not (settings.data_dir.exists() and any(settings.data_dir.iterdir()))
    ):
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        load_seal_key(settings, database_exists=False)
        new_sqlite_file(settings.sqlite_path)
    return settings


@contextlib.contextmanager
def serving(
    folder: Path,
    *,
    now: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] | None = None,
    password_profile: PasswordProfile = CHEAP,
    **given: Any,
) -> Iterator[Service]:
    """The service under uvicorn on a free port, in a thread of this process.

    `monotonic`: seconds; None: they pass as on `now`, which a test turns as time passes.
    """
    if monotonic is None:
        monotonic = uptime if now is utc_now else lambda: now().timestamp()
    settings = new_settings(folder / "data", **given)
    app = create_app(settings, now=now, monotonic=monotonic, password_profile=password_profile)
    server = uvicorn.Server(uvicorn.Config(app, **{**options(settings), "timeout_graceful_shutdown": 1}))
    loops: list[asyncio.AbstractEventLoop] = []
    started = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        loops.append(asyncio.get_running_loop())
        await started(sockets)

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, name="uvicorn", daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert server.started, "the service did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Service(f"http://127.0.0.1:{port}", app.state.runtime, settings, loops[0], app)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


# what callers say


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def narrow(token: str, *caveats: str) -> str:
    """A narrower copy, made offline."""
    return Macaroon.decode(token).attenuate(*[caveat.encode() for caveat in caveats]).encode()


_ULID_TAIL = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_names = iter(range(1, 10**9))


class User:
    """An account, and a client for what its owner does."""

    def __init__(self, service: Service, username: str, password: str) -> None:
        self.service = service
        self.username = username
        self.password = password

    def issue(self, **asked: Any) -> dict[str, Any]:
        """A token against the password, with all that is said of it."""
        with self.service.client() as http:
            answer = http.post(
                "/v1/tokens", json={"username": self.username, "password": self.password, **asked}
            )
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def token(self, **asked: Any) -> str:
        return str(self.issue(**asked)["token"])


def new_user(service: Service, password: str = PASSWORD) -> User:
    """A fresh account, registered over HTTP."""
    username = f"user{next(_names)}"
    with service.client() as http:
        answer = http.post("/v1/users", json={"username": username, "password": password})
    assert answer.status_code == 201, answer.text
    return User(service, username, password)


def admin_of(service: Service) -> User:
    return User(service, "admin", ADMIN_PASSWORD)


def admin_token(service: Service) -> str:
    """A token for administration; one per service."""
    token = service.tokens.get("admin")
    if token is None:
        token = service.tokens["admin"] = admin_of(service).token(scope="* caveats:*")
    return token


def raw(service: Service, data: bytes, *, wait: float = 5) -> bytes:
    """What the server answers to these very bytes, until it closes or says no more."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=wait) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        received = b""
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65536):
                received += chunk
                head, blank, body = received.partition(b"\r\n\r\n")
                stated = re.search(rb"(?i)content-length: *(\d+)", head)
                if blank and stated and len(body) >= int(stated[1]):
                    break
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


# the service as its own process, as an operator starts it

COMMAND = [sys.executable, "-c", "from caveats_service.cli import main; main()"]


def environment(folder: Path, **given: str) -> dict[str, str]:
    """An environment with no setting but these."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("CAVEATS_")}
    outer = {name: given.pop(name) for name in ("PYTHONPATH",) if name in given}
    ours = {"DATA_DIR": str(folder / "data"), "PORT": "0", "ADMIN_PASSWORD": ADMIN_PASSWORD, **given}
    return {**kept, **outer, "COLUMNS": "500", **{f"CAVEATS_{name}": value for name, value in ours.items()}}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str

    def having(self, expected: int | None) -> Done:
        assert expected in (None, self.returncode), self.stdout + self.stderr
        return self


def command(folder: Path, *arguments: str, stdin: str = "", expect: int | None = 0, **given: str) -> Done:
    """One command as a process of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(folder, **given),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr).having(expect)


@contextlib.contextmanager
def log_of_its_own() -> Iterator[None]:
    """What is set for the log in here ends with it, and no logger remembers it."""
    configure = structlog.configure
    before = {
        log: (log.level, log.handlers) for log in map(logging.getLogger, (None, "aiosqlite", "sqlalchemy"))
    }
    with patch.object(
        structlog, "configure", lambda **given: configure(**{**given, "cache_logger_on_first_use": False})
    ):
        yield
    structlog.reset_defaults()
    for log, (level, handlers) in before.items():
        log.handlers = handlers
        log.setLevel(level)


def cli(folder: Path, *arguments: str, stdin: str = "", expect: int | None = 0, **given: str) -> Done:
    """One command in this process, which is quicker."""
    with log_of_its_own():
        done = CliRunner().invoke(
            commands, arguments, input=stdin, env=environment(folder, **given), prog_name="caveats-service"
        )
    crash = "" if done.exception is None or isinstance(done.exception, SystemExit) else repr(done.exception)
    return Done(done.exit_code, done.stdout, done.stderr + (f"Traceback: {crash}" if crash else "")).having(
        expect
    )


@dataclass
class Process:
    """`caveats-service serve`, running."""

    popen: subprocess.Popen[bytes]
    url: str
    output: list[str]

    def client(self, **kwargs: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, **{**CLIENT, **kwargs})

    def kill(self) -> None:
        """As a power cut would: no farewell."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(10)
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


def spawn(folder: Path, *arguments: str, stderr: Any = subprocess.STDOUT, **given: str) -> Process:
    """Start `serve`, and wait until it says where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    return spawn_in(environment(folder, **given), *arguments, stderr=stderr)


def spawn_in(env: dict[str, str], *arguments: str, stderr: Any = subprocess.STDOUT) -> Process:
    """As `spawn`, in this very environment."""
    popen = subprocess.Popen(
        [*COMMAND, "serve", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    atexit.register(popen.kill)  # a test that fails on the way leaves nothing running
    assert popen.stdout is not None
    output: list[str] = []
    url = ""
    deadline = time.monotonic() + 40
    handle = popen.stdout.fileno()
    pending = b""
    while not url and time.monotonic() < deadline:
        ready, _, _ = select.select([handle], [], [], 0.5)
        if ready:
            data = os.read(handle, 65536)
            if not data:
                break
            pending += data
            *lines, pending = pending.split(b"\n")
            for line in lines:
                output.append(line.decode())
                found = re.search(r"serving on (http://\S+?:\d+)", output[-1])
                if found:
                    url = found[1]
    if not url:
        popen.kill()
        popen.wait()
        popen.stdout.close()
        raise AssertionError("did not start:\n" + "\n".join(output))
    threading.Thread(target=_drain, args=(handle, output, pending), daemon=True).start()
    return Process(popen, url, output)


def _drain(handle: int, output: list[str], pending: bytes) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(handle, 65536):
            pending += data
            *lines, pending = pending.split(b"\n")
            output.extend(line.decode(errors="replace") for line in lines)


@contextlib.contextmanager
def process(folder: Path, *arguments: str, **given: str) -> Iterator[Process]:
    """`caveats-service serve` for as long as the block runs."""
    running = spawn(folder, *arguments, **given)
    try:
        yield running
    finally:
        running.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], bool], seconds: float = 5) -> float:
    """How long it took until `holds`."""
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < seconds, "it never came to hold"
        time.sleep(0.01)
    return time.monotonic() - start


def rows(folder: Path, query: str, *parameters: object) -> list[Any]:
    """What the database holds."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "caveats.db", timeout=10)) as connection:
        return connection.execute(query, parameters).fetchall()


def execute(folder: Path, statement: str, *parameters: object) -> None:
    with (
        contextlib.closing(sqlite3.connect(folder / "data" / "caveats.db", timeout=10)) as connection,
        connection,
    ):
        connection.execute(statement, parameters)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an answer that must be a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = json.loads(answer.text)
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:caveats:problem:{body['code']}"
    assert body["title"]
    assert answer.headers["cache-control"] == "no-store"
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith('Bearer realm="caveats"')
    if answer.status_code in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return answer.status_code, body["code"]
