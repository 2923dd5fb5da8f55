"""Effective authority: what all caveats of a token together allow. Judges no request, knows no kind by name.

Each kind narrows the authority (`Caveat.narrow`). The answer of a plug-in's kind counts only if it is no wider than the
authority before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from caveats.kinds.scopes import EVERYTHING, ScopePattern
from caveats.kinds.standard import STANDARD_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from caveats.kinds.base import Caveat

_NO_LISTS: Mapping[str, Lists] = MappingProxyType({})
Lists = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Authority:
    """The most that a token can do, and when. None means that nothing restricts it."""

    user: str | None = None
    """The user of the first `user` caveat."""
    expires_at: datetime | None = None
    """The earliest expiry."""
    not_before: datetime | None = None
    """The latest start."""
    scope_limit: tuple[ScopePattern, ...] | None = None
    """The patterns that the scope caveats allow, at most 256; never more than they allow. None without a scope caveat."""
    lists: Mapping[str, Lists] = field(default_factory=lambda: _NO_LISTS, hash=False)
    """Lists of words by kind: a request must match one word of each list. An empty list allows nothing."""
    notes: tuple[str, ...] = ()
    others: tuple[Caveat, ...] = ()
    """Caveats that no other field shows: of plug-ins, and of unknown kinds."""

    def changed(self, **fields: Any) -> Authority:
        """A copy with these fields. Raises `TypeError` for a field that there is not.

        `dataclasses.replace` takes twice as long, and each caveat of a token that was never seen makes a copy.
        """
        if not fields.keys() <= self.__dict__.keys():
            raise TypeError(
                f"an authority has no such field: {', '.join(fields.keys() - self.__dict__.keys())}"
            )
        copy = object.__new__(Authority)
        copy.__dict__.update(self.__dict__, **fields)
        return copy

    @property
    def scope_patterns(self) -> tuple[ScopePattern, ...]:
        """The scope patterns that are allowed. Empty if the scope caveats allow nothing."""
        return (EVERYTHING,) if self.scope_limit is None else self.scope_limit

    @property
    def scopes(self) -> tuple[str, ...]:
        """`scope_patterns` as text."""
        return tuple(map(str, self.scope_patterns))

    @property
    def audiences(self) -> tuple[str, ...] | None:
        """The apps that may accept the token; None for any."""
        return self.words_of("audience")

    @property
    def methods(self) -> tuple[str, ...] | None:
        """The HTTP methods; None for any."""
        return self.words_of("method")

    @property
    def paths(self) -> Lists:
        """One tuple of path patterns for each caveat: a request must match one of each."""
        return self.lists.get("path", ())

    @property
    def client_ips(self) -> Lists:
        """One tuple of networks for each caveat: the client must be inside one of each."""
        return self.lists.get("client-ip", ())

    def words_of(self, kind: str) -> tuple[str, ...] | None:
        """The list of a kind whose caveats are intersected, such as `method`. None without such a caveat."""
        lists = self.lists.get(kind)
        return None if lists is None else lists[0]

    def expiring(self, at: datetime) -> Authority:
        """The same authority until `at`, or until its own expiry if that is earlier."""
        return self if self.expires_at is not None and self.expires_at <= at else self.changed(expires_at=at)

    def is_within(self, wider: Authority) -> bool:
        """Whether all that this allows is allowed by `wider`, and all caveats and labels that `wider` lists are listed."""
        return (
            (wider.user is None or self.user == wider.user)
            and (
                wider.expires_at is None
                or (self.expires_at is not None and self.expires_at <= wider.expires_at)
            )
            and (
                wider.not_before is None
                or (self.not_before is not None and self.not_before >= wider.not_before)
            )
            and all(
                any(known.covers(one) for known in wider.scope_patterns) for one in self.scope_limit or ()
            )
            and (self.scope_limit is not None or wider.scope_limit is None)
            and all(_narrower(self.lists.get(kind, ()), lists) for kind, lists in wider.lists.items())
            and self.notes[: len(wider.notes)] == wider.notes
            and {one.predicate for one in wider.others} <= {one.predicate for one in self.others}
        )


def _narrower(lists: Lists, wider: Lists) -> bool:
    """Whether each list of `wider` has one in `lists` that allows no more."""
    return all(any(set(words) <= set(known) for words in lists) for known in wider)


def effective(caveats: Iterable[Caveat]) -> Authority:
    """The authority that all these caveats together leave."""
    authority = Authority()
    for caveat in caveats:
        authority = _narrowed(authority, caveat)
    return authority


def _narrowed(authority: Authority, caveat: Caveat) -> Authority:
    if STANDARD_KINDS.get(caveat.kind) is type(caveat):
        return caveat.narrow(authority)
    try:
        narrower = caveat.narrow(authority)
        if type(narrower) is Authority and narrower.is_within(authority):
            return narrower
    except Exception:  # noqa: BLE001, S110  # foreign code: if it fails, the authority stays as it was
        pass
    return authority.changed(others=(*authority.others, caveat))


@dataclass(frozen=True, slots=True)
class Repeated:
    """A caveat that restricts nothing, because the caveats before it already do."""

    index: int
    """Its index among the caveats, from 0."""
    caveat: Caveat
    because: str


def repeated(caveats: Sequence[Caveat]) -> tuple[Repeated, ...]:
    """The caveats that add nothing to those before them, as far as their kinds can tell."""
    found = []
    before = Authority()
    for index, caveat in enumerate(caveats):
        because = caveat.repeats(before)
        if because is not None:
            found.append(Repeated(index, caveat, because))
        before = _narrowed(before, caveat)
    return tuple(found)
