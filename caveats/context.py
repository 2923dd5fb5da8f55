"""The facts of the request that is judged. Knows nothing of tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Context:
    """What is known about one request. A caveat that asks for a fact that is missing here refuses."""

    now: datetime
    """The time of the request; aware, any zone."""
    audience: str | None = None
    """The app that verifies. A `Verifier` fills in its own."""
    scopes: tuple[str, ...] = ()
    """What the request is about to do, `resource:action` each. All must be covered."""
    method: str | None = None
    """The HTTP method, upper case."""
    path: str | None = None
    """The HTTP path as it came, without the query."""
    client_ip: str | None = None
    """The address of the peer, IPv4 or IPv6."""
    user: str | None = None
    """Whom the request claims to come from, if it says so."""
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Facts for plug-in kinds, by name."""

    def __post_init__(self) -> None:
        if not isinstance(self.now, datetime) or self.now.tzinfo is None:
            raise TypeError("now must be an aware datetime")
        if type(self.scopes) is not tuple:
            if isinstance(self.scopes, str):
                raise TypeError("scopes is a tuple of strings, not one string")
            object.__setattr__(self, "scopes", tuple(self.scopes))
