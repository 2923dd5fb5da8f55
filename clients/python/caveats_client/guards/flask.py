"""A guard for Flask views, apps and blueprints. Imports Flask; opens nothing.

    guard = TokenGuard(verifier, audience="photos")

    @app.get("/photos/<int:photo_id>")
    @guard.requires("photos/{photo_id}:read")
    def photo(photo_id: int) -> str:
        return f"photo {photo_id} for {g.grant.user}"

What is guarded finds its `Grant` in `flask.g.grant`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, Unpack

from caveats.extras import needs
from caveats.http import IncomingRequest, Problem
from caveats_client.guards.guard import Extra, Guard, GuardOptions, Verifies, no_facts
from caveats_client.guards.rules import GuardedViews, Route, RouteRule, SiteRule
from caveats_client.guards.wsgi import request_of

with needs("flask"):
    from flask import Blueprint, Flask, Response, current_app, g, request, request_started
    from flask.typing import ResponseReturnValue

if TYPE_CHECKING:
    from flask.wrappers import Request

    from caveats import Grant

P = ParamSpec("P")
Returned: TypeAlias = ResponseReturnValue | Awaitable[ResponseReturnValue]


class TokenGuard:
    """Guards views, or whole apps and blueprints. A guarded view finds its `Grant` in `g.grant`."""

    def __init__(
        self,
        verifier: Verifies,
        *,
        extra: Callable[[Request], Extra] | None = None,
        decoded_paths: bool = False,
        **options: Unpack[GuardOptions],
    ) -> None:
        """`extra`: facts for plug-in kinds. `options`: see `GuardOptions`.

        `decoded_paths`: if the server does not give the unchanged path (wsgiref), judge the decoded one. Otherwise
        path caveats refuse on such a server.
        """
        self._guard = Guard(verifier, **options)
        self._extra = extra or no_facts
        self._decoded_paths = decoded_paths

    def requires(
        self, *scopes: str, when: Callable[[Request], Iterable[str]] | None = None
    ) -> Callable[[Callable[P, Returned]], Callable[P, ResponseReturnValue]]:
        """A decorator, placed below the route's: the view runs if the token covers these scopes and those of `when`.

        `{name}` in a scope is filled from the view's arguments. Raises `caveats.MalformedCaveat` for a malformed scope,
        `ValueError` for a name that is no argument of the view. Above the route's decorator, the route has the view
        without its guard: then each of its requests ends in an error.
        """
        rule = RouteRule(scopes, when)

        def decorate(view: Callable[P, Returned]) -> Callable[P, ResponseReturnValue]:
            if isinstance(view, type):
                raise TypeError(
                    f"on a class: decorators = [guard.requires(...)], or on its methods, not {view}"
                )
            rule.check_view(view)

            @wraps(view)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
                try:
                    g.grant = self._judge(rule.scopes(request, request.view_args or {}))
                except Problem as problem:
                    return _response(problem)
                answer: ResponseReturnValue = current_app.ensure_sync(view)(*args, **kwargs)
                return answer

            _VIEWS.add(guarded, view)
            return guarded

        return decorate

    def protect(
        self,
        app: Flask | Blueprint,
        *,
        scopes: str | Iterable[str] | Callable[[Request], Iterable[str]] = (),
        public: Iterable[str] | Callable[[Request], bool] = (),
    ) -> None:
        """Guard every request to `app`. Requests need the `scopes`; `public` paths need no token."""
        rule = SiteRule(scopes, public)

        def before() -> Response | None:
            rule.check_routes(_routes)
            if rule.is_public(request, self._incoming()):
                return None
            try:
                g.grant = self._judge(rule.scopes(request))
            except Problem as problem:
                return _response(problem)
            return None

        app.before_request(before)

    def _incoming(self) -> IncomingRequest:
        came = request_of(request.environ, decoded_paths=self._decoded_paths)
        return replace(came, method=request.method)  # which a function before this one may have changed

    def _judge(self, scopes: tuple[str, ...]) -> Grant:
        extra = self._extra(request)
        return self._guard.judge(self._incoming(), scopes, extra)


_VIEWS = GuardedViews()
_HANDLERS = {"HEAD": "get"}
"""The methods of a `MethodView` that do not have the name of the request's method."""


def _routes() -> Iterator[Route]:
    """The routes of the app of this request."""
    for rule in current_app.url_map.iter_rules():
        yield Route(rule.rule.partition("<")[0], open_ended="<" in rule.rule)


def _refuse_unguarded(_app: object, **_: object) -> None:
    """Before each request of any app. Raises `RuntimeError` if its view asks for a guard, and the route goes around it."""
    view = current_app.view_functions.get(request.endpoint or "")
    if _VIEWS.lacks_guard(view, ("dispatch_request", _HANDLERS.get(request.method, request.method.lower()))):
        raise RuntimeError(
            f"the route {request.endpoint} has no guard: put guard.requires(...) below the route's decorator"
        )


request_started.connect(_refuse_unguarded)


def _response(problem: Problem) -> Response:
    return Response(problem.body, problem.status, problem.headers)
