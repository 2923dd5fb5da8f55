"""One connection, in time and in order: each step has its time, and answers come in the order of the requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn

from caveats_service.server import protocol
from caveats_service.server.uvicorn import options
from caveats_service.settings import Settings
from tests.support.service import Service, raw, status_of

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
MALFORMED = {
    "no request line": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "a field without a colon": b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a chunk without a size": b"POST /v1/verify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a version of tomorrow": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    "a head that is too long": b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000,
}


class App:
    """Answers each path with its name, once `go` is set; `/stream` without end, until nobody listens."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.begun.append(path)
        try:
            if path == "/stream":
                await self._stream(receive, send)
                return
            await self.go.wait()
            while (message := await receive())["type"] == "http.request" and message["more_body"]:
                pass
            headers = [(b"content-length", b"%d" % len(path))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": path.encode()})
        finally:
            self.ended.append(path)

    @staticmethod
    async def _stream(receive: Any, send: Any) -> None:
        await receive()
        gone = asyncio.create_task(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 16384, "more_body": True})
            await asyncio.sleep(0)


class Served:
    """The protocol around `App`, in this event loop."""

    def __init__(self, app: App, address: tuple[str, int], server: uvicorn.Server) -> None:
        self.app = app
        self.address = address
        self.server = server

    async def connect(self, **given: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address, **given)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app = App()
    config = uvicorn.Config(app, **{**options(Settings.load(port=0)), "lifespan": "off", "loop": "none"})
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started)
        yield Served(app, listener.getsockname(), server)
        app.go.set()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        server.should_exit = True
        await running


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0.005)


# in order


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("before", [0, 1, 3])
async def test_answers_before_a_malformed_request_come_first_and_whole(
    served: Served, malformed: bytes, before: int
) -> None:
    reader, writer = await served.connect()
    writer.write(b"".join(GET % b"%d" % number for number in range(before)) + malformed)
    await until(lambda: len(served.app.begun) >= min(before, 1))
    await asyncio.sleep(0.05)
    served.app.go.set()
    async with asyncio.timeout(30):
        answer = await reader.read()
    heads = answer.split(b"HTTP/1.1 ")[1:]
    assert [head[:3] for head in heads[:-1]] == [b"200"] * before
    assert [head[-2:] for head in heads[:-1]] == [b"/%d" % number for number in range(before)]
    assert heads[-1][:3] in (b"400", b"431")
    assert b"connection: close" in heads[-1]
    writer.close()


async def test_a_body_that_breaks_off_malformed_is_the_last_of_its_connection(served: Served) -> None:
    """Its own application is told that nobody waits; what comes after it is no request."""
    reader, writer = await served.connect()
    head = b"POST /%s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(GET % b"first" + head % b"second")
    await until(lambda: served.app.begun == ["/first"])
    writer.write(b"zz\r\n" + GET % b"third")
    served.app.go.set()
    async with asyncio.timeout(30):
        answer = await reader.read()
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]
    assert "/third" not in served.app.begun
    writer.close()


def test_the_service_answers_what_came_before_a_malformed_request(service: Service) -> None:
    answer = raw(service, GET % b"healthz" + b"GET / HTTP/1.1\r\nHost a\r\n\r\n", wait=5)
    assert status_of(answer) == 200
    assert b'{"status":"ok"}' in answer


async def test_an_application_is_told_that_its_client_is_gone_though_another_request_waits(
    served: Served,
) -> None:
    _, writer = await served.connect()
    writer.write(GET % b"stream" + GET % b"second")
    await until(lambda: served.app.begun == ["/stream"])
    writer.transport.abort()
    await until(lambda: served.app.ended == ["/stream"])


# in time


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"\r\n", b"", id="an empty line"),
        pytest.param(b"", b"\r\n", id="empty lines without end"),
        pytest.param(b"G", b"", id="a byte of a head"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"x", id="a head without end"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: y\r\n", id="fields without end"),
        pytest.param(GET % b"done" + b"GET / HT", b"x", id="a head after an answer"),
    ],
)
async def test_a_connection_without_a_whole_head_ends_within_a_minute(
    served: Served, monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    """Though a kept connection, which has had an answer, may be idle for longer."""
    assert 2 * protocol.HEAD_WITHIN < 60
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.3)
    served.app.go.set()
    reader, writer = await served.connect()
    writer.write(first)
    begin = time.monotonic()
    while not reader.at_eof() and time.monotonic() - begin < 20:
        with contextlib.suppress(ConnectionError):
            writer.write(then)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.05):
                await reader.read(1000)
    assert time.monotonic() - begin < 20
    await until(lambda: not served.server.server_state.connections)
    writer.close()


async def test_a_connection_that_has_had_an_answer_is_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.1)
    served.app.go.set()
    reader, writer = await served.connect()
    for _ in range(2):
        writer.write(GET % b"kept")
        assert (await reader.readuntil(b"/kept")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.4)
    writer.close()


@pytest.mark.parametrize("how", ["never", "a byte now and then"])
async def test_a_client_that_does_not_read_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(protocol, "WRITE_WITHIN", 0.5)
    client = socket.create_connection(served.address)
    client.setblocking(False)
    client.sendall(GET % b"stream")
    await until(lambda: served.app.begun == ["/stream"])
    (connection,) = served.server.server_state.connections
    begin = time.monotonic()
    most = 0
    while not served.app.ended:
        assert time.monotonic() - begin < 30
        most = max(most, connection.transport.get_write_buffer_size())
        if how != "never":
            with contextlib.suppress(OSError):
                client.recv(1)
        await asyncio.sleep(0.02)
    assert most < 256 * 1024
    await until(lambda: not served.server.server_state.connections)
    client.close()


async def test_an_answer_that_is_the_last_and_is_not_read_ends_with_its_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transport would wait for the client without end, since it has something to write."""
    monkeypatch.setattr(protocol, "WRITE_WITHIN", 0.3)
    monkeypatch.setattr(protocol, "_LINGER", 0.2)
    client = socket.create_connection(served.address)
    client.sendall(GET % b"stream" + b"\x16\x03\x01")
    await until(lambda: served.app.begun == ["/stream"])
    await until(lambda: served.app.ended == ["/stream"] and not served.server.server_state.connections)
    client.close()


@pytest.mark.slow
async def test_a_client_that_reads_slowly_but_reads_is_not_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "WRITE_WITHIN", 2.0)
    reader, writer = await served.connect()
    writer.write(GET % b"stream")
    for _ in range(30):  # the kernel has room for some 3 MB, and takes more when a third of that was read
        assert len(await reader.readexactly(400_000)) == 400_000
        await asyncio.sleep(0.1)
    assert served.app.ended == []
    writer.close()


async def test_what_a_stop_cancels_is_answered_and_leaves_no_traceback(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await served.connect()
    writer.write(GET % b"hangs")
    await until(lambda: served.app.begun == ["/hangs"])
    with caplog.at_level(logging.DEBUG):
        for task in list(served.server.server_state.tasks):
            task.cancel()
        async with asyncio.timeout(30):
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]
    writer.close()
