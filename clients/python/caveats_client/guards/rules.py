"""The scopes that requests need, by route or for a whole site, and the paths that need no token.

    RouteRule(("photos/{photo_id}:read",), None).scopes(request, {"photo_id": 42})     # ("photos/42:read",)
    SiteRule("photos:read", ("/healthz", "/static/*"))

Knows scopes and paths. Knows no framework: `Native` is the class of a framework's request or connection.
"""

from __future__ import annotations

import inspect
import re
import weakref
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import caveats
from caveats.kinds import parse_scope, path_covers, plain_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from caveats.http import IncomingRequest

Native = TypeVar("Native")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class GuardedViews:
    """The views that a decorator guards, and the functions inside of them, which are guarded only with their guard."""

    def __init__(self) -> None:
        self._guarded: weakref.WeakSet[Callable[..., object]] = weakref.WeakSet()
        self._asking: weakref.WeakSet[Callable[..., object]] = weakref.WeakSet()

    def add(self, guarded: Callable[..., object], view: Callable[..., object]) -> None:
        """`guarded` is `view` with its guard."""
        self._asking.update(_layers(view))
        self._guarded.add(guarded)

    def lacks_guard(self, view: object, handlers: Iterable[str] = ()) -> bool:
        """Whether `view` asks for a guard, and is registered without it: by itself, or inside of a copy.

        `handlers`: the names of the methods that a class-based view calls. They lack none where the class has a guard.
        """
        guarded = self._is_guarded(view)
        if guarded is not None:
            return not guarded
        kind = getattr(view, "view_class", None)
        return any(self._is_guarded(getattr(kind, name, None)) is False for name in handlers)

    def _is_guarded(self, view: object) -> bool | None:
        """None for a view that neither asks for a guard nor has one."""
        for layer in _layers(view):
            if layer in self._asking:
                return False
            if layer in self._guarded:
                return True
        return None


def _layers(view: Any) -> Iterator[Callable[..., object]]:
    """`view`, and the functions that decorators and `functools.partial` made it from."""
    while callable(view):
        if isinstance(view, partial):
            view = view.func
            continue
        yield getattr(view, "__func__", view)
        view = getattr(view, "__wrapped__", None)


@dataclass(frozen=True, slots=True)
class Route:
    """A route of an app, as far as it says which paths it has."""

    start: str
    """How its paths begin, decoded."""
    open_ended: bool
    """Whether they may go on: there is a parameter, or another app."""
    view: object = None

    def may_have(self, pattern: str) -> bool:
        """Whether it may have a path that the pattern covers. True where the route does not tell."""
        above = pattern[:-1] if pattern.endswith("/*") else None
        if self.open_ended and (above or pattern).startswith(self.start):
            return True
        if above is None:
            return self.start == pattern
        return self.start.startswith(above) and (self.open_ended or self.start != above)


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
        self._unchecked = () if callable(self._public) else self._public

    def check_routes(self, routes: Callable[[], Iterable[Route]], mount: str = "") -> None:
        """Raises `ValueError` for a public path that no route has: it is mistyped. Looks once.

        `mount`: where the app with these routes has the paths that this rule is about.
        """
        if self._unchecked:
            check_public(self._unchecked, tuple(routes()), mount)
            self._unchecked = ()

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


def check_public(patterns: Iterable[str], routes: Sequence[Route], mount: str = "") -> None:
    """Raises `ValueError` for a public path that no route has. Nothing is said of an app whose routes are not known."""
    for pattern in patterns:
        if routes and not any(route.may_have(pattern) or route.may_have(mount + pattern) for route in routes):
            raise ValueError(f"public={pattern!r} fits no route of this app: is it mistyped?")


def is_public(patterns: Sequence[str], request: IncomingRequest) -> bool:
    """Whether the path below the app's mount equals a pattern or is below its `/*`. Only a plain path is ever public.

    Where a server does not give the path as it was sent, the path that leads to the endpoint counts.
    """
    path = plain_path(request.path or request.routed or "")
    below = None if path is None else replace(request, path=path).path_in_app
    return below is not None and any(path_covers(pattern, below) for pattern in patterns)
