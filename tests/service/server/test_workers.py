"""Workers and connections: each worker its own queue, a farewell before a close, one behaviour for every signal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn

from caveats_service.server.draining import DrainingServer
from caveats_service.server.uvicorn import options
from caveats_service.server.workers import listen
from caveats_service.settings import Settings
from tests.support.service import CLIENT, Process, Service, command, process, raw, spawn, until
from tests.support.workers import connections_of, workers_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="queues that share a port are Linux's")
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


@linux
def test_each_worker_has_a_queue_of_its_own_on_one_port() -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in listen("127.0.0.1", 0, 3, 128)]
        port = sockets[0].getsockname()[1]
        assert port
        assert {one.getsockname()[1] for one in sockets} == {port}
        assert len({os.fstat(one.fileno()).st_ino for one in sockets}) == 3
        for _ in range(48):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        for one in sockets:
            one.setblocking(False)
            stack.enter_context(one.accept()[0])


@linux
def test_a_port_that_another_service_listens_on_is_not_shared_with_it() -> None:
    """Neither with one that has a single queue nor with one that has several."""
    for taken in (
        listen("127.0.0.1", 0, 2, 128),
        [socket.create_server(("127.0.0.1", 0))],
        [socket.create_server(("127.0.0.1", 0), reuse_port=True)],
    ):
        with ExitStack() as stack:
            for one in taken:
                stack.enter_context(one)
            with pytest.raises(OSError, match="in use"):
                listen("127.0.0.1", taken[0].getsockname()[1], 2, 128)


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
        yield running


@pytest.mark.slow
def test_workers_on_a_port_of_the_systems_choice_say_which_it_is(two_workers: Process) -> None:
    (line,) = [line for line in two_workers.output if "is serving on" in line]
    assert "(2 workers)" in line
    assert re.search(r":[1-9]\d{3,4} ", line)
    assert httpx.get(f"{two_workers.url}/healthz", **CLIENT).status_code == 200


@linux
@pytest.mark.slow
def test_bursts_of_connections_that_are_kept_do_not_land_on_one_worker(two_workers: Process) -> None:
    """Linux deals by a hash: of 64 connections one worker has more than 52 once in a million bursts."""
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
        most.append(max(held.values()))
        all_together += held[workers[0]]
        until(lambda: not sum(connections_of(workers, port).values()), 30)
    assert max(most) <= 52
    assert 0.4 < all_together / (20 * 64) < 0.6


@linux
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_new_connections_wait_for_the_worker_that_is_replaced(tmp_path: Path, end: signal.Signals) -> None:
    """Their queue stays open. Only a killed worker's own connections are lost."""
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
