"""The conditions of bakeries, as kinds of caveat: each a dataclass, with its check right below it.

A condition reads `name argument`. The same `Checkers` judge conditions and standard kinds. Facts come from
`Context.extra`: "operations" (what the request does), "origin" (its `Origin` header) and "groups" (of its user).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Self

from caveats.errors import MalformedCaveat
from caveats.kinds import (
    STANDARD_KINDS,
    Answer,
    Caveat,
    Checkers,
    TextCaveat,
    Unmet,
    WordsCaveat,
    effective,
    parse_address,
    parse_predicate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from caveats.context import Context
    from caveats.kinds import Authority

_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)


class _Words(WordsCaveat):
    """A condition that lists words. The list may be empty, and a word may be repeated."""

    __slots__ = ()
    spaced: ClassVar[bool] = True

    @classmethod
    def read(cls, value: str) -> tuple[str, ...]:
        """The words. Raises `MalformedCaveat`."""
        words = tuple(value.split(" ")) if value else ()
        if not all(words):
            raise MalformedCaveat("one space stands between the words")
        return words


def _fact(context: Context, name: str) -> Collection[str] | None:
    """The texts under `name` in `Context.extra`. None without such a fact, or for one that is not a list of texts."""
    fact = context.extra.get(name)
    return fact if isinstance(fact, Collection) and not isinstance(fact, (str, bytes)) else None


# time-before


@dataclass(frozen=True, slots=True)
class TimeBefore(TextCaveat):
    """Holds before this moment. Keeps its text as written: clients write the zeros of a fraction in different ways."""

    kind: ClassVar[str] = "time-before"
    spaced: ClassVar[bool] = True
    written: str

    def __post_init__(self) -> None:
        _moment(self.written)

    @classmethod
    def at(cls, moment: datetime) -> Self:
        """The condition that holds before `moment`, which has a time zone. Raises `MalformedCaveat`."""
        if moment.utcoffset() is None:
            raise MalformedCaveat("a time is a datetime with a time zone")
        whole, _, fraction = moment.astimezone(UTC).replace(tzinfo=None).isoformat().partition(".")
        fraction = fraction.rstrip("0")
        return cls(f"{whole}.{fraction}Z" if fraction else f"{whole}Z")

    @property
    def moment(self) -> datetime:
        """The moment, UTC, rounded down to the microsecond."""
        return _moment(self.written)

    def narrow(self, authority: Authority) -> Authority:
        """The earliest expiry."""
        return authority.expiring(self.moment)


def _moment(value: str) -> datetime:
    found = _MOMENT.fullmatch(value)
    if found is None:
        raise MalformedCaveat("a time reads YYYY-MM-DDTHH:MM:SS, a fraction or none, and Z or +HH:MM")
    whole, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(whole + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise MalformedCaveat("there is no such day or time") from None
    return moment + timedelta(microseconds=int(f"{fraction or 0:0<6}"[:6]))


def check_time_before(caveat: TimeBefore, context: Context) -> Answer:
    """Now is before the moment."""
    return context.now < caveat.moment or Unmet(
        f"it is {TimeBefore.at(context.now).written}", f"a request before {caveat.written}"
    )


# declared


@dataclass(frozen=True, slots=True)
class Declared(Caveat):
    """What a third party says of the user, under a name. Anybody can append one: `declared_by` reads those to believe."""

    kind: ClassVar[str] = "declared"
    spaced: ClassVar[bool] = True
    name: str
    fact: str

    def __post_init__(self) -> None:
        if not self.name or " " in self.name:
            raise MalformedCaveat("a declaration must have a name without spaces")

    @property
    def value(self) -> str:
        """Name and fact, one space between. The fact may be empty or hold spaces."""
        return f"{self.name} {self.fact}"

    @property
    def claim(self) -> tuple[str, str]:
        """The name and the fact: two declarations of one name must be equal."""
        return f"declared {self.name}", self.fact

    @classmethod
    def parse(cls, value: str) -> Self:
        """A name, a space, and a fact."""
        name, space, fact = value.partition(" ")
        if not space:
            raise MalformedCaveat("a declaration has a name and a fact")
        return cls(name, fact)


def check_declared(caveat: Declared, context: Context) -> Answer:
    """Always True. Two declarations of one name that differ refuse by their `claim`."""
    return True


# allow, deny


@dataclass(frozen=True, slots=True, init=False)
class Allow(_Words):
    """The operations that are allowed. An empty list allows none."""

    kind: ClassVar[str] = "allow"
    operations: tuple[str, ...]


def check_allow(caveat: Allow, context: Context) -> Answer:
    """The request names its operations, and all of them are listed."""
    operations = _fact(context, "operations")
    if not operations:
        return Unmet("the request names no operation", f"one of {caveat.value}")
    for operation in operations:
        if operation not in caveat.operations:
            return Unmet(f"the request is to {operation}", f"one of {caveat.value}")
    return True


@dataclass(frozen=True, slots=True, init=False)
class Deny(_Words):
    """The operations that are not allowed."""

    kind: ClassVar[str] = "deny"
    operations: tuple[str, ...]


def check_deny(caveat: Deny, context: Context) -> Answer:
    """The request has a list of operations, which may be empty, and none of them is listed here."""
    operations = _fact(context, "operations")
    if operations is None:
        return Unmet("the request does not say what it does", f"anything but {caveat.value}")
    for operation in operations:
        if operation in caveat.operations:
            return Unmet(f"the request is to {operation}", f"anything but {caveat.value}")
    return True


# error


@dataclass(frozen=True, slots=True)
class Error(TextCaveat):
    """What a bakery writes if it cannot write a condition. Never holds."""

    kind: ClassVar[str] = "error"
    spaced: ClassVar[bool] = True
    text: str


def check_error(caveat: Error, context: Context) -> Answer:
    """Always refuses."""
    return Unmet("the token was made with a mistake in it", "nothing")


# http:client-ip-addr, http:origin: older bakeries write them without the prefix


@dataclass(frozen=True, slots=True)
class ClientIpAddr(TextCaveat):
    """The address of the client. Keeps its text as written; addresses are compared, not texts."""

    kind: ClassVar[str] = "http:client-ip-addr"
    spaced: ClassVar[bool] = True
    address: str

    def __post_init__(self) -> None:
        if parse_address(self.address) is None:
            raise MalformedCaveat(
                "not an IP address, or one with a zone, which means nothing to other machines"
            )


@dataclass(frozen=True, slots=True)
class OldClientIpAddr(ClientIpAddr):
    """The same without a prefix."""

    kind: ClassVar[str] = "client-ip-addr"


def check_client_ip_addr(caveat: ClientIpAddr, context: Context) -> Answer:
    """The client's address is this one; a mapped IPv4 address counts as IPv4."""
    address = None if context.client_ip is None else parse_address(context.client_ip)
    if address is None:
        return Unmet("the request has no client address", f"a client at {caveat.address}")
    return address == parse_address(caveat.address) or Unmet(
        f"the client's address is {address}", f"a client at {caveat.address}"
    )


@dataclass(frozen=True, slots=True)
class Origin(TextCaveat):
    """The origin of the site whose pages may send the macaroon. Empty for no site."""

    kind: ClassVar[str] = "http:origin"
    spaced: ClassVar[bool] = True
    origin: str


@dataclass(frozen=True, slots=True)
class OldOrigin(Origin):
    """The same without a prefix."""

    kind: ClassVar[str] = "origin"


def check_origin(caveat: Origin, context: Context) -> Answer:
    """The request's origin is this one, or is empty, as in requests of a browser to the page's own site."""
    origin = context.extra.get("origin")
    if not isinstance(origin, str):
        return Unmet("the request's origin is not known", f"a request from {caveat.origin or 'no site'}")
    return origin in ("", caveat.origin) or Unmet(
        f"the request comes from {origin}", f"a request from {caveat.origin or 'no site'}"
    )


# is-authenticated-user, is-authenticated-userid, is-member-of: conditions for third parties


@dataclass(frozen=True, slots=True)
class IsAuthenticatedUser(Caveat):
    """The asker has signed in. `domain`: as a user of this domain; empty for any."""

    kind: ClassVar[str] = "is-authenticated-user"
    spaced: ClassVar[bool] = True
    domain: str = ""

    @property
    def value(self) -> str:
        """`@domain`, or nothing."""
        return f"@{self.domain}" if self.domain else ""

    @classmethod
    def parse(cls, value: str) -> Self:
        """Nothing, or `@domain`."""
        if value and (not value.startswith("@") or len(value) == 1 or " " in value):
            raise MalformedCaveat(f"{cls.kind} must stand alone or have one @domain")
        return cls(value[1:])


def check_is_authenticated_user(caveat: IsAuthenticatedUser, context: Context) -> Answer:
    """The asker has signed in, and the name ends in `@domain` if there is one."""
    if not context.user:
        return Unmet("nobody has signed in", "an asker who has signed in")
    return context.user.endswith(caveat.value) or Unmet(
        f"the asker is {context.user!r}", f"a user of {caveat.value}"
    )


@dataclass(frozen=True, slots=True)
class IsAuthenticatedUserId(IsAuthenticatedUser):
    """The same, for apps that know users by an id that never changes. The discharge declares the id as `userid`."""

    kind: ClassVar[str] = "is-authenticated-userid"


@dataclass(frozen=True, slots=True, init=False)
class IsMemberOf(_Words):
    """The asker belongs to one of these groups."""

    kind: ClassVar[str] = "is-member-of"
    groups: tuple[str, ...]

    @classmethod
    def read(cls, value: str) -> tuple[str, ...]:
        """One or more groups."""
        words = super(IsMemberOf, cls).read(value)
        if not words:
            raise MalformedCaveat("is-member-of must name a group")
        return words


def check_is_member_of(caveat: IsMemberOf, context: Context) -> Answer:
    """The asker has signed in, and is in one of the groups or has the name of one."""
    if not context.user:
        return Unmet("nobody has signed in", "an asker who has signed in")
    theirs = {context.user, *(_fact(context, "groups") or ())}
    return not theirs.isdisjoint(caveat.groups) or Unmet(
        f"{context.user!r} is in none of them", f"a member of {caveat.value}"
    )


FIRST_PARTY: list[tuple[type[Caveat], Callable[[Any, Context], Answer]]] = [
    (TimeBefore, check_time_before),
    (Declared, check_declared),
    (Allow, check_allow),
    (Deny, check_deny),
    (Error, check_error),
    (ClientIpAddr, check_client_ip_addr),
    (OldClientIpAddr, check_client_ip_addr),
    (Origin, check_origin),
    (OldOrigin, check_origin),
]
"""The conditions in macaroons and discharges, with their checks."""

THIRD_PARTY: list[tuple[type[Caveat], Callable[[Any, Context], Answer]]] = [
    (IsAuthenticatedUser, check_is_authenticated_user),
    (IsAuthenticatedUserId, check_is_authenticated_user),
    (IsMemberOf, check_is_member_of),
]
"""The conditions in tickets, with their checks."""


def first_party_checkers(checkers: Checkers | None = None) -> Checkers:
    """`checkers` (none unless given) and those of the conditions in a bakery's macaroons and discharges."""
    return _with(FIRST_PARTY, checkers)


def third_party_checkers(checkers: Checkers | None = None) -> Checkers:
    """`checkers` (none unless given) and those of the conditions in a bakery's tickets."""
    return _with(THIRD_PARTY, checkers)


def _with(
    kinds: list[tuple[type[Caveat], Callable[[Any, Context], Answer]]], checkers: Checkers | None
) -> Checkers:
    both = Checkers() if checkers is None else checkers.copy()
    for kind, check in kinds:
        both.register(kind, check)
    return both


_ENDING = {**STANDARD_KINDS, TimeBefore.kind: TimeBefore}


def expiry_of(predicates: Iterable[bytes]) -> datetime | None:
    """When a macaroon or a discharge with these caveats expires, by `expires` or `time-before`; None for never."""
    return effective(parse_predicate(predicate, _ENDING) for predicate in predicates).expires_at
