"""A guard for Django: a decorator for views, a middleware for whole sites. Imports Django; needs no database.

    guard = TokenGuard(verifier, audience="photos")     # tokens.py

    @guard.requires("photos/{photo_id}:read")           # views.py
    def photo(request, photo_id):
        return JsonResponse({"photo": photo_id, "for": request.grant.user})

    middleware = guard.middleware(scopes=..., public=("/healthz",))     # tokens.py; in MIDDLEWARE: "site.tokens.middleware"

It works with sync and async views and servers. It does not change `request.user`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from typing import Any, TypeAlias, TypeVar, Unpack

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware

from caveats.http import IncomingRequest, Problem
from caveats_client.guards import wsgi
from caveats_client.guards.guard import Extra, Guard, GuardOptions, Verifies, awaited, no_facts
from caveats_client.guards.rules import RouteRule, SiteRule

View = TypeVar("View", bound=Callable[..., Any])
_Question: TypeAlias = tuple[IncomingRequest, tuple[str, ...], Extra]


class TokenGuard:
    """Guards views, or the whole site. A guarded view finds its `Grant` in `request.grant`."""

    def __init__(
        self,
        verifier: Verifies,
        *,
        extra: Callable[[HttpRequest], Extra] | None = None,
        decoded_paths: bool = False,
        **options: Unpack[GuardOptions],
    ) -> None:
        """`extra`: facts for plug-in kinds. `options`: see `GuardOptions`.

        `decoded_paths`: if the server does not give the unchanged path (`manage.py runserver`), judge the decoded
        one. Otherwise path caveats refuse on such a server.
        """
        self._guard = Guard(verifier, wait=async_to_sync(awaited), **options)
        self._extra = extra or no_facts
        self._decoded_paths = decoded_paths

    def requires(
        self, *scopes: str, when: Callable[[HttpRequest], Iterable[str]] | None = None
    ) -> Callable[[View], View]:
        """A decorator: the view runs if the token covers these scopes and those of `when`.

        `{name}` in a scope is filled from the view's keyword arguments. Raises `caveats.MalformedCaveat` for a
        malformed scope, `ValueError` for a name that the view does not take. On a class: `@method_decorator(guard.requires(...), name="dispatch")`.
        """
        rule = RouteRule(scopes, when)

        def question(request: HttpRequest, arguments: Mapping[str, object]) -> _Question:
            return self._question(request, rule.scopes(request, arguments))

        def decorate(view: View) -> View:
            rule.check_view(view)
            guarded = self._guarded(view, question)
            update_wrapper(guarded, view)
            return guarded

        return decorate

    def middleware(
        self,
        *,
        scopes: str | Iterable[str] | Callable[[HttpRequest], Iterable[str]] = (),
        public: Iterable[str] | Callable[[HttpRequest], bool] = (),
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A middleware that guards every request. Requests need the `scopes`; `public` paths need no token."""
        rule = SiteRule(scopes, public)

        def question(request: HttpRequest, _arguments: Mapping[str, object]) -> _Question | None:
            if rule.is_public(request, self._incoming(request)):
                return None
            return self._question(request, rule.scopes(request))

        return sync_and_async_middleware(lambda get_response: self._guarded(get_response, question))  # type: ignore[no-any-return]

    def _guarded(
        self, view: View, question: Callable[[HttpRequest, Mapping[str, object]], _Question | None]
    ) -> View:
        """`view`, sync or async, which runs if its request is granted, or is public: then `question` gives None."""

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                asked = question(request, kwargs)
                if asked is not None:
                    request.grant = self._guard.judge(*asked)
            except Problem as problem:
                return _response(problem, request)
            return view(request, *args, **kwargs)

        async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                asked = question(request, kwargs)
                if asked is not None:
                    request.grant = await self._guard.judge_async(*asked)
            except Problem as problem:
                return _response(problem, request)
            return await view(request, *args, **kwargs)

        return guarded_async if iscoroutinefunction(view) else guarded  # type: ignore[return-value]

    def _incoming(self, request: HttpRequest) -> IncomingRequest:
        scope = getattr(request, "scope", None)
        if scope is not None:
            return IncomingRequest.from_asgi(scope)
        return wsgi.request_of(request.META, decoded_paths=self._decoded_paths)

    def _question(self, request: HttpRequest, scopes: tuple[str, ...]) -> _Question:
        return self._incoming(request), scopes, self._extra(request)


def _response(problem: Problem, request: HttpRequest) -> HttpResponse:
    body = b"" if request.method == "HEAD" else problem.body  # not every server leaves the body out
    return HttpResponse(body, status=problem.status, headers=problem.headers)
