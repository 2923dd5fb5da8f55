"""A load over keep-alive connections, one request in flight on each: prepared bytes out, statuses counted."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CONNECTIONS = 16


def load(
    port: int,
    requests: Iterable[bytes],
    seconds: float,
    connections: int = CONNECTIONS,
    *,
    connected: Callable[[], None] = lambda: None,
) -> float:
    """Requests answered a second, until `seconds` are over or the requests are. Anything but a 200 raises.

    `connected` is called at half of that time, when every connection has been accepted.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_load(port, iter(requests), seconds, connections, connected))


async def _load(
    port: int, requests: Iterator[bytes], seconds: float, count: int, connected: Callable[[], None]
) -> float:
    loop = asyncio.get_running_loop()
    connections = [_Connection(requests, loop.create_future()) for _ in range(count)]
    for connection in connections:
        await loop.create_connection(lambda one=connection: one, "127.0.0.1", port)  # type: ignore[misc]
    started = perf_counter()
    for connection in connections:
        connection.next()
    look = loop.call_later(seconds / 2, connected)
    stop = loop.call_later(seconds, _stop, connections)
    await asyncio.gather(*(connection.done for connection in connections))
    elapsed = perf_counter() - started
    stop.cancel()
    look.cancel()
    return sum(connection.answered for connection in connections) / elapsed


def _stop(connections: Iterable[_Connection]) -> None:
    for connection in connections:
        connection.stop()


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self.answered = 0
        self.done = done
        self._requests = requests
        self._received = b""
        self._stopping = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def next(self) -> None:
        """Send one more, or end."""
        request = None if self._stopping else next(self._requests, None)
        if request is not None:
            self._transport.write(request)
            return
        self._transport.close()
        if not self.done.done():
            self.done.set_result(None)

    def stop(self) -> None:
        """End after the answer that is awaited."""
        self._stopping = True

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head = received.find(b"\r\n\r\n")
        at = received.find(b"content-length: ", 0, head) + 16
        if head < 0 or len(received) < head + 4 + int(received[at : received.find(b"\r", at)]):
            self._received = received
            return
        self._received = b""
        if received[9:12] != b"200":
            self._fail(ConnectionError(received.decode(errors="replace")))
            return
        self.answered += 1
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("the server hung up"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
        self._transport.close()
