"""HTTP/1.1 on a connection: bounds in time, and order where uvicorn's protocol over httptools would lose the place.

Knows uvicorn's protocol; knows no request of this service. Each step of a client has its time: a head, a body (which the
application reads), and taking what was written. A request that cannot be read is answered after those before it.

An upgrade that nobody takes is ignored, as RFC 9110, section 7.8, has it: httptools would drop the request's body. What
comes after a body is no header, which uvicorn would take it for: proxies check heads only. A connection that is closed
while the client still sends is closed in two steps, as nginx does it: what comes is thrown away, because the kernel would
answer it with a reset, and a reset takes the answer away from a client that has not read it yet.
"""

from __future__ import annotations

import asyncio
import functools
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from caveats.http import Problem, unavailable
from caveats_service.server.open_files import most_connections

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HEAD_WITHIN = 25.0
"""Seconds, at most, until the first byte, and from there until a head is whole."""
WRITE_WITHIN = 30.0
"""Seconds, at most, in which a client takes up some 50 KB of what was written for it, or the rest after a close."""
_MOST_HELD = 16 * 1024
"""Bytes from which on an answer is written at once: its parts are not put together then."""
_LINGER = 5.0
"""Seconds, at most, in which what a client still sends is thrown away."""
_MOST_THROWN_AWAY = 4 * 1024 * 1024
"""Bytes, at most."""


class ServiceProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which takes no upgrade and reads the body, and closes without a reset.

    A connection says something within `HEAD_WITHIN` seconds, and a head is whole within as many from its first byte; both
    within `timeout_keep_alive` seconds, which is for a connection that has had an answer. A client that does not read
    what was written for it within `WRITE_WITHIN` seconds is cut off.
    """

    lingering = False
    """Whether the last answer has been sent, and what comes is thrown away."""
    _thrown_away = 0
    _head_begun = False
    """Whether some of a head has come, and not all."""
    _running: RequestResponseCycle | None = None
    """The request that is answered now, or was answered last; `cycle` is the last one that was read."""
    _last_words: bytes | None = None
    """The last answer, which waits for those before it."""
    _cut_off: asyncio.TimerHandle | None = None
    """Ends the connection, unless the client takes what was written."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn does, with a transport that closes in two steps."""
        super().connection_made(transport)
        self.transport = _LingeringTransport(transport, self)  # type: ignore[assignment]
        self._await_head()
        if len(self.connections) > most_connections():
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse `data`, unless the last answer has been sent or waits for those before it."""
        if self.lingering or self._last_words is not None:
            self._thrown_away += len(data)
            if self._thrown_away > _MOST_THROWN_AWAY:
                self.transport.close()
            return
        begun = self._head_begun
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.refuse(Problem(400, "bad_request", "the request is malformed (RFC 9112)"))
            return
        self._head_begun = self.scope is not None and "method" not in self.scope
        if self._head_begun and not begun and self._is_idle:
            self._await_head()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        """Close the connection after a while, unless a head is whole by then."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            min(HEAD_WITHIN, self.timeout_keep_alive), self.timeout_keep_alive_handler
        )

    def refuse(self, problem: Problem) -> None:
        """Answer a request that cannot be read to its end, after the answers to those before it, and close."""
        if self.transport.is_closing() or self._last_words is not None:
            return
        cycle = self.cycle
        broken = cycle is not None and cycle.more_body and not cycle.response_complete
        if broken and cycle is not self._running:  # it waits for its turn, which it will not have
            self.pipeline.popleft()
        elif broken and cycle.response_started:
            cycle.keep_alive = False  # its answer is the last one
            return
        elif broken:
            _disconnect(cycle)
        if (
            self._running is not None
            and not self._running.response_complete
            and not self._running.disconnected
        ):
            self._last_words = _answer_of(problem)
        else:
            self._end_with(_answer_of(problem))

    def _end_with(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def on_response_complete(self) -> None:
        """As uvicorn does; the head that has begun already has as long as any, and a refusal that waits is written."""
        if self._last_words is not None and not self.pipeline and not self.transport.is_closing():
            self._end_with(self._last_words)
            return
        super().on_response_complete()
        if self._head_begun and self.timeout_keep_alive_task is not None:
            self._await_head()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._running = cycle
        super()._start_asgi_task(cycle, functools.partial(self._answer, cycle, app))

    async def _answer(
        self, cycle: RequestResponseCycle, app: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run the application. It is cancelled where the process ends, whose time for answers is over."""
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            if not cycle.response_started and not self.transport.is_closing():
                self.transport.write(_answer_of(unavailable(detail="the process is about to stop")))
            _disconnect(cycle)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn does, which would tell only the last of several requests."""
        if self._running is not None and not self._running.response_complete:
            _disconnect(self._running)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._cut_off is not None:
            self._cut_off.cancel()

    def pause_writing(self) -> None:
        """As uvicorn does; the client has some time to read."""
        super().pause_writing()
        self.limit_writing()

    def resume_writing(self) -> None:
        """As uvicorn does."""
        super().resume_writing()
        if self._cut_off is not None and not self.transport.is_closing():
            self._cut_off.cancel()
            self._cut_off = None

    def limit_writing(self) -> None:
        """End the connection after a while, whatever has not been read by then."""
        if self._cut_off is None:
            self._cut_off = self.loop.call_later(WRITE_WITHIN, self.transport.abort)

    def on_headers_complete(self) -> None:
        """As uvicorn does; the time for the head is over."""
        self._unset_keepalive_if_required()
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn does, for the head. A field after the body (RFC 9110, section 6.5.1) is dropped."""
        if "method" not in self.scope:
            super().on_header(name, value)

    def _parse(self, data: bytes) -> None:
        """Feed the parser. A head that asks for an upgrade is fed to another one, without that wish.

        The first one may have taken the head, which ends with `Connection: close`, for the last of this connection.
        """
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self.scope["method"] == "CONNECT":  # this is an upgrade without the header
                    raise httptools.HttpParserError from None
                (end_of_head,) = upgrade.args
                data = data[end_of_head:]
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                self.parser.feed_data(head)
            else:
                return

    def _should_upgrade(self) -> bool:
        return True  # uvicorn then leaves a head that asks for an upgrade alone: it is for `_parse`

    def _head_without_upgrade(self) -> bytes:
        method, version = self.scope["method"].encode("ascii"), self.parser.get_http_version().encode("ascii")
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    @property
    def still_sending(self) -> bool:
        """Whether the client has not sent the whole of its last request."""
        if self.scope is not None and "method" not in self.scope:
            return True
        return self.cycle is not None and self.cycle.more_body


class _LingeringTransport:
    """A transport whose `close` is in two steps while the client is still sending.

    What is written in one step of the loop goes out together: the head and the body of an answer as one packet.
    """

    def __init__(self, transport: asyncio.Transport, protocol: ServiceProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._held = b""
        self._ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more may be written."""
        return self._protocol.lingering or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write `data` when this step of the loop is over, or at once where there is much. After the end, nothing."""
        if self._ended:  # the answer to a request that came in one piece with the last one
            return
        if self._held:
            data = self._held + data
        elif len(data) < _MOST_HELD:
            self._protocol.loop.call_soon(self._flush)
        self._held = data
        if len(data) >= _MOST_HELD:
            self._flush()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)

    def close(self) -> None:
        """Send what is written; then close, at once or when the client has, or has had `_LINGER` seconds to."""
        self._flush()
        self._protocol.limit_writing()
        if self.is_closing() or not self._protocol.still_sending or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._protocol.lingering = True
        self._ended = True
        self._transport.write_eof()
        self._protocol.flow.resume_reading()
        self._protocol.loop.call_later(_LINGER, self._transport.close)


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Tell the application that nobody waits for this answer any more."""
    cycle.disconnected = True
    cycle.message_event.set()


def _answer_of(problem: Problem) -> bytes:
    """The whole answer, which closes the connection."""
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}", "connection: close"]
    lines += [f"{name.lower()}: {value}" for name, value in problem.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + problem.body
