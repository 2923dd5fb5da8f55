"""From flags to caveats: what `attenuate` adds. Pure; knows the kinds, knows no token.

A flag given twice widens its one caveat (`--scope a:read --scope b:read` allows both); notes and raw predicates
are a caveat each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches

from caveats import (
    Audience,
    Caveat,
    ClientIp,
    Expires,
    MalformedCaveat,
    Method,
    NotBefore,
    Note,
    Path,
    Scope,
    UnknownCaveat,
)
from caveats.kinds.base import check_value, is_kind, parse_predicate
from caveats.kinds.standard import STANDARD_KINDS, parse_moment


@dataclass(frozen=True, slots=True)
class Wanted:
    """The flags as they were given."""

    scope: tuple[str, ...] = ()
    expires_in: timedelta | None = None
    expires: str | None = None
    not_before: str | None = None
    audience: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    client_ip: tuple[str, ...] = ()
    note: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()


def caveats_for(wanted: Wanted, now: datetime) -> tuple[Caveat, ...]:
    """The caveats to add, in a fixed order. Raises `MalformedCaveat`."""
    caveats: list[Caveat] = []
    if wanted.scope:
        caveats.append(Scope(*wanted.scope))
    if wanted.expires_in is not None:
        caveats.append(Expires.after(wanted.expires_in, now=now))
    if wanted.expires is not None:
        caveats.append(Expires(read_moment(wanted.expires)))
    if wanted.not_before is not None:
        caveats.append(NotBefore(read_moment(wanted.not_before)))
    if wanted.audience:
        caveats.append(Audience(*wanted.audience))
    if wanted.method:
        caveats.append(Method(*(method.upper() for method in wanted.method)))
    if wanted.path:
        caveats.append(Path(*wanted.path))
    if wanted.client_ip:
        caveats.append(ClientIp(*wanted.client_ip))
    caveats += (Note(text) for text in wanted.note)
    caveats += map(read_predicate, wanted.raw)
    return tuple(caveats)


def read_moment(text: str) -> datetime:
    """A time as a person writes it: ISO 8601 with its zone. Raises `MalformedCaveat`."""
    try:
        return parse_moment(text)
    except MalformedCaveat:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedCaveat(f"not a time: {text!r} (expected 2026-12-01T18:00:00Z)") from None
    if moment.tzinfo is None:
        raise MalformedCaveat(f"{text!r} has no time zone: end it with Z, or with an offset such as +02:00")
    return moment


def read_predicate(text: str) -> Caveat:
    """The caveat that `text` is. A plug-in's kind need not be known here, any other must. Raises `MalformedCaveat`."""
    caveat = parse_predicate(text.encode("utf-8", "surrogateescape"), STANDARD_KINDS)
    if not isinstance(caveat, UnknownCaveat):
        return caveat
    kind, equals, value = text.partition(" = ")
    if not equals:
        raise MalformedCaveat(
            f"not a caveat: {text!r} (expected 'kind = value', with one space on each side)"
        )
    if kind in STANDARD_KINDS or not is_kind(kind):
        raise MalformedCaveat(f"{text!r}: {caveat.why}")
    if "/" not in kind:
        similar = get_close_matches(kind, STANDARD_KINDS, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else "; a plug-in's kind has its vendor/ before it"
        raise MalformedCaveat(f"there is no kind {kind!r}{hint}")
    check_value(value)
    return caveat
