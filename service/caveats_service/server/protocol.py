"""HTTP/1.1 on a connection, where uvicorn's protocol over httptools would lose the place: upgrades, and early answers.

Knows uvicorn's protocol; knows no request of this service. An upgrade that nobody takes is ignored, as RFC 9110, section
7.8, has it: httptools would drop the request's body. What comes after a body is no header, which uvicorn would take it
for: proxies check heads only. A connection that is closed while the client still sends is closed
in two steps, as nginx does it: what comes is thrown away, because the kernel would answer it with a reset, and a reset
takes the answer away from a client that has not read it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

_LINGER = 5.0
"""Seconds, at most, in which what a client still sends is thrown away."""
_MOST_THROWN_AWAY = 4 * 1024 * 1024
"""Bytes, at most."""


class ServiceProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which takes no upgrade and reads the body, and closes without a reset.

    A head is whole within `timeout_keep_alive` seconds from its first byte; a connection without a byte is as idle as a kept one.
    """

    lingering = False
    """Whether the last answer has been sent, and what comes is thrown away."""
    _thrown_away = 0
    _head_begun = False
    """Whether some of a head has come, and not all."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn does, with a transport that closes in two steps."""
        super().connection_made(transport)
        self.transport = _LingeringTransport(transport, self)  # type: ignore[assignment]
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Parse `data`, unless the last answer has been sent."""
        if self.lingering:
            self._thrown_away += len(data)
            if self._thrown_away > _MOST_THROWN_AWAY:
                self.transport.close()
            return
        if not self._head_begun:
            self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        self._head_begun = self.scope is not None and "method" not in self.scope
        idle = self.cycle is None or self.cycle.response_complete
        if self._head_begun and idle and self.timeout_keep_alive_task is None:
            self._await_head()

    def _await_head(self) -> None:
        """Close the connection after a while, unless a head is whole by then."""
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

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
    """A transport whose `close` is in two steps while the client is still sending."""

    def __init__(self, transport: asyncio.Transport, protocol: ServiceProtocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more may be written."""
        return self._protocol.lingering or self._transport.is_closing()

    def close(self) -> None:
        """Send what is written; then close, at once or when the client has, or has had `_LINGER` seconds to."""
        if self.is_closing() or not self._protocol.still_sending or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._protocol.lingering = True
        self.write = _throw_away  # the answer to a request that came in one piece with the last one
        self._transport.write_eof()
        self._protocol.flow.resume_reading()
        self._protocol.loop.call_later(_LINGER, self._transport.close)


def _throw_away(data: object) -> None:
    """Write nothing: the end has been sent."""
