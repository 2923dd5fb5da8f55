"""The standard kinds: each a dataclass, and right below it its check. Knows requests, knows no keys.

A new kind is one class, one function, and two rows in the tests. A check answers True, or an `Unmet`
that says what the request had and what would pass; anything but True itself refuses.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from caveats.errors import MalformedCaveat
from caveats.kinds.base import Caveat, check_value
from caveats.kinds.scopes import ScopePattern, parse_scope
from caveats.token.chain import BRANCH_ID_SIZE
from caveats.token.identifier import is_audience, is_token_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from caveats.context import Context


class Unmet(NamedTuple):
    """Why a caveat says no: what the request had, and what would pass. False, so `a or Unmet(...)` reads well."""

    reason: str
    hint: str

    def __bool__(self) -> Literal[False]:
        return False


Answer = Literal[True] | Unmet


def _words(value: str, kind: str) -> tuple[str, ...]:
    words = tuple(value.split(" "))
    if "" in words:
        raise MalformedCaveat(f"a {kind} caveat lists its values with one space between")
    if len(set(words)) != len(words):
        raise MalformedCaveat(f"a {kind} caveat lists each value once")
    return words


# user


@dataclass(frozen=True, slots=True)
class User(Caveat):
    """Whose token it is. The issuer's own first caveat; several must agree."""

    kind: ClassVar[str] = "user"
    canonical: ClassVar[bool] = True
    user: str

    def __post_init__(self) -> None:
        check_value(self.user)

    @property
    def value(self) -> str:
        """The user's name."""
        return self.user

    @property
    def claim(self) -> tuple[str, str]:
        """The user: a token has one."""
        return "user", self.user

    @classmethod
    def parse(cls, value: str) -> Self:
        """Any value names a user."""
        caveat = object.__new__(cls)
        _set_user(caveat, check_value(value))
        return caveat


_set_user = vars(User)["user"].__set__  # past `frozen`, and past `__post_init__`: what was parsed is in order


def check_user(caveat: User, context: Context) -> Answer:
    """The request names no user, or this one."""
    return (
        context.user is None
        or context.user == caveat.user
        or Unmet(f"the request is made as {context.user!r}", f"a request made as {caveat.user!r}")
    )


# expires, not-before

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")


def parse_moment(value: str) -> datetime:
    """`YYYY-MM-DDTHH:MM:SSZ`, in this form only. Raises `MalformedCaveat`."""
    if _MOMENT.fullmatch(value) is None:
        raise MalformedCaveat("a time reads YYYY-MM-DDTHH:MM:SSZ")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise MalformedCaveat("there is no such day or time") from None


def write_moment(moment: datetime) -> str:
    """The one form of a time in caveats: `YYYY-MM-DDTHH:MM:SSZ`, cut to whole seconds."""
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()[:19] + "Z"


def _whole_seconds(caveat: Caveat, name: str) -> None:
    """The time field `name` of `caveat`, brought to UTC and whole seconds."""
    moment = getattr(caveat, name)
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise MalformedCaveat("a time is a datetime with a time zone")
    if moment.tzinfo is UTC and not moment.microsecond:
        return
    try:
        object.__setattr__(caveat, name, moment.astimezone(UTC).replace(microsecond=0))
    except OverflowError:
        raise MalformedCaveat("that time does not exist in UTC") from None


@dataclass(frozen=True, slots=True)
class Expires(Caveat):
    """The token is dead at `at` and after. The earliest counts."""

    kind: ClassVar[str] = "expires"
    canonical: ClassVar[bool] = True
    at: datetime

    def __post_init__(self) -> None:
        _whole_seconds(self, "at")

    @classmethod
    def after(cls, life: timedelta, *, now: datetime) -> Self:
        """Expires when `life` has passed since `now`, rounded down to the second."""
        try:
            return cls(now + life)
        except OverflowError:
            raise MalformedCaveat("that far ahead there are no dates") from None

    @property
    def value(self) -> str:
        """The moment."""
        return write_moment(self.at)

    @classmethod
    def parse(cls, value: str) -> Self:
        """A moment in its one form."""
        caveat = object.__new__(cls)
        _set_expiry(caveat, parse_moment(value))
        return caveat


_set_expiry = vars(Expires)["at"].__set__


def check_expires(caveat: Expires, context: Context) -> Answer:
    """Now is before the moment."""
    return context.now < caveat.at or Unmet(
        f"it is {write_moment(context.now)}", f"a request before {caveat.value}; ask for a fresh token"
    )


@dataclass(frozen=True, slots=True)
class NotBefore(Caveat):
    """The token is not alive before `at`. The latest counts."""

    kind: ClassVar[str] = "not-before"
    canonical: ClassVar[bool] = True
    at: datetime

    def __post_init__(self) -> None:
        _whole_seconds(self, "at")

    @property
    def value(self) -> str:
        """The moment."""
        return write_moment(self.at)

    @classmethod
    def parse(cls, value: str) -> Self:
        """A moment in its one form."""
        return cls(parse_moment(value))


def check_not_before(caveat: NotBefore, context: Context) -> Answer:
    """Now is the moment, or after it."""
    return context.now >= caveat.at or Unmet(
        f"it is {write_moment(context.now)}", f"a request at {caveat.value} or later"
    )


# scope


@dataclass(frozen=True, slots=True, init=False)
class Scope(Caveat):
    """What may be done: `Scope("photos:read", "photos/42:*")`. Several must all cover the request."""

    kind: ClassVar[str] = "scope"
    canonical: ClassVar[bool] = True
    patterns: tuple[ScopePattern, ...]

    def __init__(self, *patterns: str) -> None:
        """One or more patterns; a string may hold several, with one space between."""
        object.__setattr__(self, "patterns", _patterns(" ".join(patterns)))

    @property
    def value(self) -> str:
        """The patterns."""
        return " ".join(map(str, self.patterns))

    @classmethod
    def parse(cls, value: str) -> Self:
        """Patterns with one space between."""
        caveat = object.__new__(cls)
        _set_patterns(caveat, _patterns(value))
        return caveat


_set_patterns = vars(Scope)["patterns"].__set__


def _patterns(value: str) -> tuple[ScopePattern, ...]:
    patterns = tuple(map(parse_scope, value.split(" ")))
    if len(patterns) > 1 and len(set(patterns)) != len(patterns):
        raise MalformedCaveat("a scope caveat lists each pattern once")
    return patterns


def check_scope(caveat: Scope, context: Context) -> Answer:
    """Every scope that the request needs is covered; a request that names none needs a bare `*`."""
    patterns = caveat.patterns
    if not context.scopes:
        return any(not pattern.resource for pattern in patterns) or Unmet(
            "the request names no scope, which only * covers",
            f"a request that needs no more than {caveat.value}",
        )
    for text in context.scopes:
        try:
            needed = parse_scope(text)
        except MalformedCaveat:
            return Unmet(f"the request needs {text!r}, which is not a scope", "resource:action")
        for pattern in patterns:
            if pattern.covers(needed):
                break
        else:
            return Unmet(f"the request needs {text}", f"a request that needs no more than {caveat.value}")
    return True


# audience, method: lists that must hold one fact


@dataclass(frozen=True, slots=True, init=False)
class Audience(Caveat):
    """Which apps may accept the token. Several: those that all of them list."""

    kind: ClassVar[str] = "audience"
    canonical: ClassVar[bool] = True
    audiences: tuple[str, ...]

    def __init__(self, *audiences: str) -> None:
        """One or more audience names."""
        words = _words(" ".join(audiences), self.kind)
        for word in words:
            if not is_audience(word):
                raise MalformedCaveat(f"not an audience: {word!r} (expected a-z, 0-9 and -, at most 32)")
        object.__setattr__(self, "audiences", words)

    @property
    def value(self) -> str:
        """The names."""
        return " ".join(self.audiences)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Names with one space between."""
        return cls(value)


def check_audience(caveat: Audience, context: Context) -> Answer:
    """The verifying app is listed."""
    if context.audience is None:
        return Unmet("the request has no audience", f"an app that is one of: {caveat.value}")
    return context.audience in caveat.audiences or Unmet(
        f"this app is {context.audience!r}", f"an app that is one of: {caveat.value}"
    )


_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")


@dataclass(frozen=True, slots=True, init=False)
class Method(Caveat):
    """Which HTTP methods the token is good for. Several: those that all of them list."""

    kind: ClassVar[str] = "method"
    canonical: ClassVar[bool] = True
    methods: tuple[str, ...]

    def __init__(self, *methods: str) -> None:
        """One or more methods, upper case."""
        words = _words(" ".join(methods), self.kind)
        for word in words:
            if _METHOD.fullmatch(word) is None:
                raise MalformedCaveat(f"not an HTTP method: {word!r} (upper case)")
        object.__setattr__(self, "methods", words)

    @property
    def value(self) -> str:
        """The methods."""
        return " ".join(self.methods)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Methods with one space between."""
        return cls(value)


def check_method(caveat: Method, context: Context) -> Answer:
    """The request's method is listed."""
    if context.method is None:
        return Unmet("the request has no method", f"one of: {caveat.value}")
    if _METHOD.fullmatch(context.method) is None:
        return Unmet(f"{context.method!r} is no HTTP method in upper case", f"one of: {caveat.value}")
    return context.method in caveat.methods or Unmet(
        f"the request's method is {context.method}", f"one of: {caveat.value}"
    )


# path

_SEGMENT = r"(?!\.{1,2}(?:[/;]|$))(?:[A-Za-z0-9._~!$&'()+,;=:@-]|[^\x00-\x7f\s\ud800-\udfff])+"
_LONGEST_PATH = 8192
_PATH = re.compile(rf"/|(?:/{_SEGMENT})+/?")
_PATH_PATTERN = re.compile(rf"/\*|(?:/{_SEGMENT})+(?:/\*?)?|/")


def is_plain_path(path: str) -> bool:
    """Whether every server reads `path` alike: absolute, no dot segment, `//`, backslash, `%`, `*` or control."""
    return len(path) <= _LONGEST_PATH and _PATH.fullmatch(path) is not None and _is_undisguised(path)


def _is_undisguised(path: str) -> bool:
    """Whether no character stands for a dot, slash, backslash or such to a server that folds compatible forms."""
    if path.isascii():
        return True
    folded = unicodedata.normalize("NFKC", path)
    return all(folded.count(special) == path.count(special) for special in "/.;\\%")


@dataclass(frozen=True, slots=True, init=False)
class Path(Caveat):
    """Which HTTP paths the token is good for: a path, or everything below one with `/*`. All must match."""

    kind: ClassVar[str] = "path"
    patterns: tuple[str, ...]

    def __init__(self, *patterns: str) -> None:
        """One or more absolute paths."""
        words = _words(" ".join(patterns), self.kind)
        for word in words:
            if _PATH_PATTERN.fullmatch(word) is None or not _is_undisguised(word):
                raise MalformedCaveat(f"not a path pattern: {word!r} (expected /a/b or /a/*)")
        object.__setattr__(self, "patterns", words)

    @property
    def value(self) -> str:
        """The patterns."""
        return " ".join(self.patterns)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Patterns with one space between."""
        return cls(value)


def path_covers(pattern: str, path: str) -> bool:
    """Whether `path`, plain or itself a pattern, equals `pattern` or lies below its `/*`."""
    if pattern.endswith("/*"):
        return path.startswith(pattern[:-1]) and len(path) > len(pattern) - 1
    return path == pattern


def check_path(caveat: Path, context: Context) -> Answer:
    """The request's path is plain, and equals a pattern or lies below one."""
    path = context.path
    if path is None:
        return Unmet("the request has no path", f"one of: {caveat.value}")
    if not is_plain_path(path):
        return Unmet("the request's path is not in plain form", "a path without dot segments or escapes")
    return any(path_covers(pattern, path) for pattern in caveat.patterns) or Unmet(
        f"the request's path is {path}", f"one of: {caveat.value}"
    )


# client-ip

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network
_LONGEST_ADDRESS = 45


def parse_address(text: str) -> _Address | None:
    """The address, an IPv4 one if it is mapped into IPv6; None if `text` is no address or has a zone."""
    return _read_address(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=4096)
def _read_address(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def _parse_network(word: str) -> _Network:
    try:
        network = ip_network(word)
    except ValueError:
        raise MalformedCaveat(f"not an address or network: {word!r}") from None
    if "%" in word:
        raise MalformedCaveat("an address's zone means nothing to other machines")
    if word not in (str(network), str(network.network_address)):
        raise MalformedCaveat(f"not the canonical form of a network: {word!r}")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise MalformedCaveat("a mapped IPv4 network is written as IPv4")
    return network


@dataclass(frozen=True, slots=True, init=False)
class ClientIp(Caveat):
    """Which peers may present the token: addresses and networks. All must match."""

    kind: ClassVar[str] = "client-ip"
    words: tuple[str, ...]
    networks: tuple[_Network, ...]

    def __init__(self, *networks: str) -> None:
        """One or more addresses or CIDR networks in canonical form."""
        words = _words(" ".join(networks), self.kind)
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "networks", tuple(map(_parse_network, words)))

    @property
    def value(self) -> str:
        """The addresses and networks."""
        return " ".join(self.words)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Addresses and networks with one space between."""
        return cls(value)


def check_client_ip(caveat: ClientIp, context: Context) -> Answer:
    """The peer's address is inside; a mapped IPv4 address counts as IPv4."""
    if context.client_ip is None:
        return Unmet("the request has no client address", f"a client in: {caveat.value}")
    address = parse_address(context.client_ip)
    if address is None:
        return Unmet("the request's client address is not an IP address", f"a client in: {caveat.value}")
    return _inside(address, caveat.networks) or Unmet(
        f"the client's address is {address}", f"a client in: {caveat.value}"
    )


def _inside(address: _Address, networks: Iterable[_Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


# note: a label for people


@dataclass(frozen=True, slots=True)
class Note(Caveat):
    """A label for people, shown in the lineage. Always holds."""

    kind: ClassVar[str] = "note"
    canonical: ClassVar[bool] = True
    text: str

    def __post_init__(self) -> None:
        check_value(self.text)

    @property
    def value(self) -> str:
        """The text."""
        return self.text

    @classmethod
    def parse(cls, value: str) -> Self:
        """Any text."""
        return cls(value)


def check_note(caveat: Note, context: Context) -> Answer:
    """Always."""
    return True


# lineage: where a token came from, so that killing a copy kills what was made of it


@dataclass(frozen=True, slots=True)
class Renewed(Caveat):
    """Written by the issuer into a renewal: when the token would first have expired.

    With it the branch that the renewal came from can be computed again, so that revoking a copy also
    revokes what the copy was renewed into. Always holds.
    """

    kind: ClassVar[str] = "renewed"
    canonical: ClassVar[bool] = True
    first_expiry: datetime

    def __post_init__(self) -> None:
        _whole_seconds(self, "first_expiry")

    @property
    def value(self) -> str:
        """The moment."""
        return write_moment(self.first_expiry)

    @classmethod
    def parse(cls, value: str) -> Self:
        """A moment in its one form."""
        return cls(parse_moment(value))


def check_renewed(caveat: Renewed, context: Context) -> Answer:
    """Always: it restricts by what revocations do with it."""
    return True


_BRANCH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Parent(Caveat):
    """Written by the issuer into a token that was issued against another: which token, and which branches of it.

    The child dies with its parent and with every branch listed. Always holds.
    """

    kind: ClassVar[str] = "parent"
    token_id: str
    branches: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not is_token_id(self.token_id):
            raise MalformedCaveat(f"not a token id: {self.token_id!r}")
        if len(set(self.branches)) != len(self.branches) or any(
            len(b) != BRANCH_ID_SIZE for b in self.branches
        ):
            raise MalformedCaveat(f"branch ids have {BRANCH_ID_SIZE} bytes and are listed once each")

    @property
    def value(self) -> str:
        """The parent's token id, then branch ids in hex."""
        return " ".join((self.token_id, *(branch.hex() for branch in self.branches)))

    @classmethod
    def parse(cls, value: str) -> Self:
        """A token id and branch ids with one space between."""
        token_id, *branches = _words(value, cls.kind)
        if not all(map(_BRANCH.fullmatch, branches)):
            raise MalformedCaveat("a parent caveat reads: token id, then branch ids in hex")
        return cls(token_id, tuple(map(bytes.fromhex, branches)))


def check_parent(caveat: Parent, context: Context) -> Answer:
    """Always: it restricts by what revocations do with it."""
    return True


STANDARD: tuple[tuple[type[Caveat], Callable[[Any, Context], object]], ...] = (
    (User, check_user),
    (Expires, check_expires),
    (NotBefore, check_not_before),
    (Scope, check_scope),
    (Audience, check_audience),
    (Method, check_method),
    (Path, check_path),
    (ClientIp, check_client_ip),
    (Note, check_note),
    (Renewed, check_renewed),
    (Parent, check_parent),
)
"""Every standard kind with its check."""

STANDARD_KINDS = {kind.kind: kind for kind, _ in STANDARD}
"""The standard kinds by name."""
