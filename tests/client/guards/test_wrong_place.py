"""A guard that stands where nothing asks it: an error when the app is made, or at its first request, and never an answer."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any, ClassVar

import django
import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import clear_url_caches, include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View
from fastapi import APIRouter, Depends, FastAPI, Header
from flask import Blueprint, Flask
from flask.views import MethodView
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient

from caveats import Grant, Verifier
from caveats_client.guards import django as django_guard
from caveats_client.guards import fastapi, flask
from caveats_client.guards.asgi import TokenMiddleware
from caveats_client.guards.rules import GuardedViews
from caveats_client.guards.rules import Route as KnownRoute
from caveats_client.guards.starlette import TokenBackend
from tests.client.conftest import KEYRING, Mint

if not settings.configured:
    settings.configure(SECRET_KEY="not a secret", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
    django.setup()

VERIFIER = Verifier(KEYRING)


def bearer(mint: Mint) -> dict[str, str]:
    return {"Authorization": f"Bearer {mint().encode()}"}


def secret(*_: Any, **__: Any) -> str:
    return "secret"


def copy_of(view: Any) -> Any:
    @functools.wraps(view)
    def copied(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return copied


def test_a_view_lacks_its_guard_also_inside_of_a_copy() -> None:
    views = GuardedViews()

    def view() -> None: ...

    def other() -> None: ...

    guarded = copy_of(view)
    views.add(guarded, view)
    for asking in (view, functools.partial(view), functools.partial(copy_of(functools.partial(view)))):
        assert views.lacks_guard(asking)
    for fine in (guarded, copy_of(guarded), functools.partial(guarded), other, None, "no view"):
        assert not views.lacks_guard(fine)
    again = copy_of(guarded)
    views.add(again, guarded)
    assert views.lacks_guard(guarded)
    assert not views.lacks_guard(again)


# FastAPI

GUARD = fastapi.TokenGuard(VERIFIER)
REQUIRES = GUARD.requires("photos:read")


async def depending(grant: Annotated[Grant, Depends(REQUIRES)]) -> PlainTextResponse:
    return PlainTextResponse("secret")


async def depending_by_default(request: Any = None, grant: Any = Depends(REQUIRES)) -> PlainTextResponse:  # noqa: B008  # the older form
    return PlainTextResponse("secret")


async def annotated(grant: Annotated[Any, REQUIRES] = None) -> str:
    return "secret"


async def by_default(grant: Any = REQUIRES) -> str:
    return "secret"


class Endpoint(HTTPEndpoint):
    async def get(self, request: Any, grant: Any = Depends(REQUIRES)) -> PlainTextResponse:  # noqa: B008  # the older form
        return PlainTextResponse("secret")


def test_a_requirement_of_fastapi_is_no_decorator() -> None:
    app = FastAPI()
    with pytest.raises(TypeError, match="is no decorator"):

        @REQUIRES
        @app.get("/above")
        def above() -> str:
            return "secret"

    with pytest.raises(TypeError, match="is no decorator"):

        @app.get("/below")
        @REQUIRES
        def below() -> str:
            return "secret"

    with pytest.raises(TypeError, match="is no decorator"):
        REQUIRES(Endpoint)
    with pytest.raises(TypeError, match="is no decorator"):
        REQUIRES()


def _wrong_apps() -> Iterator[Any]:
    def app_with(add: Any, name: str) -> Any:
        app = FastAPI()
        GUARD.install(app)
        add(app)
        return pytest.param(app, id=name)

    def included(app: FastAPI) -> None:
        inner, router = APIRouter(), APIRouter()
        inner.add_api_route("/x", by_default)
        router.include_router(inner, prefix="/in")
        app.include_router(router)

    def sub_dependency(app: FastAPI) -> None:
        app.get("/x", dependencies=[Depends(by_default)])(secret)

    yield app_with(lambda app: app.add_api_route("/x", annotated), "annotated without Depends")
    yield app_with(lambda app: app.add_api_route("/x", by_default), "default without Depends")
    yield app_with(lambda app: app.add_api_route("/x", copy_of(by_default)), "a copy")
    yield app_with(included, "an included router")
    yield app_with(sub_dependency, "inside of a dependency")
    yield app_with(lambda app: app.add_route("/x", depending), "Starlette's route")
    yield app_with(lambda app: app.add_route("/x", depending_by_default), "Starlette's route, by default")
    yield app_with(
        lambda app: app.add_route("/x", copy_of(depending_by_default)), "Starlette's route, a copy"
    )
    yield app_with(lambda app: app.add_route("/x", Endpoint), "Starlette's class")
    yield app_with(
        lambda app: app.router.routes.append(WebSocketRoute("/x", depending_by_default)),
        "Starlette's WebSocket",
    )
    yield app_with(lambda app: app.mount("/m", Starlette(routes=[Route("/x", depending)])), "a mount")
    yield app_with(
        lambda app: [app.add_api_route("/y", depending), app.add_route("/x", depending)], "registered twice"
    )


@pytest.mark.parametrize("app", list(_wrong_apps()))
def test_an_app_of_fastapi_with_a_requirement_that_nobody_asks_does_not_start(
    app: FastAPI, mint: Mint
) -> None:
    with pytest.raises(RuntimeError, match="Depends"), TestClient(app):
        pass
    quiet = TestClient(app, raise_server_exceptions=False)
    for url in ("/x", "/in/x", "/m/x", "/y"):
        answer = quiet.get(url, headers=bearer(mint))
        assert answer.status_code == 500
        assert "secret" not in answer.text


class Body(BaseModel):
    number: int


def test_fastapi_asks_for_the_token_before_it_says_what_is_wrong_with_the_request(mint: Mint) -> None:
    app = FastAPI()
    GUARD.install(app)
    router = APIRouter(prefix="/r", dependencies=[Depends(REQUIRES)])

    def other(q: int) -> int:
        return q

    def first(number: int, q: int, body: Body, grant: Annotated[Grant, Depends(REQUIRES)]) -> str:
        return "fine"

    def later(other: Annotated[int, Depends(other)], body: Body) -> str:
        return "fine"

    first.__annotations__ |= {"body": Body, "grant": Annotated[Grant, Depends(REQUIRES)]}
    later.__annotations__ |= {"other": Annotated[int, Depends(other)], "body": Body}
    app.post("/a/{number}")(first)
    router.post("/b/{number}")(later)
    app.include_router(router, prefix="/v1")
    http = TestClient(app)
    json_type = {"Content-Type": "application/json"}
    for url in ("/a/x", "/a/1?q=x", "/v1/r/b/1"):
        for content in (b"{", b"", b'{"number": "x"}', b"\\xff"):
            answer = http.post(url, content=content, headers=json_type)
            assert (answer.status_code, answer.json()["code"]) == (401, "credential_required"), (url, content)
            refused = http.post(
                url, content=content, headers=json_type | {"X-Auth-Token": mint(scope="notes:read").encode()}
            )
            assert refused.status_code == 403
            granted = http.post(url, content=content, headers=json_type | bearer(mint))
            assert granted.status_code == 422
            assert "cav1_" not in granted.text
    app.dependency_overrides[REQUIRES] = lambda: None
    assert http.post("/a/1", content=b"{", headers=json_type).status_code == 422


def test_an_app_s_own_handler_of_validation_errors_goes_on_after_the_token(mint: Mint) -> None:
    app = FastAPI()

    @app.exception_handler(fastapi.RequestValidationError)
    async def own(_request: Any, _error: Any) -> PlainTextResponse:
        return PlainTextResponse("own", 400)

    GUARD.install(app)
    app.add_api_route("/x", functools.partial(depending), methods=["POST"])

    async def needs(x: Annotated[int, Header()], grant: Annotated[Grant, Depends(REQUIRES)]) -> str:
        return "fine"

    needs.__annotations__ |= {"x": Annotated[int, Header()], "grant": Annotated[Grant, Depends(REQUIRES)]}
    app.add_api_route("/y", needs)
    http = TestClient(app)
    assert http.get("/y").status_code == 401
    assert http.get("/y", headers=bearer(mint)).text == "own"


# Flask


def test_a_flask_route_that_goes_around_its_guard_answers_nobody(mint: Mint) -> None:
    app, guard = Flask(__name__), flask.TokenGuard(VERIFIER, decoded_paths=True)
    below = Blueprint("below", __name__, url_prefix="/below")

    def view() -> str:
        return "secret"

    guarded = guard.requires("photos:read")(view)

    class Photos(MethodView):
        def get(self) -> str:
            return "secret"

        @guard.requires("photos:read")
        def post(self) -> str:
            return "fine"

    class Guarded(MethodView):
        decorators: ClassVar = [guard.requires("photos:read")]

        def get(self) -> str:
            return "fine"

    guard.requires("photos:read")(Photos.get)
    app.add_url_rule("/guarded", "guarded", guarded)
    app.add_url_rule("/copy", "copy", copy_of(guarded))
    app.add_url_rule("/bare", "bare", view)
    app.add_url_rule("/bare-copy", "bare-copy", copy_of(view))
    app.add_url_rule("/partial", "partial", functools.partial(view))
    below.add_url_rule("/bare", "bare", view)
    app.register_blueprint(below)
    app.add_url_rule("/class", view_func=Photos.as_view("class"))
    app.add_url_rule("/guarded-class", view_func=Guarded.as_view("guarded-class"))
    http = app.test_client()
    for url in ("/guarded", "/copy", "/guarded-class"):
        assert http.get(url).status_code == 401, url
        assert http.get(url, headers=bearer(mint)).status_code == 200, url
    for url in ("/bare", "/bare-copy", "/partial", "/below/bare", "/class"):
        for headers in ({}, bearer(mint)):
            answer = http.get(url, headers=headers)
            assert answer.status_code == 500, url
            assert b"secret" not in answer.data
    assert http.post("/class").status_code == 401
    assert http.post("/class", headers=bearer(mint)).status_code == 200
    assert http.head("/class").status_code == 500
    with pytest.raises(TypeError, match="decorators"):
        guard.requires("photos:read")(Photos)


# Django


def urls(*patterns: Any) -> Any:
    module = ModuleType("urls")
    module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    return module


def django_view(request: Any, **_: Any) -> HttpResponse:
    return HttpResponse("secret")


DJANGO = django_guard.TokenGuard(VERIFIER)
GUARDED = DJANGO.requires("photos:read")(django_view)


class Open(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("open")


class Half(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("secret")


DJANGO.requires("photos:read")(Half.get)


@method_decorator(DJANGO.requires("photos:read"), name="dispatch")
class Whole(Open):
    pass


@pytest.mark.parametrize(
    "pattern",
    [
        path("x", django_view),
        path("x", copy_of(django_view)),
        path("x", functools.partial(django_view)),
        re_path(r"^x$", django_view),
        path("a/", include([path("b/", include([path("x", django_view)]))])),
        path("x", Half.as_view()),
    ],
    ids=["bare", "a copy", "partial", "re_path", "included", "class"],
)
def test_a_django_site_with_a_route_that_goes_around_its_guard_answers_nobody(
    pattern: Any, mint: Mint
) -> None:
    with override_settings(ROOT_URLCONF=urls(path("fine", GUARDED), pattern), MIDDLEWARE=[]):
        clear_url_caches()
        for url in ("/fine", "/x"):
            with pytest.raises(RuntimeError, match="has no guard"):
                Client().get(url, headers=bearer(mint))


def test_a_django_site_whose_routes_name_guarded_views_is_served(mint: Mint) -> None:
    site = urls(
        path("view", GUARDED),
        path("copy", copy_of(GUARDED)),
        path("class", Whole.as_view()),
        path("wrapped", DJANGO.requires("photos:read")(Open.as_view())),
        path("open", Open.as_view()),
    )
    with override_settings(ROOT_URLCONF=site, MIDDLEWARE=[]):
        clear_url_caches()
        for url in ("/view", "/copy", "/class", "/wrapped"):
            assert Client().get(url).status_code == 401, url
            assert Client().get(url, headers=bearer(mint)).status_code == 200, url
        assert Client().get("/open").status_code == 200
    with pytest.raises(TypeError, match="method_decorator"):
        DJANGO.requires("photos:read")(Open)


# Public paths


async def fine(_: Any) -> PlainTextResponse:
    return PlainTextResponse("fine")


ROUTES = [Route("/healthz", fine), Route("/a/{id}/b", fine), Mount("/static", routes=[Route("/x.css", fine)])]
FITTING = ["/healthz", "/a/1/b", "/a/*", "/static/x.css", "/static/*"]
MISTYPED = ["/health", "/healthz/*", "/statics/*", "/static", "/static/y", "/b/*"]


def _asgi(public: str) -> Any:
    return TokenMiddleware(Starlette(routes=ROUTES), VERIFIER, public=(public,))


def _within(public: str) -> Any:
    return Starlette(
        routes=ROUTES, middleware=[Middleware(TokenMiddleware, verifier=VERIFIER, public=(public,))]
    )


def _backend(public: str) -> Any:
    backend = TokenBackend(VERIFIER, public=(public,))
    middleware = Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)
    return Starlette(routes=ROUTES, middleware=[middleware])


def _mounted(public: str) -> Any:
    return Starlette(routes=[Mount("/app", _backend(public)), Route("/healthz", fine)])


def _fastapi(public: str) -> Any:
    app, router = FastAPI(openapi_url=None), APIRouter()
    router.add_api_route("/a/{id}/b", lambda: "fine")
    app.add_api_route("/healthz", lambda: "fine")
    app.include_router(router)
    app.mount("/static", Starlette(routes=[Route("/x.css", fine)]))
    app.add_middleware(TokenMiddleware, verifier=VERIFIER, public=(public,))
    return app


@pytest.mark.parametrize("make", [_asgi, _within, _backend, _mounted, _fastapi])
def test_a_public_path_that_no_route_has_is_an_error_before_anything_is_answered(make: Any) -> None:
    prefix = "/app" if make is _mounted else ""
    for public in FITTING:
        assert TestClient(make(public)).get(f"{prefix}/healthz").status_code == (
            200 if "healthz" in public else 401
        )
    for public in MISTYPED:
        with pytest.raises(ValueError, match="is it mistyped"):
            TestClient(make(public)).get(f"{prefix}/healthz")


def test_a_public_path_that_no_route_of_flask_or_django_has_is_an_error() -> None:
    for public, fits in [(fits, True) for fits in FITTING] + [(wrong, False) for wrong in MISTYPED]:
        app = Flask(__name__, static_folder=None)
        flask.TokenGuard(VERIFIER).protect(app, public=(public,))
        for rule in ("/healthz", "/a/<id>/b", "/static/x.css"):
            app.add_url_rule(rule, rule, secret)
        answer = app.test_client().get("/a/1/b")
        assert (answer.status_code == 500) is not fits, public
        site = urls(
            path("healthz", Open.as_view()),
            re_path(r"^a/(?P<id>\d+)/b$", Open.as_view()),
            path("static/", include([path("x.css", Open.as_view())])),
        )
        site.token_middleware = DJANGO.middleware(public=(public,))
        with override_settings(ROOT_URLCONF=site, STATIC_URL="/assets/", MIDDLEWARE=[]):
            clear_url_caches()
            if fits:
                site.token_middleware(lambda request: HttpResponse("fine"))
            else:
                with pytest.raises(ValueError, match="is it mistyped"):
                    site.token_middleware(lambda request: HttpResponse("fine"))


def test_routes_that_are_not_known_and_functions_are_not_checked() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("fine")(scope, receive, send)

    assert TestClient(TokenMiddleware(app, VERIFIER, public=("/x",))).get("/x").status_code == 200
    decides = TokenMiddleware(Starlette(routes=ROUTES), VERIFIER, public=lambda scope: True)
    assert TestClient(decides).get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("route", "pattern", "fits"),
    [
        (KnownRoute("/a", False), "/a", True),
        (KnownRoute("/a", False), "/a/*", False),
        (KnownRoute("/a/", False), "/a/*", False),
        (KnownRoute("/a/b", False), "/a/*", True),
        (KnownRoute("/a/", True), "/a/*", True),
        (KnownRoute("/a/", True), "/a/b", True),
        (KnownRoute("/a/", True), "/b", False),
        (KnownRoute("/a/b/", True), "/a/*", True),
        (KnownRoute("", True), "/anything", True),
    ],
)
def test_a_route_may_have_a_public_path(route: KnownRoute, pattern: str, fits: bool) -> None:
    assert route.may_have(pattern) is fits
