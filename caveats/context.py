"""The facts of the request that is judged. Knows nothing of tokens.

A new fact is a field here, and a reader in `caveats.http` if it stands in a request's head. The service's /v1/verify,
the client, `caveats verify` and the test kit take their lists of facts from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_DEEPEST = 64
"""Containers within one another in a fact, at most."""


def _text(asks: str, summary: str) -> Any:
    """A fact that is one text, None if it is not known. `asks`: what a person gives for it, in one word."""
    return field(default=None, metadata={"asks": asks, "summary": summary})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a request is, and who sends it. A caveat that asks for a fact that is missing here refuses."""

    method: str | None = _text("METHOD", "The request's HTTP method.")
    """The HTTP method, upper case."""
    path: str | None = _text("PATH", "The request's path.")
    """The HTTP path as it came, without the query."""
    host: str | None = _text("HOST", "The host that the request is made to.")
    """The host that the request was made to, as in `Host`: a DNS name in any case, with or without a port."""
    client_ip: str | None = _text("ADDRESS", "Where the request comes from.")
    """The address of the client, IPv4 or IPv6."""
    user: str | None = _text("NAME", "Whom the request claims to be.")
    """Whom the request claims to come from, if it says so."""
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Facts for plug-in kinds, by name."""


TEXT_FACTS = {fact.name: fact.metadata for fact in fields(Facts) if fact.metadata}
"""The facts that are one text each, by name: `asks` and `summary`, for those who ask people for them."""


@dataclass(frozen=True, slots=True)
class Context(Facts):
    """What is known about one request: `Context(now, audience, scopes, method=..., path=..., ...)`.

    `extra` is copied: its mappings become read-only, its lists tuples and its sets frozensets. Raises `TypeError` for a
    `now` without a zone, and for one string in place of scopes; `ValueError` for facts that are nested too deep.
    """

    now: datetime
    """The time of the request; aware, any zone."""
    audience: str | None = None
    """The app that verifies. A `Verifier` fills in its own."""
    scopes: tuple[str, ...] = ()
    """What the request is about to do, `resource:action` each. All must be covered."""

    def __post_init__(self) -> None:
        if not isinstance(self.now, datetime) or self.now.tzinfo is None:
            raise TypeError("now must be an aware datetime")
        if type(self.scopes) is not tuple:
            if isinstance(self.scopes, str):
                raise TypeError("scopes is a tuple of strings, not one string")
            object.__setattr__(self, "scopes", tuple(self.scopes))
        if self.extra is not _NOTHING:
            object.__setattr__(self, "extra", frozen(self.extra))

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (type(self), self.now, self.audience, self.scopes, facts_of(self))


def _remake(
    kind: type[Context], now: datetime, audience: str | None, scopes: Any, facts: dict[str, Any]
) -> Context:
    return kind(now, audience, scopes, **facts)


def facts_of(known: Facts) -> dict[str, Any]:
    """The facts of a request by name, without those of the verifying app: time, audience and scopes.

    Mappings in `extra` are dicts here, so that it can be written as JSON.
    """
    return {fact.name: getattr(known, fact.name) for fact in fields(Facts)} | {"extra": _thawed(known.extra)}


def copied(context: Context) -> Context:
    """Another context with the same facts. They are frozen already: `dataclasses.replace` would go through all of `extra`."""
    copy = object.__new__(type(context))
    for fact in fields(context):
        object.__setattr__(copy, fact.name, getattr(context, fact.name))
    return copy


def frozen(fact: Any, depth: int = 0) -> Any:
    """A copy of a fact that cannot be changed: read-only mappings, tuples, frozensets. Other objects are not copied.

    Raises `ValueError` for more than 64 containers within one another.
    """
    if depth > _DEEPEST:
        raise ValueError(f"a fact has at most {_DEEPEST} lists and mappings within one another")
    if isinstance(fact, Mapping):
        return MappingProxyType({name: frozen(value, depth + 1) for name, value in fact.items()})
    if isinstance(fact, list) or type(fact) is tuple:
        return tuple(frozen(value, depth + 1) for value in fact)
    if isinstance(fact, AbstractSet):
        return frozenset(fact)
    return bytes(fact) if isinstance(fact, bytearray) else fact


def _thawed(fact: Any) -> Any:
    if isinstance(fact, Mapping):
        return {name: _thawed(value) for name, value in fact.items()}
    return [_thawed(value) for value in fact] if type(fact) is tuple else fact
