"""The address of a service as people type and paste it, read into the one that its requests begin with.

Knows texts; knows no environment, and opens nothing. Harmless wrapping is taken off: quotes, angle brackets, spaces, slashes at the
end, the path of an endpoint. Whether a token may be sent there is for `transport.checked_address` to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

_WRAPPINGS = ('""', "''", "``", "<>", "()", "\u201c\u201d", "\u2018\u2019", "\u00ab\u00bb")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/?#@\[\]]+)(?::[0-9]+)?")
_ENDPOINT = re.compile(
    r"/(?:v1|discharge|oauth|\.well-known)(?:/.*)?|/(?:publickey|healthz|readyz|metrics|openapi\.json)/*"
)
"""The end of a path that is the service's own. What stands before it is where a proxy serves the service."""
_EXPECTED = "expected https://host"


@dataclass(frozen=True, slots=True)
class Address:
    """A service's address. `notes`: what was assumed or left out, for the person, a line each."""

    url: str
    notes: tuple[str, ...] = ()


def read_address(typed: str) -> Address:
    """The service's address in `typed`. Raises `ValueError`, whose message repeats no password.

    Without a scheme, http is assumed for this machine, https for others.
    """
    text = _unwrapped(typed)
    if not text:
        raise ValueError(f"it is empty: {_EXPECTED}")
    notes: list[str] = []
    scheme, rest = _split(text)
    authority, _, tail = rest.partition("/")
    for mark in "?#":
        if mark in authority:  # nothing of a query is shown: it may be a secret
            authority, tail = authority.partition(mark)[0], ""
    if "@" in text:  # also behind a slash, which a password may hold
        raise ValueError(
            "an address with a user name or a password in it ends up in logs: leave them out, and sign in with `caveats login`"
        )
    if _is_ipv6(authority):
        authority = f"[{authority}]"
    found = _HOST.fullmatch(authority)
    if found is None:
        raise ValueError(f"it is not the address of a service: {_EXPECTED}")
    if scheme is None:
        scheme = "http" if _is_this_machine(found["host"]) else "https"
        notes.append(f"{authority} has no scheme: {scheme}://{authority} is meant")
    origin = f"{scheme.lower()}://{authority}"
    url = origin + _base_path("/" + tail)
    if url != origin + ("/" + tail).rstrip("/"):
        notes.append(f"the service's address is {url}: what followed is left out")
    return Address(url, tuple(notes))


def _unwrapped(text: str) -> str:
    """`text` without what surrounds a pasted address."""
    while True:
        inner = text.strip().strip("\ufeff\u200b\u2060")
        if len(inner) > 1 and inner[0] + inner[-1] in _WRAPPINGS:
            inner = inner[1:-1]
        if inner == text:
            return text
        text = inner


def _split(text: str) -> tuple[str | None, str]:
    """The scheme, None if there is none, and what follows it."""
    found = _SCHEME.match(text)
    if found is None:
        return None, text.removeprefix("//")
    if found[0].lower() not in ("http", "https"):
        raise ValueError(f"a service is not reached by {found[0].lower()}: {_EXPECTED}")
    return found[0], text[found.end() + 3 :]


def _is_this_machine(host: str) -> bool:
    """As `transport.is_loopback`, of a host's text."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text).version == 6
    except ValueError:
        return False


def _base_path(path: str) -> str:
    """`path` without query, fragment, an endpoint of the service at its end, and slashes there."""
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    for start in (mark.start() for mark in re.finditer("/", path)):
        if _ENDPOINT.fullmatch(path, start):
            return path[:start].rstrip("/")
    return path.rstrip("/")
