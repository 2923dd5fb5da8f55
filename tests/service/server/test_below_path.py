"""The service below a path of a host, behind proxies that take the path away and proxies that leave it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats_client import Client
from caveats_service.settings import Settings, SettingsError
from tests.service.server.test_proxies import free_port, needs, running_nginx
from tests.support.discharge import ask, denied, heading, info, macaroon, ours, sent_to, token_fields
from tests.support.service import CLIENT, Service, User, admin_token, bearer, new_user, problem, serving

URL = "https://example.com/auth"
_Start = Callable[..., Service]

_SITE = """
server {{
    listen 127.0.0.1:{port};
    location /auth/ {{
        proxy_pass http://127.0.0.1:{service}{ending};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Host $http_host;
    }}
}}
"""


@pytest.fixture
def below(start: _Start) -> Service:
    return start(public_url=f"{URL}/")


@pytest.fixture(params=["", "/auth"], ids=["the proxy takes it away", "the proxy leaves it"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_service_answers_with_its_public_path_and_without(below: Service, prefix: str) -> None:
    user = new_user(below)
    with below.client() as http:
        token = user.token()
        assert http.get(f"{prefix}/v1/authorize", headers=bearer(token)).status_code == 200
        assert http.get(f"{prefix}/readyz").status_code == 200
        assert http.get(f"{prefix}/").status_code == 200
        path = f"{prefix}/v1/users/{user.username}/disable"
        assert http.post(path, json={}, headers=bearer(admin_token(below))).status_code == 200
        for wrong in (
            "/other/v1/authorize",
            f"/authority{prefix}/readyz",
            f"/auth{prefix or '/auth'}/readyz",
        ):
            assert problem(http.get(wrong)) == (404, "not_found")
    with below.client() as http:
        assert http.get("/auth").status_code == 200


def test_the_session_cookie_is_for_the_public_path(below: Service, prefix: str) -> None:
    """`__Host-` demands the path `/`; `__Secure-` does not."""
    user = new_user(below)
    sign_in = {"username": user.username, "password": user.password}
    with below.client() as http:
        answer = http.post(f"{prefix}/v1/session", json=sign_in, headers={"Origin": "https://example.com"})
        cookie = answer.headers["set-cookie"]
        assert re.match(r"__Secure-caveats-session=cav1_\S+; Path=/auth; Max-Age=\d+; HttpOnly; ", cookie)
        assert cookie.endswith("SameSite=Lax; Secure")
        name_and_token = {"Cookie": cookie.partition(";")[0], "Origin": "https://example.com"}
        assert http.get(f"{prefix}/v1/session", headers=name_and_token).status_code == 200
        http.cookies.clear()
        gone = http.delete(f"{prefix}/v1/session", headers=name_and_token)
        assert "Path=/auth; Max-Age=0" in gone.headers["set-cookie"]
        refused = http.post(f"{prefix}/v1/session", json=sign_in, headers={"Origin": URL})
    assert problem(refused) == (403, "cross_site")


def test_without_a_path_the_cookie_is_the_host_s(start: _Start) -> None:
    service = start(public_url="https://auth.example/")
    user = new_user(service)
    with service.client() as http:
        sign_in = {"username": user.username, "password": user.password}
        cookie = http.post("/v1/session", json=sign_in).headers["set-cookie"]
    assert cookie.startswith("__Host-caveats-session=")
    assert "; Path=/; " in cookie


@pytest.mark.parametrize("location", [URL, f"{URL}/"])
def test_pages_redirects_and_locations_are_below_the_public_path(
    below: Service, prefix: str, location: str
) -> None:
    ann = new_user(below)
    asked = ours(below, "approved-by = ops", location=location)
    told = info(ask(below, asked, bearer(ann.token())))
    visit = f"{prefix}/{told['VisitURL']}"
    with below.client() as http:
        page = http.get(visit, headers={"Accept": "text/html"})
        assert sent_to(page).startswith(f"{URL}/discharge/approve/")
        answer = http.get(visit, headers={"Accept": "application/json"}).json()
        own = f"/auth/{told['VisitURL']}"
        assert answer == {"interactive": own, "agent": own.replace("visit", "agent-login")}
        form = {"username": ann.username, "password": ann.password, "decision": "deny"}
        decided = http.post(visit, data=form, headers={"Origin": "https://example.com"})
    assert (decided.status_code, decided.headers["location"]) == (303, own)


@pytest.mark.parametrize(
    "location", ["https://example.com", "https://example.com/other", "https://example.com/auth/x"]
)
def test_a_ticket_for_another_path_is_for_somebody_else(below: Service, location: str) -> None:
    assert denied(ask(below, ours(below, "signed-in = *", location=location))) == (401, "permission denied")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/v1",
        "https://example.com/v1/auth",
        "https://example.com/discharge/",
        "https://example.com//auth",
        "https://example.com/auth//",
        "https://example.com/../auth",
        "https://example.com/a%2Fb",
        "https://example.com/auth?x",
        "https://example.com/auth#x",
        "https://example.com/a b",
    ],
)
def test_a_path_that_cannot_be_one_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="CAVEATS_PUBLIC_URL"):
        Settings.load(public_url=url)


# through a real nginx


@pytest.fixture(params=["/", ""], ids=["nginx takes it away", "nginx leaves it"])
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """The service as it is seen through nginx."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/auth"
    given = {"public_url": url, "trusted_proxies": "127.0.0.1", "cookie_secure": False}
    (tmp_path / "nginx").mkdir()
    with serving(tmp_path, **given) as service:
        site = _SITE.format(port=port, service=service.port, ending=request.param)
        with running_nginx(tmp_path / "nginx", site, port):
            service.url = url
            yield service


@pytest.mark.parametrize("_", [pytest.param("nginx", marks=needs["nginx"])])
def test_a_client_and_a_browser_use_the_service_below_a_path(proxied: Service, _: str) -> None:
    user: User = new_user(proxied)
    origin = proxied.url.removesuffix("/auth")
    with Client(proxied.url) as client:
        token = client.login(user.username, user.password, scope="photos:read")
        assert client.verify(token, scope="photos:read").granted
    with httpx.Client(**CLIENT) as browser:
        sign_in = {"username": user.username, "password": user.password}
        answer = browser.post(f"{proxied.url}/v1/session", json=sign_in, headers={"Origin": origin})
        assert answer.status_code == 201
        assert [(cookie.name, cookie.path) for cookie in browser.cookies.jar] == [
            ("caveats-session", "/auth")
        ]
        assert browser.get(f"{proxied.url}/v1/session").json()["user"] == user.username
        asked = ours(proxied, "signed-in = *")
        told = info(ask(proxied, asked))
        visit = f"{proxied.url}/{told['VisitURL']}"
        assert f"signed in as <strong>{user.username}" in browser.get(visit).text
        done = browser.post(
            visit, data={"decision": "allow"}, headers={"Origin": origin}, follow_redirects=True
        )
        assert (str(done.url), heading(done)) == (visit, "Done")
        waited = browser.get(f"{proxied.url}/{told['InteractionMethods']['browser-window']['WaitTokenURL']}")
    assert macaroon(ask(proxied, asked, **token_fields(waited)))
