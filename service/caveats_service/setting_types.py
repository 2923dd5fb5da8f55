"""The types of settings: how the text of a variable is read, and what to tell whoever wrote it wrongly.

Knows texts; knows no setting and no environment. A reader takes the text of a variable, or a value that code gave, and
raises a `ValueError` whose message does not repeat it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import limits
from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from caveats.durations import ACCEPTED, parse_duration
from caveats.http import DEFAULT_PORTS, UNIX
from caveats.kinds import Network

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNT = re.compile(r"0|[1-9][0-9]{0,9}")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,3})?")
_NETWORK = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")
_ENTRY_POINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?")
_RATE = re.compile(r"[1-9][0-9]{0,5}/(?:second|minute|hour|day)")
_SQLITE = re.compile(r"sqlite:///[^?#\0]+")
_POSTGRES = re.compile(r"postgres(?:ql)?://[!-~]+")
_LONGEST_LOCATION = 256


@dataclass(frozen=True, slots=True)
class Accepts:
    """The values that a variable may have, in words, for messages and the documentation."""

    words: str


def _count(value: object) -> object:
    if isinstance(value, str):
        if _COUNT.fullmatch(value) is None:
            raise ValueError("not a whole number")
        return int(value)
    return value


def _decimal(value: object) -> object:
    if isinstance(value, str):
        if _DECIMAL.fullmatch(value) is None:
            raise ValueError("not a number")
        return float(value)
    return value


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str | int) else value


def _items(value: object, read: Callable[[str], Any]) -> object:
    """A comma-separated list; empty text is an empty one. Spaces around an item do not count."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return ()
    items = tuple(read(item.strip(" ")) for item in value.split(","))
    if len(set(items)) != len(items):
        raise ValueError("an item is given twice")
    return items


def _proxy(text: str) -> Network | str:
    if text == UNIX:
        return text
    if _NETWORK.fullmatch(text) is None:
        raise ValueError("not an address or network")
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError("not an address or network, or one with host bits set") from error


def _matching(pattern: re.Pattern[str], refusal: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(refusal)
        return text

    return read


def _rate(value: object) -> object:
    if not isinstance(value, str) or _RATE.fullmatch(value) is None:
        raise ValueError("not a rate")
    limits.parse(value)
    return value


def _location(value: object) -> object:
    if isinstance(value, str) and (
        not value.isprintable() or len(value.encode(errors="replace")) > _LONGEST_LOCATION
    ):
        raise ValueError("too long, or not printable")
    return value


def _database(value: object) -> object:
    if value is None or isinstance(value, SecretStr):
        return value
    if not isinstance(value, str) or not (_SQLITE.fullmatch(value) or _is_postgres(value)):
        raise ValueError("not a database that this version can use")
    return value


_REDIS = re.compile(r"rediss?://(?:[!-.0-~]+@)?[A-Za-z0-9.\[\]:-]+(?:/[0-9]{1,5})?")


def _shared_limits(value: object) -> object:
    """Where limits are counted. An address may hold a password."""
    if isinstance(value, SecretStr) or value in ("memory", "database"):
        return value
    if not isinstance(value, str) or _REDIS.fullmatch(value) is None:
        raise ValueError("not a place where limits are counted")
    return SecretStr(value)


def _is_postgres(text: str) -> bool:
    """A URL that names a database. Several hosts, with commas, are all right."""
    if _POSTGRES.fullmatch(text) is None:
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return len(parts.path) > 1 and not parts.fragment


DEFAULT_PORT = 8080
_LINK_NAME = re.compile(
    r"(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:ADDR|PORT|PROTO))?)"
)
_LINK_VALUE = re.compile(r"(?:tcp|udp|sctp)://.+")


def is_service_link(variable: str, value: str) -> bool:
    """Whether Kubernetes sets this variable in every pod beside a Service, or Docker for a link to a container.

    A Service `caveats` makes CAVEATS_SERVICE_HOST, CAVEATS_PORT=tcp://10.0.0.1:8080, CAVEATS_PORT_8080_TCP and more.
    """
    name = variable.upper()
    return _LINK_NAME.fullmatch(name) is not None or (
        name.endswith("_PORT") and _LINK_VALUE.fullmatch(value) is not None
    )


def _own_port(value: object) -> object:
    """The default in place of a link, which says where another process listens."""
    return DEFAULT_PORT if isinstance(value, str) and _LINK_VALUE.fullmatch(value) else value


def _path(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("not a path")
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


_plain_origin = _matching(_ORIGIN, "not an origin")


def _origin(text: str) -> str:
    """An origin as browsers write it: without the port that its scheme implies (RFC 6454, section 6.2)."""
    scheme, _, host = _plain_origin(text).partition("://")
    return f"{scheme}://{host.removesuffix(DEFAULT_PORTS[scheme])}"


_COOKIE_NAME = re.compile(r"(?!__)[A-Za-z0-9_-]{1,64}")
_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_OWN_PATHS = ("/v1", "/discharge")
"""Where the service's own addresses begin."""


def _public_url(text: str) -> str:
    """An origin, and perhaps the path below which a proxy serves the service; without a slash at the end."""
    scheme, _, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    path = f"{slash}{path}".removesuffix("/")
    if _PATH.fullmatch(path) is None or f"{path}/".startswith(tuple(f"{own}/" for own in _OWN_PATHS)):
        raise ValueError("not an origin with a path")
    return _origin(f"{scheme}://{host}") + path


_ORIGIN_FORM = "an origin such as https://auth.example (lower case, no path)"

Switch: TypeAlias = Annotated[bool, Accepts("true or false")]
Count: TypeAlias = Annotated[int, BeforeValidator(_count), Accepts("a whole number")]
OwnPort = BeforeValidator(_own_port)
CookieName: TypeAlias = Annotated[
    str | None,
    BeforeValidator(
        lambda value: value if value is None else _matching(_COOKIE_NAME, "not a name")(str(value))
    ),
    Accepts("1 to 64 letters, digits, - and _, not __ at the beginning"),
]
Seconds: TypeAlias = Annotated[float, BeforeValidator(_decimal), Accepts("seconds, such as 2 or 0.5")]
Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_duration), Accepts(ACCEPTED)]
Rate: TypeAlias = Annotated[
    str, BeforeValidator(_rate), Accepts("a count per second, minute, hour or day, such as 10/minute")
]
File: TypeAlias = Annotated[Path, BeforeValidator(_path), Accepts("a path")]
DatabaseUrl: TypeAlias = Annotated[
    SecretStr | None,
    BeforeValidator(_database),
    Accepts("sqlite:///path (sqlite:////path from the root) or postgresql://user@host:port/database"),
]
SharedCounts: TypeAlias = Annotated[
    Literal["memory", "database"] | SecretStr,
    BeforeValidator(_shared_limits),
    Accepts("memory, database, or redis://host:port/0 (rediss:// for TLS)"),
]
Location: TypeAlias = Annotated[
    str, BeforeValidator(_location), Accepts("printable text of at most 256 bytes")
]
PublicUrl: TypeAlias = Annotated[
    str | None,
    BeforeValidator(lambda value: value if value is None else _public_url(str(value))),
    Accepts(
        "an origin such as https://auth.example (lower case), perhaps with a path such as /auth "
        f"that does not begin with {' or '.join(_OWN_PATHS)}"
    ),
]
Origins: TypeAlias = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(lambda value: _items(value, _origin)),
    Accepts(f"{_ORIGIN_FORM}; several with commas"),
]
Proxies: TypeAlias = Annotated[
    tuple[Network | Literal["unix"], ...],
    NoDecode,
    BeforeValidator(lambda value: _items(value, _proxy)),
    Accepts("addresses and networks such as 10.0.0.0/8,::1 (no host bits set), and unix"),
]
EntryPoints: TypeAlias = Annotated[
    tuple[str, ...],
    NoDecode,
    BeforeValidator(lambda value: _items(value, _matching(_ENTRY_POINT, "not an entry point's name"))),
]
LogLevel: TypeAlias = Annotated[
    Literal["debug", "info", "warning", "error"],
    BeforeValidator(_lower),
    Accepts("debug, info, warning or error"),
]
