"""HTTP transport: checks addresses, sets httpx up, and limits how much of an answer is read.

Knows httpx, TLS, proxies and clocks. Knows no endpoint and no token: those are `api`'s. Every connection of this package
uses `options`: no redirects, no cookies, the platform's certificates, and no proxy to this machine.
"""

from __future__ import annotations

import errno
import functools
import socket
import ssl
import time
import zlib
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from caveats_client.api.errors import Unavailable, UnusableAddress
from caveats_client.api.messages import Reply
from caveats_client.ordinary_httpx import AnyUrl, ByteStream, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

DEFAULT_TIMEOUT = 10.0
"""Seconds for each step of a request: to connect, to write, to wait for the next bytes."""
_GZIP = 16 + zlib.MAX_WBITS


# Addresses


def checked_address(address: AnyUrl, *, allow_http: bool = False) -> httpx.URL:
    """`address` as a URL that a token may be sent to: https, or http to this machine. Raises `UnusableAddress`.

    `allow_http`: plain http to any machine.
    """
    try:
        url = url_of(address)
    except (httpx.InvalidURL, TypeError) as error:
        raise UnusableAddress("not an address: expected https://host") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UnusableAddress(f"{shown(url)} is not the address of a service: expected https://host")
    if url.port is not None and not 0 < url.port < 2**16:
        raise UnusableAddress(f"{shown(url)} has a port that does not exist: expected 1 to 65535")
    if url.userinfo:
        raise UnusableAddress(
            "an address with a user name or a password in it ends up in logs: leave them out"
        )
    if url.scheme == "http" and not (allow_http or is_loopback(url)):
        raise UnusableAddress(
            f"{shown(url)} is plain http: everyone on the way could read the token. Use https; "
            "where nobody can listen, allow it (allow_http, --allow-http)"
        )
    return url


def is_loopback(url: httpx.URL) -> bool:
    """Whether the host of `url` is `localhost` or a loopback address. Asks no name server."""
    if url.host == "localhost":
        return True
    try:
        return ip_address(url.host).is_loopback
    except ValueError:
        return False


def shown(url: httpx.URL) -> str:
    """Scheme, host and port of `url`, for messages: nothing of the path, the query or a password."""
    if url.host:
        return f"{url.scheme}://{url.netloc.decode('ascii')}"
    return "this" if "@" in str(url) else repr(str(url)[:80])


# Set-up


def options(*addresses: httpx.URL) -> dict[str, Any]:
    """The arguments that every `httpx.Client` and `httpx.AsyncClient` of this package is made with.

    `addresses`: where it will send to. Those on this machine are reached without a proxy: a proxy would send plain
    http, which is allowed here because it stays on this machine, to another machine.
    """
    return {
        "verify": tls(),
        "follow_redirects": False,
        "headers": {
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a compressed answer could be larger than what is counted
            "User-Agent": "caveats-client",
        },
        # A session cookie beside a token would be two credentials.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        "mounts": {shown(url): None for url in addresses if is_loopback(url)},
    }


@functools.cache
def tls() -> ssl.SSLContext:
    """The platform's certificates, read once for the process: reading them takes some 10 ms."""
    return httpx.create_ssl_context()


@contextmanager
def connection_errors(
    url: httpx.URL, *, within: str, is_late: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Turn httpx's errors into `Unavailable` and `UnreadableBody`. `within`: the time limit, in words, for the message.

    `is_late`: whether the deadline has passed. Then every error counts as a timeout: a connection that is closed at its
    deadline fails in many ways.
    """
    try:
        yield
    except (TimeoutError, httpx.TimeoutException) as error:
        raise Unavailable(f"{shown(url)} did not answer {within}") from error
    except httpx.DecodingError as error:
        raise UnreadableBody("answers in an encoding nobody asked for") from error
    except (httpx.RequestError, httpx.StreamError, httpx.InvalidURL) as error:
        if is_late():
            raise Unavailable(f"{shown(url)} did not answer {within}") from error
        if isinstance(error, httpx.RemoteProtocolError):
            raise Unavailable(_not_http(url, error)) from error
        raise Unavailable(f"cannot reach {shown(url)}: {_reason(url, error)}") from error


_TLS_ALERT = r"\x15\x03"
"""How an answer in TLS begins (RFC 8446, section 5.1: an alert), as h11 shows it."""


def _not_http(url: httpx.URL, error: Exception) -> str:
    if url.scheme == "http" and _TLS_ALERT in str(error):
        return f"{shown(url)} speaks TLS: use {shown(url.copy_with(scheme='https'))}"
    return f"{shown(url)} broke off, or does not speak HTTP: {str(error).rstrip('.')}{_or_tls(url)}"


def _or_tls(url: httpx.URL) -> str:
    """What to try where a server ends a connection in plain http, as those do that expect TLS."""
    return f"; if it speaks TLS, use {shown(url.copy_with(scheme='https'))}" if url.scheme == "http" else ""


def _reason(url: httpx.URL, error: BaseException) -> str:
    """Why there is no connection, and what to do about it: the innermost error that the system or TLS gave a name."""
    inner: BaseException | None = error
    while inner is not None:
        match inner:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted ({inner.verify_message}); SSL_CERT_FILE names other authorities"
            case ssl.SSLError() if url.scheme == "https" and inner.reason in _NO_TLS:
                return (
                    f"it does not speak TLS: if it is plain http, use {shown(url.copy_with(scheme='http'))}"
                )
            case socket.gaierror():
                return f"its name cannot be looked up ({inner.strerror}): is it spelled right?"
            case ConnectionResetError() | BrokenPipeError():
                return f"it ends the connection without an answer{_or_tls(url)}"
            case OSError() if inner.errno in _REASONS:
                return _REASONS[inner.errno]
        inner = inner.__cause__ or inner.__context__
    return str(error) or type(error).__name__


_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"}
"""What OpenSSL says of an answer that is not TLS; which of these depends on its version."""
_REASONS = {
    errno.ECONNREFUSED: "connection refused: is the service running, and is the port right?",
    errno.ENETUNREACH: "there is no way to its network: is this machine online?",
    errno.EHOSTUNREACH: "there is no way to its machine: is it up, and is the address right?",
}


# Answers


class UnreadableBody(Exception):
    """The body of an answer cannot be read. The message continues a sentence that begins with the host's name."""


class TooSlow(UnreadableBody):
    """The body did not arrive before the deadline."""


class BodyLimit:
    """Counts the bytes of one answer's body, and raises an error at the limit.

    `largest`: bytes. `deadline`: seconds on `clock`; None if the caller has a deadline of its own. `gzip`: accept a
    body compressed with gzip, and count its unpacked bytes too. Raises `UnreadableBody`, `TooSlow` for the deadline.
    """

    def __init__(
        self,
        response: httpx.Response,
        *,
        largest: int,
        deadline: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        gzip: bool = False,
    ) -> None:
        self._largest = self._left = self._left_unpacked = largest
        self._deadline = deadline
        self._clock = clock
        self._unpack = None
        packing = packing_of(response)
        if packing:
            if not (gzip and packing == "gzip"):
                raise UnreadableBody("answers in an encoding nobody asked for")
            self._unpack = zlib.decompressobj(_GZIP)

    def count(self, chunk: bytes) -> None:
        """Count the next bytes of the body. Raises `UnreadableBody`, `TooSlow`."""
        self._left -= len(chunk)
        if self._unpack is not None:
            try:
                self._left_unpacked -= len(self._unpack.decompress(chunk, self._left_unpacked + 1))
            except zlib.error:
                raise UnreadableBody("answers with a body that cannot be unpacked") from None
        if min(self._left, self._left_unpacked) < 0:
            raise UnreadableBody(f"answers with more than {self._largest} bytes")
        if self._deadline is not None and self._clock() > self._deadline:
            raise TooSlow("answers too slowly")


def packing_of(response: httpx.Response) -> str:
    """The header `Content-Encoding` in lower case; empty for a body that is not compressed."""
    encoding: str = response.headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def read_reply(response: httpx.Response, *, largest: int, deadline: float | None = None) -> Reply:
    """The whole answer to a request that was sent with `stream=True`. Closes the response.

    `largest`: bytes. `deadline`: seconds on `time.monotonic`. Raises `UnreadableBody`, `TooSlow`.
    """
    try:
        limit = BodyLimit(response, largest=largest, deadline=deadline)
        body = bytearray()
        for chunk in response.iter_bytes():
            limit.count(chunk)
            body += chunk
    finally:
        response.close()
    return _reply(response, body)


async def aread_reply(response: httpx.Response, *, largest: int, deadline: float | None = None) -> Reply:
    """As `read_reply`."""
    try:
        limit = BodyLimit(response, largest=largest, deadline=deadline)
        body = bytearray()
        async for chunk in response.aiter_bytes():
            limit.count(chunk)
            body += chunk
    finally:
        await response.aclose()
    return _reply(response, body)


def _reply(response: httpx.Response, body: bytearray) -> Reply:
    headers = response.headers
    return Reply(
        response.status_code,
        bytes(body),
        headers.get("retry-after"),
        headers.get("set-cookie"),
        headers.get("date"),
        headers.get("location"),
    )


class LimitedStream(ByteStream):
    """A response's stream, counted by `limit`. `wrap` makes the error that is raised from an `UnreadableBody`."""

    def __init__(
        self, response: httpx.Response, limit: BodyLimit, wrap: Callable[[UnreadableBody], Exception]
    ) -> None:
        self._stream: Any = response.stream
        self._limit = limit
        self._wrap = wrap

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._count(chunk)
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._count(chunk)
            yield chunk

    def _count(self, chunk: bytes) -> None:
        try:
            self._limit.count(chunk)
        except UnreadableBody as error:
            raise self._wrap(error) from error

    def close(self) -> None:
        """Close the response's own stream."""
        self._stream.close()

    async def aclose(self) -> None:
        """Close the response's own stream."""
        await self._stream.aclose()
