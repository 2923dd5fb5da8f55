"""Who the client is behind proxies, and the facts of its request. Knows which proxies are trusted, judges no token.

An `X-Forwarded-*` header is believed only where a trusted proxy sent it: any client can write one.
"""

from __future__ import annotations

from ipaddress import ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from caveats.context import Context
from caveats.http.request import WHITE_SPACE
from caveats.kinds import Network, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from caveats.http.request import IncomingRequest

UNIX = "unix"
"""Stands in a list of trusted proxies for all peers on a Unix socket, which have no address."""


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` and `X-Forwarded-Host` are believed."""

    def __init__(self, trusted: str | Iterable[str | Network] = ()) -> None:
        """`trusted`: addresses, networks such as `10.0.0.0/8`, and `unix` for peers on a Unix socket.

        Raises `ValueError` for anything else.
        """
        words = (trusted,) if isinstance(trusted, str) else tuple(trusted)
        self._networks = tuple(ip_network(word) for word in words if word != UNIX)
        self._unix = UNIX in words

    def trusts(self, address: str | None) -> bool:
        """Whether `address` is a trusted proxy's; None or empty stands for a Unix socket."""
        if not address:
            return self._unix
        if not self._networks:
            return False
        parsed = parse_address(address)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in self._networks
        )

    def client_address(self, request: IncomingRequest) -> str | None:
        """The client's address: the peer's, or the last address in `X-Forwarded-For` that is not a trusted proxy's.

        The header is read from its end, and only while the address found so far is a trusted proxy's. None if the
        address is not known: on a Unix socket without that header, or where a trusted proxy sends no valid address.
        """
        address = request.peer or None
        if not self.trusts(address):
            return address
        lines = [value for name, value in request.headers if name == b"x-forwarded-for"]
        hops = [hop.strip(WHITE_SPACE) for line in lines for hop in line.decode("latin-1").split(",")]
        while hops and self.trusts(address):
            address = hops.pop()
            if parse_address(address) is None:
                return None
        return address

    def host(self, request: IncomingRequest) -> str | None:
        """The host that the request was made to: the value of `X-Forwarded-Host` from a trusted proxy, or of `Host`.

        None if it is not known: without such a header, or with several of that name.
        """
        names = (b"x-forwarded-host", b"host") if self.trusts(request.peer) else (b"host",)
        for wanted in names:
            values = [value for name, value in request.headers if name == wanted]
            if values:
                return values[0].decode("ascii", "backslashreplace") if len(values) == 1 else None
        return None


def context_of(
    request: IncomingRequest,
    proxies: TrustedProxies,
    *,
    now: datetime,
    audience: str | None = None,
    scopes: Iterable[str] = (),
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> Context:
    """The facts that a request is judged by: a new fact is a field of `Context`, and is read here.

    `now` (with a time zone), `audience`, `scopes` and `extra` come from the verifying app, never from the client.
    """
    return Context(
        now=now,
        audience=audience,
        scopes=tuple(scopes),
        method=request.method,
        path=request.path,
        host=proxies.host(request),
        client_ip=proxies.client_address(request),
        extra=extra,
    )
