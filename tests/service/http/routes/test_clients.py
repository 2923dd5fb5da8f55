"""Issuing clients: a site hands tokens to its own users, within its bounds, and all of them die with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.service import (
    Clock,
    Service,
    User,
    admin_token,
    basic,
    bearer,
    cli,
    narrow,
    new_user,
    problem,
    rows,
)

_numbers = count()


class Site:
    """A client and its secret."""

    def __init__(self, service: Service, **bounds: Any) -> None:
        self.service = service
        name = f"site{next(_numbers)}"
        body = {"name": name, "audiences": ["photos"], "scope": "photos:*", "longest_life": "1h", **bounds}
        with service.client(headers=bearer(admin_token(service))) as http:
            answer = http.post("/v1/clients", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        self.name, self.id, self.secret = name, made["client_id"], made["client_secret"]

    def ask(self, user: str, **asked: Any) -> httpx.Response:
        body = {"client_id": self.id, "client_secret": self.secret, "user": user, **asked}
        with self.service.client() as http:
            return http.post("/v1/tokens", json=body)

    def issue(self, user: str, **asked: Any) -> str:
        answer = self.ask(user, **asked)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


def granted(service: Service, token: str, scope: str = "photos:read", audience: str = "photos") -> bool:
    body = {"token": token, "scope": scope, "audience": audience}
    with service.client() as http:
        answer = http.post("/v1/verify", json=body)
    return answer.status_code == 200 and bool(answer.json()["granted"])


def test_a_site_issues_for_its_users_and_each_token_is_the_users(service: Service, user: User) -> None:
    site = Site(service, users=[user.username.upper()])
    made = site.ask(user.username, scope="photos:read", expires_in="10m", note="from the site").json()
    assert (made["user"], made["scope"], made["audience"]) == (user.username, "photos:read", "photos")
    assert granted(service, made["token"])
    assert not granted(service, made["token"], "photos:write")
    with service.client() as http:
        basic_way = http.post("/v1/tokens", json={"user": user.username}, headers=basic(site.id, site.secret))
        assert basic_way.json()["scope"] == "photos:*"
        listed = http.get("/v1/tokens", headers=bearer(user.token())).json()["tokens"]
        assert [one["token_id"] for one in listed] == [made["token_id"]]
        gone = http.delete(f"/v1/tokens/{made['token_id']}", headers=bearer(user.token()))
        assert gone.status_code == 204
    assert not granted(service, made["token"])
    assert granted(service, basic_way.json()["token"])


def test_it_issues_for_nobody_else_and_says_the_same_of_all(service: Service, user: User) -> None:
    closed, deleted = new_user(service), new_user(service)
    site = Site(service, users=[user.username, closed.username, deleted.username])
    with service.client(headers=bearer(admin_token(service))) as http:
        http.post(f"/v1/users/{closed.username}/disable")
        http.delete(f"/v1/users/{deleted.username}")
    answers = [
        site.ask(name)
        for name in ("admin", "nobody-at-all", new_user(service).username, closed.username, deleted.username)
    ]
    assert {problem(answer) for answer in answers} == {(403, "forbidden")}
    assert len({answer.json()["detail"] for answer in answers}) == 1


def test_members_of_its_groups_are_those_of_the_moment(service: Service, user: User) -> None:
    with service.client(headers=bearer(admin_token(service))) as http:
        group = f"members{user.username}"
        http.put(f"/v1/groups/{group}", json={"members": []})
        site = Site(service, groups=[group])
        assert site.ask(user.username).status_code == 403
        http.put(f"/v1/groups/{group}/members/{user.username}")
        assert granted(service, site.issue(user.username))
        http.delete(f"/v1/groups/{group}/members/{user.username}")
        assert site.ask(user.username).status_code == 403


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"scope": "albums:read"}, 403),
        ({"scope": "*"}, 403),
        ({"scope": "caveats:admin"}, 403),
        ({"scope": "photos:read caveats:admin"}, 403),
        ({"audience": "default"}, 403),
        ({"audience": "albums"}, 403),
        ({"caveats": ["user = admin"]}, 400),
        ({"caveats": ["parent = k1 01J00000000000000000000000"]}, 400),
        ({"expires_in": "365d"}, 400),
        ({"username": "x", "password": "y"}, 400),
    ],
    ids=str,
)
def test_what_is_beyond_its_bounds_is_refused(service: Service, user: User, asked: Any, status: int) -> None:
    site = Site(service, users=[user.username])
    assert problem(site.ask(user.username, **asked))[0] == status


def test_for_an_administrator_it_issues_no_scope_of_the_services_own(service: Service) -> None:
    site = Site(service, users=["admin"], scope="*")
    for scope in ("caveats:admin", "caveats:*", "* caveats:*"):
        assert problem(site.ask("admin", scope=scope)) == (403, "forbidden")
    with service.client() as http:
        answer = http.get("/v1/users", headers=bearer(site.issue("admin")))
        assert answer.status_code in (401, 403)


def test_no_token_reaches_beyond_what_its_account_may_have(service: Service) -> None:
    folder = service.settings.data_dir.parent
    cli(folder, "users", "add", "narrow1", "--scope", "photos/42:*", "--password-stdin", stdin="password1\n")
    site = Site(service, users=["narrow1"], scope="photos:read albums:read")
    made = site.ask("narrow1").json()
    assert made["scope"] == "photos/42:read"
    assert problem(site.ask("narrow1", scope="photos:read")) == (403, "forbidden")
    other = Site(service, users=["narrow1"], scope="albums:read")
    assert problem(other.ask("narrow1")) == (403, "forbidden")


def test_a_token_for_the_default_audience_is_not_the_account(service: Service, user: User) -> None:
    site = Site(service, users=[user.username], audiences=["default"], scope="photos:*")
    token = site.issue(user.username)
    with service.client() as http:
        assert http.get("/v1/authorize?scope=photos:read", headers=bearer(token)).status_code == 200
        assert problem(http.get("/v1/tokens", headers=bearer(token)))[0] == 403
        revoke = http.post("/v1/revocations", json={"user": user.username}, headers=bearer(token))
        assert revoke.status_code == 403


def test_the_life_is_cut_to_the_clients_and_not_renewed(start: Callable[..., Service], clock: Clock) -> None:
    service = start(now=clock)
    user = new_user(service)
    site = Site(service, users=[user.username], longest_life=600)
    made = site.ask(user.username, expires_in="5h").json()
    ends, begins = (datetime.fromisoformat(made[name]) for name in ("expires_at", "issued_at"))
    assert (ends - begins).total_seconds() == 600
    with service.client() as http:
        assert problem(http.post("/v1/tokens/renew", headers=bearer(made["token"]))) == (403, "forbidden")
    clock.forward(seconds=601)
    assert not granted(service, made["token"])
    assert granted(service, site.issue(user.username))


@pytest.mark.parametrize("wrong", ["secret", "id", "neither", "token", "two"])
def test_only_its_secret_is_its_credential(service: Service, user: User, wrong: str) -> None:
    site = Site(service, users=[user.username])
    body = {"client_id": site.id, "client_secret": site.secret, "user": user.username}
    headers = {}
    expected: tuple[int, str] = (401, "invalid_credentials")
    if wrong == "secret":
        body["client_secret"] = site.secret[:-1] + ("a" if site.secret[-1] != "a" else "b")
    elif wrong == "id":
        body["client_id"] = "01J00000000000000000000000"
    elif wrong == "neither":
        body = {"user": user.username}
        expected = (401, "credential_required")
    elif wrong == "token":
        body, headers = {"user": user.username}, bearer(user.token())
        expected = (400, "bad_request")
    else:
        headers = basic(site.id, site.secret)
        expected = (400, "two_credentials")
    with service.client() as http:
        answer = http.post("/v1/tokens", json=body, headers=headers)
    assert problem(answer) == expected
    assert site.secret not in answer.text


def test_its_secret_signs_in_nowhere_else(service: Service, user: User) -> None:
    site = Site(service, users=[user.username])
    with service.client(headers=basic(site.id, site.secret)) as http:
        assert problem(http.get("/v1/tokens"))[0] == 401
        assert problem(http.get("/v1/users"))[0] == 401
        assert problem(http.post("/v1/tokens", json={}))[0] == 401


def test_all_that_it_has_issued_dies_with_it_and_nothing_else(service: Service, user: User) -> None:
    site, other = (Site(service, users=[user.username]) for _ in range(2))
    token = site.issue(user.username)
    with service.client() as http:
        child = http.post("/v1/tokens", json={"scope": "photos:read"}, headers=bearer(token)).json()["token"]
        tokens = [token, narrow(token, "note = a copy"), child]
        kept = [other.issue(user.username), user.token(audience="photos")]
        assert all(granted(service, one) for one in [*tokens, *kept])
        admin = bearer(admin_token(service))
        assert http.delete(f"/v1/clients/{site.id}", headers=admin).status_code == 204
        assert not any(granted(service, one) for one in tokens)
        assert all(granted(service, one) for one in kept)
        assert problem(site.ask(user.username)) == (401, "invalid_credentials")
        assert problem(http.delete(f"/v1/clients/{site.id}", headers=admin)) == (404, "not_found")


@pytest.mark.parametrize("how", ["password", "revoke", "disable"])
def test_what_ends_all_that_a_user_has_ends_these_and_new_ones_live(
    service: Service, user: User, how: str
) -> None:
    """Although all of them name a parent that is older than that."""
    site = Site(service, users=[user.username])
    before = site.issue(user.username)
    with service.client(headers=bearer(admin_token(service))) as http:
        if how == "password":
            http.put(f"/v1/users/{user.username}/password", json={"new_password": "brand new one"})
        elif how == "revoke":
            http.post("/v1/revocations", json={"user": user.username})
        else:
            http.post(f"/v1/users/{user.username}/disable")
            http.post(f"/v1/users/{user.username}/enable")
    assert not granted(service, before)
    assert granted(service, site.issue(user.username))


def test_the_audit_names_the_client_and_holds_no_secret(start: Callable[..., Service]) -> None:
    service = start()
    user = new_user(service)
    site = Site(service, users=[user.username])
    made = site.ask(user.username, scope="photos:read", note="ci").json()
    folder = service.settings.data_dir.parent
    found = rows(folder, "SELECT actor, action, subject, detail FROM audit ORDER BY id DESC LIMIT 2")
    assert [row[:3] for row in found] == [
        (f"client {site.name}", "token.label", made["token_id"]),
        (f"client {site.name}", "token.issue", made["token_id"]),
    ]
    assert json.loads(found[1][3]) == {"user": user.username, "scope": "photos:read", "audience": "photos"}
    everything = json.dumps(rows(folder, "SELECT * FROM audit"))
    assert site.secret not in everything
    assert made["token"] not in everything


@pytest.mark.parametrize(
    "bounds",
    [
        {},
        {"users": ["admin"], "scope": "caveats:admin"},
        {"users": ["admin"], "scope": "* caveats:*"},
        {"users": ["admin"], "scope": "nonsense"},
        {"users": ["admin"], "audiences": ["Photos"]},
        {"users": ["admin"], "audiences": ["default"], "scope": "*"},
        {"users": ["admin"], "longest_life": 0},
        {"users": ["admin"], "longest_life": "31d"},
        {"users": ["admin"], "name": "two words"},
    ],
    ids=str,
)
def test_bounds_that_none_may_have_are_refused(service: Service, bounds: dict[str, Any]) -> None:
    body = {"name": "odd", "audiences": ["photos"], "scope": "photos:*", **bounds}
    with service.client(headers=bearer(admin_token(service))) as http:
        assert problem(http.post("/v1/clients", json=body)) == (400, "bad_request")


def test_who_it_names_must_be_there_and_only_administrators_manage_clients(
    service: Service, user: User
) -> None:
    body = {"name": "odd", "users": ["nobody-at-all"], "audiences": ["photos"], "scope": "photos:*"}
    with service.client() as http:
        admin = bearer(admin_token(service))
        assert problem(http.post("/v1/clients", json=body, headers=admin)) == (404, "not_found")
        site = Site(service, users=[user.username])
        again = {**body, "users": ["admin"], "name": site.name}
        assert problem(http.post("/v1/clients", json=again, headers=admin)) == (409, "conflict")
        listed = http.get("/v1/clients?limit=1000", headers=admin)
        assert site.id in {one["client_id"] for one in listed.json()["clients"]}
        assert site.secret not in listed.text
        for method, path in (
            ("POST", "/v1/clients"),
            ("GET", "/v1/clients"),
            ("DELETE", f"/v1/clients/{site.id}"),
        ):
            sent = {"json": body} if method == "POST" else {}
            for headers in ({}, bearer(user.token()), basic(user.username, user.password)):
                assert http.request(method, path, headers=headers, **sent).status_code in (401, 403)


def test_a_request_sent_again_has_the_same_token(service: Service, user: User) -> None:
    site = Site(service, users=[user.username])
    body = {"client_id": site.id, "client_secret": site.secret, "user": user.username}
    with service.client(headers={"Idempotency-Key": "once-and-only-once"}) as http:
        assert http.post("/v1/tokens", json=body).json() == http.post("/v1/tokens", json=body).json()


def test_the_command_line_adds_lists_and_removes(
    start: Callable[..., Service], database: dict[str, Any]
) -> None:
    service = start(**database)
    user = new_user(service)
    folder = service.settings.data_dir.parent
    given = {"DATABASE_URL": database["database_url"]} if database else {}
    bounds = ["--user", user.username, "--audience", "photos", "--scope", "photos:*", "--longest-life", "1h"]
    done = cli(folder, "clients", "add", "photo-site", *bounds, "--json", **given)
    made = json.loads(done.stdout)
    body = {**made, "user": user.username}
    with service.client() as http:
        token = http.post("/v1/tokens", json=body).json()["token"]
        assert granted(service, token)
        (listed,) = json.loads(cli(folder, "clients", "list", "--json", **given).stdout)
        assert (listed["name"], listed["longest_life"]) == ("photo-site", 3600)
        assert "secret" not in json.dumps(listed)
        assert cli(folder, "clients", "add", "x", "--audience", "a", "--scope", "a:b", expect=2, **given)
        cli(folder, "clients", "remove", made["client_id"], **given)
        service.run(service.runtime.feed.load())
        assert not granted(service, token)
        assert problem(http.post("/v1/tokens", json=body)) == (401, "invalid_credentials")
