"""The facts of the request that is judged. Knows nothing of tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, init=False)
class Context:
    """What is known about one request. A caveat that asks for a fact that is missing here refuses."""

    now: datetime
    """The time of the request; aware, any zone."""
    audience: str | None
    """The app that verifies. A `Verifier` fills in its own."""
    scopes: tuple[str, ...]
    """What the request is about to do, `resource:action` each. All must be covered."""
    method: str | None
    """The HTTP method, upper case."""
    path: str | None
    """The HTTP path as it came, without the query."""
    client_ip: str | None
    """The address of the peer, IPv4 or IPv6."""
    user: str | None
    """Whom the request claims to come from, if it says so."""
    extra: Mapping[str, Any]
    """Facts for plug-in kinds, by name."""

    def __init__(  # noqa: PLR0917  # a fact a parameter
        self,
        now: datetime,
        audience: str | None = None,
        scopes: tuple[str, ...] = (),
        method: str | None = None,
        path: str | None = None,
        client_ip: str | None = None,
        user: str | None = None,
        extra: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """Raises `TypeError` for a `now` without a zone, and for one string where scopes belong."""
        if not isinstance(now, datetime) or now.tzinfo is None:
            raise TypeError("now must be an aware datetime")
        if type(scopes) is not tuple:
            if isinstance(scopes, str):
                raise TypeError("scopes is a tuple of strings, not one string")
            scopes = tuple(scopes)
        _set_now(self, now)
        _set_audience(self, audience)
        _set_scopes(self, scopes)
        _set_method(self, method)
        _set_path(self, path)
        _set_client_ip(self, client_ip)
        _set_user(self, user)
        _set_extra(self, extra)


# One is made for every request: past `frozen` by the shortest way, which takes half the time of the longest.
(
    _set_now,
    _set_audience,
    _set_scopes,
    _set_method,
    _set_path,
    _set_client_ip,
    _set_user,
    _set_extra,
) = (vars(Context)[fact.name].__set__ for fact in fields(Context))
