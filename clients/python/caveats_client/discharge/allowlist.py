"""Where requests for discharges may go: origins on a list, and the IP addresses that their names may have.

Knows URLs and IP addresses. Opens nothing and asks no name server: `runner` resolves a name, checks all its addresses
with `Allowlist.checked`, and connects to one of those that were checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

import httpx2 as httpx

from caveats_client.api.errors import UnusableAddress
from caveats_client.transport import checked_address, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caveats_client.ordinary_httpx import AnyUrl

_UNICAST = IPv6Network("2000::/3")
_WRAPPING = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
"""Teredo and 6to4 contain IPv4 addresses. Mapped, compatible and NAT64 addresses do too, but are not unicast."""


@dataclass(frozen=True, slots=True)
class Place:
    """A URL that requests may go to: a third party's, or one that it named at the same origin."""

    url: httpx.URL = field(repr=False)
    """It may contain a secret: messages show only `shown`."""

    def __str__(self) -> str:
        return str(self.url)

    @property
    def shown(self) -> str:
        """Scheme, host and port."""
        return shown(self.url)

    @property
    def origin(self) -> httpx.Origin:
        """Scheme, host and port, for comparison."""
        return self.url.origin

    @property
    def path(self) -> str:
        """The path, decoded."""
        return self.url.path

    def endpoint(self, path: str) -> Place:
        """`path` below this place, which ends with a slash."""
        return Place(self.url.join(path))

    def sibling(self, reference: str) -> Place | None:
        """The target of a link at this place; None if it has another origin or is no URL."""
        if not reference or "\\" in reference:  # browsers read a backslash as a slash
            return None
        try:
            url = self.url.join(reference)
        except (httpx.InvalidURL, ValueError):
            return None
        if not url.is_absolute_url or url.origin != self.origin or url.userinfo:
            return None
        return Place(url)

    def with_query(self, members: Mapping[str, str]) -> Place:
        """This place with more members in its query."""
        return Place(self.url.copy_merge_params(dict(members)))


@dataclass(frozen=True, slots=True)
class Allowlist:
    """The origins that requests may go to, and whether these may be on this machine or in a private network."""

    origins: frozenset[httpx.Origin]
    own: frozenset[httpx.Origin] = field(default_factory=frozenset)
    """The origins of the caller's own service: its name may have any IP address."""
    allow_private: bool = False
    """Whether the others may be on this machine or in a private network."""
    allow_http: bool = False

    @classmethod
    def to(
        cls,
        allow: Iterable[AnyUrl],
        *,
        own: Iterable[AnyUrl] = (),
        allow_private: bool = False,
        allow_http: bool = False,
    ) -> Allowlist:
        """The origins of these addresses. Raises `UnusableAddress`."""
        theirs = frozenset(checked_address(each, allow_http=allow_http).origin for each in own)
        others = frozenset(checked_address(each, allow_http=allow_http).origin for each in allow)
        return cls(theirs | others, theirs, allow_private, allow_http)

    def place(self, location: str) -> Place:
        """The third party at `location`, if its origin is on the list. Raises `UnusableAddress`."""
        if not location:
            raise UnusableAddress("a third-party caveat has no location: nobody can be asked")
        url = checked_address(location, allow_http=self.allow_http)
        if url.query or url.fragment:
            raise UnusableAddress(f"a third party at {shown(url)} has a query in its address")
        if url.origin not in self.origins:
            error = UnusableAddress(f"{shown(url)} is not on the list of third parties to ask (allow)")
            error.unlisted = shown(url)
            raise error
        path = url.raw_path.partition(b"?")[0]  # as it was written: decoded, it may be no valid path
        return Place(url.copy_with(raw_path=path.rstrip(b"/") + b"/"))

    def checked(self, url: httpx.URL, addresses: Sequence[str]) -> tuple[str, ...]:
        """`addresses`, the IP addresses of the host of `url`, if all are allowed. Raises `UnusableAddress`."""
        if not addresses:
            raise UnusableAddress(f"{shown(url)}: the host has no address")
        if url.origin not in self.own:
            for address in addresses:
                self._check(url, address)
        return tuple(addresses)

    def _check(self, url: httpx.URL, address: str) -> None:
        try:
            ip = ip_address(address)
        except ValueError:
            raise UnusableAddress(f"{shown(url)}: the host has no address") from None
        if ip.is_multicast or ip.is_unspecified:
            raise UnusableAddress(f"{shown(url)} is at {address}, which cannot be the address of a host")
        if not (self.allow_private or is_public(ip)):
            raise UnusableAddress(
                f"{shown(url)} is at {address}, on this machine or in a private network: "
                "allow that if you mean it (allow_private, --allow-private)"
            )


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Whether `ip` is on the public Internet. An address that contains another (mapped IPv4, NAT64) is not."""
    if isinstance(ip, IPv6Address) and (
        ip not in _UNICAST or ip.scope_id or any(ip in network for network in _WRAPPING)
    ):
        return False
    return ip.is_global and not (ip.is_private or ip.is_multicast or ip.is_reserved)
