"""The standard kinds: each a dataclass, and right below it its check; last, the table of all. Knows requests, no keys.

A new kind is one class, one check and one row of the table `STANDARD`. A check answers True, or an `Unmet` that says
what the request had and what would pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from caveats.errors import MalformedCaveat
from caveats.kinds.base import Answer, Caveat, Check, Unmet, check_value
from caveats.kinds.facts import (
    SEGMENT,
    Network,
    decoded_path,
    encoded_path,
    is_undisguised,
    parse_address,
    parse_host,
    parse_network,
    path_covers,
    plain_path,
)
from caveats.kinds.scopes import MOST_PATTERNS, ScopePattern, intersect, parse_scope, reduce_patterns
from caveats.kinds.values import MomentCaveat, TextCaveat, WordsCaveat, write_moment
from caveats.token.chain import BRANCH_ID_SIZE
from caveats.token.identifier import is_audience, is_key_id, is_token_id

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from caveats.context import Context
    from caveats.kinds.authority import Authority


# user


@dataclass(frozen=True, slots=True)
class User(TextCaveat):
    """The user whose token it is: the first caveat, from the issuer. Several must name the same user."""

    kind: ClassVar[str] = "user"
    canonical: ClassVar[bool] = True
    issuer_only: ClassVar[bool] = True
    inherited: ClassVar[bool] = False
    user: str

    def __post_init__(self) -> None:
        check_value(self.user)

    @property
    def claim(self) -> tuple[str, str]:
        """Subject `user` and the name: two users refuse."""
        return "user", self.user

    def narrow(self, authority: Authority) -> Authority:
        """The first user counts."""
        return authority.changed(user=self.user) if authority.user is None else authority

    def repeats(self, before: Authority) -> str | None:
        """Reason: the same user stands before it."""
        return "the same caveat stands before it" if before.user == self.user else None


def check_user(caveat: User, context: Context) -> Answer:
    """The request names no user, or this one."""
    return (
        context.user is None
        or context.user == caveat.user
        or Unmet(f"the request is made as {context.user!r}", f"a request made as {caveat.user!r}")
    )


# scope


@dataclass(frozen=True, slots=True, init=False)
class Scope(WordsCaveat):
    """What may be done: `Scope("photos:read", "photos/42:*")`. Several must all cover the request."""

    kind: ClassVar[str] = "scope"
    canonical: ClassVar[bool] = True
    inherited: ClassVar[bool] = False
    patterns: tuple[ScopePattern, ...]

    @classmethod
    def read_word(cls, word: str) -> ScopePattern:
        """A scope pattern."""
        return parse_scope(word)

    def narrow(self, authority: Authority) -> Authority:
        """The authority with the scopes that the patterns and those before them have in common."""
        limit = reduce_patterns(self.patterns)
        if authority.scope_limit is not None:
            limit = intersect(authority.scope_limit, limit)
        return authority.changed(scope_limit=limit)

    def repeats(self, before: Authority) -> str | None:
        """Reason: the scopes before it are no wider. None for a full list, which may have left scopes out."""
        limit = before.scope_limit
        if limit is not None and len(limit) < MOST_PATTERNS and all(map(self._covers, limit)):
            return "the scopes before it are no wider"
        return None

    def _covers(self, known: ScopePattern) -> bool:
        return any(pattern.covers(known) for pattern in self.patterns)


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


# expires, not-before


@dataclass(frozen=True, slots=True)
class Expires(MomentCaveat):
    """The token holds before `at`: UTC, whole seconds. Of several the earliest counts."""

    kind: ClassVar[str] = "expires"
    liveness: ClassVar[bool] = True
    inherited: ClassVar[bool] = False
    at: datetime

    @classmethod
    def after(cls, life: timedelta, *, now: datetime) -> Self:
        """Expires `life` after `now`, rounded down to the second. Raises `MalformedCaveat` beyond the year 9999."""
        try:
            return cls(now + life)
        except OverflowError:
            raise MalformedCaveat("the expiry would be after the year 9999") from None

    def narrow(self, authority: Authority) -> Authority:
        """The authority with the earlier expiry."""
        return authority.expiring(self.at)

    def repeats(self, before: Authority) -> str | None:
        """Reason: an expiry before it is no later."""
        known = before.expires_at
        return "an earlier expiry stands before it" if known is not None and known <= self.at else None


def check_expires(caveat: Expires, context: Context) -> Answer:
    """Now is before the moment."""
    return context.now < caveat.at or Unmet(
        f"it is {write_moment(context.now)}", f"a request before {caveat.value}; ask for a fresh token"
    )


@dataclass(frozen=True, slots=True)
class NotBefore(MomentCaveat):
    """The token holds from `at` on: UTC, whole seconds. Of several the latest counts."""

    kind: ClassVar[str] = "not-before"
    liveness: ClassVar[bool] = True
    at: datetime

    def narrow(self, authority: Authority) -> Authority:
        """The authority with the later start."""
        if authority.not_before is not None and authority.not_before >= self.at:
            return authority
        return authority.changed(not_before=self.at)

    def repeats(self, before: Authority) -> str | None:
        """Reason: a start before it is no earlier."""
        known = before.not_before
        return "a later start stands before it" if known is not None and known >= self.at else None


def check_not_before(caveat: NotBefore, context: Context) -> Answer:
    """Now is the moment, or after it."""
    return context.now >= caveat.at or Unmet(
        f"it is {write_moment(context.now)}", f"a request at {caveat.value} or later"
    )


# audience, method, path, host, client-ip: lists of words, one of which the request must match


class OneOf(WordsCaveat):
    """A kind that lists words, one of which the request must match."""

    __slots__ = ()
    intersected: ClassVar[bool] = False
    """True if a word matches only itself. Of several caveats, the words that all of them list count."""

    @property
    def allowed(self) -> tuple[str, ...]:
        """The words, as an `Authority` lists them."""
        return tuple(map(str, self._first))

    def narrow(self, authority: Authority) -> Authority:
        """The authority with one more list or, if `intersected`, with the words that both lists have."""
        words = self.allowed
        lists = authority.lists.get(self.kind, ())
        if lists and self.intersected:
            lists = (tuple(word for word in lists[0] if word in words),)
        else:
            lists = (*lists, words)
        return authority.changed(lists={**authority.lists, self.kind: lists})

    def repeats(self, before: Authority) -> str | None:
        """Reason: a list before it allows no more."""
        if any(all(map(self.covers, words)) for words in before.lists.get(self.kind, ())):
            return f"the {self.kind}s before it are no wider"
        return None

    def covers(self, word: str) -> bool:
        """Whether this list matches everything that `word` matches."""
        return word in self._first


@dataclass(frozen=True, slots=True, init=False)
class Audience(OneOf):
    """Which apps may accept the token: `Audience("photos", "thumbs")`. Several: those that all of them list."""

    kind: ClassVar[str] = "audience"
    canonical: ClassVar[bool] = True
    check_decides: ClassVar[bool] = False
    intersected: ClassVar[bool] = True
    audiences: tuple[str, ...]

    @classmethod
    def read_word(cls, word: str) -> str:
        """The name of an audience."""
        if not is_audience(word):
            raise MalformedCaveat(f"not an audience: {word!r} (expected a-z, 0-9 and -, at most 32)")
        return word


def check_audience(caveat: Audience, context: Context) -> Answer:
    """The verifying app is listed."""
    if context.audience is None:
        return Unmet("the request has no audience", f"an app that is one of: {caveat.value}")
    return context.audience in caveat.audiences or Unmet(
        f"this app is {context.audience!r}", f"an app that is one of: {caveat.value}"
    )


_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")


@dataclass(frozen=True, slots=True, init=False)
class Method(OneOf):
    """Which HTTP methods the token is good for: `Method("GET", "PUT")`. Several: those that all of them allow.

    `GET` stands for `HEAD` as well, whose answer is the head of that to GET and nothing else (RFC 9110, section 9.3.2).
    """

    kind: ClassVar[str] = "method"
    canonical: ClassVar[bool] = True
    intersected: ClassVar[bool] = True
    methods: tuple[str, ...]

    @classmethod
    def read_word(cls, word: str) -> str:
        """A method in upper case."""
        if _METHOD.fullmatch(word) is None:
            raise MalformedCaveat(f"not an HTTP method: {word!r} (upper case)")
        return word

    @classmethod
    def typed_by_hand(cls, word: str) -> str:
        """In upper case."""
        return word.upper()

    @property
    def allowed(self) -> tuple[str, ...]:
        """The methods that are listed, and HEAD if GET is."""
        if "GET" not in self.methods or "HEAD" in self.methods:
            return self.methods
        return (*self.methods, "HEAD")

    def covers(self, word: str) -> bool:
        """Whether this method is allowed."""
        return word in self.allowed


def check_method(caveat: Method, context: Context) -> Answer:
    """The request's method is listed, or is HEAD where GET is."""
    if context.method is None:
        return Unmet("the request has no method", f"one of: {caveat.value}")
    if _METHOD.fullmatch(context.method) is None:
        return Unmet(f"{context.method!r} is no HTTP method in upper case", f"one of: {caveat.value}")
    if context.method in caveat.methods or caveat.covers(context.method):
        return True
    return Unmet(f"the request's method is {context.method}", f"one of: {caveat.value}")


_PATH_PATTERN = re.compile(rf"/\*|(?:/{SEGMENT})+(?:/\*?)?|/")


@dataclass(frozen=True, slots=True, init=False)
class Path(OneOf):
    """Which HTTP paths the token is good for: a path, or everything below one with `/*`. Several must all match.

    `/albums/K%C3%A4se%20brot`, as in a request line, and `/albums/Käse brot` mean the same.
    """

    kind: ClassVar[str] = "path"
    patterns: tuple[str, ...]
    """As they are written."""
    names: tuple[str, ...] = field(repr=False)
    """With their percent-encoding undone."""

    def __init__(self, *patterns: str) -> None:
        """One or more patterns, percent-encoded or not. Raises `MalformedCaveat`."""
        words = tuple(word for text in patterns for word in self.split(text))
        names = tuple(map(_path_pattern, words))
        if not names or len(set(names)) != len(names):
            raise MalformedCaveat("a path caveat lists one path or more, each once")
        object.__setattr__(self, "patterns", words)
        object.__setattr__(self, "names", names)

    @classmethod
    def split(cls, value: str) -> tuple[str, ...]:
        """The patterns in a value: a space before a `/` separates two, any other is part of a name."""
        return tuple(re.split(" (?=/)", value))

    @classmethod
    def typed_by_hand(cls, word: str) -> str:
        """Percent-encoded."""
        return encoded_path(_path_pattern(word))

    @property
    def allowed(self) -> tuple[str, ...]:
        """The patterns, percent-encoded."""
        return tuple(map(encoded_path, self.names))

    def covers(self, word: str) -> bool:
        """Whether one of the patterns covers the pattern `word`."""
        return self.covers_name(_path_pattern(word))

    def covers_name(self, name: str) -> bool:
        """As `covers`, of a path or pattern with its percent-encoding undone."""
        return any(path_covers(pattern, name) for pattern in self.names)


def _path_pattern(word: str) -> str:
    """The pattern with its percent-encoding undone. Raises `MalformedCaveat`."""
    name = decoded_path(word)
    if name is None or _PATH_PATTERN.fullmatch(name) is None or not is_undisguised(name):
        raise MalformedCaveat(f"not a path pattern: {word!r} (expected /a/b or /a/*)")
    return name


def check_path(caveat: Path, context: Context) -> Answer:
    """The request's path is plain, and equals a pattern or lies below one."""
    path = context.path
    if path is None:
        return Unmet("the request has no path", f"one of: {caveat.value}")
    name = plain_path(path)
    if name is None:
        return Unmet("the request's path is not in plain form", "a path without dot segments or escapes")
    return caveat.covers_name(name) or Unmet(f"the request's path is {path}", f"one of: {caveat.value}")


@dataclass(frozen=True, slots=True, init=False)
class Host(OneOf):
    """Which hosts a request may be made to: `Host("photos.example")`. Several: those that all of them list.

    DNS names in lower case, without port and last dot; no wildcards.
    """

    kind: ClassVar[str] = "host"
    canonical: ClassVar[bool] = True
    intersected: ClassVar[bool] = True
    hosts: tuple[str, ...]

    @classmethod
    def read_word(cls, word: str) -> str:
        """A DNS name in lower case, without port and last dot."""
        if parse_host(word) != word:
            raise MalformedCaveat(f"not a host: {word!r} (a DNS name in lower case, without port)")
        return word

    @classmethod
    def typed_by_hand(cls, word: str) -> str:
        """In lower case, without the last dot."""
        return word.lower().removesuffix(".")


def check_host(caveat: Host, context: Context) -> Answer:
    """The request was made to a host that is listed, whatever the port."""
    if context.host is None:
        return Unmet("the request has no host", f"one of: {caveat.value}")
    host = parse_host(context.host)
    if host is None:
        return Unmet("the request's host is not a DNS name", f"one of: {caveat.value}")
    return host in caveat.hosts or Unmet(f"the request's host is {host}", f"one of: {caveat.value}")


@dataclass(frozen=True, slots=True, init=False)
class ClientIp(OneOf):
    """Who may present the token: addresses and networks, in canonical form. Several must all match."""

    kind: ClassVar[str] = "client-ip"
    liveness: ClassVar[bool] = True
    words: tuple[str, ...]
    networks: tuple[Network, ...]

    def __init__(self, *networks: str) -> None:
        """One or more addresses or CIDR networks. Raises `MalformedCaveat`."""
        WordsCaveat.__init__(self, *networks)
        object.__setattr__(self, "networks", tuple(map(parse_network, self.words)))


def check_client_ip(caveat: ClientIp, context: Context) -> Answer:
    """The client's address is inside; a mapped IPv4 address counts as IPv4."""
    if context.client_ip is None:
        return Unmet("the request has no client address", f"a client in: {caveat.value}")
    address = parse_address(context.client_ip)
    if address is None:
        return Unmet("the request's client address is not an IP address", f"a client in: {caveat.value}")
    for network in caveat.networks:
        if address.version == network.version and address in network:
            return True
    return Unmet(f"the client's address is {address}", f"a client in: {caveat.value}")


# note, renewed, parent: their checks always answer True


class _Label(Caveat):
    """A kind whose check always answers True, and that never counts as repeated."""

    __slots__ = ()
    canonical: ClassVar[bool] = True

    def narrow(self, authority: Authority) -> Authority:
        """The authority, unchanged."""
        return authority

    def repeats(self, before: Authority) -> str | None:
        """None: each label counts."""
        return None


@dataclass(frozen=True, slots=True)
class Note(_Label, TextCaveat):
    """A label for people, shown when the token is inspected. Always holds."""

    kind: ClassVar[str] = "note"
    inherited: ClassVar[bool] = False
    text: str

    def __post_init__(self) -> None:
        check_value(self.text)

    def narrow(self, authority: Authority) -> Authority:
        """The authority with the label in addition."""
        return authority.changed(notes=(*authority.notes, self.text))


@dataclass(frozen=True, slots=True)
class Renewed(_Label, MomentCaveat):
    """The first expiry of a renewed token, written by the issuer.

    The branch id of the token before its renewal is computed from it: who revokes a copy also revokes its renewals.
    Always holds.
    """

    kind: ClassVar[str] = "renewed"
    issuer_only: ClassVar[bool] = True
    inherited: ClassVar[bool] = False
    first_expiry: datetime


_BRANCH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Parent(_Label):
    """The token that this one was issued against: its key id, token id and branch ids, written by the issuer.

    The verifier refuses the token if the parent or one of the branches is revoked, and if the parent's key is gone: what
    came of a stolen key dies with the key. The check always answers True.
    """

    kind: ClassVar[str] = "parent"
    canonical: ClassVar[bool] = False
    issuer_only: ClassVar[bool] = True
    check_decides: ClassVar[bool] = False
    key_id: str
    token_id: str
    branches: tuple[bytes, ...]
    """16 bytes each."""

    def __post_init__(self) -> None:
        if not is_key_id(self.key_id):
            raise MalformedCaveat(f"not a key id: {self.key_id!r}")
        if not is_token_id(self.token_id):
            raise MalformedCaveat(f"not a token id: {self.token_id!r}")
        if len(set(self.branches)) != len(self.branches) or any(
            len(b) != BRANCH_ID_SIZE for b in self.branches
        ):
            raise MalformedCaveat(f"branch ids have {BRANCH_ID_SIZE} bytes and are listed once each")

    @property
    def value(self) -> str:
        """The parent's key id and token id, then branch ids in hex."""
        return " ".join((self.key_id, self.token_id, *(branch.hex() for branch in self.branches)))

    @classmethod
    def parse(cls, value: str) -> Self:
        """A key id, a token id and branch ids with one space between."""
        key_id, _, rest = value.partition(" ")
        token_id, *branches = rest.split(" ")
        if not all(map(_BRANCH.fullmatch, branches)):
            raise MalformedCaveat("a parent caveat reads: key id, token id, then branch ids in hex")
        return cls(key_id, token_id, tuple(map(bytes.fromhex, branches)))


def check_label(caveat: Caveat, context: Context) -> Answer:
    """Always True: such a caveat does not restrict the request."""
    return True


# The table


class StandardKind(NamedTuple):
    """A row of the table of standard kinds."""

    kind: type[Caveat]
    check: Check
    asks: str
    """What a person types for its value, in one word. Empty for a kind that only the issuer writes."""
    summary: str
    """What the caveat says of a token, in one sentence."""


STANDARD = (
    StandardKind(User, check_user, "", "Whose token it is."),
    StandardKind(Scope, check_scope, "PATTERNS", "What the token allows, such as photos/42:read."),
    StandardKind(Expires, check_expires, "WHEN", "When it dies: 2026-12-01T18:00:00Z."),
    StandardKind(NotBefore, check_not_before, "WHEN", "From when on it is good."),
    StandardKind(Audience, check_audience, "NAME", "Which apps may take it."),
    StandardKind(Method, check_method, "METHOD", "HTTP methods that it is good for."),
    StandardKind(Path, check_path, "PATH", "HTTP paths that it is good for: /a/b, or /a/* for all below."),
    StandardKind(Host, check_host, "HOST", "Hosts that a request may be made to, such as photos.example."),
    StandardKind(ClientIp, check_client_ip, "NETWORK", "Who may present it, such as 10.0.0.0/8."),
    StandardKind(Note, check_label, "TEXT", "A label for people."),
    StandardKind(Renewed, check_label, "", "When a renewed token would first have expired."),
    StandardKind(Parent, check_label, "", "Which token it was issued against."),
)
"""Every standard kind, with its check and its words for people."""

STANDARD_KINDS = {row.kind.kind: row.kind for row in STANDARD}
"""The standard kinds by name."""
