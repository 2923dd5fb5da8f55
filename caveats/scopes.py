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

_SEGMENT = r"(?!\.{1,2}(?:[/:]))[A-Za-z0-9._@~+-]+"
_PATTERN = re.compile(rf"({_SEGMENT}(?:/{_SEGMENT})*)(/\*)?:(\*|[A-Za-z0-9._-]+)")
OWN_NAMESPACE = "caveats"
MOST_PATTERNS = 256
"""The most patterns that an intersection keeps. Beyond it authority is under-, never overstated."""


class ScopePattern(NamedTuple):
    """One pattern, read. `resource` is empty for `*` alone."""

    resource: str
    below_only: bool
    action: str

    def __str__(self) -> str:
        if not self.resource:
            return "*"
        return f"{self.resource}{'/*' if self.below_only else ''}:{self.action}"

    def covers(self, other: ScopePattern) -> bool:
        """Whether everything that `other` allows is allowed by this."""
        if not self.resource:
            return not other.resource or other.resource.partition("/")[0] != OWN_NAMESPACE
        if self.action not in ("*", other.action):
            return False
        if other.resource == self.resource:
            return other.below_only or not self.below_only
        return other.resource.startswith(self.resource + "/")


EVERYTHING = ScopePattern("", False, "*")


@lru_cache(maxsize=4096)
def parse_scope(text: str) -> ScopePattern:
    """The pattern in `text`. Raises `MalformedCaveat`."""
    if text == "*":
        return EVERYTHING
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise MalformedCaveat(f"not a scope: {text!r} (expected resource:action, or *)")
    resource, below, action = match.groups()
    return ScopePattern(resource, below is not None, action)


def intersect(left: Sequence[ScopePattern], right: Sequence[ScopePattern]) -> tuple[ScopePattern, ...]:
    """What both allow, as patterns: each one is a resource of one side with an action of both."""
    met = set(_meets(left, right)) | set(_meets(right, left))
    return reduce_patterns(met)


def _meets(deeper: Sequence[ScopePattern], wider: Sequence[ScopePattern]) -> Iterable[ScopePattern]:
    """The patterns of `deeper` that lie at or under one of `wider`, with the action that both allow."""
    by_resource: dict[str, list[ScopePattern]] = {}
    for pattern in wider:
        by_resource.setdefault(pattern.resource, []).append(pattern)
    made = 0
    for pattern in deeper:
        for ancestor in _ancestors(pattern.resource):
            for other in by_resource.get(ancestor, ()):
                action = other.action if pattern.action == "*" else pattern.action
                below = pattern.below_only or (other.below_only and other.resource == pattern.resource)
                candidate = ScopePattern(pattern.resource, below, action)
                if other.covers(candidate) and pattern.covers(candidate):
                    made += 1
                    if made > 16 * MOST_PATTERNS:
                        return
                    yield candidate


def _ancestors(resource: str) -> Iterable[str]:
    yield ""
    at = resource.find("/")
    while at >= 0:
        yield resource[:at]
        at = resource.find("/", at + 1)
    if resource:
        yield resource


def reduce_patterns(patterns: Iterable[ScopePattern]) -> tuple[ScopePattern, ...]:
    """The same authority without patterns that others cover, sorted; at most `MOST_PATTERNS` of them."""
    kept: dict[str, list[ScopePattern]] = {}
    count = 0
    for pattern in sorted(set(patterns), key=lambda p: (p.resource, p.below_only, p.action != "*", p.action)):
        covered = any(
            other.covers(pattern) for up in _ancestors(pattern.resource) for other in kept.get(up, ())
        )
        if not covered:
            if count == MOST_PATTERNS:
                break
            kept.setdefault(pattern.resource, []).append(pattern)
            count += 1
    return tuple(sorted((pattern for group in kept.values() for pattern in group), key=str))
