"""A guard for Django: a decorator for views, a middleware for whole sites. Imports Django; needs no database.

    guard = TokenGuard(verifier, audience="photos")     # tokens.py

    @guard.requires("photos/{photo_id}:read")           # views.py
    def photo(request, photo_id):
        return JsonResponse({"photo": photo_id, "for": request.grant.user})

    middleware = guard.middleware(scopes=..., public=("/healthz",))     # tokens.py; in MIDDLEWARE: "site.tokens.middleware"

Sync and async views and servers alike. It does not touch `request.user`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from caveats.http import IncomingRequest, Problem
from caveats_client.guards import wsgi
from caveats_client.guards.guard import (
    Answers,
    Extra,
    Guard,
    Verifies,
    awaited,
    utc_now,
)
from caveats_client.guards.rules import RouteRule, SiteRule

if TYPE_CHECKING:
    from datetime import datetime

View = TypeVar("View", bound=Callable[..., Any])
_Question: TypeAlias = tuple[IncomingRequest, tuple[str, ...], Extra]


class TokenGuard:
    """Guards views, or the whole site. What is behind it finds its `Grant` in `request.grant`."""

    def __init__(
        self,
        verifier: Verifies,
        *,
        audience: str | None = None,
        trusted_proxies: Iterable[str] = (),
        extra: Callable[[HttpRequest], Extra] | None = None,
        answers: Answers | None = None,
        decoded_paths: bool = False,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`extra`: facts for plug-in kinds. The rest is as for `Guard`.

        `decoded_paths`: where the server keeps no path as it came (`manage.py runserver`), judge the decoded one;
        otherwise a path caveat refuses there.
        """
        self._guard = Guard(
            verifier,
            audience=audience,
            trusted_proxies=trusted_proxies,
            answers=answers,
            now=now,
            wait=async_to_sync(awaited),
        )
        self._extra = extra
        self._decoded_paths = decoded_paths

    def requires(
        self, *scopes: str, when: Callable[[HttpRequest], Iterable[str]] | None = None
    ) -> Callable[[View], View]:
        """A decorator: the view runs if the token covers these scopes, and those that `when` names.

        `{name}` in a scope is filled from the view's keyword arguments. Raises `caveats.MalformedCaveat` for what
        is no scope. On a class: `@method_decorator(guard.requires(...), name="dispatch")`.
        """
        rule = RouteRule(scopes, when)

        def question(request: HttpRequest, arguments: Mapping[str, object]) -> _Question:
            return self._question(request, rule.scopes(request, arguments))

        def decorate(view: View) -> View:
            @wraps(view)
            def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    request.grant = self._guard.judge(*question(request, kwargs))
                except Problem as problem:
                    return _response(problem, request)
                return view(request, *args, **kwargs)

            @wraps(view)
            async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    request.grant = await self._guard.judge_async(*question(request, kwargs))
                except Problem as problem:
                    return _response(problem, request)
                return await view(request, *args, **kwargs)

            return guarded_async if iscoroutinefunction(view) else guarded  # type: ignore[return-value]

        return decorate

    def middleware(
        self,
        *,
        scopes: str | Iterable[str] | Callable[[HttpRequest], Iterable[str]] = (),
        public: Iterable[str] | Callable[[HttpRequest], bool] = (),
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A middleware that guards every request; a path that no rule names is refused. `public` paths need no token."""
        rule = SiteRule(scopes, public)

        def is_free(request: HttpRequest) -> bool:
            return rule.is_public(request, self._incoming(request))

        def question(request: HttpRequest) -> _Question:
            return self._question(request, rule.scopes(request))

        def around(get_response: Callable[..., Any]) -> Callable[..., Any]:
            def guarded(request: HttpRequest) -> Any:
                if not is_free(request):
                    try:
                        request.grant = self._guard.judge(*question(request))
                    except Problem as problem:
                        return _response(problem, request)
                return get_response(request)

            async def guarded_async(request: HttpRequest) -> Any:
                if not is_free(request):
                    try:
                        request.grant = await self._guard.judge_async(*question(request))
                    except Problem as problem:
                        return _response(problem, request)
                return await get_response(request)

            return guarded_async if iscoroutinefunction(get_response) else guarded

        return sync_and_async_middleware(around)  # type: ignore[no-any-return]

    def _incoming(self, request: HttpRequest) -> IncomingRequest:
        scope = getattr(request, "scope", None)
        if scope is not None:
            return IncomingRequest.from_asgi(scope)
        return wsgi.request_of(request.META, decoded_paths=self._decoded_paths)

    def _question(self, request: HttpRequest, scopes: tuple[str, ...]) -> _Question:
        return self._incoming(request), scopes, self._extra(request) if self._extra else {}


def _response(problem: Problem, request: HttpRequest) -> HttpResponse:
    body = b"" if request.method == "HEAD" else problem.body  # not every server would leave it out
    return HttpResponse(body, status=problem.status, headers=problem.headers)
