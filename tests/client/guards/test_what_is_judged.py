"""A guard judges the method and the path that the endpoint acts on, sync and async, whatever stands between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any

import django
import pytest
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory, override_settings
from django.urls import clear_url_caches, path, re_path
from django.utils.decorators import method_decorator, sync_and_async_middleware
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from fastapi import Depends, FastAPI, Request
from flask import Flask, request
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from caveats import Context, Grant, Method, Scope, Verifier
from caveats import Path as PathCaveat
from caveats.http import IncomingRequest, served_path
from caveats_client.guards import django as django_guard
from caveats_client.guards import fastapi, flask, wsgi
from caveats_client.guards.asgi import TokenMiddleware
from caveats_client.guards.starlette import TokenBackend
from tests.client.conftest import KEYRING, Mint

if not settings.configured:
    settings.configure(SECRET_KEY="not a secret", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
    django.setup()

VERIFIER = Verifier(KEYRING)
METHODS = ["GET", "POST", "DELETE"]


class Slow:
    """An async verifier."""

    async def verify(self, presented: str, context: Context, /) -> Grant:
        await asyncio.sleep(0)
        return VERIFIER.verify(presented, context)


# Overrides


class AsgiOverride:
    """Does what `X-HTTP-Method-Override` and `X-Rewrite` say."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        named = dict(scope.get("headers", ()))
        if b"x-http-method-override" in named:
            scope = {**scope, "method": named[b"x-http-method-override"].decode()}
        if b"x-rewrite" in named:
            scope = {**scope, "path": named[b"x-rewrite"].decode()}
        await self.app(scope, receive, send)


def wsgi_override(app: Any) -> Any:
    def overriding(environ: Any, start: Any) -> Any:
        if "HTTP_X_HTTP_METHOD_OVERRIDE" in environ:
            environ["REQUEST_METHOD"] = environ["HTTP_X_HTTP_METHOD_OVERRIDE"]
        if "HTTP_X_REWRITE" in environ:
            environ["PATH_INFO"] = environ["HTTP_X_REWRITE"]
        return app(environ, start)

    return overriding


@sync_and_async_middleware
def django_override(get_response: Any) -> Any:
    from asgiref.sync import iscoroutinefunction

    def change(request: Any) -> None:
        request.method = request.headers.get("X-HTTP-Method-Override", request.method)
        request.path_info = request.headers.get("X-Rewrite", request.path_info)

    async def overriding_async(request: Any) -> Any:
        change(request)
        return await get_response(request)

    def overriding(request: Any) -> Any:
        change(request)
        return get_response(request)

    return overriding_async if iscoroutinefunction(get_response) else overriding


Ask = Callable[[str, str, dict[str, str]], int]


async def _acted(request: Any) -> JSONResponse:
    return JSONResponse([request.method, request.url.path])


STARLETTE_ROUTES = [Route("/{rest:path}", _acted, methods=METHODS)]


def _client(app: Any) -> Ask:
    http = TestClient(app)
    return lambda method, url, headers: http.request(method, url, headers=headers).status_code


def _asgi() -> Ask:
    return _client(AsgiOverride(TokenMiddleware(Starlette(routes=STARLETTE_ROUTES), VERIFIER)))


def _starlette() -> Ask:
    backend = TokenBackend(VERIFIER)
    authentication = Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)
    return _client(Starlette(routes=STARLETTE_ROUTES, middleware=[Middleware(AsgiOverride), authentication]))


def _fastapi() -> Ask:
    app, guard = FastAPI(), fastapi.TokenGuard(VERIFIER)
    guard.install(app)

    async def endpoint(
        request: Request, rest: str, grant: Annotated[Grant, Depends(guard.requires())]
    ) -> Any:
        return [request.method, request.url.path]

    endpoint.__annotations__ |= {"request": Request, "grant": Annotated[Grant, Depends(guard.requires())]}
    app.add_api_route("/{rest:path}", endpoint, methods=METHODS)
    app.add_middleware(AsgiOverride)
    return _client(app)


def _flask_app(*, whole: bool, before: bool = False) -> Ask:
    app, guard = Flask(__name__, static_folder=None), flask.TokenGuard(VERIFIER, decoded_paths=True)

    def override() -> None:
        request.method = request.headers.get("X-HTTP-Method-Override", request.method)

    if before:
        app.before_request(override)
    else:
        app.wsgi_app = wsgi_override(app.wsgi_app)  # type: ignore[method-assign]
    if whole:
        guard.protect(app)

    class Acting(MethodView):
        decorators = [] if whole else [guard.requires()]  # as Flask has it

        def get(self, rest: str) -> str:
            return "got"

        def post(self, rest: str) -> str:
            return "posted"

        def delete(self, rest: str) -> str:
            return "deleted"

    app.add_url_rule("/<path:rest>", view_func=Acting.as_view("acting"))
    return lambda method, url, headers: (
        app.test_client().open(url, method=method, headers=headers).status_code
    )


DJANGO = django_guard.TokenGuard(VERIFIER, decoded_paths=True)


def _django_site(*, whole: bool, outside: bool, slow: bool = False) -> Ask:
    def acted(request: Any, rest: str) -> HttpResponse:
        return HttpResponse(f"{request.method} {request.path_info}")

    async def acted_async(request: Any, rest: str) -> HttpResponse:
        return HttpResponse(f"{request.method} {request.path_info}")

    view = acted_async if slow else acted
    site: Any = ModuleType("site_of_a_test")
    site.urlpatterns = [re_path("^(?P<rest>.*)$", view if whole else DJANGO.requires()(view))]
    order = [django_override] + [DJANGO.middleware()] * whole
    if not outside:
        order.reverse()
    import sys

    sys.modules["site_of_a_test"] = site
    for number, middleware in enumerate(order):
        setattr(site, f"m{number}", csrf_exempt(middleware))
    names = [f"site_of_a_test.m{number}" for number in range(len(order))]

    def ask(method: str, url: str, headers: dict[str, str]) -> int:
        with override_settings(ROOT_URLCONF=site, MIDDLEWARE=names):
            clear_url_caches()
            if slow:
                return int(TestClient(ASGIHandler()).request(method, url, headers=headers).status_code)
            return int(Client().generic(method, url, headers=headers).status_code)

    return ask


APPS: dict[str, Callable[[], Ask]] = {
    "asgi": _asgi,
    "starlette": _starlette,
    "fastapi": _fastapi,
    "flask": lambda: _flask_app(whole=False),
    "flask, whole": lambda: _flask_app(whole=True),
    "flask, overridden before the view": lambda: _flask_app(whole=False, before=True),
    "flask, whole, overridden before": lambda: _flask_app(whole=True, before=True),
    "django": lambda: _django_site(whole=False, outside=True),
    "django, async": lambda: _django_site(whole=False, outside=True, slow=True),
    "django, middleware": lambda: _django_site(whole=True, outside=True),
    "django, middleware, overridden behind it": lambda: _django_site(whole=True, outside=False),
    "django, async middleware, overridden behind it": lambda: _django_site(
        whole=True, outside=False, slow=True
    ),
}


def bearer(mint: Mint, *caveats: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint(*caveats).encode()}"}


@pytest.mark.parametrize("make", APPS.values(), ids=APPS)
def test_the_method_that_is_judged_is_the_one_that_the_endpoint_acts_on(
    make: Callable[[], Ask], mint: Mint
) -> None:
    ask = make()
    override = {"X-HTTP-Method-Override": "DELETE"}
    assert ask("POST", "/a", bearer(mint, Method("POST"))) == 200
    assert ask("POST", "/a", bearer(mint, Method("POST")) | override) == 403
    assert ask("POST", "/a", bearer(mint, Method("POST", "DELETE")) | override) == 200


def test_a_django_middleware_judges_what_one_listed_before_it_changes_in_its_process_view(mint: Mint) -> None:
    class Override:
        def __init__(self, get_response: Any) -> None:
            self.get_response = get_response

        def __call__(self, request: Any) -> Any:
            return self.get_response(request)

        def process_view(self, request: Any, *_: Any) -> None:
            request.method = request.headers.get("X-HTTP-Method-Override", request.method)

    ask = _django_site(whole=True, outside=True)
    override_in_view = {"X-HTTP-Method-Override": "DELETE"}
    import sys

    def ask_with_override(*caveats: Any) -> int:
        sys.modules["site_of_a_test"].m0 = csrf_exempt(Override)  # type: ignore[attr-defined]
        return ask("POST", "/a", bearer(mint, *caveats) | override_in_view)

    assert ask_with_override(Method("POST")) == 403
    assert ask_with_override(Method("POST", "DELETE")) == 200


@pytest.mark.parametrize("name", [name for name in APPS if "before" not in name])
def test_the_path_that_is_judged_is_the_one_that_the_endpoint_acts_on(name: str, mint: Mint) -> None:
    ask = APPS[name]()
    rewrite = {"X-Rewrite": "/admin/1"}
    assert ask("GET", "/photos/1", bearer(mint, PathCaveat("/photos/*"))) == 200
    assert ask("GET", "/photos/1", bearer(mint, PathCaveat("/photos/*")) | rewrite) == 403
    assert ask("GET", "/photos/1", bearer(mint, PathCaveat("/photos/*", "/admin/*")) | rewrite) == 200


@pytest.mark.parametrize(
    ("sent", "served", "mount", "judged"),
    [
        ("/a/b", "/a/b", "", "/a/b"),
        ("/a/b", None, "", "/a/b"),
        ("/K%C3%A4se%20brot", "/K\u00e4se brot", "", "/K%C3%A4se%20brot"),
        ("/app/a", "/app/a", "/app", "/app/a"),
        ("/app/a", "/a", "/app", "/app/a"),
        ("/app", "/app", "/app", "/app"),
        ("/a", "/a", "/app", "/a"),
        ("/app/a", "/a", "/app/", "/app/a"),
        ("/a", "/b", "", "/b"),
        ("/a", "/b", "/app", "/app/b"),
        ("/a", "/app/b", "/app", "/app/b"),
        ("/a", "/K\u00e4se brot", "", "/K%C3%A4se%20brot"),
        ("/a", "/b/%2e%2e/c", "", "/b/%252e%252e/c"),
        ("/a", "/b\\c", "", "/b%5Cc"),
        ("/a", "/\udce4", "", "/%ED%B3%A4"),
        ("/a%2Fb", "/a/b", "", "/a%2Fb"),
        ("/a/../b", "/b", "", "/a/../b"),
        ("//a/b", "/b", "", "//a/b"),
        ("/\\xe4", "/\u00e4", "", "/\\xe4"),
    ],
)
def test_a_path_that_was_rewritten_on_the_way_is_judged_as_rewritten_and_a_disguise_as_sent(
    sent: str, served: str | None, mount: str, judged: str
) -> None:
    assert served_path(sent, served, mount) == judged


def test_what_a_server_wrote_into_its_request_is_what_is_judged() -> None:
    scope = {"type": "http", "headers": [], "raw_path": b"/a", "path": "/b", "method": "PUT"}
    assert (IncomingRequest.from_asgi(scope).path, IncomingRequest.from_asgi(scope).method) == ("/b", "PUT")
    environ = {"REQUEST_METHOD": "PUT", "REQUEST_URI": "/a?x", "PATH_INFO": "/\xc3\xa4"}
    assert wsgi.request_of(environ).path == "/%C3%A4"
    assert wsgi.request_of({**environ, "PATH_INFO": "/a"}).path == "/a"
    assert wsgi.request_of({**environ, "PATH_INFO": "/a", "SCRIPT_NAME": "/app"}).path == "/a"
    assert wsgi.request_of({**environ, "PATH_INFO": "/\xe4"}).path == "/%ED%B3%A4"


MOUNTED = "/files"


def _flask_below_a_mount() -> Callable[[str, str], bytes]:
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/<path:rest>", view_func=lambda rest: f"/{rest}")
    flask.TokenGuard(VERIFIER).protect(app, public=("/static/*",))

    def ask(sent: str, inside: str) -> bytes:
        environ = {"SCRIPT_NAME": MOUNTED, "PATH_INFO": inside, "REQUEST_URI": sent}
        return app.test_client().get(sent, environ_overrides=environ).data

    return ask


def _django_below_a_mount(*, slow: bool) -> Callable[[str, str], bytes]:
    middleware = django_guard.TokenGuard(VERIFIER).middleware(public=("/static/*",))

    def ask(sent: str, inside: str) -> bytes:
        async def acted_async(request: Any) -> HttpResponse:
            return HttpResponse(request.path_info)

        if slow:
            scope = {"root_path": MOUNTED, "path": sent, "raw_path": sent.encode()}
            whole: Any = AsyncRequestFactory().get(sent)
            asked: Any = type(whole)({**whole.scope, **scope}, whole._stream)
            assert asked.path_info == inside
            return bytes(asyncio.run(middleware(acted_async)(asked)).content)
        request = RequestFactory(SCRIPT_NAME=MOUNTED, REQUEST_URI=sent).get(inside)
        answer: Any = middleware(lambda request: HttpResponse(request.path_info))(request)
        return bytes(answer.content)

    with override_settings(ROOT_URLCONF=None):
        return ask


@pytest.mark.parametrize(
    "make",
    [
        _flask_below_a_mount,
        lambda: _django_below_a_mount(slow=False),
        lambda: _django_below_a_mount(slow=True),
    ],
    ids=["flask", "django", "django, async"],
)
def test_a_path_that_names_the_mount_twice_is_not_made_public_by_it(
    make: Callable[[], Callable[[str, str], bytes]],
) -> None:
    ask = make()
    assert ask("/files/static/x", "/static/x") == b"/static/x"
    assert b"credential_required" in ask("/files/files/static/x", "/files/static/x")


# Django's views


class Sync(View):
    def get(self, request: Any, photo_id: int) -> HttpResponse:
        return HttpResponse(f"{photo_id} for {request.grant.user}")


class Async(View):
    async def get(self, request: Any, photo_id: int) -> HttpResponse:
        await asyncio.sleep(0)
        return HttpResponse(f"{photo_id} for {request.grant.user}")


class Wrapping(Sync):
    """As REST framework's views: `dispatch` wraps the request."""

    class Wrapped:
        def __init__(self, request: Any) -> None:
            self._request = request

        def __getattr__(self, name: str) -> Any:
            return getattr(self._request, name)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(self.Wrapped(request), *args, **kwargs)  # type: ignore[arg-type]


def _views(verifier: Any) -> dict[str, Any]:
    guard = django_guard.TokenGuard(verifier)
    requires = guard.requires("photos/{photo_id}:read")

    def derived(base: type, **members: Any) -> Any:
        return type("Derived", (base,), members)

    def on_dispatch(base: type, decorator: Any = requires) -> Any:
        return method_decorator(decorator, name="dispatch")(derived(base)).as_view()

    def on_get(base: Any) -> Any:
        return derived(base, get=method_decorator(requires)(base.get)).as_view()

    def on_get_itself(base: Any) -> Any:
        return derived(base, get=requires(base.get)).as_view()

    @requires
    def function(request: Any, photo_id: int) -> HttpResponse:
        return HttpResponse(f"{photo_id} for {request.grant.user}")

    @requires
    async def function_async(request: Any, photo_id: int) -> HttpResponse:
        return HttpResponse(f"{photo_id} for {request.grant.user}")

    views = {"function": function, "async function": function_async, "wrapping": on_dispatch(Wrapping)}
    for name, base in (("", Sync), ("async ", Async)):
        views[f"{name}class, dispatch"] = on_dispatch(base)
        views[f"{name}class, two decorators"] = on_dispatch(base, [csrf_exempt, requires])
        views[f"{name}class, two decorators, guard first"] = on_dispatch(base, [requires, csrf_exempt])
        views[f"{name}class, method"] = on_get(base)
        views[f"{name}class, method itself"] = on_get_itself(base)
        views[f"{name}class, whole view"] = requires(base.as_view())
    views["wrapping, method"] = on_get(Wrapping)
    views["wrapping, method itself"] = on_get_itself(Wrapping)
    return views


@pytest.mark.parametrize("verifier", [VERIFIER, Slow()], ids=["sync verifier", "async verifier"])
@pytest.mark.parametrize("name", list(_views(VERIFIER)))
@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_views_of_every_form_are_guarded_under_both_servers(
    server: str, name: str, verifier: Any, mint: Mint
) -> None:
    site: Any = ModuleType("urls")
    site.urlpatterns = [path("photos/<int:photo_id>", _views(verifier)[name])]
    good, bad = mint(Scope("photos/42:read")), mint(Scope("photos/43:read"))
    with override_settings(ROOT_URLCONF=site, MIDDLEWARE=[]):
        clear_url_caches()
        for token, status in ((good, 200), (bad, 403), (None, 401)):
            headers = {} if token is None else {"Authorization": f"Bearer {token.encode()}"}
            if server == "wsgi":
                answer: Any = Client().get("/photos/42", headers=headers)
            else:
                answer = asyncio.run(AsyncClient().get("/photos/42", headers=headers))
            assert answer.status_code == status, answer.content
            if status == 200:
                assert answer.content == b"42 for alice"
        refused = Client() if server == "wsgi" else None
        if refused is not None:
            assert refused.put(
                "/photos/42", headers={"Authorization": f"Bearer {good.encode()}"}
            ).status_code in (
                200,
                405,
            )


def test_what_is_called_without_a_request_is_no_view() -> None:
    with pytest.raises(TypeError, match="first argument"):
        DJANGO.requires()(lambda *_: None)("no request")
    assert RequestFactory().get("/").method == AsyncRequestFactory().get("/").method == "GET"
