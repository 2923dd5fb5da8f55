"""Sessions: a token in a cookie that pages of other sites cannot use, that slides, and that signing out kills."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.service import CLIENT, Clock, Service, User, admin_of, bearer, narrow, new_user, problem

NAME = "__Host-caveats-session"


def sign_in(service: Service, user: User, **headers: str) -> httpx.Response:
    with service.client() as http:
        body = {"username": user.username, "password": user.password}
        return http.post("/v1/session", json=body, headers=headers)


def cookie_of(answer: httpx.Response) -> str:
    found = re.match(rf"{NAME}=([^;]*);", answer.headers["set-cookie"])
    assert found is not None
    return found[1]


def session(service: Service, user: User) -> str:
    answer = sign_in(service, user)
    assert answer.status_code == 201, answer.text
    return cookie_of(answer)


def with_cookie(service: Service, method: str, path: str, token: str, **headers: str) -> httpx.Response:
    with service.client() as http:
        own = {"Origin": service.url} if method != "GET" else {}
        sent = {"Cookie": f"{NAME}={token}", **own, **headers}
        headers = {k.replace("_", "-"): v for k, v in sent.items() if v}
        return http.request(method, path, headers=headers, json={} if method == "POST" else None)


def test_signing_in_sets_a_cookie_that_only_this_host_gets_and_no_script_reads(
    service: Service, user: User
) -> None:
    answer = sign_in(service, user)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{NAME}=cav1_")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"path=/", "httponly", "secure", "samesite=lax"} <= attributes
    assert not any(a.startswith("domain") for a in attributes)
    assert any(re.fullmatch(r"max-age=28(800|799)", a) for a in attributes)
    body = answer.json()
    assert body["user"] == user.username
    assert "cav1_" not in answer.text


def test_without_https_the_cookie_has_another_name(start: Callable[..., Service]) -> None:
    service = start(cookie_secure=False)
    cookie = sign_in(service, new_user(service)).headers["set-cookie"]
    assert cookie.startswith("caveats-session=")
    assert "secure" not in cookie.lower()


def test_it_is_no_error_that_nobody_is_signed_in_where_that_is_optional(service: Service, user: User) -> None:
    asked = "/v1/session?optional"
    live = session(service, user)
    assert with_cookie(service, "GET", asked, live).json()["user"] == user.username
    with_cookie(service, "DELETE", "/v1/session", live)
    answers = [
        httpx.get(f"{service.url}{asked}"),
        *(with_cookie(service, "GET", asked, text) for text in (live, "cav1_no", "x")),
    ]
    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 4
    assert httpx.get(f"{service.url}/v1/session").status_code == 401
    two = httpx.get(
        f"{service.url}{asked}", headers={"Authorization": "Bearer cav1_a", "X-Auth-Token": "cav1_b"}
    )
    assert problem(two) == (400, "two_credentials")


def test_asking_who_keeps_a_session_alive_up_to_its_ceiling(timed: Service, clock: Clock) -> None:
    token = session(timed, new_user(timed))
    for hours in range(4, 7 * 24, 4):
        clock.forward(hours=4)
        answer = with_cookie(timed, "GET", "/v1/session", token)
        assert answer.status_code == 200, (hours, answer.text)
        token = cookie_of(answer)
    assert answer.json()["expires_at"] == "2026-11-28T12:00:00Z"
    clock.forward(hours=4)
    assert problem(with_cookie(timed, "GET", "/v1/session", token)) == (401, "invalid_token")


def test_a_session_that_nobody_uses_ends(timed: Service, clock: Clock) -> None:
    token = session(timed, new_user(timed))
    clock.forward(hours=8)
    assert problem(with_cookie(timed, "GET", "/v1/session", token)) == (401, "invalid_token")


def test_a_session_renewed_as_a_token_ends_at_the_sessions_ceiling_all_the_same(
    timed: Service, clock: Clock
) -> None:
    token = session(timed, new_user(timed))
    with timed.client() as http:
        answer = http.post("/v1/tokens/renew", json={"expires_in": "30d"}, headers=bearer(token))
        assert answer.json()["expires_at"] == "2026-11-28T12:00:00Z"
        clock.forward(days=7)
        assert problem(http.get("/v1/tokens", headers=bearer(answer.json()["token"]))) == (
            401,
            "invalid_token",
        )


def test_every_sign_in_is_a_new_session(service: Service, user: User) -> None:
    first, second = sign_in(service, user).json(), sign_in(service, user).json()
    assert first["token_id"] != second["token_id"]


def test_signing_in_again_ends_the_session_that_the_browser_had(service: Service, user: User) -> None:
    old = session(service, user)
    answer = sign_in(service, user, Cookie=f"{NAME}={old}", Origin=service.url)
    assert answer.status_code == 201
    assert cookie_of(answer) != old
    assert problem(with_cookie(service, "GET", "/v1/session", old)) == (401, "invalid_token")
    assert with_cookie(service, "GET", "/v1/session", cookie_of(answer)).status_code == 200


def test_a_cookie_planted_before_the_sign_in_is_not_the_session_after_it(
    service: Service, user: User
) -> None:
    mallory = new_user(service)
    planted = session(service, mallory)
    answer = sign_in(service, user, Cookie=f"{NAME}={planted}", Origin=service.url)
    assert answer.json()["user"] == user.username
    assert cookie_of(answer) != planted


def test_a_dead_cookie_does_not_hinder_a_sign_in(service: Service, user: User) -> None:
    answer = sign_in(service, user, Cookie=f"{NAME}=cav1_nonsense", Origin=service.url)
    assert answer.status_code == 201


def test_signing_out_kills_the_session_and_every_copy_and_renewal_of_it(service: Service, user: User) -> None:
    token = session(service, user)
    slid = cookie_of(with_cookie(service, "GET", "/v1/session", token))
    copy = narrow(slid, "note = stolen")
    answer = with_cookie(service, "DELETE", "/v1/session", slid)
    assert answer.status_code == 204
    assert re.match(rf"{NAME}=; .*Max-Age=0", answer.headers["set-cookie"])
    for dead in (token, slid, copy):
        assert problem(with_cookie(service, "GET", "/v1/session", dead)) == (401, "invalid_token")


def test_signing_out_with_a_narrower_copy_ends_that_copy_only(service: Service, user: User) -> None:
    whole = session(service, user)
    copy = narrow(whole, "note = lent")
    assert with_cookie(service, "DELETE", "/v1/session", copy).status_code == 204
    assert with_cookie(service, "GET", "/v1/session", copy).status_code == 401
    assert with_cookie(service, "GET", "/v1/session", whole).status_code == 200


def test_signing_in_over_a_narrower_copy_ends_that_copy_only(service: Service, user: User) -> None:
    """Else whoever was lent a copy could end the session that it came from."""
    whole = session(service, user)
    copy = narrow(whole, "note = lent")
    mallory = new_user(service)
    assert sign_in(service, mallory, Cookie=f"{NAME}={copy}", Origin=service.url).status_code == 201
    assert with_cookie(service, "GET", "/v1/session", copy).status_code == 401
    assert with_cookie(service, "GET", "/v1/session", whole).status_code == 200


CHANGES = [
    ("DELETE", "/v1/session"),
    ("POST", "/v1/tokens"),
    ("POST", "/v1/tokens/renew"),
    ("POST", "/v1/revocations"),
    ("DELETE", "/v1/tokens/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "https://sub.127.0.0.1.evil.example"},
        {"Origin": "OWN", "Sec_Fetch_Site": "cross-site"},
    ],
    ids=["absent", "null", "foreign", "another port", "lookalike", "cross-site by the browser's word"],
)
def test_what_a_page_of_another_site_sends_with_the_cookie_is_refused(
    service: Service, user: User, method: str, path: str, headers: dict[str, str]
) -> None:
    token = session(service, user)
    sent = {k: (service.url if v == "OWN" else v) for k, v in headers.items()}
    assert problem(with_cookie(service, method, path, token, **sent)) == (403, "cross_site")
    assert with_cookie(service, "GET", "/v1/session", token).status_code == 200


def test_a_sign_in_from_a_page_of_another_site_is_refused(service: Service, user: User) -> None:
    assert problem(sign_in(service, user, Origin="https://evil.example")) == (403, "cross_site")
    assert sign_in(service, user, Origin=service.url).status_code == 201
    assert sign_in(service, user).status_code == 201


def test_pages_of_allowed_origins_may(start: Callable[..., Service]) -> None:
    service = start(public_url="https://auth.example", allowed_origins="https://app.example")
    token = session(service, new_user(service))
    for origin, status in (
        ("https://app.example", 201),
        ("https://auth.example", 201),
        (service.url, 403),
        ("https://auth.example.evil", 403),
    ):
        answer = with_cookie(service, "POST", "/v1/tokens", token, Origin=origin)
        assert answer.status_code == status


def test_a_form_cannot_sign_in(service: Service, user: User) -> None:
    with service.client() as http:
        body = f'{{"username": "{user.username}", "password": "{user.password}"}}'
        answer = http.post("/v1/session", content=body, headers={"Content-Type": "text/plain"})
    assert problem(answer) == (415, "unsupported_media_type")


def test_a_session_is_a_cookie_and_nothing_else(http: httpx.Client, user: User) -> None:
    token = user.token()
    for method in ("GET", "DELETE"):
        answer = http.request(method, "/v1/session", headers=bearer(token))
        assert problem(answer) == (401, "credential_required")


def test_the_session_cookie_twice_is_refused(service: Service, user: User) -> None:
    token = session(service, user)
    answer = with_cookie(service, "GET", "/v1/session", f"{token}; {NAME}={token}")
    assert problem(answer) == (400, "two_credentials")


def test_a_cookie_of_another_name_is_none(http: httpx.Client, user: User) -> None:
    for name in ("caveats-session", "__host-caveats-session", "x__Host-caveats-session"):
        answer = http.get("/v1/session", headers={"Cookie": f"{name}={user.token()}"})
        assert problem(answer) == (401, "credential_required")


def test_an_administrators_session_administers_and_a_users_does_not(service: Service, user: User) -> None:
    mine, admins = session(service, user), session(service, admin_of(service))
    assert with_cookie(service, "GET", "/v1/keys", admins).status_code == 200
    assert with_cookie(service, "GET", "/v1/keys", mine).status_code == 403


@pytest.mark.parametrize(
    "body", [{}, {"username": "x"}, {"username": "x", "password": "y", "remember": True}]
)
def test_a_sign_in_of_the_wrong_shape_is_a_400(http: httpx.Client, body: dict[str, object]) -> None:
    assert problem(http.post("/v1/session", json=body)) == (400, "bad_request")


def test_a_session_may_be_for_less(service: Service, user: User) -> None:
    with service.client() as http:
        body = {"username": user.username, "password": user.password, "scope": "photos:read"}
        assert http.post("/v1/session", json=body).json()["scope"] == "photos:read"
        body["scope"] = "caveats:admin"
        assert problem(http.post("/v1/session", json=body)) == (403, "forbidden")


def test_a_password_change_ends_every_session(service: Service, user: User) -> None:
    token = session(service, user)
    with service.client() as http:
        changed = http.put(
            f"/v1/users/{user.username}/password",
            json={"password": user.password, "new_password": "another one"},
        )
    assert changed.status_code == 204
    assert problem(with_cookie(service, "GET", "/v1/session", token)) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"session_cookie": "team-a"}, {"session_cookie": "team-b"}, id="a setting"),
        pytest.param(
            {"public_url": "http://127.0.0.1:8001"}, {"public_url": "http://127.0.0.1:8002"}, id="the ports"
        ),
    ],
)
def test_two_services_on_one_host_keep_their_sessions_in_one_browser(
    start: Callable[..., Service], tmp_path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    """A browser sends a host's cookies to all of its ports, and keeps one of each name."""
    one = start(folder=tmp_path / "one", cookie_secure=False, **first)
    two = start(folder=tmp_path / "two", cookie_secure=False, **second)
    users = [(one, new_user(one)), (two, new_user(two))]
    with httpx.Client(**CLIENT) as browser:
        for service, user in users:
            origin = {"Origin": service.settings.public_origin or service.url}
            body = {"username": user.username, "password": user.password}
            assert browser.post(f"{service.url}/v1/session", json=body, headers=origin).status_code == 201
        for service, user in users:
            assert browser.get(f"{service.url}/v1/session").json()["user"] == user.username
        origin = {"Origin": one.settings.public_origin or one.url}
        assert browser.delete(f"{one.url}/v1/session", headers=origin).status_code == 204
        assert browser.get(f"{one.url}/v1/session").status_code == 401
        assert browser.get(f"{two.url}/v1/session").status_code == 200


def test_a_session_with_a_label_is_listed_with_its_last_use(service: Service, user: User) -> None:
    body = {"username": user.username, "password": user.password, "note": "Sign-in: Firefox"}
    with service.client() as http:
        answer = http.post("/v1/session", json=body)
    assert answer.status_code == 201
    listed = with_cookie(service, "GET", "/v1/tokens", cookie_of(answer)).json()["tokens"]
    assert [(row["token_id"], row["note"]) for row in listed] == [
        (answer.json()["token_id"], "Sign-in: Firefox")
    ]
    assert listed[0]["last_used_at"] is not None
    assert with_cookie(service, "DELETE", "/v1/session", cookie_of(answer)).status_code == 204
    with service.client() as http:
        again = http.get("/v1/tokens", headers=bearer(user.token())).json()["tokens"]
    assert again[0]["status"] == "revoked"


def test_a_full_list_of_labels_keeps_nobody_from_signing_in(start: Callable[..., Service]) -> None:
    service = start(max_labels=2)
    user = new_user(service)
    for note in ("one", "two"):
        user.token(note=note)
    body = {"username": user.username, "password": user.password, "note": "Sign-in: Firefox"}
    with service.client() as http:
        answer = http.post("/v1/session", json=body)
    assert answer.status_code == 201
    listed = with_cookie(service, "GET", "/v1/tokens", cookie_of(answer)).json()["tokens"]
    assert [row["note"] for row in listed] == ["two", "one"]
