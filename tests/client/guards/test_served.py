"""Guards over real servers: mounts, WebSockets, and apps that were put together in the wrong order."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx2 as httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, WebSocket
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from caveats import Context, Grant, InvalidKey, Macaroon, MasterKeyring, Verifier
from caveats_client.guards import fastapi, flask
from caveats_client.guards.asgi import TokenMiddleware
from caveats_client.guards.guard import Guard
from caveats_client.guards.rules import SiteRule
from caveats_client.guards.starlette import TokenBackend
from tests.client.conftest import KEYRING, Mint


def verifier(keyring: MasterKeyring = KEYRING) -> Verifier:
    return Verifier(keyring)


def bearer(token: Macaroon) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.encode()}"}


@contextmanager
def asgi_served(app: Any, **options: Any) -> Iterator[httpx.Client]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False) as http:
            yield http
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def wsgi_served(app: Any) -> Iterator[httpx.Client]:
    server = make_server("127.0.0.1", 0, app, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", trust_env=False) as http:
            yield http
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()


# FastAPI

PHOTO_GUARD = fastapi.TokenGuard(Verifier(KEYRING))


def test_fastapi_without_install_answers_every_refusal_whole(mint: Mint) -> None:
    app = FastAPI()

    @app.get("/photos")
    def photos(grant: Annotated[Grant, Depends(PHOTO_GUARD.requires("photos:read"))]) -> str:
        return grant.user

    with asgi_served(app) as http:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer cav1_x"}, 401),
            (bearer(mint(scope="notes:read")), 403),
            (bearer(mint()), 200),
        ):
            answer = http.get("/photos", headers=headers)
            assert answer.status_code == status
            assert len(answer.content) == int(answer.headers["content-length"])
            assert answer.json()


def test_a_websocket_route_of_fastapi_is_guarded(mint: Mint) -> None:
    app = FastAPI()

    @app.websocket("/photos/{photo_id}")
    async def photos(
        socket: WebSocket,
        photo_id: str,
        grant: Annotated[Grant, Depends(PHOTO_GUARD.requires("photos/{photo_id}:read"))],
    ) -> None:
        await socket.accept()
        await socket.send_text(f"{photo_id} for {grant.user}")
        await socket.close()

    http = TestClient(app)
    with http.websocket_connect("/photos/42", headers=bearer(mint(scope="photos/42:read"))) as connected:
        assert connected.receive_text() == "42 for alice"
    for headers in ({}, bearer(mint(scope="photos/43:read"))):
        with (
            pytest.raises(WebSocketDisconnect) as refused,
            http.websocket_connect("/photos/42", headers=headers),
        ):
            pass
        assert refused.value.code == 1008
    schemes = http.get("/openapi.json").json()
    assert "photos" not in str(schemes.get("paths"))


# Mounts


def _starlette(make: Any) -> Starlette:
    async def fine(_: Any) -> PlainTextResponse:
        return PlainTextResponse("fine")

    return make([Route("/healthz", fine), Route("/private", fine), Route("/app/healthz", fine)])


def _middleware(routes: list[Route]) -> Any:
    return TokenMiddleware(Starlette(routes=routes), verifier(), public=("/healthz",))


def _backend(routes: list[Route]) -> Any:
    backend = TokenBackend(verifier(), public=("/healthz",))
    authentication = Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)
    return Starlette(routes=routes, middleware=[authentication])


@pytest.mark.parametrize("make", [_middleware, _backend], ids=["asgi", "starlette"])
def test_public_paths_are_those_of_the_app_wherever_it_is_mounted(make: Any) -> None:
    inner = _starlette(make)
    for app, options, prefix in (
        (inner, {}, ""),
        (Starlette(routes=[Mount("/app", inner)]), {}, "/app"),
        (Starlette(routes=[Mount("/a", Mount("/b", inner))]), {}, "/a/b"),
        (inner, {"root_path": "/api"}, ""),
    ):
        with asgi_served(app, **options) as http:
            assert http.get(f"{prefix}/healthz").status_code == 200, prefix
            for path in ("/private", "/app/healthz", "/healthz/", "/%68ealthz", "//healthz"):
                assert http.get(f"{prefix}{path}").status_code == 401, (prefix, path)


def test_public_paths_of_a_flask_app_are_its_own_below_a_script_name() -> None:
    app = Flask(__name__)
    guard = flask.TokenGuard(verifier(), decoded_paths=True)
    guard.protect(app, public=("/healthz",))
    app.add_url_rule("/<path:rest>", view_func=lambda rest: rest, endpoint="any")

    def mounted(environ: Any, start: Any) -> Any:
        if environ["PATH_INFO"].startswith("/app/"):
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/app", environ["PATH_INFO"][4:]
        return app(environ, start)

    with wsgi_served(mounted) as http:
        assert http.get("/healthz").status_code == 200
        assert http.get("/app/healthz").status_code == 200
        assert http.get("/app/app/healthz").status_code == 401
        assert http.get("/app/private").status_code == 401


# Flask: a guard in the wrong place


def test_a_flask_view_whose_guard_stands_above_its_route_answers_nobody(mint: Mint) -> None:
    app, guard = Flask(__name__), flask.TokenGuard(verifier(), decoded_paths=True)

    @guard.requires("photos:read")
    @app.get("/above")
    def above() -> str:
        return "secret"

    @guard.requires("photos:write")
    @app.get("/twice")
    @guard.requires("photos:read")
    def twice() -> str:
        return "secret"

    @app.get("/below")
    @guard.requires("photos:read")
    @guard.requires("notes:read")
    def below() -> str:
        return "secret"

    @app.get("/open")
    def anybody() -> str:
        return "open"

    with wsgi_served(app) as http:
        for headers in ({}, bearer(mint())):
            for path in ("/above", "/twice"):
                answer = http.get(path, headers=headers)
                assert answer.status_code == 500, path
                assert "secret" not in answer.text
        assert http.get("/below").status_code == 401
        assert http.get("/below", headers=bearer(mint(scope="photos:read"))).status_code == 403
        assert http.get("/below", headers=bearer(mint())).text == "secret"
        assert http.get("/open").text == "open"


# Guards that can never grant


def test_a_guard_for_an_audience_that_the_keys_are_not_for_is_not_made() -> None:
    with pytest.raises(ValueError, match="audience 'default', and none of 'photos'"):
        Guard(verifier(), audience="photos")
    assert Guard(Verifier(KEYRING, audience=None), audience="photos").audience == "photos"

    with pytest.raises(InvalidKey, match="keys of audience 'photos', and none of 'default'"):
        Verifier(KEYRING.export("photos"))

    class Own:
        def verify(self, presented: str, context: Context, /) -> Grant:
            raise NotImplementedError

    assert Guard(Own(), audience="photos").audience == "photos"


def test_a_scope_with_a_parameter_that_the_view_does_not_take_is_an_error_at_once() -> None:
    guard = flask.TokenGuard(verifier())

    def photo(photo_id: int) -> str:
        return str(photo_id)

    def anything(**names: object) -> str:
        return str(names)

    with pytest.raises(ValueError, match=r"names \{id\}"):
        guard.requires("photos/{id}:read")(photo)
    guard.requires("photos/{photo_id}:read")(photo)
    guard.requires("photos/{id}:read")(anything)
    with pytest.raises(ValueError, match=r"no route fills \{id\}"):
        SiteRule("photos/{id}:read", ())
