"""Every stop ends within its time, whatever hangs in the process, and leaves no traceback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import socket
import sqlite3
import subprocess
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats.keys import AudienceKeyring
from caveats.revocation import prove_reader
from caveats_service.runtime import ServiceRuntime, _ended
from caveats_service.server.draining import STOP_WITHIN
from caveats_service.settings import Settings
from tests.support.service import (
    ADMIN_PASSWORD,
    CHEAP,
    CLIENT,
    COMMAND,
    Process,
    command,
    environment,
    narrow,
    process,
    spawn,
)

PLUGIN = """
import time
from dataclasses import dataclass
from typing import ClassVar

from caveats import Caveat


@dataclass(frozen=True, slots=True)
class Hangs(Caveat):
    kind: ClassVar[str] = "acme/hangs"

    @property
    def value(self):
        return ""

    @classmethod
    def parse(cls, value):
        return cls()


def check(caveat: Hangs, context):
    time.sleep(3600)


def register(checkers):
    checkers.register(Hangs, check)
"""


@pytest.mark.slow
async def test_a_node_that_is_told_to_stop_as_it_hears_of_something_ends(tmp_path: Path) -> None:
    """Python 3.11's `asyncio.wait_for` loses a cancellation that comes in the same tick as the result."""
    settings = Settings.load(data_dir=tmp_path, admin_password=ADMIN_PASSWORD)
    for attempt in range(40):
        runtime = ServiceRuntime(settings, password_profile=CHEAP)
        await runtime.start()
        pause = random.choice((0.0, 0.0, random.uniform(0, 0.02)))
        polls = [asyncio.create_task(runtime.feed.wait_for_news(10**6, None, 60)) for _ in range(3)]
        await asyncio.sleep(pause)
        runtime.feed.keys_changed()
        for _ in range(attempt % 4):
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await runtime.stop()
            await asyncio.gather(*polls)
        assert all(task.done() for task in runtime._tasks)


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await _ended([task])
    assert lost == 3


# real processes


def stopped(
    running: Process, number: signal.Signals = signal.SIGTERM, within: float = STOP_WITHIN + 5
) -> float:
    """How long the stop took. It left no traceback, and the process was not killed."""
    begin = time.monotonic()
    running.popen.send_signal(number)
    code = running.popen.wait(within)
    took = time.monotonic() - begin
    running.stop()
    assert "Traceback" not in "\n".join(running.output)
    assert code in (0, -number), (code, running.output)
    return took


def connected(running: Process, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])), 30)
    connection.sendall(data)
    return connection


def token_of(running: Process, **asked: str) -> str:
    wish = {"username": "admin", "password": ADMIN_PASSWORD, **asked}
    answer = httpx.post(f"{running.url}/v1/tokens", json=wish, **CLIENT)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def unfinished_body(running: Process, _: Path) -> bytes:
    return b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"


def unfinished_head(running: Process, _: Path) -> bytes:
    return b"GET /healthz HTTP/1.1\r\nHost: "


def feed(running: Process, folder: Path) -> bytes:
    exported = json.loads(command(folder, "keys", "export", "--audience", "photos").stdout)
    proof = prove_reader(AudienceKeyring.from_json(exported).keys[-1], datetime.now(UTC))
    lines = (
        "GET /v1/revocations/feed?audience=photos%s HTTP/1.1",
        "Host: a",
        f"X-Feed-Proof: {proof}",
        "%s",
        "",
    )
    return "\r\n".join([*lines, ""]).encode()


def stream(running: Process, folder: Path) -> bytes:
    return feed(running, folder) % (b"", b"Accept: text/event-stream")


def long_poll(running: Process, folder: Path) -> bytes:
    return feed(running, folder) % (b"&wait=60&after=9", b"Accept: */*")


def hanging_check(running: Process, _: Path) -> bytes:
    token = narrow(token_of(running), "acme/hangs = ")
    return f"GET /v1/authorize HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The folder of a distribution whose check hangs, as pip would leave it."""
    site = tmp_path / "site"
    info = site / "hanging-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "hanging_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[caveats.checkers]\nhangs = hanging_plugin:register\n")
    return site


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_with_requests_that_do_not_end_ends_within_its_time(
    tmp_path: Path, plugin: Path, workers: str
) -> None:
    """A body and a head without an end, a stream, a long poll and a check that hangs in its thread."""
    given = {"PYTHONPATH": f"{plugin}:{Path.cwd()}", "CHECKERS": "hangs", "CHECKER_DEADLINE": "60"}
    running = spawn(tmp_path, "--workers", workers, **given)
    with contextlib.ExitStack() as held:
        for ask in (unfinished_body, unfinished_head, stream, long_poll, hanging_check):
            held.enter_context(connected(running, ask(running, tmp_path)))
        time.sleep(1)
        assert stopped(running) < STOP_WITHIN + 3


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_streams_and_polls_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    running = spawn(tmp_path)
    with contextlib.ExitStack() as held:
        for ask in (unfinished_head, stream, long_poll):
            held.enter_context(connected(running, ask(running, tmp_path)))
        time.sleep(1)
        assert stopped(running) < 8, "they end with the signal, and not at the end of all time"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_request_that_ends_in_time_is_answered_after_the_signal(tmp_path: Path) -> None:
    running = spawn(tmp_path)
    with connected(running, unfinished_body(running, tmp_path)) as connection:
        time.sleep(0.5)
        running.popen.send_signal(signal.SIGTERM)
        time.sleep(3)
        connection.sendall(b'"token": "cav1_x"}'.ljust(98))
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
    assert running.popen.wait(20) in (0, -signal.SIGTERM)
    running.stop()
    assert "Traceback" not in "\n".join(running.output)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_body_that_does_not_come_is_told_that_the_process_stops(tmp_path: Path) -> None:
    running = spawn(tmp_path)
    with connected(running, unfinished_body(running, tmp_path)) as connection:
        time.sleep(0.5)
        running.popen.send_signal(signal.SIGTERM)
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    assert running.popen.wait(20) in (0, -signal.SIGTERM)
    running.stop()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another process writes to the database, and does not end."""
    with contextlib.closing(sqlite3.connect(folder / "data" / "caveats.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_stop_ends_while_the_database_is_locked(tmp_path: Path) -> None:
    running = spawn(tmp_path)
    token = token_of(running, note="used")
    with locked(tmp_path):
        httpx.get(f"{running.url}/v1/authorize", headers={"Authorization": f"Bearer {token}"}, **CLIENT)
        ask = b"POST /v1/tokens HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        body = b'{"username": "admin", "password": "%s", "note": "x"}' % ADMIN_PASSWORD.encode()
        with connected(running, ask % (len(body), body)):
            time.sleep(1)
            assert stopped(running) < STOP_WITHIN + 3


@pytest.fixture
def silent_database() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://nobody@127.0.0.1:{listener.getsockname()[1]}/nothing"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("workers", "number"), [("1", signal.SIGTERM), ("1", signal.SIGINT), ("2", signal.SIGTERM)]
)
def test_a_stop_during_the_start_ends(
    tmp_path: Path, silent_database: str, workers: str, number: signal.Signals
) -> None:
    given = environment(tmp_path, DATABASE_URL=silent_database)
    popen = subprocess.Popen(
        [*COMMAND, "serve", "--workers", workers], env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    time.sleep(1.5)
    popen.send_signal(number)
    output, _ = popen.communicate(timeout=STOP_WITHIN + 5)
    assert b"Traceback" not in output, output.decode()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_hears_of_revocations_all_the_time_stops_at_any_moment(
    tmp_path: Path, number: signal.Signals
) -> None:
    with process(tmp_path) as writer, writer.client() as http:
        for _ in range(4):
            running = spawn(tmp_path)
            begin = time.monotonic()
            until_stop = random.uniform(0.3, 1.5)
            while time.monotonic() - begin < until_stop:
                copy = narrow(token_of(writer), "note = x")
                http.post(
                    "/v1/revocations", json={"presented": True}, headers={"Authorization": f"Bearer {copy}"}
                )
            assert stopped(running, number) < 8


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_interrupt_ends_at_once(tmp_path: Path, workers: str) -> None:
    running = spawn(tmp_path, "--workers", workers)
    with contextlib.ExitStack() as held:
        for _ in range(6):
            held.enter_context(connected(running, unfinished_body(running, tmp_path)))
        time.sleep(0.5)
        running.popen.send_signal(signal.SIGINT)
        time.sleep(1)
        begin = time.monotonic()
        running.popen.send_signal(signal.SIGINT)
        running.popen.wait(20)
        assert time.monotonic() - begin < 6
    running.stop()
    assert "Traceback" not in "\n".join(running.output)
