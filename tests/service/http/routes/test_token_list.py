"""The list of labelled tokens: what is left of each, what ended it, and whose list one may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.service import (
    ADMIN_PASSWORD,
    Clock,
    Service,
    User,
    admin_token,
    basic,
    bearer,
    narrow,
    new_user,
    problem,
)

ADMIN = basic("admin", ADMIN_PASSWORD)
LIVE = {"status": "live", "revoked_by": None, "revoked_at": None, "revoked_copies": 0}


@pytest.fixture
def own(start: Callable[..., Service], clock: Clock) -> Service:
    """A service of one's own, whose keys a test may retire."""
    return start(now=clock)


@pytest.fixture
def http(own: Service) -> Iterator[httpx.Client]:
    with own.client() as client:
        yield client


def row(http: httpx.Client, user: User, token_id: str) -> dict[str, Any]:
    """The token in the user's list, which says the same of it as the answer about it alone."""
    mine = basic(user.username, user.password)
    listed = http.get("/v1/tokens", headers=mine).json()["tokens"]
    (found,) = (one for one in listed if one["token_id"] == token_id)
    assert http.get(f"/v1/tokens/{token_id}", headers=mine).json() == found
    assert http.get(f"/v1/users/{user.username}/tokens", headers=ADMIN).json()["tokens"] == listed
    return dict(found)


def revoke(http: httpx.Client, token: str, **body: Any) -> None:
    answer = http.post("/v1/revocations", json=body or {"presented": True}, headers=bearer(token))
    assert answer.status_code == 201, answer.text


def retire_the_key(http: httpx.Client) -> None:
    assert http.post("/v1/keys/rotate", json={"now": True}, headers=ADMIN).status_code == 201
    assert http.post("/v1/keys/k1/retire", json={"force": True}, headers=ADMIN).status_code == 200


WAYS: dict[str, tuple[str, Callable[[httpx.Client, User, dict[str, Any]], object]]] = {
    "the copy itself": ("copy", lambda http, _, issued: revoke(http, issued["token"])),
    "its id": ("id", lambda http, user, issued: revoke(http, user.token(), token_id=issued["token_id"])),
    "DELETE": (
        "id",
        lambda http, user, issued: http.delete(
            f"/v1/tokens/{issued['token_id']}", headers=bearer(user.token())
        ),
    ),
    "an administrator": (
        "id",
        lambda http, user, issued: http.delete(
            f"/v1/users/{user.username}/tokens/{issued['token_id']}", headers=ADMIN
        ),
    ),
    "all of the user's": ("user", lambda http, user, _: revoke(http, user.token(), user=user.username)),
    "a new password": (
        "user",
        lambda http, user, _: http.put(
            f"/v1/users/{user.username}/password", json={"new_password": user.password}, headers=ADMIN
        ),
    ),
    "its key": ("key", lambda http, *_: retire_the_key(http)),
}


@pytest.mark.slow
@pytest.mark.parametrize(("by", "end"), WAYS.values(), ids=WAYS)
def test_what_was_revoked_is_listed_as_revoked_with_how_and_when(
    http: httpx.Client, own: Service, clock: Clock, by: str, end: Callable[..., object]
) -> None:
    user = new_user(own)
    issued = user.issue(note="ci", expires_in="1h")
    assert row(http, user, issued["token_id"]).items() >= LIVE.items()
    clock.forward(minutes=5)
    end(http, user, issued)
    assert (
        row(http, user, issued["token_id"]).items()
        >= {
            "status": "revoked",
            "revoked_by": by,
            "revoked_at": "2026-11-21T12:05:00Z",
            "revoked_copies": 0,
        }.items()
    )
    assert http.get("/v1/authorize", headers=bearer(issued["token"])).status_code == 401


@pytest.mark.parametrize("which", ["copy", "narrower copy", "renewal of a copy", "id", "key"])
def test_what_dies_with_its_parent_is_listed_so(
    http: httpx.Client, own: Service, clock: Clock, which: str
) -> None:
    user = new_user(own)
    parent = user.issue(expires_in="2h")
    copy = narrow(parent["token"], "note = a copy")
    if which == "renewal of a copy":
        clock.forward(minutes=1)
        copy = http.post("/v1/tokens/renew", headers=bearer(copy)).json()["token"]
    child = http.post("/v1/tokens", json={"note": "child"}, headers=bearer(copy)).json()
    clock.forward(minutes=5)
    match which:
        case "id":
            http.delete(f"/v1/tokens/{parent['token_id']}", headers=bearer(admin_token(own)))
        case "key":
            retire_the_key(http)
        case "copy":
            revoke(http, parent["token"])
        case _:
            revoke(http, copy)
    found = row(http, user, child["token_id"])
    assert (found["status"], found["revoked_by"]) == ("revoked", "key" if which == "key" else "parent")
    assert http.get("/v1/authorize", headers=bearer(child["token"])).status_code == 401


def test_a_narrower_copy_that_is_revoked_is_counted_and_the_token_lives(
    http: httpx.Client, own: Service
) -> None:
    user = new_user(own)
    issued = user.issue(note="ci")
    copies = [narrow(issued["token"], f"note = {n}") for n in range(2)]
    for copy in copies:
        revoke(http, copy)
    assert row(http, user, issued["token_id"]).items() >= {**LIVE, "revoked_copies": 2}.items()
    assert http.get("/v1/authorize", headers=bearer(issued["token"])).status_code == 200


def test_what_is_left_of_a_token_is_what_its_renewals_and_its_caveats_left(
    http: httpx.Client, own: Service, clock: Clock
) -> None:
    user = new_user(own)
    asked = {"scope": "photos:*", "caveats": ["expires = 2026-11-21T12:30:00Z", "scope = photos:read"]}
    cut = user.issue(note="cut", expires_in="2h", **asked)
    assert (cut["scope"], cut["expires_at"]) == ("photos:read", "2026-11-21T12:30:00Z")
    found = row(http, user, cut["token_id"])
    assert (found["scope"], found["expires_at"]) == (cut["scope"], cut["expires_at"])

    issued = user.issue(note="laptop", expires_in="1h")
    clock.forward(minutes=40)
    renewed = http.post("/v1/tokens/renew", headers=bearer(issued["token"])).json()
    assert renewed["expires_at"] == "2026-11-21T13:40:00Z"
    short = narrow(issued["token"], "expires = 2026-11-21T12:50:00Z")
    assert http.post("/v1/tokens/renew", headers=bearer(short)).status_code == 200
    assert row(http, user, issued["token_id"])["expires_at"] == "2026-11-21T13:40:00Z"

    clock.forward(minutes=25)
    assert row(http, user, cut["token_id"])["status"] == "expired"
    own.run(own.runtime.store.labels.prune(now=clock(), actor="system"))
    assert row(http, user, issued["token_id"])["status"] == "live"
    revoke(http, renewed["token"])
    assert row(http, user, issued["token_id"])["revoked_by"] == "copy"


@pytest.mark.parametrize(("shared", "expected"), [(False, [False, True]), (True, [True, True])])
def test_a_last_use_says_whether_apps_may_have_used_it_later(
    start: Callable[..., Service], shared: bool, expected: list[bool]
) -> None:
    user = new_user(start(unsafe_share_account_keys=shared))
    for audience in ("photos", "default"):
        user.issue(note=audience, audience=audience)
    with user.service.client() as http:
        listed = http.get("/v1/tokens", headers=basic(user.username, user.password)).json()["tokens"]
    assert [one["unreported_use"] for one in listed] == expected


def test_a_user_is_told_of_their_own_by_both_addresses(http: httpx.Client, own: Service) -> None:
    user = new_user(own)
    user.issue(note="ci")
    mine = bearer(user.token())
    assert (
        http.get(f"/v1/users/{user.username.upper()}/tokens", headers=mine).json()
        == http.get("/v1/tokens", headers=mine).json()
    )


@pytest.fixture
def two(own: Service) -> tuple[User, User, dict[str, Any]]:
    """Two users, and a labelled token of the first."""
    first, second = new_user(own), new_user(own)
    return first, second, first.issue(note="secret plans")


WHO: dict[str, tuple[Callable[[User, User], dict[str, str]], tuple[int, str]]] = {
    "nobody": (lambda _, __: {}, (401, "credential_required")),
    "another user": (lambda _, other: basic(other.username, other.password), (403, "forbidden")),
    "another user's token": (lambda _, other: bearer(other.token()), (403, "forbidden")),
    "another user's narrower token": (
        lambda _, other: bearer(narrow(other.token(), "scope = a:b")),
        (403, "caveats_unsatisfied"),
    ),
    "the user's own narrower token": (
        lambda first, _: bearer(narrow(first.token(), "scope = a:b")),
        (403, "caveats_unsatisfied"),
    ),
    "an administrator's token without the scope": (
        lambda first, _: bearer(User(first.service, "admin", ADMIN_PASSWORD).token()),
        (403, "forbidden"),
    ),
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(("who", "answer"), WHO.values(), ids=WHO)
def test_nobody_else_sees_or_revokes_a_users_tokens(
    http: httpx.Client,
    two: tuple[User, User, dict[str, Any]],
    method: str,
    who: Callable[[User, User], dict[str, str]],
    answer: tuple[int, str],
) -> None:
    first, second, issued = two
    path = f"/v1/users/{first.username}/tokens"
    if method == "DELETE":
        path += f"/{issued['token_id']}"
    refused = http.request(method, path, headers=who(first, second))
    assert problem(refused) == answer
    assert "secret plans" not in refused.text
    assert row(http, first, issued["token_id"])["status"] == "live"


@pytest.mark.parametrize(
    "headers", [lambda own: ADMIN, lambda own: bearer(admin_token(own))], ids=["password", "token"]
)
def test_an_administrator_lists_and_revokes_a_users_tokens_and_the_audit_says_who(
    http: httpx.Client, own: Service, two: tuple[User, User, dict[str, Any]], headers: Callable[..., Any]
) -> None:
    first, second, issued = two
    path = f"/v1/users/{first.username}/tokens"
    listed = http.get(path, headers=headers(own)).json()
    assert [one["note"] for one in listed["tokens"]] == ["secret plans"]
    wrong = f"/v1/users/{second.username}/tokens/{issued['token_id']}"
    assert problem(http.delete(wrong, headers=headers(own))) == (404, "not_found")
    for _ in range(2):
        assert http.delete(f"{path}/{issued['token_id']}", headers=headers(own)).status_code == 204
    assert row(http, first, issued["token_id"])["revoked_by"] == "id"
    entries = own.run(own.runtime.store.audit.list(limit=100))
    written = [(one.actor, one.subject) for one in entries if one.action == "revocation.token"]
    assert written == [("admin", issued["token_id"])]


def test_a_users_list_has_pages_with_bounds(http: httpx.Client, own: Service) -> None:
    user = new_user(own)
    ids = [user.issue(note=f"n{n}")["token_id"] for n in range(3)]
    path = f"/v1/users/{user.username}/tokens"
    first = http.get(f"{path}?limit=2", headers=ADMIN).json()
    second = http.get(f"{path}?limit=2&after={first['next']}", headers=ADMIN).json()
    assert {one["token_id"] for one in first["tokens"] + second["tokens"]} == set(ids)
    assert second["next"] is None
    for query, status in (("limit=1001", 400), ("limit=x", 400), ("limit=1000", 200)):
        assert http.get(f"{path}?{query}", headers=ADMIN).status_code == status


@pytest.mark.parametrize("name", ["nobody", "no%20body", "a" * 65])
def test_a_user_who_is_not_there_has_no_list(http: httpx.Client, name: str) -> None:
    answer = http.get(f"/v1/users/{name}/tokens", headers=ADMIN)
    assert problem(answer) in ((404, "not_found"), (400, "bad_request"))


def test_no_path_without_an_id_revokes_anything(
    http: httpx.Client, two: tuple[User, User, dict[str, Any]]
) -> None:
    """A script whose variable is empty."""
    first, _, issued = two
    for path in (f"/v1/users/{first.username}/tokens", f"/v1/users/{first.username}/tokens/"):
        assert http.delete(path, headers=ADMIN).status_code in (404, 405)
    assert row(http, first, issued["token_id"])["status"] == "live"
