"""Tokens as the password of Basic, in a cookie, and as a subprotocol of a WebSocket: where an app says so, in every framework alike."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import django
import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import RequestFactory
from fastapi import Depends, FastAPI, WebSocket
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from caveats import Grant, Note, Verifier
from caveats_client.guards import django as django_guard
from caveats_client.guards import fastapi, flask
from caveats_client.guards.asgi import TokenMiddleware
from caveats_client.guards.starlette import TokenBackend
from tests.client.conftest import KEYRING, Mint

if not settings.configured:
    settings.configure(SECRET_KEY="not a secret", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
    django.setup()

BEARER = 'Bearer realm="caveats"'
BASIC = 'Basic realm="caveats", charset="UTF-8"'
Answer = tuple[int, str | None]
Ask = Callable[[str, Mapping[str, str]], Answer]


def _of(client: TestClient) -> Ask:
    def ask(method: str, headers: Mapping[str, str]) -> Answer:
        answer = client.request(method, "/photos", headers=dict(headers))
        return answer.status_code, answer.headers.get("www-authenticate")

    return ask


async def _fine(_: Any) -> PlainTextResponse:
    return PlainTextResponse("fine")


METHODS = ["GET", "POST", "DELETE"]


def _asgi(**options: Any) -> Ask:
    app = Starlette(routes=[Route("/photos", _fine, methods=METHODS)])
    return _of(TestClient(TokenMiddleware(app, Verifier(KEYRING), **options)))


def _starlette(**options: Any) -> Ask:
    backend = TokenBackend(Verifier(KEYRING), **options)
    middleware = Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)
    return _of(
        TestClient(Starlette(routes=[Route("/photos", _fine, methods=METHODS)], middleware=[middleware]))
    )


def _fastapi(**options: Any) -> Ask:
    guard, app = fastapi.TokenGuard(Verifier(KEYRING), **options), FastAPI()
    guard.install(app)
    app.api_route("/photos", methods=METHODS, dependencies=[Depends(guard.requires())])(lambda: "fine")
    return _of(TestClient(app))


def _flask(**options: Any) -> Ask:
    guard, app = flask.TokenGuard(Verifier(KEYRING), **options), Flask(__name__)
    app.add_url_rule("/photos", view_func=guard.requires()(lambda: "fine"), endpoint="p", methods=METHODS)

    def ask(method: str, headers: Mapping[str, str]) -> Answer:
        answer = app.test_client(use_cookies=False).open("/photos", method=method, headers=dict(headers))
        return answer.status_code, answer.headers.get("www-authenticate")

    return ask


def _django(**options: Any) -> Ask:
    guard = django_guard.TokenGuard(Verifier(KEYRING), **options)
    view = guard.requires()(lambda request: HttpResponse("fine"))

    def ask(method: str, headers: Mapping[str, str]) -> Answer:
        answer = view(RequestFactory().generic(method, "/photos", headers=dict(headers)))
        return answer.status_code, answer.headers.get("www-authenticate")

    return ask


@pytest.fixture(params=[_asgi, _starlette, _fastapi, _flask, _django], ids=lambda make: make.__name__[1:])
def make(request: pytest.FixtureRequest) -> Callable[..., Ask]:
    found: Callable[..., Ask] = request.param
    return found


def basic(password: str, username: str = "__token__") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


def test_a_token_is_no_password_unless_the_app_says_so(make: Callable[..., Ask], mint: Mint) -> None:
    ask = make()
    assert ask("GET", basic(mint().encode())) == (401, BEARER)
    assert ask("GET", {"Sec-WebSocket-Protocol": f"caveats, {mint().encode()}"}) == (401, BEARER)
    assert ask("GET", {}) == (401, BEARER)


def test_a_token_as_the_password_of_basic_gets_in_where_the_app_says_so(
    make: Callable[..., Ask], mint: Mint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ask, token = make(basic=True), mint().encode()
    long = mint(*[Note(f"{number} " + "x" * 900) for number in range(9)]).encode()
    invalid = f'{BASIC}, {BEARER}, error="invalid_token"'
    for username in ("__token__", "", "alice", "x-access-token", "\u00e4"):
        assert ask("GET", basic(token, username)) == (200, None), username
    assert ask("POST", basic(token)) == (200, None)
    assert ask("GET", basic(long)) == (200, None)
    assert ask("GET", {"Authorization": f"Bearer {token}"}) == (200, None)
    assert ask("GET", {}) == (401, f"{BASIC}, {BEARER}")
    assert ask("GET", basic("correct horse", "alice")) == (401, f"{BASIC}, {BEARER}")
    assert ask("GET", basic(f" {token}")) == (401, f"{BASIC}, {BEARER}")
    assert ask("GET", basic("", token)) == (401, f"{BASIC}, {BEARER}")
    assert ask("GET", {"Authorization": "Basic !!!"}) == (401, f"{BASIC}, {BEARER}")
    assert ask("GET", {"Authorization": "Basic " + "A" * 7000}) == (401, f"{BASIC}, {BEARER}")
    assert ask("GET", basic("cav1_x")) == (401, invalid)
    assert ask("GET", basic(token + "\u00e9")) == (401, invalid)
    assert ask("GET", basic(token[:-2] + "xx"))[0] == 401
    assert ask("GET", basic(mint(audience="photos").encode()))[0] == 403
    assert ask("GET", {**basic(token), "X-Auth-Token": token})[0] == 400
    both = f"Bearer {token}, {basic(token)['Authorization']}"
    assert ask("GET", {"Authorization": both})[0] == 400
    assert token not in caplog.text
    assert "correct horse" not in caplog.text


def test_a_page_of_another_site_changes_nothing_with_the_basic_that_a_browser_remembers(
    make: Callable[..., Ask], mint: Mint
) -> None:
    ask = make(basic=True)
    token = {**basic(mint().encode()), "Host": "app.example"}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://app.example.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        for method in ("POST", "DELETE"):
            assert ask(method, token | headers)[0] == 403, (method, headers)
        assert ask("GET", token | headers)[0] == 200
    for headers in (
        {"Origin": "https://app.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert ask("POST", token | headers)[0] == 200
    bearer = {"Authorization": f"Bearer {mint().encode()}", "Host": "app.example"}
    assert ask("POST", bearer | {"Origin": "https://spa.example"})[0] == 200


# A cookie


def test_a_token_in_a_cookie_gets_in_where_the_app_says_so(make: Callable[..., Ask], mint: Mint) -> None:
    token = mint().encode()
    cookie = {"Cookie": f"theme=dark; session={token}"}
    assert make()("GET", cookie) == (401, BEARER), "no app takes a cookie unless it says so"
    ask = make(cookie="session")
    assert ask("GET", cookie) == (200, None)
    assert ask("GET", {"Authorization": f"Bearer {token}"}) == (200, None)
    assert ask("POST", {"Authorization": f"Bearer {token}"}) == (200, None), "no browser sends that unasked"
    assert ask("GET", {"Cookie": f"other={token}"}) == (401, BEARER)
    assert ask("GET", {"Cookie": "session="}) == (401, BEARER), "what signing out leaves behind"
    assert ask("GET", {"Cookie": "session=nonsense"}) == (401, f'{BEARER}, error="invalid_token"')
    assert ask("GET", {**cookie, "X-Auth-Token": token})[0] == 400
    assert ask("GET", {"Cookie": f"session={token}; session={token}"})[0] == 400


def test_with_a_cookie_only_a_page_of_the_app_s_own_changes_something(
    make: Callable[..., Ask], mint: Mint
) -> None:
    ask = make(cookie="session")
    token = {"Cookie": f"session={mint().encode()}", "Host": "app.example"}
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://app.example.evil.example"},
        {"Origin": "https://app.example:8443"},
        {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"},
    ):
        for method in ("POST", "DELETE"):
            assert ask(method, token | headers)[0] == 403, (method, headers)
        assert ask("GET", token | headers)[0] == 200
    for headers in (
        {"Origin": "https://app.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://app.example"},
    ):
        assert ask("POST", token | headers)[0] == 200


# WebSockets


def _accepting(choose: str | None) -> Any:
    async def accept(socket: WebSocket) -> None:
        await socket.accept(subprotocol=choose or next(iter(socket.scope["subprotocols"]), None))
        await socket.send_json(socket.scope["subprotocols"])
        await socket.close()

    return accept


def _asgi_socket(accept: Any, **options: Any) -> Any:
    return TokenMiddleware(Starlette(routes=[WebSocketRoute("/s", accept)]), Verifier(KEYRING), **options)


def _starlette_socket(accept: Any, **options: Any) -> Any:
    backend = TokenBackend(Verifier(KEYRING), **options)
    middleware = Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)
    return Starlette(routes=[WebSocketRoute("/s", accept)], middleware=[middleware])


def _fastapi_socket(accept: Any, **options: Any) -> Any:
    guard = fastapi.TokenGuard(Verifier(KEYRING), **options)
    app = FastAPI(dependencies=[Depends(guard.requires())])

    async def endpoint(socket: WebSocket, grant: Annotated[Grant, Depends(guard.requires())]) -> None:
        await accept(socket)

    endpoint.__annotations__ |= {"socket": WebSocket, "grant": Annotated[Grant, Depends(guard.requires())]}
    app.add_api_websocket_route("/s", endpoint)
    return app


@pytest.mark.parametrize("make_socket", [_asgi_socket, _starlette_socket, _fastapi_socket])
def test_a_browser_s_token_among_the_subprotocols_gets_in_where_the_app_says_so_and_is_never_chosen(
    make_socket: Any, mint: Mint
) -> None:
    token = mint().encode()
    client = TestClient(make_socket(_accepting(None), subprotocol=True))
    for offered in (["caveats", token], [token, "caveats"]):
        with client.websocket_connect("/s", subprotocols=offered) as connected:
            assert connected.accepted_subprotocol == "caveats"
            assert connected.receive_json() == ["caveats"]
    with client.websocket_connect("/s", subprotocols=["chat", token, "chat2"]) as connected:
        assert connected.accepted_subprotocol == "chat"
    with client.websocket_connect("/s", subprotocols=[token]) as connected:
        assert connected.accepted_subprotocol is None
    for offered, headers in (
        (["caveats"], {}),
        ([token, token], {}),
        ([token[:-1]], {}),
        ([f"bearer.{token}"], {}),
        ([token], {"Authorization": f"Bearer {token}"}),
        ([token], {"X-Auth-Token": token}),
        ([mint(audience="photos").encode()], {}),
    ):
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/s", subprotocols=offered, headers=headers),
        ):
            pass
    for offered in ([token], ["caveats", token]):
        with (
            pytest.raises(WebSocketDisconnect),
            TestClient(make_socket(_accepting(None))).websocket_connect("/s", subprotocols=offered),
        ):
            pass


def test_an_app_that_chooses_none_or_the_token_has_caveats_chosen_for_it(mint: Mint) -> None:
    token = mint().encode()
    for choose in ("", token, "never offered"):
        client = TestClient(_asgi_socket(_accepting(choose), subprotocol=True))
        with client.websocket_connect("/s", subprotocols=["caveats", token]) as connected:
            assert connected.accepted_subprotocol == "caveats"
    open_app = TokenMiddleware(
        Starlette(routes=[WebSocketRoute("/public", _accepting(token))]),
        Verifier(KEYRING),
        subprotocol=True,
        public=("/public",),
    )
    with TestClient(open_app).websocket_connect("/public", subprotocols=[token]) as connected:
        assert connected.accepted_subprotocol is None


def test_a_browser_s_basic_opens_no_websocket_for_a_page_of_another_site(mint: Mint) -> None:
    client = TestClient(_asgi_socket(_accepting(None), basic=True))
    for origin, passes in (("http://testserver", True), ("https://evil.example", False)):
        headers = {**basic(mint().encode()), "Origin": origin}
        if passes:
            with client.websocket_connect("/s", headers=headers) as connected:
                assert connected.receive_json() == []
        else:
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/s", headers=headers):
                pass


@pytest.mark.parametrize("field", [b"sec-websocket-key", b"sec-websocket-version"])
@pytest.mark.parametrize(
    ("origin", "passes"), [(b"https://app.example", True), (b"https://evil.example", False)]
)
async def test_a_handshake_over_http_2_which_has_no_key_is_a_handshake_too(
    mint: Mint, field: bytes, origin: bytes, passes: bool
) -> None:
    sent: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sent.append("reached")

    async def send(message: Any) -> None:
        sent.append(message["type"])

    credential = basic(mint().encode())["Authorization"].encode()
    headers = [(b"host", b"app.example"), (b"origin", origin), (b"authorization", credential), (field, b"13")]
    scope = {"type": "websocket", "path": "/s", "raw_path": b"/s", "headers": headers}
    await TokenMiddleware(app, Verifier(KEYRING), basic=True)(scope, None, send)  # type: ignore[arg-type]
    assert sent == (["reached"] if passes else ["websocket.close"])
