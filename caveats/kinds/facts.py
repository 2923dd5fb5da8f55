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
from urllib.parse import quote

from caveats.errors import MalformedCaveat

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CHARACTER = r"(?:[A-Za-z0-9._~!$&'()+,;=:@ -]|[^\x00-\x9f\s\ud800-\udfff])"
SEGMENT = rf"(?!\.{{1,2}}(?:[/;]|$)|\.+ [. ]*(?:[/;]|$)| ){_CHARACTER}++(?<! )"
"""A segment of a path, decoded: no dot segment, also with spaces in it, and without outer spaces."""
_PATH = re.compile(rf"/|(?:/{SEGMENT})+/?")
_ESCAPES = re.compile("(?:%[0-9A-Fa-f]{2})+")
_AS_THEY_ARE = "/~!$&'()*+,;=:@"
"""What a path has as it is (RFC 3986, section 3.3), besides letters, digits and `-._`; and the `*` of patterns."""
_UNSEEN = ("Cf", "Mn", "Me")
_IGNORED = re.compile("[\u115f\u1160\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]")
"""What NFKC_Casefold drops besides those categories (Unicode, Default_Ignorable_Code_Point)."""
_LONGEST_PATH = 8192
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)\.?(?::[0-9]{{0,5}})?")
_LONGEST_NAME = 253
_LONGEST_HOST = _LONGEST_NAME + len(".:65535")
_LONGEST_ADDRESS = 45


# Paths


def plain_path(path: str) -> str | None:
    """`path` with its percent-encoding undone once; None for one that servers may read in different ways.

    A plain path is absolute, has at most 8192 characters, and no dot segment, `//`, backslash, `*` or control character.
    Of escapes it has those that a path needs: of spaces and of letters beyond ASCII, in UTF-8. A space stands escaped,
    and not at an end of a segment.
    """
    if len(path) > _LONGEST_PATH or " " in path:
        return None
    decoded = decoded_path(path)
    return decoded if decoded is not None and _PATH.fullmatch(decoded) and is_undisguised(decoded) else None


def is_plain_path(path: str) -> bool:
    """Whether every server reads `path` in the same way: see `plain_path`."""
    return plain_path(path) is not None


def decoded_path(path: str) -> str | None:
    """`path` with its percent-encoding undone once. None if it holds another escape than of spaces and beyond ASCII."""
    if "%" not in path:
        return path
    try:
        decoded = _ESCAPES.sub(_decoded, path)
    except ValueError:
        return None
    return None if "%" in decoded else decoded


def _decoded(escapes: re.Match[str]) -> str:
    """The text of consecutive escapes. Raises `ValueError` if it is not UTF-8 or holds ASCII but the space."""
    text = bytes.fromhex(escapes[0].replace("%", "")).decode("utf-8")
    if any(character < "\x80" and character != " " for character in text):
        raise ValueError
    return text


def encoded_path(path: str | bytes) -> str:
    """The decoded `path`, or pattern, as it stands in a request line: UTF-8, percent-encoded once, hex in upper case."""
    raw = path.encode("utf-8", "surrogatepass") if isinstance(path, str) else path
    return quote(raw, safe=_AS_THEY_ARE)


def is_undisguised(path: str) -> bool:
    """Whether no character becomes a dot, slash, semicolon, backslash or `%` on a server that normalises text (NFKC).

    A server may also drop characters that are not seen, and marks: without them no segment is a dot segment.
    """
    if path.isascii():
        return True
    folded = unicodedata.normalize("NFKC", path)
    if any(folded.count(special) != path.count(special) for special in "/.;\\%"):
        return False
    return all(segment.isascii() or _is_named(segment) for segment in folded.split("/"))


def _is_named(segment: str) -> bool:
    """Whether a segment has, before its parameters, more than dots, spaces, marks and what is not seen."""
    return any(
        character not in ". "
        and unicodedata.category(character) not in _UNSEEN
        and not _IGNORED.match(character)
        for character in segment.partition(";")[0]
    )


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
    """The network or address in `word`, in canonical form only. Raises `MalformedCaveat`.

    A mapped IPv4 network is named before its form is: Python 3.13 writes such an address in another form than 3.12 does.
    """
    if "%" in word:
        raise MalformedCaveat("an address must have no zone, which only one machine knows")
    try:
        network = ip_network(word)
    except ValueError:
        raise _no_network(word) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise MalformedCaveat("a mapped IPv4 network is written as IPv4")
    if word not in (str(network), str(network.network_address)):
        raise _no_network(word)
    return network


def _no_network(word: str) -> MalformedCaveat:
    return MalformedCaveat(f"not an address or network in canonical form: {word!r}")
