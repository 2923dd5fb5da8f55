"""Workers and connections: each worker its share, a farewell before a close, one behaviour for every signal."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx
import pytest
import uvicorn

from caveats_service.server import open_files
from caveats_service.server.draining import STOP_WITHIN, DrainingServer
from caveats_service.server.listening import bind, listen
from caveats_service.server.uvicorn import options
from caveats_service.settings import Settings, SettingsError
from tests.support.service import (
    CLIENT,
    Process,
    Service,
    command,
    environment,
    process,
    raw,
    spawn,
    until,
)
from tests.support.workers import connections_of, wait_until_all_serve, workers_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc says who has which connection")
_ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def test_idle_connections_are_kept_longer_than_proxies_keep_theirs() -> None:
    """nginx and ALB: 60 s, Traefik: 90 s, Caddy: 120 s."""
    assert options(Settings.load())["timeout_keep_alive"] > 120
    assert options(Settings.load(keep_alive_timeout="10m"))["timeout_keep_alive"] == 600


@pytest.mark.parametrize("asked", [b"websocket", b"WebSocket", b"websocket, h2c"])
def test_a_websocket_handshake_is_judged_like_any_request_and_logs_no_warning(
    service: Service, caplog: pytest.LogCaptureFixture, asked: bytes
) -> None:
    head = [b"GET /v1/authorize HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: " + asked]
    head += [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"", b""]
    with caplog.at_level("WARNING"):
        assert raw(service, b"\r\n".join(head)).startswith(b"HTTP/1.1 401 ")
    assert not caplog.records


async def test_connections_are_told_to_close_before_they_are_closed() -> None:
    """The listener is open until then, and uvicorn closes what is left."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"15")]})
        await send({"type": "http.response.body", "body": b'{"status":"ok"}'})

    config = uvicorn.Config(app, **{**options(Settings.load(port=0)), "lifespan": "off"})
    server = DrainingServer(config)
    server.farewell = 60
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        address = listener.getsockname()

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(*address)
            stack.callback(writer.close)
            return reader, writer

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
            writer.write(_ASK)
            return (await reader.readuntil(b'{"status":"ok"}')).lower()

        running = asyncio.create_task(server.serve([listener]))
        kept, idle = await connect(), await connect()
        for connection in (kept, idle):
            assert b"connection: close" not in await answer(*connection)
        server.should_exit = True
        while b"connection: close" not in await answer(*(fresh := await connect())):
            fresh[1].close()
        assert b"connection: close" in await answer(*kept)
        assert await kept[0].read() == b""
        assert not running.done()
        idle[1].close()
        await running
        assert await fresh[0].read() == b""
    await asyncio.sleep(0)  # in which the connections are closed


def test_a_port_that_another_service_listens_on_is_not_shared_with_it() -> None:
    """Also where both were started at once, and each found the port free."""
    first = bind("127.0.0.1", 0)
    port = first[0].getsockname()[1]
    second = bind("127.0.0.1", port)
    with first[0], second[0]:
        listen(first, 128)
        with pytest.raises(SettingsError, match="in use"):
            listen(second, 128)
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", port)


# real processes


def _ask(connection: socket.socket) -> bytes:
    connection.sendall(_ASK)
    answer = b""
    while b'{"status":"ok"}' not in answer:
        chunk = connection.recv(4096)
        assert chunk, answer
        answer += chunk
    return answer


def _port(running: Process) -> int:
    return int(running.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with process(tmp_path_factory.mktemp("workers"), "--workers", "2") as running:
        httpx.get(f"{running.url}/readyz", **CLIENT)
        until(lambda: len(workers_of(running.popen.pid)) == 2, 60)
        wait_until_all_serve(workers_of(running.popen.pid), _port(running))
        yield running


@pytest.mark.slow
def test_workers_on_a_port_of_the_systems_choice_say_which_it_is(two_workers: Process) -> None:
    (line,) = [line for line in two_workers.output if "is serving on" in line]
    assert "(2 workers)" in line
    assert re.search(r":[1-9]\d{3,4} ", line)
    assert httpx.get(f"{two_workers.url}/healthz", **CLIENT).status_code == 200


@linux
@pytest.mark.slow
@pytest.mark.parametrize("quiet", [True, False])
def test_bursts_of_connections_that_are_kept_do_not_land_on_one_worker(
    two_workers: Process, quiet: bool
) -> None:
    """Of any 64 in a row neither of two workers is given more than 44, also before the last burst is quite over."""
    port, workers = _port(two_workers), workers_of(two_workers.popen.pid)
    most, all_together = [], 0
    for _ in range(20):
        with ExitStack() as stack:
            burst = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(64)
            ]
            for connection in burst:
                _ask(connection)
            held = connections_of(workers, port)
        assert sum(held.values()) == 64
        most.append(max(held.values()))
        all_together += held[workers[0]]
        if quiet:
            until(lambda: not sum(connections_of(workers, port).values()), 30)
            time.sleep(0.05)
    assert max(most) <= 0.7 * 64
    assert sum(most) / len(most) <= 0.6 * 64
    assert 0.45 < all_together / (20 * 64) < 0.55


class Callers:
    """Threads that connect, ask and hang up, over and over."""

    def __init__(self, port: int, count: int = 8) -> None:
        self.port = port
        self.stop = threading.Event()
        self.answered: list[float] = []
        """When those were begun that were answered."""
        self.failed: list[tuple[float, str]] = []
        """When those were begun that were not, and how they failed."""
        self.took: list[float] = []
        self.threads = [threading.Thread(target=self._call) for _ in range(count)]

    def _call(self) -> None:
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
                    _ask(connection)
            except (OSError, AssertionError) as error:
                self.failed.append((begun, repr(error)))
                self.stop.wait(0.05)
            else:
                self.answered.append(begun)
                self.took.append(time.monotonic() - begun)

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_among_new_connections_takes_none_with_it_but_its_own(
    tmp_path: Path, end: signal.Signals
) -> None:
    """None at all when it is told to stop. Connections that are begun afterwards are all answered."""
    with process(tmp_path, "--workers", "2") as running:
        two_of(running)
        with Callers(_port(running)) as callers:
            for _ in range(3):
                time.sleep(1)
                ended = workers_of(running.popen.pid)[0]
                os.kill(ended, end)
                at = time.monotonic()
                until(lambda ended=ended: not alive(ended), 30)  # type: ignore[misc]
                until(lambda: len(workers_of(running.popen.pid)) == 2, 90)
                time.sleep(1)
                assert not [failed for failed in callers.failed if failed[0] > at]
        assert len(callers.answered) > 500
        if end is signal.SIGTERM:
            assert not callers.failed
        else:
            assert len(callers.failed) <= 3 * len(callers.threads)
            assert not [how for _, how in callers.failed if "Refused" in how]


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worker_that_stands_still_is_given_no_new_connections_until_it_goes_on(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as running, ExitStack() as stack:
        workers, port = two_of(running), _port(running)

        def burst() -> None:
            for _ in range(32):
                _ask(stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)))

        burst()
        before = connections_of(workers, port)
        os.kill(workers[0], signal.SIGSTOP)
        begin = time.monotonic()
        burst()
        burst()
        assert time.monotonic() - begin < 6  # half a second to notice, and the worker is killed after ten
        os.kill(workers[0], signal.SIGCONT)
        after = connections_of(workers, port)
        assert after[workers[0]] == before[workers[0]]
        assert after[workers[1]] == before[workers[1]] + 64
        time.sleep(1)
        burst()
        assert connections_of(workers, port)[workers[0]] >= before[workers[0]] + 10  # a third at least
        assert not said(running, "worker_hangs")


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_stop_among_new_connections_ends_in_time_and_cuts_nothing_off(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as running:
        workers = two_of(running)
        with Callers(_port(running)) as callers:
            time.sleep(1)
            begin = time.monotonic()
            running.popen.send_signal(signal.SIGTERM)
            assert running.popen.wait(30) == 0
            took = time.monotonic() - begin
        assert took < 8  # requests that run have ten seconds; none did
        assert max(callers.answered) > begin + 0.5  # the farewell, of a second
        assert not any(map(alive, workers))
        assert not said(running, "Traceback")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_new_connections_wait_for_the_worker_that_is_replaced(tmp_path: Path, end: signal.Signals) -> None:
    """Only a killed worker's own connections are lost."""
    with process(tmp_path, "--workers", "2") as running, ExitStack() as stack:
        until(lambda: len(workers_of(running.popen.pid)) == 2, 60)
        httpx.get(f"{running.url}/readyz", **CLIENT)
        ended = workers_of(running.popen.pid)[0]
        os.kill(ended, end)
        until(lambda: ended not in workers_of(running.popen.pid), 60)
        for _ in range(64):
            _ask(stack.enter_context(socket.create_connection(("127.0.0.1", _port(running)), 60)))
        until(lambda: len(workers_of(running.popen.pid)) == 2, 60)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sighup_ends_the_service_as_sigterm_does(tmp_path: Path, workers: str) -> None:
    """A closed terminal tells every process of the group."""
    running = spawn(tmp_path, "--workers", workers)
    httpx.get(f"{running.url}/readyz", **CLIENT)
    for worker in workers_of(running.popen.pid) if workers == "2" else []:
        os.kill(worker, signal.SIGHUP)
    running.popen.send_signal(signal.SIGHUP)
    assert running.popen.wait(30) in (0, -signal.SIGTERM)
    running.stop()
    assert not (tmp_path / "data" / "caveats.db-wal").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_stops_the_start(tmp_path: Path, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = command(tmp_path, "serve", "--workers", workers, "--port", port, expect=None)
    assert done.returncode
    assert "in use" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


# workers that are lost


def two_of(running: Process) -> list[int]:
    """Both workers, once the service answers."""
    until(lambda: len(workers_of(running.popen.pid)) == 2, 90)
    wait_until_all_serve(workers_of(running.popen.pid), _port(running))
    time.sleep(1)  # the supervisor asks twice a second
    return workers_of(running.popen.pid)


def answers(running: Process) -> bool:
    """Whether a new connection is answered."""
    with socket.create_connection(("127.0.0.1", _port(running)), 60) as connection:
        return b'{"status":"ok"}' in _ask(connection)


def said(running: Process, event: str) -> list[str]:
    return [line for line in running.output if event in line]


def assert_stops_well(running: Process) -> None:
    """Told to stop, it ends with 0, and has shown no traceback."""
    running.popen.send_signal(signal.SIGTERM)
    assert running.popen.wait(30) == 0
    assert not said(running, "Traceback")


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_workers_end_by_themselves_when_their_parent_was_killed(tmp_path: Path) -> None:
    running = spawn(tmp_path, "--workers", "2")
    workers = two_of(running)
    running.kill()
    until(lambda: not any(map(alive, workers)), 40)
    running.stop()
    assert "Traceback" not in "\n".join(running.output)


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("gone", "lost"), [("seal.key", 1), ("caveats.db", 2)])
def test_a_worker_that_is_lost_while_something_is_away_is_started_until_it_is_back(
    tmp_path: Path, gone: str, lost: int
) -> None:
    """The other one goes on, the service does not end, and nothing is made anew in place of what is away."""
    with process(tmp_path, "--workers", "2") as running:
        workers = two_of(running)
        here, away = tmp_path / "data" / gone, tmp_path / "away"
        here.rename(away)
        for worker in workers[:lost]:
            os.kill(worker, signal.SIGKILL)
        until(lambda: len(said(running, "worker_cannot_start")) >= lost, 180)
        assert not here.exists()
        assert running.popen.poll() is None
        if lost == 1:
            assert workers[1] in workers_of(running.popen.pid)
        away.rename(here)
        until(lambda: len({*workers_of(running.popen.pid)} - {*workers[:lost]}) == 2, 180)
        assert answers(running)
        assert_stops_well(running)


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worker_for_which_the_system_starts_no_process_is_started_when_it_does(tmp_path: Path) -> None:
    """The other one goes on. The supervisor has as many files open as it may: it makes no pipe for a process."""
    with process(tmp_path, "--workers", "2") as running:
        workers, parent = two_of(running), running.popen.pid
        before = resource.prlimit(parent, resource.RLIMIT_NOFILE)
        resource.prlimit(parent, resource.RLIMIT_NOFILE, (4, before[1]))
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: bool(said(running, "the system starts no process")), 60)
        assert workers_of(parent) == [workers[1]]
        resource.prlimit(parent, resource.RLIMIT_NOFILE, before)
        until(lambda: len({*workers_of(parent)} - {workers[0]}) == 2, 180)
        assert_stops_well(running)


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_stop_in_the_pause_before_a_worker_is_started_again_ends(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as running:
        workers = two_of(running)
        (tmp_path / "data" / "seal.key").rename(tmp_path / "away")
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: bool(said(running, "worker_cannot_start")), 180)
        running.popen.send_signal(signal.SIGTERM)
        assert running.popen.wait(30) == 0
        assert not any(map(alive, workers))


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worker_that_stands_still_is_killed_at_a_stop(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as running:
        workers = two_of(running)
        os.kill(workers[0], signal.SIGSTOP)
        running.popen.send_signal(signal.SIGTERM)
        assert running.popen.wait(STOP_WITHIN + 10) == 0
        assert said(running, "worker_killed")
        assert not any(map(alive, workers))


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worker_that_stands_still_is_replaced(tmp_path: Path) -> None:
    with process(tmp_path, "--workers", "2") as running:
        workers = two_of(running)
        os.kill(workers[0], signal.SIGSTOP)
        until(lambda: bool(said(running, "worker_hangs")), 120)
        until(lambda: len({*workers_of(running.popen.pid)} - {workers[0]}) == 2, 120)
        assert workers[1] in workers_of(running.popen.pid)
        assert answers(running)


_SUPERVISOR = """
import sys
import uvicorn
from caveats_service.server.uvicorn import options
from caveats_service.server.listening import bind, listen
from caveats_service.server.workers import Workers
from caveats_service.settings import Settings

config = uvicorn.Config("{app}", factory=True, workers=2, **options(Settings.load()))
listeners = bind("127.0.0.1", 0)
listen(listeners, 128)
sys.exit(0 if Workers(config, listeners).run() else 1)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("app", "given", "says"),
    [
        ("caveats_service.server.uvicorn:worker", {"CHECKERS": "nothing-of-this-name"}, "CAVEATS_CHECKERS"),
        ("caveats_service.server.uvicorn:worker", {}, "there is no database"),
        ("caveats_service.server.uvicorn:no_such_app", {}, "no_such_app"),
    ],
)
def test_workers_that_never_start_are_given_up_with_their_reason_and_no_zero(
    tmp_path: Path, app: str, given: dict[str, str], says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SUPERVISOR.format(app=app)],
        env=environment(tmp_path, **given),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert says in done.stdout + done.stderr
    assert "workers_given_up" in done.stdout + done.stderr


# open files


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_connections_beyond_the_limit_of_open_files_are_closed_and_it_is_said(tmp_path: Path) -> None:
    """And nothing spins, nothing is lost for good, and the log does not grow with each of them."""
    with process(tmp_path) as running:
        resource.prlimit(running.popen.pid, resource.RLIMIT_NOFILE, (128, 128))
        with ExitStack() as stack:
            flood = [
                stack.enter_context(socket.create_connection(("127.0.0.1", _port(running)), 30))
                for _ in range(200)
            ]
            assert _ask(flood[0])
            until(lambda: bool(said(running, "open_files_limit_near")), 60)
            ended = [one for one in flood[1:] if _is_closed(one)]
            assert 90 <= len(ended) <= 180
            busy = _seconds_of(running.popen.pid)
            time.sleep(2)
            assert _seconds_of(running.popen.pid) - busy < 1
        until(lambda: bool(said(running, "open_files_limit_far")), 60)
        assert answers(running)
        assert len(running.output) < 12


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _seconds_of(pid: int) -> float:
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_low_limit_of_open_files_is_raised_as_far_as_it_may(tmp_path: Path) -> None:
    script = (
        "import resource\n"
        "from caveats_service.server.open_files import most_connections, raise_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))\n"
        "raise_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE), most_connections())\n"
    )
    given = environment(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script], env=given, capture_output=True, text=True, check=True
    )
    assert "(512, 512) 444" in done.stdout
    assert "open_files_limit_low" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("hard", "granted", "raised"),
    [
        (resource.RLIM_INFINITY, 10_240, 10_240),
        (65_536, 10_240, 10_240),
        (8_192, 10_240, 8_192),
        (8_192, 256, 256),
    ],
)
def test_a_system_that_grants_less_than_it_says_stops_no_service(
    hard: int, granted: int, raised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS: the limit is said to be none, and more than OPEN_MAX is refused."""
    limits = [(256, hard)]

    def setrlimit(_which: int, wanted: tuple[int, int]) -> None:
        if wanted[0] > granted:
            raise ValueError("current limit exceeds maximum limit")
        limits.append(wanted)

    monkeypatch.setattr(open_files.resource, "getrlimit", lambda _which: limits[-1])
    monkeypatch.setattr(open_files.resource, "setrlimit", setrlimit)
    open_files.raise_limit()
    assert limits[-1] == (raised, hard)
