"""Scope patterns: `resource:action`, covered segment by segment. Knows text, knows no tokens.

A resource covers itself and all below it: `photos:read` covers `photos/42:read`, never `photosX:read`.
`photos/*` covers only what is below. `*` as the action covers every action. `*` alone covers everything
but the service's own namespace `caveats`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from caveats.errors import MalformedCaveat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

_SEGMENT = r"(?!\.{1,2}(?:[/:]))[A-Za-z0-9._@~+-]+"
_PATTERN = re.compile(rf"({_SEGMENT}(?:/{_SEGMENT})*)(/\*)?:(\*|[A-Za-z0-9._-]+)")
OWN_NAMESPACE = "caveats"
MOST_PATTERNS = 256
"""The most patterns that an intersection keeps. It leaves out more: the authority shown is then too small, never too large."""
_LONGEST = 1024
_MOST_CUT = 2 * MOST_PATTERNS


class ScopePattern(NamedTuple):
    """A parsed pattern. `resource` is empty for `*` alone."""

    resource: str
    below_only: bool
    action: str

    def __str__(self) -> str:
        if not self.resource:
            return "*"
        return f"{self.resource}{'/*' if self.below_only else ''}:{self.action}"

    def covers(self, other: ScopePattern) -> bool:
        """Whether this pattern allows everything that `other` allows."""
        resource, below_only, action = self
        its_resource, its_below_only, its_action = other
        if not resource:
            return not its_resource or its_resource.partition("/")[0] != OWN_NAMESPACE
        if action not in ("*", its_action):
            return False
        if its_resource == resource:
            return its_below_only or not below_only
        return its_resource.startswith(resource + "/")


def is_own_scope(scope: str) -> bool:
    """Whether a request for this scope is about the service itself: `caveats:...`, or anything below."""
    return scope.partition(":")[0].partition("/")[0] == OWN_NAMESPACE


EVERYTHING = ScopePattern("", False, "*")


@lru_cache(maxsize=4096)
def parse_scope(text: str) -> ScopePattern:
    """The pattern in `text`, at most 1024 characters. Raises `MalformedCaveat`."""
    if text == "*":
        return EVERYTHING
    if len(text) > _LONGEST:
        raise MalformedCaveat(f"a scope has at most {_LONGEST} characters")
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise MalformedCaveat(f"not a scope: {text!r} (expected resource:action, or *)")
    resource, below, action = match.groups()
    return ScopePattern(resource, below is not None, action)


def intersect(left: Sequence[ScopePattern], right: Sequence[ScopePattern]) -> tuple[ScopePattern, ...]:
    """The patterns that both sides allow. Each has a resource of one side, and an action that both allow."""
    return reduce_patterns([*_meets(left, right), *_meets(right, left)])


def _meets(deeper: Sequence[ScopePattern], wider: Sequence[ScopePattern]) -> Iterable[ScopePattern]:
    """The patterns of `deeper` that `wider` allows: whole, or narrowed to an action or to what is below."""
    known = set(wider)
    by_resource: dict[str, list[ScopePattern]] = {}
    for other in wider:
        by_resource.setdefault(other.resource, []).append(other)
    left = _MOST_CUT
    for pattern in deeper:
        if _covered(pattern, known):
            yield pattern
            continue
        resource, below_only, action = pattern
        for ancestor in _ancestors(resource):
            for other in by_resource.get(ancestor, ())[:left]:
                left -= 1
                below = below_only or (other.below_only and ancestor == resource)
                cut = ScopePattern(resource, below, other.action if action == "*" else action)
                if other.covers(cut):
                    yield cut


def _covered(pattern: ScopePattern, known: AbstractSet[ScopePattern]) -> bool:
    """Whether one of `known` covers `pattern`. Looks up sets: an intersection calls this hundreds of times."""
    resource, below_only, action = pattern
    if EVERYTHING in known and EVERYTHING.covers(pattern):
        return True
    for up in _ancestors(resource):
        for kept in (action, "*"):
            if (up, False, kept) in known or ((below_only or up != resource) and (up, True, kept) in known):
                return True
    return False


def _ancestors(resource: str) -> Iterable[str]:
    """The resources that `resource` lies below, highest first, and `resource` itself."""
    at = resource.find("/")
    while at >= 0:
        yield resource[:at]
        at = resource.find("/", at + 1)
    yield resource


def reduce_patterns(patterns: Iterable[ScopePattern]) -> tuple[ScopePattern, ...]:
    """The patterns that no other covers, sorted; at most `MOST_PATTERNS`."""
    kept: set[ScopePattern] = set()
    for pattern in sorted(set(patterns)):  # a pattern comes before those that it covers
        if not kept or not _covered(pattern, kept):
            if len(kept) == MOST_PATTERNS:
                break
            kept.add(pattern)
    return tuple(sorted(kept, key=str))
