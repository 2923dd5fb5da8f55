"""What an attacker who holds something small would try, to get something larger. Nothing of it works."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Expires, Identifier, Macaroon, Parent, Scope, new_token_id
from caveats import User as UserCaveat
from caveats_service.core.clock import utc_now
from tests.support.service import (
    ADMIN_PASSWORD,
    Service,
    User,
    admin_of,
    admin_token,
    bearer,
    narrow,
    new_user,
    problem,
)

ACCOUNT = [
    ("GET", "/v1/tokens"),
    ("GET", "/v1/tokens/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ("DELETE", "/v1/tokens/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
]
ADMIN = [
    ("GET", "/v1/users"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys/rotate"),
    ("POST", "/v1/keys/k1/retire"),
    ("GET", "/v1/revocations"),
    ("POST", "/v1/users/admin/disable"),
    ("POST", "/v1/users/admin/enable"),
    ("POST", "/v1/users"),
    ("PUT", "/v1/users/admin/password"),
]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/users": {"username": "intruder", "password": "password1"},
    "/v1/users/admin/password": {"new_password": "password1"},
}


def call(http: httpx.Client, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    body = BODIES.get(path) if method in ("POST", "PUT") else None
    return http.request(method, path, json=body, headers=headers)


SMALL = {
    "a narrower scope": lambda user: narrow(user.token(), "scope = photos:read"),
    "a scope with every action": lambda user: narrow(user.token(), "scope = photos:*"),
    "another path": lambda user: narrow(user.token(), "path = /photos/*"),
    "another method": lambda user: narrow(user.token(), "method = PATCH"),
    "another address": lambda user: narrow(user.token(), "client-ip = 192.0.2.1"),
    "another audience": lambda user: user.token(audience="photos"),
    "an unknown caveat": lambda user: narrow(user.token(), "acme/x = 1"),
    "another user's name": lambda user: narrow(user.token(), "user = admin"),
}


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize(("method", "path"), ACCOUNT)
def test_a_copy_given_away_for_less_does_not_stand_for_the_account(
    http: httpx.Client, user: User, kind: str, method: str, path: str
) -> None:
    labelled = user.issue(note="ci")
    token = SMALL[kind](user)
    target = path.replace("01ARZ3NDEKTSV4RRFFQ69G5FAV", labelled["token_id"])
    assert call(http, method, target, bearer(token)).status_code in (401, 403)
    assert http.get("/v1/authorize", headers=bearer(labelled["token"])).status_code == 200


@pytest.mark.parametrize("kind", [*SMALL, "a whole token", "a child", "a session"])
def test_no_users_credential_administers(service: Service, http: httpx.Client, kind: str) -> None:
    user = new_user(service)
    headers: dict[str, str]
    if kind == "a session":
        answer = http.post("/v1/session", json={"username": user.username, "password": user.password})
        cookie = answer.headers["set-cookie"].partition(";")[0]
        headers = {"Cookie": cookie, "Origin": service.url}
    elif kind == "a child":
        headers = bearer(http.post("/v1/tokens", json={}, headers=bearer(user.token())).json()["token"])
    else:
        headers = bearer(user.token() if kind == "a whole token" else SMALL[kind](user))
    for method, path in ADMIN:
        answer = call(http, method, path, headers)
        assert answer.status_code in (401, 403), (method, path, answer.text)
    assert "intruder" not in http.get("/v1/users", headers=bearer(admin_token(service))).text


@pytest.mark.parametrize("kind", SMALL)
def test_no_administrators_copy_given_away_for_less_administers(
    service: Service, http: httpx.Client, kind: str
) -> None:
    admin = admin_of(service)
    if kind == "another audience":
        token = admin.token(scope="* caveats:*", audience="photos")
    else:
        caveat = Macaroon.decode(SMALL[kind](new_user(service))).wire.caveats[-1]
        assert isinstance(caveat, bytes)
        if kind == "another user's name":
            caveat = b"user = somebody-else"
        token = narrow(admin.token(scope="* caveats:*"), caveat.decode())
    for method, path in ADMIN:
        assert call(http, method, path, bearer(token)).status_code in (401, 403)


def test_a_copy_of_a_copy_does_not_list_more_by_being_exchanged(http: httpx.Client, user: User) -> None:
    for kind, make in SMALL.items():
        exchanged = http.post("/v1/tokens", json={}, headers=bearer(make(user)))
        if exchanged.status_code == 201:
            token = exchanged.json()["token"]
            assert http.get("/v1/tokens", headers=bearer(token)).status_code in (401, 403), kind


def test_one_users_token_does_not_touch_anothers(service: Service, http: httpx.Client) -> None:
    alice, mallory = new_user(service), new_user(service)
    victim = alice.issue(note="ci")
    plain = alice.issue()
    token = mallory.token()
    branch = http.post("/v1/verify", json={"token": victim["token"]}).json()["branches"][-1]
    for one in (victim, plain):
        assert http.delete(f"/v1/tokens/{one['token_id']}", headers=bearer(token)).status_code == 404
        assert http.get(f"/v1/tokens/{one['token_id']}", headers=bearer(token)).status_code == 404
        for target in (
            {"token_id": one["token_id"]},
            {"token_id": one["token_id"], "branch_id": branch},
            {"user": alice.username},
        ):
            answer = http.post("/v1/revocations", json=target, headers=bearer(token))
            assert answer.status_code in (403, 404), answer.text
        assert http.get("/v1/authorize", headers=bearer(one["token"])).status_code == 200


def test_whether_a_token_of_another_is_labelled_cannot_be_told(service: Service, http: httpx.Client) -> None:
    alice, mallory = new_user(service), new_user(service)
    token = bearer(mallory.token())
    answers = [
        http.delete(f"/v1/tokens/{token_id}", headers=token).text
        for token_id in (
            alice.issue(note="ci")["token_id"],
            alice.issue()["token_id"],
            new_token_id(utc_now()),
        )
    ]
    assert len(set(answers)) == 1


def test_a_narrowed_copy_kills_itself_and_nothing_above_or_beside_it(http: httpx.Client, user: User) -> None:
    original = user.issue(note="ci")
    copy = narrow(original["token"], "note = a copy")
    sibling = narrow(original["token"], "note = a sibling")
    ids = http.post("/v1/verify", json={"token": original["token"]}).json()["branches"]
    beside = http.post("/v1/verify", json={"token": sibling}).json()["branches"][-1]
    for branch in (*ids, beside, "00" * 16):
        body = {"token_id": original["token_id"], "branch_id": branch}
        assert problem(http.post("/v1/revocations", json=body, headers=bearer(copy)))[0] == 403
    for path in (f"/v1/tokens/{original['token_id']}",):
        # the copy is of a whole account's token, but what it presents is a copy
        narrower = narrow(copy, "scope = photos:read")
        assert http.delete(path, headers=bearer(narrower)).status_code in (403, 404)
    for token in (original["token"], sibling):
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200


def test_renewing_does_not_shake_off_a_caveat(http: httpx.Client, user: User) -> None:
    token = narrow(user.token(), "scope = photos:read", "method = GET")
    renewed = http.post("/v1/tokens/renew", headers=bearer(token)).json()
    assert renewed["scope"] == "photos:read"
    assert http.get("/v1/tokens", headers=bearer(renewed["token"])).status_code == 403


def test_a_child_cannot_be_renewed_beyond_its_parent(http: httpx.Client, user: User) -> None:
    child = http.post("/v1/tokens", json={"expires_in": 60}, headers=bearer(user.token())).json()["token"]
    grandchild = http.post("/v1/tokens", json={}, headers=bearer(child)).json()["token"]
    for token in (child, grandchild, narrow(child, "note = n")):
        assert problem(http.post("/v1/tokens/renew", headers=bearer(token))) == (403, "forbidden")


def test_lineage_that_a_holder_writes_changes_nothing_for_the_better(http: httpx.Client, user: User) -> None:
    token = user.token(expires_in=60)
    forged = narrow(token, "renewed = 2099-01-01T00:00:00Z")
    answer = http.post("/v1/tokens/renew", headers=bearer(forged))
    assert answer.status_code == 200
    http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
    for dead in (forged, answer.json()["token"]):
        assert http.get("/v1/authorize", headers=bearer(dead)).status_code == 401


@pytest.mark.parametrize(
    "scope", ["caveats:admin", "caveats:*", "caveats/x:*", "* caveats:*", "caveats/*:admin"]
)
def test_the_services_own_scopes_cannot_be_had_from_a_users_token(
    http: httpx.Client, user: User, scope: str
) -> None:
    for token in (user.token(), narrow(user.token(), f"scope = {scope}")):
        answer = http.post("/v1/tokens", json={"scope": scope}, headers=bearer(token))
        assert answer.status_code in (400, 403)


def test_a_plain_token_of_an_administrators_cannot_be_exchanged_for_administration(
    service: Service, http: httpx.Client
) -> None:
    token = admin_of(service).token()
    for scope in ("caveats:admin", "* caveats:*"):
        assert problem(http.post("/v1/tokens", json={"scope": scope}, headers=bearer(token))) == (
            403,
            "forbidden",
        )


@pytest.mark.parametrize("asked", [{"username": "admin"}, {"user": "admin"}, {"caveats": ["user = admin"]}])
def test_a_token_for_somebody_else_cannot_be_asked_for(
    http: httpx.Client, user: User, asked: dict[str, Any]
) -> None:
    answer = http.post("/v1/tokens", json=asked, headers=bearer(user.token()))
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Auth-User": "admin"},
        {"X-Forwarded-User": "admin"},
        {"X-Original-URI": "/healthz", "X-Original-Method": "GET"},
        {"X-HTTP-Method-Override": "GET"},
        {"X-Rewrite-URL": "/healthz"},
        {"Forwarded": "for=127.0.0.1;by=x"},
    ],
)
def test_no_header_makes_a_caller_somebody_else_or_somewhere_else(
    http: httpx.Client, user: User, headers: dict[str, str]
) -> None:
    token = narrow(user.token(), "path = /healthz", "method = GET")
    answer = http.get("/v1/tokens", headers={**bearer(token), **headers})
    assert problem(answer) == (403, "caveats_unsatisfied")
    assert http.get("/v1/keys", headers={**bearer(user.token()), **headers}).status_code == 403


def test_a_narrower_copy_is_not_given_the_reply_that_the_whole_token_got(
    http: httpx.Client, user: User
) -> None:
    whole = user.token()
    copy = narrow(whole, "scope = photos:read")
    key = {"Idempotency-Key": "deploy-of-today"}
    first = http.post("/v1/tokens", json={}, headers={**bearer(whole), **key}).json()
    again = http.post("/v1/tokens", json={}, headers={**bearer(whole), **key}).json()
    assert again == first
    answer = http.post("/v1/tokens", json={}, headers={**bearer(copy), **key}).json()
    assert answer["scope"] == "photos:read"
    assert answer["token"] != first["token"]
    other = http.post("/v1/tokens", json={}, headers={**bearer(new_user_token(http)), **key}).json()
    assert other["user"] != user.username


def new_user_token(http: httpx.Client) -> str:
    http.post("/v1/users", json={"username": "passer-by", "password": "password1"})
    answer = http.post("/v1/tokens", json={"username": "passer-by", "password": "password1"})
    return str(answer.json()["token"])


# an app with the keys of its own audience


def minted_by_app(service: Service, audience: str, token_id: str, *caveats: Any) -> str:
    """What an app can make of the keys that it was given."""
    keyring = service.runtime.master_keys.keyring
    key = keyring.export(audience).keys[0]
    identifier = Identifier(key.key_id, audience, token_id, len(caveats))
    return Macaroon.mint(key.root_key(identifier.encode()), identifier, caveats=caveats).encode()


def _usual(user: str) -> list[Any]:
    return [UserCaveat(user), Expires.after(timedelta(hours=1), now=utc_now()), Scope("* caveats:*")]


def test_an_apps_own_keys_give_it_nothing_outside_its_audience(service: Service, http: httpx.Client) -> None:
    token = minted_by_app(service, "photos", new_token_id(utc_now()), *_usual("admin"))
    assert http.get("/v1/authorize?audience=photos", headers=bearer(token)).status_code == 200
    for method, path in (*ACCOUNT, *ADMIN):
        assert call(http, method, path, bearer(token)).status_code in (401, 403, 404)
    exchanged = http.post("/v1/tokens", json={"audience": "default"}, headers=bearer(token))
    assert problem(exchanged) == (403, "forbidden")
    inside = http.post("/v1/tokens", json={}, headers=bearer(token)).json()
    assert inside["audience"] == "photos"


def test_an_apps_token_with_the_id_of_anothers_does_not_kill_that_one(
    service: Service, http: httpx.Client
) -> None:
    victim = new_user(service).issue()
    forged = minted_by_app(service, "photos", victim["token_id"], *_usual(victim["user"]))
    cookie = {"Cookie": f"__Host-caveats-session={forged}", "Origin": service.url}
    for _ in range(2):
        http.delete(f"/v1/tokens/{victim['token_id']}", headers=bearer(forged))
        http.post("/v1/revocations", json={"token_id": victim["token_id"]}, headers=bearer(forged))
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(forged))
        http.delete("/v1/session", headers=cookie)
        http.post("/v1/session", json={"username": "admin", "password": ADMIN_PASSWORD}, headers=cookie)
    assert http.get("/v1/authorize?audience=photos", headers=bearer(forged)).status_code == 401
    assert http.get("/v1/authorize", headers=bearer(victim["token"])).status_code == 200


def test_what_an_app_writes_into_its_token_revokes_no_branch_of_anothers(
    service: Service, http: httpx.Client
) -> None:
    """The parent caveat of a token for an app names the id and the branches of the account's token."""
    account = new_user(service).issue()
    seen = service.call(lambda: service.runtime.tokens.verifier.introspect(account["token"]))
    branch_id = seen.branches[-1].hex()
    for_app = http.post("/v1/tokens", json={"audience": "photos"}, headers=bearer(account["token"])).json()
    assert any(branch_id in str(caveat) for caveat in Macaroon.decode(for_app["token"]).unverified_caveats)
    forged = minted_by_app(service, "photos", account["token_id"], *_usual(account["user"]))
    body = {"token_id": account["token_id"], "branch_id": branch_id}
    assert problem(http.post("/v1/revocations", json=body, headers=bearer(forged))) == (403, "forbidden")
    assert http.get("/v1/authorize", headers=bearer(account["token"])).status_code == 200


def test_an_apps_token_revokes_itself_by_its_own_branch_id(service: Service, http: httpx.Client) -> None:
    token = minted_by_app(service, "photos", new_token_id(utc_now()), *_usual("alice"))
    seen = service.call(lambda: service.runtime.tokens.verifier.introspect(token))
    body = {"token_id": seen.token_id, "branch_id": seen.branches[-1].hex()}
    assert http.post("/v1/revocations", json=body, headers=bearer(token)).status_code == 201
    assert http.get("/v1/authorize?audience=photos", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("by", ["token", "its branch", "token_id", "delete"])
def test_the_audit_names_the_audience_of_a_token_that_an_app_may_have_written(
    service: Service, http: httpx.Client, by: str
) -> None:
    token = minted_by_app(service, "photos", new_token_id(utc_now()), *_usual("admin"))
    seen = service.call(lambda: service.runtime.tokens.verifier.introspect(token))
    bodies: dict[str, dict[str, str]] = {
        "token": {"token": token},
        "its branch": {"token_id": seen.token_id, "branch_id": seen.branches[-1].hex()},
        "token_id": {"token_id": seen.token_id},
    }
    if by == "delete":
        http.delete(f"/v1/tokens/{seen.token_id}", headers=bearer(token)).raise_for_status()
    else:
        http.post("/v1/revocations", json=bodies[by], headers=bearer(token)).raise_for_status()
    (entry,) = [
        entry
        for entry in service.run(service.runtime.store.audit.list(limit=20))
        if entry.subject == seen.token_id
    ]
    assert entry.actor == "a token of audience photos"


def test_what_an_app_writes_into_its_token_labels_nothing_of_a_users(
    service: Service, http: httpx.Client
) -> None:
    user = new_user(service)
    forged = minted_by_app(service, "photos", new_token_id(utc_now()), *_usual(user.username))
    answer = http.post("/v1/tokens", json={"note": "my laptop"}, headers=bearer(forged))
    assert answer.status_code == 201
    assert http.get("/v1/tokens", headers=bearer(user.token())).json()["tokens"] == []


def test_the_use_of_an_apps_token_is_no_use_of_the_token_whose_id_it_has(
    service: Service, http: httpx.Client
) -> None:
    user = new_user(service)
    account = user.token()
    labelled = user.issue(note="my laptop", scope="photos:read")
    forged = minted_by_app(
        service, "photos", labelled["token_id"], *_usual(user.username), b"note = my laptop"
    )

    def last_use() -> object:
        return http.get(f"/v1/tokens/{labelled['token_id']}", headers=bearer(account)).json()["last_used_at"]

    assert http.get("/v1/authorize?audience=photos", headers=bearer(forged)).status_code == 200
    http.post("/v1/verify", json={"token": forged, "audience": "photos"}).raise_for_status()
    service.run(service.runtime.tokens.write_uses())
    assert last_use() is None
    assert http.get("/v1/authorize?scope=photos:read", headers=bearer(labelled["token"])).status_code == 200
    assert last_use() is not None


def test_an_apps_token_in_the_cookie_is_nobodys_session(service: Service, http: httpx.Client) -> None:
    forged = minted_by_app(service, "photos", new_token_id(utc_now()), *_usual("admin"))
    answer = http.get("/v1/session", headers={"Cookie": f"__Host-caveats-session={forged}"})
    assert problem(answer) == (401, "invalid_token")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("token_id", ["7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "00000000000000000000000000"])
def test_a_token_minted_beyond_all_time_breaks_nothing(
    service: Service, http: httpx.Client, token_id: str
) -> None:
    token = minted_by_app(service, "photos", token_id, *_usual("somebody"))
    for method, path in (
        ("POST", "/v1/tokens/renew"),
        ("POST", "/v1/tokens"),
        ("POST", "/v1/revocations"),
        ("POST", "/v1/verify"),
        ("GET", "/v1/authorize?audience=photos"),
    ):
        body = {"token": token, "audience": "photos"} if path == "/v1/verify" else None
        answer = http.request(method, path, headers={} if body else bearer(token), json=body)
        assert answer.status_code < 500, (path, answer.text)


@pytest.mark.parametrize(
    "caveats",
    [
        [UserCaveat("x")],
        [UserCaveat("x"), Scope("*")],
        [UserCaveat("x"), Scope("*"), Expires(utc_now() + timedelta(hours=1))],
        [UserCaveat("x"), b"expires = never", b"scope = "],
        [UserCaveat("\u00e9\u4e2d"), Expires(utc_now() + timedelta(hours=1)), Scope("*")],
        [Scope("*"), UserCaveat("x")],
        [UserCaveat("x"), *[Parent("k1", new_token_id(utc_now()), ()) for _ in range(3)]],
    ],
    ids=["a user", "no expiry", "another order", "garbage", "name beyond ASCII", "user second", "parents"],
)
def test_a_token_that_an_app_laid_out_otherwise_breaks_nothing(
    service: Service, http: httpx.Client, caveats: list[Any]
) -> None:
    token = minted_by_app(service, "photos", new_token_id(utc_now()), *caveats)
    for method, path in (
        ("POST", "/v1/tokens/renew"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/authorize?audience=photos"),
        ("GET", "/v1/tokens"),
        ("DELETE", "/v1/tokens/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("POST", "/v1/revocations"),
    ):
        answer = http.request(method, path, headers=bearer(token))
        assert answer.status_code < 500, (path, answer.text)
    cookie = {"Cookie": f"__Host-caveats-session={token}", "Origin": service.url}
    for method in ("GET", "DELETE"):
        assert http.request(method, "/v1/session", headers=cookie).status_code < 500
