"""The account's audience gives no keys away, and a token does not become the account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats import Expires, Identifier, Macaroon, PrivateKey, Scope, User, new_token_id
from caveats.token import encode_base64
from caveats_service.core.clock import utc_now
from tests.support.service import (
    ADMIN_PASSWORD,
    Service,
    admin_token,
    basic,
    bearer,
    cli,
    new_user,
    problem,
)

ADMIN = basic("admin", ADMIN_PASSWORD)


def register(http: httpx.Client, audience: str) -> httpx.Response:
    key = encode_base64(PrivateKey.generate().public_key)
    return http.post("/v1/verifiers", json={"audience": audience, "public_key": key}, headers=ADMIN)


def made_by_an_app(service: Service, scope: str = "* caveats:*") -> str:
    """A token for the administrator, as whoever has the keys of audience default can make it."""
    masters = service.runtime.master_keys.keyring
    identifier = Identifier(masters.active.key_id, "default", new_token_id(utc_now()), 3)
    caveats = [User("admin"), Expires(utc_now() + timedelta(hours=1)), Scope(scope)]
    return Macaroon.mint(masters.root_key(identifier), identifier, caveats=caveats).encode()


def test_the_accounts_audience_gives_no_keys_away(service: Service, http: httpx.Client) -> None:
    assert problem(register(http, "default")) == (403, "forbidden")
    assert "CAVEATS_UNSAFE_SHARE_ACCOUNT_KEYS" in register(http, "default").json()["detail"]
    assert register(http, "photos").status_code == 201


def test_keys_of_accounts_that_were_shared_once_are_given_no_more_when_that_is_over(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    unsafe = start(folder=tmp_path / "one", unsafe_share_account_keys=True)
    with unsafe.client() as http:
        app = register(http, "default").json()["verifier_id"]
        assert http.get(f"/v1/verifiers/{app}/keys").status_code == 200
    object.__setattr__(unsafe.settings, "unsafe_share_account_keys", False)
    with unsafe.client() as http:
        assert problem(http.get(f"/v1/verifiers/{app}/keys")) == (403, "forbidden")


def test_the_export_of_the_accounts_keys_needs_the_setting_and_warns(tmp_path: Path) -> None:
    cli(tmp_path, "migrate")
    cli(tmp_path, "users", "add", "root", "--admin", "--password-stdin", stdin=f"{ADMIN_PASSWORD}\n")
    refused = cli(tmp_path, "keys", "export", "--audience", "default", expect=1)
    assert "CAVEATS_UNSAFE_SHARE_ACCOUNT_KEYS" in refused.stderr
    assert not refused.stdout
    shared = {"UNSAFE_SHARE_ACCOUNT_KEYS": "true"}
    assert "careful" in cli(tmp_path, "keys", "export", "--audience", "default", **shared).stderr
    assert not cli(tmp_path, "keys", "export", "--audience", "photos").stderr


@pytest.mark.parametrize("how", ["forged", "exchanged", "issued", "session"])
def test_where_accounts_keys_are_shared_no_token_administers(start: Callable[..., Service], how: str) -> None:
    with (service := start(unsafe_share_account_keys=True)).client() as http:
        token = made_by_an_app(service) if how in ("forged", "exchanged") else admin_token(service)
        if how == "exchanged":
            token = http.post("/v1/tokens", json={"scope": "caveats:*"}, headers=bearer(token)).json()[
                "token"
            ]
        headers = bearer(token)
        if how == "session":
            signed_in = http.post("/v1/session", json={"username": "admin", "password": ADMIN_PASSWORD})
            headers = {"Cookie": signed_in.headers["set-cookie"].partition(";")[0], "Origin": service.url}
        for method, path in (("GET", "/v1/users"), ("GET", "/v1/keys"), ("POST", "/v1/keys/rotate")):
            assert problem(http.request(method, path, headers=headers)) == (403, "forbidden")
        for scope in ("caveats:admin", "caveats/keys:rotate", "photos:read caveats:x"):
            query = {"scope": scope.split(" ")}
            assert problem(http.get("/v1/authorize", params=query, headers=headers)) == (403, "forbidden")
            asked = {"token": token, "scope": scope}
            assert problem(http.post("/v1/verify", json=asked)) == (403, "forbidden")
        assert http.get("/v1/users", headers=ADMIN).status_code == 200


def test_an_administrators_token_does_not_change_their_own_password_without_the_present_one(
    start: Callable[..., Service],
) -> None:
    with (service := start()).client() as http:
        admin, other = admin_token(service), new_user(service)
        wish = {"new_password": "taken over"}
        cookie = http.post("/v1/session", json={"username": "admin", "password": ADMIN_PASSWORD})
        session = {"Cookie": cookie.headers["set-cookie"].partition(";")[0], "Origin": service.url}
        for credential in (bearer(admin), {"X-Auth-Token": admin}, session):
            answer = http.put("/v1/users/admin/password", json=wish, headers=credential)
            assert problem(answer) == (403, "forbidden")
        wrong = {**wish, "password": "not the present one"}
        assert http.put("/v1/users/admin/password", json=wrong, headers=bearer(admin)).status_code == 401
        changed = http.put(f"/v1/users/{other.username}/password", json=wish, headers=bearer(admin))
        assert changed.status_code == 204
        right = {**wish, "password": ADMIN_PASSWORD}
        assert http.put("/v1/users/admin/password", json=right, headers=bearer(admin)).status_code == 204


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"X-Original-URI": "/a"},
        {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/a"},
        {"X-Original-Method": "BREW"},
        {"X-Original-Method": "get"},
        {"X-Original-Method": ""},
        {"X-Original-Method": "GET", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
        {"X-Original-Method": "GET", "Sec-WebSocket-Version": "13"},
    ],
    ids=[
        "nothing",
        "a path",
        "by a stranger",
        "another",
        "lower case",
        "empty",
        "a WebSocket",
        "one over HTTP/2",
    ],
)
def test_a_session_cookie_with_a_method_that_is_unknown_counts_as_unsafe(
    service: Service, http: httpx.Client, said: dict[str, str]
) -> None:
    session = {"Cookie": f"__Host-caveats-session={new_user(service).token()}"}
    asked = {**said, **session}
    for origin in ({}, {"Origin": "null"}, {"Origin": "https://evil.example"}):
        answer = http.get("/v1/authorize", headers={**asked, **origin})
        assert problem(answer) == (403, "cross_site")
    own = http.get("/v1/authorize", headers={**asked, "Origin": service.url})
    assert own.status_code == 200
    for safe in ("GET", "HEAD"):
        answer = http.get("/v1/authorize", headers={"X-Original-Method": safe, **session})
        assert answer.status_code == 200
