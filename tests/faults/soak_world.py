"""The machines of the soak: nodes, apps, a mirror, a PostgreSQL with its replica, and the clocks of each.

Starts and ends processes; judges nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx

from caveats.token import decode_base64, encode_base64
from caveats_client.verifiers.registration import Registration
from tests.faults.soak_ledger import Ledger, Token
from tests.faults.soak_report import Report
from tests.support.cluster import (
    SEAL_KEY,
    PrivatePostgres,
    at_once,
    children,
    private_postgres,
    sql,
)
from tests.support.local import Cable
from tests.support.service import (
    ADMIN_PASSWORD,
    CLIENT,
    GENEROUS,
    PASSWORD,
    Process,
    basic,
    bearer,
    environment,
    free_port,
    spawn_in,
    until,
)

AUDIENCE = "photos"
STALENESS = 10.0
REMEMBER = 2.0
"""Of the local verifiers, and of the remote one (seconds)."""
GRACE = 20.0
"""Seconds within which a node has to stop."""
WARM = 150.0
"""Seconds of a process's life before its memory is looked at."""
MOST_GROWTH, MOST_BYTES = 0.15, 8 << 20
USERS = [f"user{number}" for number in range(8)]
LIVES = {
    "DEFAULT_LIFETIME": "10m",
    "MAX_LIFETIME": "10m",
    "MAX_TOTAL_LIFE": "15m",
    "SESSION_LIFETIME": "10m",
    "SESSION_MAX_LIFE": "15m",
}
"""Short, so that revocations end and are forgotten within an hour."""
ROOT = Path(__file__).resolve().parents[2]


class WallClock:
    """The clock of one process and its children, which can be set. `library`: None where there is no C compiler."""

    def __init__(self, library: Path | None, file: Path) -> None:
        self._file = file
        self.off = 0
        file.write_bytes(struct.pack("=q", 0))
        self.environment = {} if library is None else {"LD_PRELOAD": str(library), "SOAK_CLOCK": str(file)}

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the right time."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
        self.off = seconds

    @staticmethod
    def library(folder: Path) -> Path | None:
        """Compile it."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None or sys.platform != "linux":
            return None
        made = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
        return made


class Database:
    """A primary, and a replica that follows it through a cable; the nodes reach the primary through another one."""

    def __init__(self) -> None:
        self._primary = contextlib.ExitStack()
        self.primary: PrivatePostgres = self._primary.enter_context(private_postgres())
        self.way = Cable(self.primary.port)
        self.url = self.primary.url.replace(str(self.primary.port), self.way.url.rpartition(":")[2])
        self.back_at = 0.0
        """When the nodes could reach it again, after a fault."""
        self._replicate()

    def _replicate(self) -> None:
        self._link = Cable(self.primary.port)
        self._replica = contextlib.ExitStack()
        port = int(self._link.url.rpartition(":")[2])
        self.replica: PrivatePostgres = self._replica.enter_context(
            private_postgres(self.primary, waits=False, through=port)
        )

    def fall_behind(self) -> None:
        """From now on the replica hears nothing."""
        self._link.cut()

    def keys(self, server: PrivatePostgres) -> set[tuple[str, int]]:
        """Ids of the keys that are there, each with the time at which it was made."""
        return {
            (row["key_id"], row["created_at"])
            for row in sql(server.url, "SELECT key_id, created_at FROM master_keys")
        }

    def kill(self) -> None:
        """The primary is gone, and the replica promoted; nobody can reach it yet."""
        self.way.cut()
        self.primary.kill()
        self._link.close()
        self.replica.promote()

    def come_back(self) -> None:
        """The replica is the primary, and has a replica of its own."""
        self._primary.close()
        self.primary, self._primary = self.replica, self._replica
        self.way.target = self.primary.port
        self.way.mend()
        self.back_at = time.monotonic()
        self._replicate()

    def close(self) -> None:
        for each in (self.way, self._link, self._replica, self._primary):
            with contextlib.suppress(OSError):
                each.close()


class Node:
    """One `caveats-service serve --workers 2`, always on the same port."""

    def __init__(self, name: str, folder: Path, database: str, library: Path | None) -> None:
        self.name = name
        self._folder = folder
        folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.clock = WallClock(library, folder / "clock")
        generous = {name.upper(): str(value) for name, value in GENEROUS.items()}
        ours = {
            **LIVES,
            "DATABASE_URL": database,
            "SEAL_KEY": SEAL_KEY,
            "KEY_PROPAGATION": "3s",
            "LOG_LEVEL": "warning",
            "PORT": str(self.port),
            "KEEP_LIMIT_HOLDER": "100000/minute",
            "KEEP_LIMIT_ADDRESS": "100000/minute",
        }
        self._environment = {**environment(folder, **{**generous, **ours}), **self.clock.environment}
        self.process: Process | None = None
        self._lives = 0

    def start(self) -> None:
        """Start it, and return when it is ready. On a busy machine one start may take longer than is waited for."""
        for last in (False, False, True):
            try:
                self.process = spawn_in(self._environment, "--workers", "2")
                break
            except AssertionError:
                if last:
                    raise
        until(self.ready, 120)

    def ready(self) -> bool:
        """Whether it says that it is."""
        time.sleep(0.1)
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", **{**CLIENT, "timeout": 3}).status_code == 200
        return False

    def workers(self) -> list[int]:
        assert self.process is not None
        return [pid for pid in children(self.process.popen.pid) if b"resource_tracker" not in _command(pid)]

    def kill(self) -> float:
        """The parent, with -9; seconds until its workers were gone, too."""
        assert self.process is not None
        orphans = self.workers()
        self.process.kill()
        begun = time.monotonic()
        while any(map(_alive, orphans)) and time.monotonic() - begun < GRACE + 5:
            time.sleep(0.1)
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end()
        return time.monotonic() - begun

    def stop(self) -> float:
        """SIGTERM; seconds until it was gone."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.stop()
        self._end()
        return time.monotonic() - begun

    def _end(self) -> None:
        assert self.process is not None
        self._lives += 1
        (self._folder / f"said.{self._lives}.txt").write_text("\n".join(self.process.output))
        self.process.stop()
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            self.stop()


class App:
    """One process of `soak_app`, always on the same port."""

    def __init__(self, name: str, folder: Path, library: Path | None, *arguments: str) -> None:
        self.name = name
        self._folder = folder
        folder.mkdir()
        self.port = free_port()
        self.clock = WallClock(library, folder / "clock")
        self._arguments = arguments
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "said.txt").open("ab") as said:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.soak_app", *self._arguments, "--port", str(self.port)],
                cwd=ROOT,
                env={**os.environ, **self.clock.environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        assert self.popen.stdout is not None
        self.popen.stdout.readline()

    def fork(self, seconds: float) -> int:
        """A child that answers for so long; its port."""
        assert self.popen is not None
        assert self.popen.stdin is not None
        port = free_port()
        self.popen.stdin.write(f"fork {port} {seconds}\n".encode())
        self.popen.stdin.flush()
        return port

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.popen is None:
            return
        self.popen.send_signal(number)
        try:
            self.popen.wait(20)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(10)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.popen = None


class World:
    """All of them."""

    def __init__(self, folder: Path, seed: int, report: Report) -> None:
        self.folder = folder
        self.report = report
        self.ledger = Ledger(seed)
        self.stop = threading.Event()
        self.stack = contextlib.ExitStack()
        self._admin: str | None = None
        self._signing_in = threading.Lock()
        self.user_locks = {user: threading.Lock() for user in USERS}
        self.accounts: dict[str, Token] = {}
        self.orders = folder / "orders"
        """What the mirror does."""

    def start(self) -> None:
        """Start them all."""
        folder = self.folder
        self.database = Database()
        self.stack.callback(self.database.close)
        self.library = WallClock.library(folder)
        if self.library is None:
            print("no C compiler (cc): clocks stay right in this run", flush=True)
        self.nodes = [Node(f"node{n}", folder / f"node{n}", self.database.url, self.library) for n in (1, 2)]
        for node in self.nodes:
            self.stack.callback(node.close)
        at_once(*(node.start for node in self.nodes))
        with self.client(self.nodes[0]) as http:
            for user in USERS:
                body = {"username": user, "password": PASSWORD}
                assert http.post("/v1/users", json=body, headers=self.admin(http)).status_code == 201
            self._make_apps(http)

    def _make_apps(self, http: httpx.Client) -> None:
        one, two = self.nodes
        self.orders.write_text("honest")
        files = {}
        self.cables = {
            name: Cable(node.port) for name, node in (("local", one), ("mirror", two), ("remote", two))
        }
        for cable in self.cables.values():
            self.stack.callback(cable.close)
        for name in ("local", "mirror"):
            own = Registration.generate()
            body = {"audience": AUDIENCE, "name": name, "public_key": encode_base64(own.public_key)}
            made = http.post("/v1/verifiers", json=body, headers=self.admin(http)).json()
            files[name] = self.folder / f"{name}.verifier"
            own.registered(
                url=self.cables[name].url,
                audience=AUDIENCE,
                verifier_id=made["verifier_id"],
                service_public_key=decode_base64(made["service_public_key"]),
            ).save(files[name])
        port = free_port()
        mirror = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.faults.soak_mirror", "--port", str(port)),
                *("--orders", str(self.orders), "--registration", str(files["mirror"]), two.url, one.url),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.stack.callback(mirror.wait)
        self.stack.callback(mirror.kill)
        assert mirror.stdout is not None
        mirror.stdout.readline()
        mirror.stdout.close()

        def local(name: str, *more: str) -> App:
            given = ("--registration", str(files[name]), "--state", str(self.folder / f"{name}.state"))
            return App(
                name, self.folder / name, self.library, "local", *given, "--bound", str(STALENESS), *more
            )

        self.apps = {
            "local": local("local"),
            "mirror": local("mirror", "--feed-url", f"http://127.0.0.1:{port}"),
            "remote": App(
                "remote",
                self.folder / "remote",
                self.library,
                *("remote", "--url", self.cables["remote"].url, "--bound", str(REMEMBER)),
            ),
        }
        for app in self.apps.values():
            self.stack.callback(app.end)
        at_once(*(app.start for app in self.apps.values()))

    def client(self, node: Node) -> httpx.Client:
        return httpx.Client(base_url=node.url, **{**CLIENT, "timeout": 12})

    def admin(self, http: httpx.Client) -> dict[str, str]:
        """Headers of an administrator."""
        with self._signing_in:
            if self._admin is None:
                answer = http.post(
                    "/v1/tokens", json={"scope": "* caveats:*"}, headers=basic("admin", ADMIN_PASSWORD)
                )
                if answer.status_code != 201:
                    return {}
                self._admin = str(answer.json()["token"])
            return bearer(self._admin)

    def admin_is_dead(self) -> None:
        """Its key was retired, or its time is over: sign in again."""
        self._admin = None

    def processes(self) -> dict[int, str]:
        """Whose memory is looked at."""
        found = {}
        for node in self.nodes:
            if node.process is not None:
                found[node.process.popen.pid] = f"{node.name} parent"
                found.update(dict.fromkeys(node.workers(), f"{node.name} worker"))
        for app in self.apps.values():
            if app.popen is not None:
                found[app.popen.pid] = f"app {app.name}"
        return found

    def close(self) -> None:
        self.stop.set()
        self.stack.close()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Memory:
    """The resident memory of every process, every five seconds."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[int, tuple[str, float, list[tuple[float, int]]]] = {}

    def run(self) -> None:
        while not self._world.stop.wait(5):
            now = time.monotonic()
            for pid, role in self._world.processes().items():
                with contextlib.suppress(OSError, IndexError):
                    size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
                    self._seen.setdefault(pid, (role, now, []))[2].append((now - self._seen[pid][1], size))

    def figures(self) -> list[dict[str, Any]]:
        """For each process that lived long enough: its memory when it was warm and at its end (medians, MB)."""
        found = []
        for pid, (role, _, samples) in self._seen.items():
            warm = [size for age, size in samples if age >= WARM]
            if len(warm) < 24:  # two minutes
                continue
            window = max(6, len(warm) // 5)
            first, last = statistics.median(warm[:window]), statistics.median(warm[-window:])
            found.append(
                {
                    "role": role,
                    "pid": pid,
                    "minutes": round(samples[-1][0] / 60, 1),
                    "start_mb": round(samples[0][1] / 2**20, 1),
                    "warm_mb": round(first / 2**20, 1),
                    "end_mb": round(last / 2**20, 1),
                    "flat": last - first <= max(MOST_GROWTH * first, MOST_BYTES),
                }
            )
        return sorted(found, key=lambda row: (row["role"], -row["minutes"]))
