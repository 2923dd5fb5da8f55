"""Effective authority: what is left of a token after all its caveats. Knows kinds, judges no request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats.kinds.base import Caveat, UnknownCaveat
from caveats.kinds.scopes import (
    EVERYTHING,
    MOST_PATTERNS,
    ScopePattern,
    intersect,
    parse_scope,
    reduce_patterns,
)
from caveats.kinds.standard import (
    Audience,
    ClientIp,
    Expires,
    Method,
    NotBefore,
    Note,
    Parent,
    Path,
    Renewed,
    Scope,
    User,
    path_covers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """The most that a token can do, and when. None means that nothing restricts it."""

    user: str | None
    """The first `user` caveat's."""
    expires_at: datetime | None
    not_before: datetime | None
    scopes: tuple[str, ...]
    """Patterns, each allowed; none at all when the caveats leave nothing. Under-, never overstated."""
    audiences: tuple[str, ...] | None
    methods: tuple[str, ...] | None
    paths: tuple[tuple[str, ...], ...]
    """One tuple of patterns per caveat; a request must match one of each."""
    client_ips: tuple[tuple[str, ...], ...]
    """One tuple of networks per caveat; the peer must be inside one of each."""
    notes: tuple[str, ...]
    others: tuple[Caveat, ...]
    """Caveats of other kinds: plug-ins, and those that nothing here knows."""

    @property
    def scope_patterns(self) -> tuple[ScopePattern, ...]:
        """`scopes`, read."""
        return tuple(map(parse_scope, self.scopes))


def effective(caveats: Iterable[Caveat]) -> Authority:
    """What all these caveats together leave."""
    user: str | None = None
    expires_at: datetime | None = None
    not_before: datetime | None = None
    scopes: tuple[ScopePattern, ...] | None = None
    audiences: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    paths: list[tuple[str, ...]] = []
    client_ips: list[tuple[str, ...]] = []
    notes: list[str] = []
    others: list[Caveat] = []
    for caveat in caveats:
        match caveat:
            case User():
                user = caveat.user if user is None else user
            case Expires():
                expires_at = caveat.at if expires_at is None else min(expires_at, caveat.at)
            case NotBefore():
                not_before = caveat.at if not_before is None else max(not_before, caveat.at)
            case Scope():
                narrower = reduce_patterns(caveat.patterns)
                scopes = narrower if scopes is None else intersect(scopes, narrower)
            case Audience():
                audiences = _both(audiences, caveat.audiences)
            case Method():
                methods = _both(methods, caveat.methods)
            case Path():
                paths.append(caveat.patterns)
            case ClientIp():
                client_ips.append(caveat.words)
            case Note():
                notes.append(caveat.text)
            case Renewed() | Parent():
                pass
            case _:
                others.append(caveat)
    return Authority(
        user=user,
        expires_at=expires_at,
        not_before=not_before,
        scopes=tuple(map(str, (EVERYTHING,) if scopes is None else scopes)),
        audiences=audiences,
        methods=methods,
        paths=tuple(paths),
        client_ips=tuple(client_ips),
        notes=tuple(notes),
        others=tuple(others),
    )


def _both(known: tuple[str, ...] | None, more: tuple[str, ...]) -> tuple[str, ...]:
    return more if known is None else tuple(word for word in known if word in more)


@dataclass(frozen=True, slots=True)
class Repeated:
    """A caveat that takes nothing away, because of what stands before it."""

    index: int
    caveat: Caveat
    because: str


def repeated(caveats: Sequence[Caveat]) -> tuple[Repeated, ...]:
    """The caveats that add nothing to those before them. Unknown kinds and notes are never among them."""
    found = []
    for index, caveat in enumerate(caveats):
        earlier = caveats[:index]
        because = _because(caveat, effective(earlier), earlier) if earlier else None
        if because is not None:
            found.append(Repeated(index, caveat, because))
    return tuple(found)


def _because(caveat: Caveat, before: Authority, earlier: Sequence[Caveat]) -> str | None:
    match caveat:
        case Note() | Renewed() | Parent() | UnknownCaveat():
            return None
        case Expires() if before.expires_at is not None and before.expires_at <= caveat.at:
            return "an earlier expiry stands before it"
        case NotBefore() if before.not_before is not None and before.not_before >= caveat.at:
            return "a later start stands before it"
        case Scope() if any(isinstance(known, Scope) for known in earlier):
            known_scopes = before.scope_patterns  # one that is full may have left some out
            if len(known_scopes) < MOST_PATTERNS and all(
                any(pattern.covers(known) for pattern in caveat.patterns) for known in known_scopes
            ):
                return "the scopes before it are no wider"
        case Audience() if before.audiences is not None and set(before.audiences) <= set(caveat.audiences):
            return "the audiences before it are no wider"
        case Method() if before.methods is not None and set(before.methods) <= set(caveat.methods):
            return "the methods before it are no wider"
        case Path() if any(_all_covered(known, caveat.patterns) for known in before.paths):
            return "the paths before it are no wider"
        case ClientIp() if any(set(known) <= set(caveat.words) for known in before.client_ips):
            return "the networks before it are no wider"
        case _:
            pass
    return "the same caveat stands before it" if caveat in earlier else None


def _all_covered(narrow: tuple[str, ...], wide: tuple[str, ...]) -> bool:
    return all(any(path_covers(pattern, path) for pattern in wide) for path in narrow)
