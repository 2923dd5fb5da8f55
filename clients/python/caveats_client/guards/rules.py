"""The scopes that requests need, by route or for a whole site, and the paths that need no token.

    RouteRule(("photos/{photo_id}:read",), None).scopes(request, {"photo_id": 42})     # ("photos/42:read",)
    SiteRule("photos:read", ("/healthz", "/static/*"))

Knows scopes and paths. Knows no framework: `Native` is the class of a framework's request or connection.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import quote

import caveats
from caveats.kinds import parse_scope, path_covers, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from caveats.http import IncomingRequest

Native = TypeVar("Native")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class RouteRule(Generic[Native]):
    """The scopes that the requests of one route need."""

    def __init__(self, scopes: Iterable[str], when: Callable[[Native], Iterable[str]] | None) -> None:
        """`scopes`: `{name}` is replaced by that parameter of the route. `when`: a function that returns more of them.

        Raises `caveats.MalformedCaveat` for a malformed scope.
        """
        self._scopes = checked_scopes(scopes)
        self._when = when

    def check_view(self, view: Callable[..., object]) -> None:
        """Raises `ValueError` if a scope names a parameter that `view` does not take: no request could fill it."""
        try:
            taken = inspect.signature(view).parameters.values()
        except (TypeError, ValueError):
            return
        names = {parameter.name for parameter in taken}
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
            return
        for name in parameters_of(self._scopes):
            if name not in names:
                raise ValueError(f"a scope names {{{name}}}, which {view} does not take")

    def scopes(self, native: Native, parameters: Mapping[str, object]) -> tuple[str, ...]:
        """All scopes that this request needs. Raises `KeyError` for a parameter that the route does not have."""
        filled = filled_scopes(self._scopes, parameters)
        return filled if self._when is None else (*filled, *self._when(native))


class SiteRule(Generic[Native]):
    """The scopes that every request to an app needs, and the requests that need no token."""

    def __init__(
        self,
        scopes: str | Iterable[str] | Callable[[Native], Iterable[str]],
        public: Iterable[str] | Callable[[Native], bool],
    ) -> None:
        """`scopes`: or a function that returns them for a request. `public`: paths, or a function that decides.

        Raises `caveats.MalformedCaveat` for a malformed scope or path, `ValueError` for a scope with a parameter.
        """
        self._scopes = scopes if callable(scopes) else checked_scopes(scopes)
        named = () if callable(self._scopes) else parameters_of(self._scopes)
        if named:
            raise ValueError(f"no route fills {{{named[0]}}} here: give a function that returns the scopes")
        self._public = public if callable(public) else checked_paths(public)

    def scopes(self, native: Native) -> tuple[str, ...]:
        """The scopes that this request needs."""
        return tuple(self._scopes(native)) if callable(self._scopes) else self._scopes

    def is_public(self, native: Native, request: IncomingRequest) -> bool:
        """Whether this request needs no token; `request` is the head of `native`."""
        return self._public(native) if callable(self._public) else is_public(self._public, request)


def checked_scopes(scopes: str | Iterable[str]) -> tuple[str, ...]:
    """Scopes, from one text with single spaces between them or from several; `{name}` is a parameter of the path.

    Raises `caveats.MalformedCaveat` for a malformed scope, so that a typing error is found when the app starts.
    """
    named = tuple(scopes.split(" ") if isinstance(scopes, str) else scopes)
    for scope in named:
        parse_scope(_PARAMETER.sub("x", scope))
    return named


def parameters_of(scopes: Iterable[str]) -> tuple[str, ...]:
    """The names of the parameters in these scopes."""
    return tuple(name for scope in scopes for name in _PARAMETER.findall(scope))


def filled_scopes(scopes: Sequence[str], parameters: Mapping[str, object]) -> tuple[str, ...]:
    """The scopes with the path's parameters filled in. Raises `KeyError` for a parameter that is missing.

    A value fills one segment. A value with a slash, a colon or a dot segment makes a scope that no token covers.
    """
    return tuple(
        _PARAMETER.sub(lambda found: quote(str(parameters[found[1]]), safe="@~+"), scope)
        if "{" in scope
        else scope
        for scope in scopes
    )


def checked_paths(patterns: Iterable[str]) -> tuple[str, ...]:
    """Path patterns, `/a/b` or `/a/*`, with their percent-encoding undone. Raises `caveats.MalformedCaveat`."""
    named = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    return caveats.Path(*named).names if named else ()


def is_public(patterns: Sequence[str], request: IncomingRequest) -> bool:
    """Whether the path below the app's mount equals a pattern or is below its `/*`. Only a plain path is ever public."""
    path = plain_path(request.path or "")
    below = None if path is None else replace(request, path=path).path_in_app
    return below is not None and any(path_covers(pattern, below) for pattern in patterns)
