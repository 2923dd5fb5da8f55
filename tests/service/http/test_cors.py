"""Pages of other origins: the allowed ones get exact CORS with credentials, all others nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.service import Service, basic, bearer, new_user, serving

APP = "https://app.example"
OTHER = "https://other.example"
NOT_ALLOWED = (
    "https://evil.example",
    "https://app.example.evil",
    "https://sub.app.example",
    "http://app.example",
    "https://app.example:8443",
    "https://APP.example",
    "null",
    "*",
    "",
)
_Start = Callable[..., Service]


def cors_of(answer: httpx.Response) -> dict[str, str]:
    """The CORS headers of an answer."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def preflight(http: httpx.Client, path: str, origin: str, method: str, wanted: str = "") -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    if wanted:
        headers["Access-Control-Request-Headers"] = wanted
    return http.options(path, headers=headers)


def varies(answer: httpx.Response) -> bool:
    return "origin" in [name.strip().lower() for name in answer.headers.get("vary", "").split(",")]


@pytest.fixture
def allowing(start: _Start) -> Service:
    return start(public_url="https://auth.example", allowed_origins=f"{APP},{OTHER}:443")


@pytest.mark.parametrize("origin", [APP, OTHER])
def test_a_page_of_an_allowed_origin_reads_answers_and_errors(allowing: Service, origin: str) -> None:
    exact: dict[str, Any] = {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "WWW-Authenticate, Retry-After",
    }
    with allowing.client() as http:
        token = new_user(allowing).token()
        for method, path, headers, status in (
            ("GET", "/v1/authorize?scope=a:b", bearer(token), 200),
            ("GET", "/readyz", {}, 200),
            ("POST", "/v1/revocations", {}, 401),
            ("GET", "/v1/authorize?access_token=x", {}, 400),
            ("GET", "/nowhere", {}, 404),
            ("PATCH", "/v1/tokens", {}, 405),
            ("OPTIONS", "/v1/tokens", {}, 405),
        ):
            answer = http.request(method, path, headers={"Origin": origin, **headers})
            assert (answer.status_code, cors_of(answer), varies(answer)) == (status, exact, True), path


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_preflight_of_an_allowed_origin_is_answered(allowing: Service, method: str) -> None:
    wanted = "authorization, bakery-protocol-version, content-type, idempotency-key, x-auth-token"
    with allowing.client() as http:
        answer = preflight(http, "/v1/tokens", APP, method, wanted)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    assert varies(answer)


def test_a_preflight_for_more_than_the_service_takes_is_refused(allowing: Service) -> None:
    with allowing.client() as http:
        assert preflight(http, "/v1/tokens", APP, "TRACE").status_code == 400
        assert preflight(http, "/v1/tokens", APP, "POST", "x-forwarded-for").status_code == 400


@pytest.mark.parametrize("origin", NOT_ALLOWED)
def test_an_origin_that_is_not_allowed_gets_no_cors_header(allowing: Service, origin: str) -> None:
    """What caches keep of the answer is still marked as one that depends on the origin."""
    token = new_user(allowing).token()
    with allowing.client() as http:
        for answer in (
            http.get("/v1/authorize", headers={"Origin": origin, **bearer(token)}),
            http.get("/v1/authorize", headers={"Origin": origin}),
            preflight(http, "/v1/tokens", origin, "POST", "authorization"),
        ):
            assert not cors_of(answer)
            assert varies(answer)
        assert preflight(http, "/v1/tokens", origin, "POST").status_code == 405


def test_without_the_settings_no_answer_has_a_cors_header(service: Service) -> None:
    with service.client() as http:
        for origin in (APP, service.url):
            answer = http.get("/readyz", headers={"Origin": origin})
            assert not cors_of(answer)
            assert "vary" not in answer.headers
            assert preflight(http, "/v1/tokens", origin, "POST").status_code == 405


def test_a_bearer_token_from_any_origin_is_a_setting_of_its_own(start: _Start) -> None:
    """The answer may be read from everywhere, but neither with cookies nor with a password."""
    service = start(bearer_from_any_origin=True)
    user = new_user(service)
    anywhere = {"Origin": "https://evil.example"}
    with service.client() as http:
        for headers in (bearer(user.token()), bearer("cav1_garbage"), {"X-Auth-Token": user.token()}):
            answer = http.get("/v1/authorize", headers={**anywhere, **headers})
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers["access-control-expose-headers"] == "WWW-Authenticate, Retry-After"
            assert varies(answer)
        answer = preflight(http, "/v1/tokens", "https://evil.example", "POST", "authorization,content-type")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        sign_in = {"username": user.username, "password": user.password}
        for answer in (
            preflight(http, "/v1/tokens", "https://evil.example", "POST", "content-type"),
            preflight(http, "/v1/tokens", "https://evil.example", "POST"),
            http.post("/v1/tokens", json=sign_in, headers=anywhere),
            http.get("/v1/tokens", headers={**anywhere, **basic(user.username, user.password)}),
            http.get("/v1/session", headers={**anywhere, "Cookie": f"__Host-caveats-session={user.token()}"}),
        ):
            assert not cors_of(answer)
            assert varies(answer)


def test_both_settings_keep_to_their_own_origins(start: _Start) -> None:
    service = start(allowed_origins=APP, bearer_from_any_origin=True)
    token = new_user(service).token()
    with service.client() as http:
        allowed = http.get("/v1/authorize", headers={"Origin": APP, **bearer(token)})
        other = http.get("/v1/authorize", headers={"Origin": OTHER, **bearer(token)})
    assert allowed.headers["access-control-allow-origin"] == APP
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert other.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in other.headers


# the service's own origin


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("proxied"), trusted_proxies="127.0.0.1") as running:
        yield running


@pytest.mark.parametrize(
    ("host", "forwarded", "origin", "own"),
    [
        pytest.param("auth.example", "", "https://auth.example", True, id="no port"),
        pytest.param("auth.example:443", "", "https://auth.example", True, id="the port that https implies"),
        pytest.param("auth.example:80", "", "http://auth.example", True, id="the port that http implies"),
        pytest.param("Auth.Example:443", "", "https://auth.example", True, id="capitals"),
        pytest.param("auth.example:8443", "", "https://auth.example:8443", True, id="another port"),
        pytest.param("auth.example:8443", "", "https://auth.example", False, id="another origin"),
        pytest.param("auth.example:80", "", "https://auth.example", False, id="http's port is not https's"),
        pytest.param("auth.example:4430", "", "https://auth.example", False, id="a longer port"),
        pytest.param("inner:8080", "auth.example", "https://auth.example", True, id="through a proxy"),
        pytest.param("inner:8080", "auth.example:443", "https://auth.example", True, id="with its port"),
        pytest.param("inner:8080", "auth.example", "https://inner:8080", False, id="not the inner name"),
        pytest.param("inner:8080", "a.example, auth.example", "https://auth.example", False, id="a list"),
    ],
)
def test_the_page_s_own_origin_is_the_host_that_was_asked(
    service: Service, behind_proxy: Service, host: str, forwarded: str, origin: str, *, own: bool
) -> None:
    """An `X-Forwarded-Host` counts from a trusted proxy only."""
    headers = {"Host": host, "Origin": origin} | ({"X-Forwarded-Host": forwarded} if forwarded else {})
    for asked, expected in (
        (behind_proxy, own),
        (service, origin == f"https://{host}" if forwarded else own),
    ):
        user = new_user(asked)
        sign_in = {"username": user.username, "password": user.password}
        with asked.client() as http:
            status = http.post("/v1/session", json=sign_in, headers=headers).status_code
        assert status == (201 if expected else 403)
