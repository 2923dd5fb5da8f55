"""Credentials of every kind, over a socket. What is hostile in a head is in test_heads.py."""

from __future__ import annotations

import httpx2 as httpx
import pytest

from tests.support.service import Service, User, basic, bearer, new_user, problem, raw, status_of

COOKIE = "__Host-caveats-session"


@pytest.fixture(scope="module")
def known(service: Service) -> tuple[User, str]:
    owner = new_user(service)
    return owner, owner.token()


@pytest.mark.parametrize(
    "headers",
    [
        lambda user, token: {"Authorization": f"Bearer {token}"},
        lambda user, token: {"Authorization": f"bearer {token}"},
        lambda user, token: {"Authorization": f"BEARER   {token}"},
        lambda user, token: {"X-Auth-Token": token},
        lambda user, token: {"Cookie": f"{COOKIE}={token}"},
        lambda user, token: {"Cookie": f"a=b; {COOKIE}={token}; c=d"},
        lambda user, token: basic(user.username, user.password),
    ],
    ids=["bearer", "lower case", "spaces", "x-auth-token", "cookie", "among others", "basic"],
)
def test_a_credential_in_its_place_is_taken(http: httpx.Client, known: tuple[User, str], headers) -> None:  # type: ignore[no-untyped-def]
    assert http.get("/v1/tokens", headers=headers(*known)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/authorize"])
@pytest.mark.parametrize("header", ["Authorization: Bearer ", "X-Auth-Token: ", f"Cookie: {COOKIE}="])
def test_bytes_beyond_ascii_in_a_credential_are_a_401(service: Service, path: str, header: str) -> None:
    data = f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}".encode() + b"caf\xe9\xff\r\n\r\n"
    answer = raw(service, data)
    assert status_of(answer) == 401
    assert b"www-authenticate: Bearer" in answer


def test_a_password_in_the_body_and_a_credential_in_the_header_are_two(
    http: httpx.Client, known: tuple[User, str]
) -> None:
    user, token = known
    body = {"username": user.username, "password": user.password}
    assert problem(http.post("/v1/tokens", json=body, headers=bearer(token))) == (400, "two_credentials")


@pytest.mark.parametrize("body", [{"username": "x"}, {"password": "x"}])
def test_half_a_credential_is_a_400(http: httpx.Client, body: dict[str, str]) -> None:
    assert problem(http.post("/v1/tokens", json=body)) == (400, "bad_request")


def test_an_empty_session_cookie_is_none(http: httpx.Client) -> None:
    answer = http.get("/v1/tokens", headers={"Cookie": f"{COOKIE}="})
    assert problem(answer) == (401, "credential_required")


def test_a_basic_password_may_hold_colons(service: Service, http: httpx.Client) -> None:
    user = new_user(service, "a:b:c:d:e")
    assert http.get("/v1/tokens", headers=basic(user.username, user.password)).status_code == 200


@pytest.mark.parametrize("path", ["/v1/authorize", "/v1/session", "/v1/tokens/renew"])
def test_a_password_is_no_token(http: httpx.Client, known: tuple[User, str], path: str) -> None:
    method = "POST" if path.endswith("renew") else "GET"
    answer = http.request(method, path, headers=basic(known[0].username, known[0].password))
    assert problem(answer) == (401, "credential_required")


def test_every_token_that_is_not_authentic_or_not_live_gets_the_same_answer(
    service: Service, http: httpx.Client, user: User
) -> None:
    token, dead = user.token(), user.token()
    http.post("/v1/revocations", json={"presented": True}, headers=bearer(dead))
    bare = token[5:-6]
    forged = token[:-20] + ("A" if token[-20] != "A" else "B") + token[-19:]
    answers = [
        http.get("/v1/authorize", headers={"X-Auth-Token": text})
        for text in (dead, "MDAx", "AgEBAA", "x" * 20_000, bare[:-20] + "AAAA" + bare[-16:])
    ]
    assert {(a.status_code, a.text, a.headers["www-authenticate"]) for a in answers} == {
        (401, answers[0].text, 'Bearer realm="caveats", error="invalid_token"')
    }
    assert problem(http.get("/v1/authorize", headers=bearer(forged))) == (401, "damaged_token")


def test_an_older_encoding_of_a_token_is_as_good_and_dies_with_it(http: httpx.Client, user: User) -> None:
    from caveats import Macaroon

    macaroon = Macaroon.decode(user.token()).to_pymacaroons()
    text = macaroon.serialize()
    assert http.get("/v1/authorize", headers=bearer(text)).status_code == 200
    http.post(
        "/v1/revocations",
        json={"presented": True},
        headers=bearer(Macaroon.from_pymacaroons(macaroon).encode()),
    )
    assert http.get("/v1/authorize", headers=bearer(text)).status_code == 401
