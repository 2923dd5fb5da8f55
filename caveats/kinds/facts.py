"""Facts of a request in the one form in which they are compared: paths, hosts, addresses. Knows no kind."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from caveats.errors import MalformedCaveat

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SEGMENT = r"(?!\.{1,2}(?:[/;]|$))(?:[A-Za-z0-9._~!$&'()+,;=:@-]|[^\x00-\x7f\s\ud800-\udfff])+"
_PATH = re.compile(rf"/|(?:/{SEGMENT})+/?")
_LONGEST_PATH = 8192
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)\.?(?::[0-9]{{0,5}})?")
_LONGEST_NAME = 253
_LONGEST_HOST = _LONGEST_NAME + len(".:65535")
_LONGEST_ADDRESS = 45


# Paths


def is_plain_path(path: str) -> bool:
    """Whether every server reads `path` in the same way.

    It is absolute, has at most 8192 characters, and no dot segment, `//`, backslash, `%`, `*` or control character.
    """
    return len(path) <= _LONGEST_PATH and _PATH.fullmatch(path) is not None and is_undisguised(path)


def is_undisguised(path: str) -> bool:
    """Whether no character becomes a dot, slash, semicolon, backslash or `%` on a server that normalises text (NFKC)."""
    if path.isascii():
        return True
    folded = unicodedata.normalize("NFKC", path)
    return all(folded.count(special) == path.count(special) for special in "/.;\\%")


def path_covers(pattern: str, path: str) -> bool:
    """Whether `path`, plain or itself a pattern, equals `pattern` or lies below its `/*`."""
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1]) and len(path) > len(pattern) - 1
    return path == pattern


# Hosts


def parse_host(text: str) -> str | None:
    """The DNS name in the value of a `Host` header: lower case, without port and last dot. None without a DNS name.

    Letters, digits and hyphens (RFC 1123, section 2.1); an international name in its ASCII form. An IPv6 address in
    brackets is not a name; an IPv4 address is read as a name.
    """
    found = _HOST.fullmatch(text) if len(text) <= _LONGEST_HOST else None
    return found[1].lower() if found is not None and len(found[1]) <= _LONGEST_NAME else None


# Addresses


def parse_address(text: str) -> Address | None:
    """The address in `text`; an IPv4 address if it is one mapped into IPv6. None for no address, or one with a zone."""
    return _parse_address(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=4096)
def _parse_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def parse_network(word: str) -> Network:
    """The network or address in `word`, in canonical form only. Raises `MalformedCaveat`."""
    try:
        network = ip_network(word)
    except ValueError:
        raise MalformedCaveat(f"not an address or network: {word!r}") from None
    if "%" in word:
        raise MalformedCaveat("an address must have no zone, which only one machine knows")
    if word not in (str(network), str(network.network_address)):
        raise MalformedCaveat(f"not the canonical form of a network: {word!r}")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise MalformedCaveat("a mapped IPv4 network is written as IPv4")
    return network
