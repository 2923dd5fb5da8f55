"""The sockets that the service listens on: bound before a first start makes anything, and what is wrong with them in words.

Knows sockets and the names of two settings. A port that is bound and not listened on refuses connections: nobody waits
for a service that is still starting.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caveats_service.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ELSEWHERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""What the system says of an address that this machine has not, such as IPv6's where that is switched off."""


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of `host`, all on one port; 0 takes a free one. Raises `OSError`.

    Of several addresses, those are left out that this machine has not.
    """
    sockets: list[socket.socket] = []
    lacking: OSError | None = None
    try:
        for family, address in _addresses(host):
            try:
                sockets.append(_bound(family, address, port))
            except OSError as error:
                if error.errno not in _ELSEWHERE:
                    raise
                lacking = error
            else:
                port = port or sockets[0].getsockname()[1]
    except OSError:
        close(sockets)
        raise
    if not sockets and lacking is not None:
        raise lacking
    return sockets


def _addresses(host: str) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))


def _bound(family: int, address: str, port: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address, port))
    except OSError:
        one.close()
        raise
    return one


def listen(sockets: Iterable[socket.socket], backlog: int) -> None:
    """Listen on all of them. Another program may have begun to since they were bound: raises `SettingsError`."""
    for one in sockets:
        host, port, *_ = one.getsockname()
        with told(host, port):
            one.listen(backlog)


def close(sockets: Iterable[socket.socket]) -> None:
    """Close them all."""
    for one in sockets:
        one.close()


@contextmanager
def told(host: str, port: int) -> Iterator[None]:
    """Turn errors of binding and listening into `SettingsError`: one line, which names what to change."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise SettingsError(_words(host, port, error)) from error


def _words(host: str, port: int, error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError | socket.gaierror):
        return f"{host} is no address of this machine, and no known name: choose another with --host or CAVEATS_HOST"
    said = os.strerror(error.errno).lower() if error.errno else str(error)
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is taken ({said}): choose another with --port or CAVEATS_PORT"
        case errno.EACCES:
            return f"port {port} is not for this user ({said}): choose one above 1023 with --port or CAVEATS_PORT"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return (
                f"{host} is no address of this machine ({said}): choose another with --host or CAVEATS_HOST"
            )
    return f"cannot listen on port {port} of {host}: {said}"
