"""A guard for Django: a decorator for views, a middleware for whole sites. Imports Django; needs no database.

    guard = TokenGuard(verifier, audience="photos")     # tokens.py

    @guard.requires("photos/{photo_id}:read")           # views.py
    def photo(request, photo_id):
        return JsonResponse({"photo": photo_id, "for": request.grant.user})

    middleware = guard.middleware(scopes=..., public=("/healthz",))     # tokens.py; in MIDDLEWARE: "site.tokens.middleware"

It works with sync and async views and servers. It does not change `request.user`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial, update_wrapper
from typing import Any, TypeAlias, TypeVar, Unpack

from caveats.extras import needs
from caveats.http import IncomingRequest, Problem, path_below, with_mount
from caveats.kinds import encoded_path
from caveats_client.guards import wsgi
from caveats_client.guards.guard import Extra, Guard, GuardOptions, Verifies, awaited, no_facts
from caveats_client.guards.rules import GuardedViews, Route, RouteRule, SiteRule

with needs("django"):
    from asgiref.sync import async_to_sync, iscoroutinefunction
    from django.conf import settings
    from django.core.signals import request_started
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLResolver, get_resolver
    from django.urls.resolvers import RegexPattern, RoutePattern
    from django.utils.decorators import sync_and_async_middleware
    from django.views import View as DjangoView

View = TypeVar("View", bound=Callable[..., Any])
_Question: TypeAlias = tuple[IncomingRequest, tuple[str, ...], Extra]
_GUARDED = "_caveats_guarded"
"""The attribute of a view with a guard; `method_decorator` copies it to the method that it makes."""
_JUDGED = "_caveats_judged"
"""The attribute of a request with the method and the path that the middleware judged."""
_LITERAL = re.compile(r"\^?/?([A-Za-z0-9_/~-]*)(?![*?+{])(\$|\\Z)?")
"""How a regular expression for paths begins, before its first special character."""
_VIEWS = GuardedViews()
_CHECKED: set[object] = set()
"""The URLconfs whose views were looked at."""


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
            if isinstance(view, type):
                raise TypeError(
                    f'on a class: @method_decorator(guard.requires(...), name="dispatch"), not {view}'
                )
            rule.check_view(view)
            guarded = self._guarded(view, question)
            update_wrapper(guarded, view)
            setattr(guarded, _GUARDED, True)
            if _view_of(view) is None:  # a method that is bound is one request's
                _VIEWS.add(guarded, view)
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
            incoming = self._incoming(request)
            setattr(request, _JUDGED, (incoming.method, incoming.path))
            if rule.is_public(request, incoming):
                return None
            return incoming, rule.scopes(request), self._extra(request)

        def question_before_view(request: HttpRequest, arguments: Mapping[str, object]) -> _Question | None:
            incoming = self._incoming(request)
            if getattr(request, _JUDGED, None) == (incoming.method, incoming.path):
                return None
            return question(request, arguments)  # a middleware behind this one has made another request of it

        def make(get_response: Callable[..., Any]) -> Callable[..., Any]:
            rule.check_routes(_routes)
            guarded: Any = self._guarded(get_response, question)
            go_on = _go_on_async if iscoroutinefunction(get_response) else _go_on
            # Django calls it before the view.
            guarded.process_view = self._guarded(go_on, question_before_view)
            return guarded  # type: ignore[no-any-return]

        return sync_and_async_middleware(make)  # type: ignore[no-any-return]

    def _guarded(
        self, view: View, question: Callable[[HttpRequest, Mapping[str, object]], _Question | None]
    ) -> View:
        """`view`, sync or async, which runs if its request is granted, or is public: then `question` gives None."""

        def guarded(*args: Any, **kwargs: Any) -> Any:
            request = _request_in(args)
            try:
                asked = question(request, kwargs)
                if asked is not None:
                    request.grant = self._guard.judge(*asked)
            except Problem as problem:
                return _response(problem, request)
            return view(*args, **kwargs)

        async def guarded_async(*args: Any, **kwargs: Any) -> Any:
            request = _request_in(args)
            try:
                asked = question(request, kwargs)
                if asked is not None:
                    request.grant = await self._guard.judge_async(*asked)
            except Problem as problem:
                return _response(problem, request)
            answer = view(*args, **kwargs)
            return await answer if inspect.isawaitable(answer) else answer

        instance = _view_of(view)
        is_async = iscoroutinefunction(view) or getattr(instance, "view_is_async", False)
        return guarded_async if is_async else guarded  # type: ignore[return-value]

    def _incoming(self, request: HttpRequest) -> IncomingRequest:
        """The request as the view acts on it: a middleware may have changed its method and its path."""
        scope = getattr(request, "scope", None)
        mount = request.META.get("SCRIPT_NAME", "")
        if scope is not None:
            came = IncomingRequest.from_asgi({**scope, "path": None})
            if came.path is None:
                came = replace(came, routed=encoded_path(with_mount(request.path_info, mount)))
            else:
                path, mount = path_below(came.path, request.path_info, mount)
                came = replace(came, path=path, mount=mount)
        else:
            names = {"PATH_INFO": request.path_info, "SCRIPT_NAME": mount}
            # Django has text there, and WSGI the bytes as latin-1.
            decoded = {name: path.encode().decode("latin-1") for name, path in names.items()}
            came = wsgi.request_of({**request.META, **decoded}, decoded_paths=self._decoded_paths)
        return replace(came, method=request.method)

    def _question(self, request: HttpRequest, scopes: tuple[str, ...]) -> _Question:
        return self._incoming(request), scopes, self._extra(request)


def _go_on(*_: object, **__: object) -> None:
    """The request may go on to its view."""


async def _go_on_async(*_: object, **__: object) -> None:
    """As `_go_on`."""


def _request_in(args: tuple[Any, ...]) -> Any:
    """The request that a view is called with: first or, for a method, second. REST framework has a class of its own."""
    for argument in args[:2]:
        if hasattr(argument, "META"):
            return argument
    raise TypeError("guard.requires(...) is for views: the first argument of a view is the request")


def _view_of(view: Any) -> object:
    """The class-based view that has `view` as a method, or the method that decorators made it from. None for a function."""
    while view is not None:
        instance: object = getattr(view.func if isinstance(view, partial) else view, "__self__", None)
        if instance is not None:
            return instance
        view = getattr(view, "__wrapped__", None)
    return None


# The routes of the site


def _routes(
    patterns: Iterable[Any] | None = None, prefix: str = "/", *, open_ended: bool = False
) -> Iterator[Route]:
    """The routes in the site's URLconf, each with its view; and the folders that other parts of Django serve."""
    if patterns is None:
        if not getattr(settings, "ROOT_URLCONF", None):
            return
        patterns = get_resolver().url_patterns
        for setting in (settings.STATIC_URL, settings.MEDIA_URL):
            if (setting or "/") != "/":
                yield Route(setting, open_ended=True)
    for each in patterns:
        start, whole = _literal(each.pattern)
        below = prefix if open_ended else prefix + start
        if isinstance(each, URLResolver):
            yield from _routes(each.url_patterns, below, open_ended=open_ended or not whole)
        else:
            yield Route(below, open_ended=open_ended or not whole, view=each.callback)


def _literal(pattern: Any) -> tuple[str, bool]:
    """How the paths of a pattern begin, and whether they end there."""
    if isinstance(pattern, RoutePattern):
        text = str(pattern)
        return text.partition("<")[0], "<" not in text
    if isinstance(pattern, RegexPattern):
        found = _LITERAL.match(str(pattern))
        return (found[1], bool(found[2])) if found else ("", False)
    return "", False


def _check_views(**_: object) -> None:
    """At the first request. Raises `RuntimeError` for a view that asks for a guard, and whose route goes around it."""
    site = getattr(settings, "ROOT_URLCONF", None)
    if site in _CHECKED:
        return
    for route in _routes():
        kind = getattr(route.view, "view_class", DjangoView)
        handlers = [
            name for name in kind.http_method_names if not hasattr(getattr(kind, name, None), _GUARDED)
        ]
        if _VIEWS.lacks_guard(route.view, () if hasattr(kind.dispatch, _GUARDED) else handlers):
            raise RuntimeError(
                f"the route {route.start} has no guard, and its view asks for one: name the guarded view"
            )
    _CHECKED.add(site)


request_started.connect(_check_views, dispatch_uid="caveats_client.guards.django")


def _response(problem: Problem, request: HttpRequest) -> HttpResponse:
    body = b"" if request.method == "HEAD" else problem.body  # not every server leaves the body out
    return HttpResponse(body, status=problem.status, headers=problem.headers)
