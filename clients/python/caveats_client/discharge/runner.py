"""Carries out the steps of `protocol`: sends requests, only to addresses that were checked, within the deadline.

Knows sockets, threads and TLS; knows no macaroon. It resolves a name once, checks every address, and connects to one of
them, with the name in the Host header and in the TLS handshake. It uses no proxy, follows no redirect, keeps no cookie,
and uses no connection twice: two names with the same address never share one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import webbrowser
from concurrent.futures import Future
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2 as httpx

from caveats_client.api.errors import BadDischarge, ClientError, Unavailable
from caveats_client.discharge.protocol import LARGEST_ANSWER, Fill, Pause, Send, Visit
from caveats_client.transport import (
    UnreadableBody,
    aread_reply,
    connection_errors,
    options,
    read_reply,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caveats_client.api.messages import Reply
    from caveats_client.discharge.allowlist import Allowlist
    from caveats_client.discharge.protocol import Steps

T = TypeVar("T")

clock = time.monotonic
"""The clock of every deadline: seconds, as `time.monotonic` gives them."""
_CONNECT = 3.0
"""Seconds to connect to one address. After them, the next address is tried."""


def run(steps: Steps[T], allowlist: Allowlist) -> T:
    """Carry out the steps, and return their result. Raises the same errors as the steps."""
    with httpx.Client(**_options()) as http:
        answer: Any = None
        failed: ClientError | None = None
        while True:
            try:
                step = steps.send(answer) if failed is None else steps.throw(failed)
            except StopIteration as done:
                result: T = done.value
                return result
            answer = failed = None
            try:
                match step:
                    case Send():
                        answer = _send(http, step, allowlist)
                    case Visit():
                        step.visit(step.url)
                    case Fill():
                        answer = step.fill(step.schema)
                    case Pause():
                        time.sleep(step.seconds)
            except ClientError as error:
                failed = error


async def run_async(steps: Steps[T], allowlist: Allowlist) -> T:
    """As `run`, awaited."""
    async with httpx.AsyncClient(**_options()) as http:
        answer: Any = None
        failed: ClientError | None = None
        while True:
            try:
                step = steps.send(answer) if failed is None else steps.throw(failed)
            except StopIteration as done:
                result: T = done.value
                return result
            answer = failed = None
            try:
                match step:
                    case Send():
                        answer = await _send_async(http, step, allowlist)
                    case Visit():
                        await asyncio.to_thread(step.visit, step.url)
                    case Fill():
                        answer = await asyncio.to_thread(step.fill, step.schema)
                    case Pause():
                        await asyncio.sleep(step.seconds)
            except ClientError as error:
                failed = error


def open_browser(url: str) -> None:
    """Open `url` in the default browser. Raises `Unavailable` if there is none."""
    if not webbrowser.open(url):
        raise Unavailable(f"there is no browser here to open {url}")


# One request


def _send(http: httpx.Client, step: Send, allowlist: Allowlist) -> Reply:
    with _sending(step) as left:
        looking_up = _look_up(step.place.url)
        addresses = allowlist.checked(step.place.url, looking_up.result(left()))
        for number, address in enumerate(addresses, 1):
            with _Cut(left()) as cut:
                request = _request(http, step, address, left(), cut.trace)
                try:
                    response = http.send(request, stream=True)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if number == len(addresses):
                        raise
                    continue
                reply = read_reply(response, largest=LARGEST_ANSWER)
                left()  # a connection closed at the deadline can look like a complete answer
                return reply
    raise AssertionError  # unreachable: `checked` raises if there is no address


async def _send_async(http: httpx.AsyncClient, step: Send, allowlist: Allowlist) -> Reply:
    with _sending(step) as left:
        async with asyncio.timeout(left()):
            found = await asyncio.wrap_future(_look_up(step.place.url))
            addresses = allowlist.checked(step.place.url, found)
            for number, address in enumerate(addresses, 1):
                request = _request(http, step, address, left())
                try:
                    response = await http.send(request, stream=True)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if number == len(addresses):
                        raise
                    continue
                return await aread_reply(response, largest=LARGEST_ANSWER)
    raise AssertionError  # unreachable: `checked` raises if there is no address


@contextmanager
def _sending(step: Send) -> Iterator[Callable[[], float]]:
    """A function that returns the seconds that are left. Turns errors of httpx into a `ClientError`."""

    def left() -> float:
        seconds = step.until - clock()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    try:
        with connection_errors(step.place.url, within="in time", is_late=lambda: clock() >= step.until):
            yield left
    except UnreadableBody as error:
        raise BadDischarge(f"{step.place.shown} {error}") from error


def _request(
    http: httpx.Client | httpx.AsyncClient, step: Send, address: str, left: float, trace: Any = None
) -> httpx.Request:
    """The request to one address of the host. The name is not resolved again.

    The path is given only to the connection: httpx logs the URL of every request, and a path may contain the secret
    that identifies a waiting asker.
    """
    timeout = {"connect": min(left, _CONNECT), "read": left, "write": left, "pool": left}
    extensions: dict[str, Any] = {
        "sni_hostname": step.place.url.host,
        "timeout": timeout,
        "target": step.place.url.raw_path,
    }
    if trace is not None:
        extensions["trace"] = trace
    return http.build_request(
        step.method,
        step.place.url.copy_with(host=address, raw_path=b"/", fragment=None),
        content=step.content,
        headers={**step.headers, "Host": step.place.url.netloc.decode("ascii")},
        extensions=extensions,
    )


def _options() -> dict[str, Any]:
    """As for every client here, without a proxy, which would resolve the name by itself, and without keep-alive."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return {**options(), "trust_env": False, "limits": limits}


# Names


def _look_up(url: httpx.URL) -> Future[list[str]]:
    """The addresses of the host. A thread looks them up, so that a slow name server does not block past the deadline."""
    found: Future[list[str]] = Future()

    def look() -> None:
        try:
            found.set_result(_addresses(url))
        except ClientError as error:
            found.set_exception(error)

    threading.Thread(target=look, name="caveats-names", daemon=True).start()
    return found


def _addresses(url: httpx.URL) -> list[str]:
    try:
        return [str(ip_address(url.host))]
    except ValueError:
        pass
    try:
        port = url.origin.port
        rows = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(f"{shown(url)}: there is no such host, or no name server answers") from None
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


# The deadline


class _Cut:
    """Closes a blocking connection at its deadline, even if bytes still arrive. For tasks, `asyncio.timeout` does this."""

    def __init__(self, seconds: float) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpcore. Stores a duplicate of the new connection's socket. TLS does not replace that one."""
        if event == "connection.connect_tcp.complete":
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket").dup()

    def _cut(self) -> None:
        with self._lock:
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:  # closed already
                    pass
