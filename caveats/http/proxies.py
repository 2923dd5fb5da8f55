"""Who the client is behind proxies, and the facts of its request. Knows which proxies are trusted, judges no token.

`X-Forwarded-*` and `Forwarded` (RFC 7239) are believed only where a trusted proxy sent them: any client can write one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from caveats.context import Context
from caveats.errors import UnsatisfiedCaveats
from caveats.http.request import WHITE_SPACE
from caveats.kinds import Network, parse_address

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from caveats.http.request import IncomingRequest

UNIX = "unix"
"""Stands in a list of trusted proxies for all peers on a Unix socket, which have no address."""


_WITH_PORT = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?")
"""An address as IIS, Azure and others write it, with the client's port; an IPv6 address then has brackets."""
_HIGHEST_PORT = 65_535
_UNKNOWN = "unknown"
"""A hop whose address its proxy does not know (RFC 7239, section 6.2)."""
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'[ \t]*({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")[ \t]*([;,]|\Z)')
"""One parameter of a `Forwarded` header, and what ends it: `;` before the next one, `,` before the next hop's."""


DEFAULT_PORTS: Mapping[str, str] = MappingProxyType({"http": ":80", "https": ":443"})
"""What stands for the port of each scheme at the end of a host, and is left out of an origin (RFC 6454)."""


def origins_of(host: str | None) -> frozenset[str]:
    """The origins that a host with its port may be, in lower case: behind a proxy the scheme is not known.

    An implied port is left out, as browsers do, and kept as well. Empty if `host` is None.
    """
    if host is None:
        return frozenset()
    host = host.lower()
    hosts = {f"{scheme}://{host}" for scheme in DEFAULT_PORTS}
    return frozenset(
        hosts | {f"{scheme}://{host.removesuffix(port)}" for scheme, port in DEFAULT_PORTS.items()}
    )


class TrustedProxies:
    """The proxies whose `X-Forwarded-For`, `Forwarded` and `X-Forwarded-Host` are believed."""

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
        """The client's address: the peer's, or the last one in `X-Forwarded-For` or `Forwarded` that no trusted proxy has.

        Ports are dropped. A header is read from its end, and only while the address found so far is a trusted proxy's. None if the address
        is not known: on a Unix socket without such a header, where a trusted proxy sends no valid address, and where
        the two headers contradict each other, one of which may be the client's own.
        """
        address = request.peer or None
        if not self.trusts(address):
            return address
        listed: list[bytes] = []
        forwarded: list[bytes] = []
        for name, value in request.headers:
            if name == b"x-forwarded-for":
                listed.append(value)
            elif name == b"forwarded":
                forwarded.append(value)
        if not forwarded:
            return self._client_among(_listed_hops(listed), address)
        found = self._client_among(_forwarded_hops(forwarded), address)
        if not listed or found is None:
            return found
        other = self._client_among(_listed_hops(listed), address)
        return found if other is not None and parse_address(other) == parse_address(found) else None

    def _client_among(self, hops: list[str], address: str | None) -> str | None:
        """The last of `hops` that is no trusted proxy's, or else the first. `address`: the peer's, if there are none."""
        while hops and self.trusts(address):
            address = _without_port(hops.pop())
            if address is None:
                return None
        return address

    def unknown_proxy(self, request: IncomingRequest) -> str | None:
        """The peer's address, or `unix`, if it sends `X-Forwarded-*` or `Forwarded` and is not trusted; otherwise None."""
        forwards = any(
            name == b"forwarded" or name.startswith(b"x-forwarded-") for name, _ in request.headers
        )
        return (request.peer or UNIX) if forwards and not self.trusts(request.peer) else None

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


class UnknownProxies:
    """What an operator and a client are told of a proxy that is not trusted, so that its headers are not believed.

    Anybody can send such headers, so only the first few addresses are told to the log, each once. Safe to use from threads.
    """

    MOST = 8
    """Addresses that are told."""

    def __init__(self, proxies: TrustedProxies, *, setting: str) -> None:
        """`setting`: where trusted proxies are named, for the hint."""
        self._proxies = proxies
        self._setting = setting
        self._told: set[str] = set()

    def hint(self, request: IncomingRequest) -> str:
        """What to set if the request came through a proxy that is not trusted; empty if it did not."""
        peer = self._proxies.unknown_proxy(request)
        if peer is None:
            return ""
        return (
            f"{peer} sends X-Forwarded-* and is not trusted: if it is your proxy, name it in {self._setting}"
        )

    def tell(self, request: IncomingRequest, log: logging.Logger) -> None:
        """Name such a proxy in the log, once."""
        peer = self.to_tell(request)
        if peer is not None:
            log.warning(
                "%s sends X-Forwarded-* and is not trusted: if it is this app's proxy, name it in %s",
                peer,
                self._setting,
            )

    def to_tell(self, request: IncomingRequest) -> str | None:
        """The address of such a proxy, if the log has not named it yet; None once as many as `MOST` are named."""
        peer = self._proxies.unknown_proxy(request)
        if peer is None or peer in self._told or len(self._told) >= self.MOST:
            return None
        self._told.add(peer)
        return peer

    def explained(
        self,
        error: UnsatisfiedCaveats,
        request: IncomingRequest,
        *,
        kinds: Collection[str] = ("host", "client-ip"),
    ) -> UnsatisfiedCaveats:
        """The refusal, with what to set in the hints of caveats about facts that a proxy tells. `kinds`: of those caveats."""
        hint = self.hint(request)
        if not hint or not any(failure.kind in kinds for failure in error.failures):
            return error
        return UnsatisfiedCaveats(
            [
                replace(failure, hint=f"{failure.hint}; {hint}")
                if failure.kind in kinds and hint not in failure.hint
                else failure
                for failure in error.failures
            ]
        )


def _listed_hops(lines: list[bytes]) -> list[str]:
    """The hops in `X-Forwarded-For`, which is a list without a grammar."""
    return [hop.strip(WHITE_SPACE) for line in lines for hop in line.decode("latin-1").split(",")]


def _forwarded_hops(lines: list[bytes]) -> list[str]:
    """The `for` of each hop in `Forwarded` (RFC 7239, section 4); `unknown` where it is missing, doubled or malformed."""
    text = ", ".join(line.decode("latin-1") for line in lines)
    hops: list[str] = []
    named: list[str] = []
    position = 0
    while True:
        pair = _PAIR.match(text, position)
        if pair is None:
            return [_UNKNOWN]
        name, plain, quoted, end = pair.groups()
        if name.lower() == "for":
            named.append(plain or re.sub(r"\\(.)", r"\1", quoted))
        if end != ";":
            hops.append(named[0] if len(named) == 1 else _UNKNOWN)
            named = []
        if not end:
            return hops
        position = pair.end()


def _without_port(hop: str) -> str | None:
    """The address that a proxy wrote, without its port and brackets. None for anything else, such as `unknown`."""
    if parse_address(hop) is not None:
        return hop
    match = _WITH_PORT.fullmatch(hop)
    if match is None or int(match[3] or 0) > _HIGHEST_PORT:
        return None
    address = match[1] or match[2]
    return address if parse_address(address) is not None else None


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
