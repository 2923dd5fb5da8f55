"""The edge of HTTP: methods, bodies, headers, errors. What is malformed is refused by one table, never with a 500."""

from __future__ import annotations

import json
from typing import Any

import httpx2 as httpx
import pytest

from caveats_service.app import ROUTES
from tests.support.service import Service, User, bearer, problem, raw, status_of

ALLOWED: dict[str, set[str]] = {}
for _method, _path, _ in ROUTES:
    ALLOWED.setdefault(_path, set()).add(_method)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
FILLED = {
    "{username}": "nobody",
    "{token_id}": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "{key_id}": "k9",
    "{file:path}": "style.css",
}


def filled(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize("path", sorted(ALLOWED))
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_a_path_does_not_know_is_a_405_that_names_the_right_ones(
    http: httpx.Client, path: str, method: str
) -> None:
    answer = http.request(method, filled(path))
    if method in ALLOWED[path]:
        assert answer.status_code != 405
        return
    assert problem(answer) == (405, "method_not_allowed")
    allow = {word.strip() for word in answer.headers["allow"].split(",")}
    assert allow == ALLOWED[path] | ({"HEAD"} if "GET" in ALLOWED[path] else set())


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/tokens/",
        "/v1/tokens/a/b",
        "/V1/tokens",
        "//v1/tokens",
        "/v1/authorize/",
    ],
)
def test_a_path_that_is_not_there_is_a_404_and_no_redirect(http: httpx.Client, path: str) -> None:
    assert problem(http.get(path)) == (404, "not_found")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://127.0.0.1.evil.example",
        "https://127.0.0.1@evil.example",
        "javascript:alert(1)",
        "https://evil\u3002example",
        "HTTPS://Evil.example",
        "/\r\nLocation: https://evil.example",
    ],
)
def test_102_nobody_is_sent_on_to_an_address_that_a_request_names(http: httpx.Client, target: str) -> None:
    """There is no such parameter: after a sign-in or an approval a person stays on the page."""
    names = ("return_to", "return-to", "redirect_uri", "next", "rd")
    for path, methods in ALLOWED.items():
        for method in methods:
            sent: dict[str, Any] = {"data": dict.fromkeys(names, target)} if method == "POST" else {}
            headers = {"Origin": str(http.base_url).rstrip("/"), "Referer": "https://evil.example/"}
            answer = http.request(
                method, filled(path), params=dict.fromkeys(names, target), headers=headers, **sent
            )
            assert not answer.is_redirect
            assert not {"location", "refresh"} & set(answer.headers)


def test_head_answers_as_get_without_a_body(http: httpx.Client) -> None:
    answer = http.head("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


def test_health_and_readiness_say_so(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json()["status"] == "ready"


DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"{", 400, id="cut off"),
        pytest.param(b"[]", 400, id="a list"),
        pytest.param(b"null", 400, id="null"),
        pytest.param(b'"text"', 400, id="text"),
        pytest.param(b'{"token": "a", "token": "b"}', 400, id="a member twice"),
        pytest.param(b'{"token": "a", "extra": {"x": 1, "x": 2}}', 400, id="an inner member twice"),
        pytest.param(b'{"token": NaN}', 400, id="NaN"),
        pytest.param(b'{"token": "a", "extra": {"x": Infinity}}', 400, id="Infinity"),
        pytest.param(
            b'{"token": "a", "extra": {"x": ' + b"9" * 5000 + b"}}", 400, id="a number of 5000 digits"
        ),
        pytest.param(DEEP, 413, id="200,000 deep, beyond the limit of bodies"),
        pytest.param(DEEP[:60_000], 400, id="60,000 deep"),
        pytest.param(b'{"extra":' + b'{"a":' * 12_000, 400, id="12,000 objects deep"),
        pytest.param(b'{"token": "\xff"}', 400, id="invalid UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", 400, id="BOM"),
        pytest.param('{"token": "a"}'.encode("utf-16"), 400, id="UTF-16"),
        pytest.param(b'{"token": "\\ud800"}', 400, id="lone surrogate"),
        pytest.param(b'{"\\ud800": 1}', 400, id="lone surrogate in a name"),
        pytest.param(b'{"token": "a", "unknown": 1}', 400, id="unknown member"),
        pytest.param(b'{"token": 1}', 400, id="a number for text"),
        pytest.param(b'{"token": ["a"]}', 400, id="a list for text"),
        pytest.param(b'{"token": null}', 400, id="null for text"),
        pytest.param(b'{"token": "a", "extra": []}', 400, id="a list for an object"),
        pytest.param(b'{"tokens": []}', 400, id="an empty list of tokens"),
        pytest.param(b'{"tokens": [{"token": "a"}], "token": "b"}', 400, id="both shapes"),
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b'{"token": "' + b"a" * 70_000 + b'"}', 413, id="too large"),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(http: httpx.Client, body: bytes, status: int) -> None:
    answer = http.post("/v1/verify", content=body, headers={"Content-Type": "application/json"})
    assert problem(answer) == (status, "bad_request" if status == 400 else "too_large")


def test_a_deep_body_is_refused_whatever_the_limit_of_bodies(start) -> None:  # type: ignore[no-untyped-def]
    with start(max_body_bytes=1024 * 1024).client() as http:
        answer = http.post("/v1/verify", content=DEEP, headers={"Content-Type": "application/json"})
    assert problem(answer) == (400, "bad_request")


def test_a_body_that_grows_too_large_without_saying_so_is_refused(http: httpx.Client) -> None:
    chunks = iter([b'{"token": "'] + [b"a" * 1000] * 100)
    answer = http.post("/v1/verify", content=chunks, headers={"Content-Type": "application/json"})
    assert problem(answer) == (413, "too_large")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp", "json"]
)
def test_a_body_of_another_type_is_refused(http: httpx.Client, media_type: str) -> None:
    answer = http.post("/v1/verify", content=b'{"token": "a"}', headers={"Content-Type": media_type})
    assert problem(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"]
)
def test_json_is_json_however_it_is_written(http: httpx.Client, media_type: str) -> None:
    answer = http.post("/v1/verify", content=b'{"token": "a"}', headers={"Content-Type": media_type})
    assert answer.status_code == 401


def test_what_was_sent_is_not_repeated_in_a_refusal(http: httpx.Client) -> None:
    answer = http.post("/v1/users", json={"username": "x", "password": ["hunter2"]})
    assert answer.status_code == 400
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("how", ["one", "many", "query"])
def test_a_head_that_is_too_large_is_refused(service: Service, http: httpx.Client, how: str) -> None:
    size = service.settings.max_header_bytes
    if how == "one":
        answer = http.get("/healthz", headers={"X-Filler": "a" * size})
    elif how == "many":
        answer = http.get("/healthz", headers=[(f"X-{n}", "a" * 1000) for n in range(size // 1000 + 1)])
    else:
        answer = http.get("/healthz?" + "a" * (60_000), headers={"X-Filler": "a" * (size - 60_000)})
    assert problem(answer) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "url",
    [
        "/healthz?token=abc",
        "/healthz?access_token=abc",
        "/v1/session?password=abc",
        "/v1/authorize?scope=a:b&x=cav1_abc",
        "/v1/tokens/cav1_abc",
    ],
)
def test_a_credential_in_the_url_is_refused(http: httpx.Client, url: str) -> None:
    assert problem(http.get(url)) == (400, "bad_request")


def test_a_credential_in_the_referer_is_refused(http: httpx.Client) -> None:
    answer = http.get("/healthz", headers={"Referer": "https://app.example/?t=cav1_abc"})
    assert problem(answer) == (400, "bad_request")


def test_a_credential_in_a_form_is_refused(http: httpx.Client) -> None:
    assert problem(http.post("/v1/verify", data={"token": "cav1_abc"}))[0] in (400, 415)


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        pytest.param(
            b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            {400},
            id="length and chunks",
        ),
        pytest.param(
            b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            {400},
            id="two lengths",
        ),
        pytest.param(
            b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}, id="negative length"
        ),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", {400, 200}, id="obs-fold"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", {400}, id="space before the colon"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", {400}, id="NUL in a header"),
        pytest.param(b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", {400}, id="NUL in the path"),
        pytest.param(b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", {400, 505}, id="a version that is not"),
        pytest.param(b"FROB /healthz HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405}, id="a method that is not"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", {400, 0}, id="TLS"),
        pytest.param(
            b"GET /v1/tokens/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", {401, 404}, id="path is not UTF-8"
        ),
        pytest.param(
            b"GET /v1/users?after=%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n", {401, 400}, id="query is not UTF-8"
        ),
        pytest.param(
            b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            {400, 413},
            id="a length of 23 digits",
        ),
    ],
)
def test_malformed_http_is_refused_and_the_service_lives_on(
    service: Service, http: httpx.Client, data: bytes, statuses: set[int]
) -> None:
    assert status_of(raw(service, data, wait=2)) in statuses
    assert http.get("/healthz").status_code == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_disturbs_nobody(
    service: Service, http: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    head = (
        b"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    )
    for _ in range(5):
        raw(service, head + b'{"user', wait=0.05)
    assert http.get("/healthz").status_code == 200
    assert "internal_error" not in "".join(capfd.readouterr())


def test_absolute_form_is_read_as_its_path(service: Service) -> None:
    answer = raw(service, b"GET http://other.example/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status_of(answer) in (200, 400, 404)


def test_every_answer_with_a_token_is_never_stored(http: httpx.Client, user: User) -> None:
    body = {"username": user.username, "password": user.password}
    token = user.token()
    answers = [
        http.post("/v1/tokens", json=body),
        http.post("/v1/tokens/renew", headers=bearer(token)),
        http.post("/v1/verify", json={"token": token}),
        http.get("/v1/authorize", headers=bearer(token)),
        http.get("/v1/tokens", headers=bearer(token)),
        http.post("/v1/session", json=body),
        http.get("/v1/session", headers={"Cookie": f"__Host-caveats-session={token}"}),
        http.post("/v1/tokens", json=body | {"scope": "caveats:admin"}),
    ]
    assert answers.pop().status_code == 403
    for answer in answers:
        assert answer.status_code < 300, answer.text
        assert answer.headers["cache-control"] == "no-store"


def test_no_answer_lets_pages_of_other_sites_read_it(http: httpx.Client) -> None:
    answer = http.options(
        "/v1/tokens", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_problems_are_one_documented_shape(http: httpx.Client) -> None:
    body = json.loads(http.get("/v1/tokens").text)
    assert set(body) <= {"type", "title", "status", "code", "detail"}


@pytest.mark.parametrize(
    "line", [b"X: " + b"a" * 1000, b"X: aaaaaa\r\n", b""], ids=["one value", "many", "the path"]
)
def test_a_head_that_never_ends_is_cut_off(service: Service, line: bytes) -> None:
    import socket

    sent = 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" if line else b"GET /")
        answer = b""
        try:
            while sent < 20_000_000:
                sent += connection.send((line or b"a") * 1000)
        except OSError:
            pass
        connection.settimeout(2)
        try:
            answer = connection.recv(65536)
        except OSError:
            pass
    assert sent < 20_000_000
    assert answer == b"" or status_of(answer) == 431


def test_a_head_that_comes_slowly_is_as_good_as_another(service: Service) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        for _ in range(3):
            for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
                connection.sendall(bytes([byte]))
            assert status_of(connection.recv(65536)) == 200


def test_a_web_socket_is_not_to_be_had(service: Service) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    assert status_of(raw(service, head + key, wait=2)) in (200, 400, 403, 426)
