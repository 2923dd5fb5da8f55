"""POST /v1/tokens: what is issued, against what, and never beyond it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Macaroon
from tests.support.service import (
    Clock,
    Service,
    User,
    admin_of,
    basic,
    bearer,
    cli,
    narrow,
    new_user,
    problem,
)


def predicates(token: str) -> list[str]:
    return [caveat.decode() for caveat in Macaroon.decode(token).wire.caveats if isinstance(caveat, bytes)]


def exchange(http: httpx.Client, token: str, **asked: Any) -> httpx.Response:
    return http.post("/v1/tokens", json=asked, headers=bearer(token))


def alive(http: httpx.Client, token: str, **facts: str) -> bool:
    return http.get("/v1/authorize", params=facts, headers=bearer(token)).status_code in (200, 403)


# against a password


def test_a_token_says_who_until_when_and_for_what_in_this_order(timed: Service, clock: Clock) -> None:
    user = new_user(timed)
    body = user.issue(scope="photos:read", expires_in="1h", caveats=["method = GET"], note="a note")
    assert predicates(body["token"]) == [
        f"user = {user.username}",
        "expires = 2026-11-21T13:00:00Z",
        "scope = photos:read",
        "method = GET",
        "note = a note",
    ]
    assert {name: value for name, value in body.items() if name not in ("token", "token_id")} == {
        "user": user.username,
        "audience": "default",
        "scope": "photos:read",
        "issued_at": "2026-11-21T12:00:00Z",
        "expires_at": "2026-11-21T13:00:00Z",
    }


def test_what_is_not_asked_for_is_all_scopes_for_eight_hours(timed: Service) -> None:
    body = new_user(timed).issue()
    assert (body["scope"], body["audience"], body["expires_at"]) == ("*", "default", "2026-11-21T20:00:00Z")


@pytest.mark.parametrize("how", ["body", "basic"])
def test_a_password_may_come_in_the_body_or_as_basic(http: httpx.Client, user: User, how: str) -> None:
    if how == "body":
        answer = http.post("/v1/tokens", json={"username": user.username, "password": user.password})
    else:
        answer = http.post("/v1/tokens", json={}, headers=basic(user.username, user.password))
    assert answer.status_code == 201
    assert answer.json()["user"] == user.username


@pytest.mark.parametrize(("asked", "life"), [(60, 60), ("60", 60), ("2m", 120), ("30d", 30 * 86400)])
def test_a_life_is_seconds_or_text(timed: Service, asked: int | str, life: int) -> None:
    body = new_user(timed).issue(expires_in=asked)
    end = datetime.fromisoformat(body["expires_at"])
    assert (end - datetime(2026, 11, 21, 12, tzinfo=UTC)).total_seconds() == life


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"expires_in": 0}, id="no life"),
        pytest.param({"expires_in": -1}, id="negative life"),
        pytest.param({"expires_in": True}, id="true for a life"),
        pytest.param({"expires_in": 1.5}, id="a fraction"),
        pytest.param({"expires_in": "31d"}, id="beyond the longest life"),
        pytest.param({"expires_in": 10**12}, id="beyond all lives"),
        pytest.param({"expires_in": "1e3"}, id="an exponent"),
        pytest.param({"expires_in": "\u0665"}, id="Arabic digits"),
        pytest.param({"scope": ""}, id="empty scope"),
        pytest.param({"scope": "photos"}, id="scope without action"),
        pytest.param({"scope": "photos:read  x:y"}, id="two spaces"),
        pytest.param({"scope": "photos:read photos:read"}, id="scope twice"),
        pytest.param({"scope": "../x:read"}, id="dot segments"),
        pytest.param({"scope": "a:b " * 300}, id="too long a scope"),
        pytest.param({"audience": "Photos"}, id="audience in capitals"),
        pytest.param({"audience": "a" * 33}, id="audience too long"),
        pytest.param({"audience": ""}, id="empty audience"),
        pytest.param({"caveats": ["user = bob"]}, id="another user"),
        pytest.param({"caveats": ["renewed = 2030-01-01T00:00:00Z"]}, id="renewed is the issuer's"),
        pytest.param({"caveats": ["parent = 01ARZ3NDEKTSV4RRFFQ69G5FAV"]}, id="parent is the issuer's"),
        pytest.param({"caveats": ["metod = GET"]}, id="a kind that nobody knows"),
        pytest.param({"caveats": ["expires = tomorrow"]}, id="a value that does not parse"),
        pytest.param({"caveats": ["method=GET"]}, id="no predicate"),
        pytest.param({"caveats": [" method = GET"]}, id="a space before"),
        pytest.param({"caveats": [""]}, id="empty caveat"),
        pytest.param({"caveats": ["acme/album = \u0000"]}, id="control character"),
        pytest.param({"caveats": ["note = " + "é" * 600]}, id="predicate beyond its limit"),
        pytest.param({"caveats": ["note = a"] * 62}, id="caveats beyond their limit"),
        pytest.param({"caveats": ["note = a"] * 65}, id="more caveats than any token has"),
        pytest.param(
            {"caveats": [f"note = {n}" + "a" * 900 for n in range(40)]}, id="token beyond its limit"
        ),
        pytest.param({"note": "a\nb"}, id="note with a line break"),
        pytest.param({"note": ""}, id="empty note"),
        pytest.param({"note": " a"}, id="note with a space before"),
        pytest.param({"note": 1}, id="a number for a note"),
    ],
)
def test_what_nobody_can_have_is_a_400(http: httpx.Client, user: User, asked: dict[str, Any]) -> None:
    answer = http.post("/v1/tokens", json={"username": user.username, "password": user.password, **asked})
    assert problem(answer) == (400, "bad_request")


def test_a_plug_in_kind_need_not_be_known_here(http: httpx.Client, user: User) -> None:
    token = user.token(caveats=["acme/album = 42"])
    answer = http.get("/v1/authorize", headers=bearer(token))
    assert problem(answer) == (403, "caveats_unsatisfied")


def test_most_caveats_that_fit_are_issued_and_live(http: httpx.Client, user: User) -> None:
    token = user.token(caveats=[f"note = {n}" for n in range(61)])
    assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("scope", ["caveats:admin", "caveats:*", "* caveats:*", "caveats/x:read"])
def test_a_users_password_does_not_give_the_services_own_scopes(
    http: httpx.Client, user: User, scope: str
) -> None:
    body = {"username": user.username, "password": user.password, "scope": scope}
    assert problem(http.post("/v1/tokens", json=body)) == (403, "forbidden")


def test_a_user_of_some_scopes_gets_those_and_no_others(start: Callable[..., Service], tmp_path: Any) -> None:
    cli(tmp_path, "migrate")
    cli(
        tmp_path,
        "users",
        "add",
        "dora",
        "--scope",
        "photos:read docs:*",
        "--password-stdin",
        stdin="password1\n",
    )
    service = start()
    dora = User(service, "dora", "password1")
    assert dora.issue()["scope"] == "docs:* photos:read"
    assert dora.issue(scope="docs/7:write")["scope"] == "docs/7:write"
    with service.client() as http:
        for scope in ("*", "photos:*", "photos:write", "other:read", "photos:read other:read"):
            body = {"username": "dora", "password": "password1", "scope": scope}
            assert problem(http.post("/v1/tokens", json=body)) == (403, "forbidden")


def test_an_administrator_asks_for_the_services_scopes_or_goes_without(service: Service) -> None:
    admin = admin_of(service)
    assert admin.issue()["scope"] == "*"
    assert admin.issue(scope="* caveats:*")["scope"] == "* caveats:*"


# against a token


def test_a_token_for_a_token_dies_no_later(timed: Service, clock: Clock) -> None:
    parent = new_user(timed).token(expires_in="2h")
    with timed.client() as http:
        clock.forward(minutes=30)
        assert exchange(http, parent).json()["expires_at"] == "2026-11-21T14:00:00Z"
        assert exchange(http, parent, expires_in="30m").json()["expires_at"] == "2026-11-21T13:00:00Z"
        assert exchange(http, parent, expires_in="30d").json()["expires_at"] == "2026-11-21T14:00:00Z"
        cut = narrow(parent, "expires = 2026-11-21T12:45:00Z")
        assert exchange(http, cut, expires_in="1h").json()["expires_at"] == "2026-11-21T12:45:00Z"


@pytest.mark.parametrize(
    ("caveats", "scope", "status"),
    [
        ([], "photos:read", 201),
        (["scope = photos:*"], "photos/42:read", 201),
        (["scope = photos:*"], "docs:read", 403),
        (["scope = photos:*"], "*", 403),
        (["scope = photos:read"], "photos:*", 403),
        (["scope = photos:*", "scope = photos/42:read"], "photos:read", 403),
        (["scope = photos:*", "scope = photos/42:read"], "photos/42:read", 201),
        (["scope = photos/*:read"], "photos:read", 403),
        (["scope = photos:read", "scope = docs:read"], "photos:read", 403),
        ([], "caveats:admin", 403),
    ],
)
def test_a_token_gives_no_scope_beyond_its_own(
    http: httpx.Client, user: User, caveats: list[str], scope: str, status: int
) -> None:
    answer = exchange(http, narrow(user.token(), *caveats), scope=scope)
    assert answer.status_code == status, answer.text


def test_a_token_whose_scopes_exclude_each_other_gives_nothing(http: httpx.Client, user: User) -> None:
    token = narrow(user.token(), "scope = photos:read", "scope = docs:read")
    assert problem(exchange(http, token)) == (403, "forbidden")


def test_what_a_holder_added_is_in_the_new_token(http: httpx.Client, user: User) -> None:
    token = narrow(
        user.token(), "method = GET", "path = /a/*", "acme/x = 1", "client-ip = 127.0.0.0/8", "note = n"
    )
    child = exchange(http, token).json()["token"]
    assert {"method = GET", "path = /a/*", "acme/x = 1", "client-ip = 127.0.0.0/8"} <= set(predicates(child))


def test_a_whole_token_may_be_exchanged_for_any_audience(http: httpx.Client, user: User) -> None:
    assert exchange(http, user.token(), audience="photos").json()["audience"] == "photos"


@pytest.mark.parametrize(
    "token",
    [
        lambda user: user.token(audience="photos"),
        lambda user: narrow(user.token(), "scope = photos:read"),
        lambda user: narrow(user.token(), "acme/x = 1"),
        lambda user: narrow(user.token(), "method = GET"),
        lambda user: narrow(user.token(), "path = /photos/*"),
        lambda user: narrow(user.token(), "audience = other"),
    ],
    ids=["another audience's", "narrower scope", "unknown kind", "method", "path", "audience"],
)
def test_a_token_for_one_thing_cannot_be_had_for_another_audience(
    http: httpx.Client, user: User, token: Callable[[User], str]
) -> None:
    presented = token(user)
    assert problem(exchange(http, presented, audience="thumbs")) == (403, "forbidden")
    child = exchange(http, presented)
    assert child.status_code == 201
    assert child.json()["audience"] == ("photos" if child.json()["audience"] != "default" else "default")


@pytest.mark.parametrize("which", ["token", "copy", "user"])
def test_a_child_dies_with_its_parent(http: httpx.Client, user: User, which: str) -> None:
    parent = user.token()
    copy = narrow(parent, "note = a copy")
    child = exchange(http, copy, audience="photos").json()["token"]
    grandchild = exchange(http, narrow(child, "note = further"), scope="photos:read").json()["token"]
    assert alive(http, child, audience="photos")
    if which == "user":
        http.post("/v1/revocations", json={"user": user.username}, headers=bearer(parent))
    else:
        http.post(
            "/v1/revocations", json={"presented": True}, headers=bearer(parent if which == "token" else copy)
        )
    assert not alive(http, child, audience="photos")
    assert not alive(http, grandchild, audience="photos")
    assert alive(http, parent) is (which == "copy")


def test_a_child_dies_with_every_branch_that_its_parent_lies_on(http: httpx.Client, user: User) -> None:
    shape = http.post("/v1/verify", json={"token": narrow(user.token(), "note = a", "note = b")}).json()
    for at in range(len(shape["branches"])):
        issued = user.issue()
        copy = narrow(issued["token"], "note = a", "note = b")
        child = exchange(http, copy).json()["token"]
        branch = http.post("/v1/verify", json={"token": copy}).json()["branches"][at]
        body = {"token_id": issued["token_id"], "branch_id": branch}
        assert http.post("/v1/revocations", json=body, headers=bearer(issued["token"])).status_code == 201
        assert not alive(http, copy)
        assert not alive(http, child)


def test_a_child_outlives_the_death_of_another_copy(http: httpx.Client, user: User) -> None:
    parent = user.token()
    mine, yours = narrow(parent, "note = mine"), narrow(parent, "note = yours")
    child = exchange(http, mine).json()["token"]
    http.post("/v1/revocations", json={"presented": True}, headers=bearer(yours))
    assert alive(http, child)


def test_a_child_of_a_renewal_dies_with_the_copy_that_was_renewed(timed: Service, clock: Clock) -> None:
    user = new_user(timed)
    with timed.client() as http:
        copy = narrow(user.token(expires_in="1h"), "note = a copy")
        clock.forward(minutes=30)
        renewed = http.post("/v1/tokens/renew", headers=bearer(copy)).json()["token"]
        child = exchange(http, renewed).json()["token"]
        assert alive(http, child)
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy))
        assert not alive(http, child)


@pytest.mark.parametrize(
    "caveat", ["expires = 2020-01-01T00:00:00Z", "not-before = 2099-01-01T00:00:00Z", "client-ip = 192.0.2.1"]
)
def test_a_token_that_is_not_live_here_and_now_gives_nothing(
    http: httpx.Client, user: User, caveat: str
) -> None:
    answer = exchange(http, narrow(user.token(), caveat))
    assert answer.status_code in (401, 403)


def test_a_token_that_can_do_nothing_because_its_users_differ_gives_nothing(
    http: httpx.Client, user: User
) -> None:
    token = narrow(user.token(), "user = somebody-else")
    assert http.get("/v1/authorize", headers=bearer(token)).status_code == 403
    assert problem(exchange(http, token)) == (403, "forbidden")


def test_lineage_deeper_than_one_caveat_can_say_is_still_followed(http: httpx.Client, user: User) -> None:
    copies = [user.token()]
    for n in range(40):
        copies.append(narrow(copies[-1], f"note = {n}"))
    child = exchange(http, copies[-1]).json()["token"]
    http.post("/v1/revocations", json={"presented": True}, headers=bearer(copies[3]))
    assert not alive(http, child)
    assert alive(http, copies[2])


# labels


def test_a_note_makes_a_token_that_its_user_finds_again(http: httpx.Client, user: User) -> None:
    whole = user.token()
    labelled = user.issue(note="ci", scope="photos:read", audience="photos")
    other = user.issue(note="laptop")
    listed = http.get("/v1/tokens", headers=bearer(whole)).json()
    assert [row["note"] for row in listed["tokens"]] == ["laptop", "ci"]
    assert listed["next"] is None
    one = http.get(f"/v1/tokens/{labelled['token_id']}", headers=bearer(whole)).json()
    assert one == {
        "token_id": labelled["token_id"],
        "note": "ci",
        "scope": "photos:read",
        "audience": "photos",
        "issued_at": labelled["issued_at"],
        "expires_at": labelled["expires_at"],
        "status": "live",
        "revoked_by": None,
        "revoked_at": None,
        "revoked_copies": 0,
        "last_used_at": None,
        "unreported_use": True,
    }
    assert labelled["token"] not in str(listed)
    page = http.get("/v1/tokens?limit=1", headers=bearer(whole)).json()
    assert (page["tokens"][0]["note"], page["next"]) == ("laptop", other["token_id"])
    page = http.get(f"/v1/tokens?limit=1&after={page['next']}", headers=bearer(whole)).json()
    assert page["tokens"][0]["note"] == "ci"


@pytest.mark.parametrize("how", ["authorize", "verify", "issue", "renew"])
def test_a_labelled_tokens_last_use_is_known_at_once_and_later(
    timed: Service, clock: Clock, how: str
) -> None:
    user = new_user(timed)
    labelled, whole = user.issue(note="ci"), user.token()
    clock.forward(minutes=5)
    with timed.client() as http:
        match how:
            case "authorize":
                http.get("/v1/authorize", headers=bearer(labelled["token"]))
            case "verify":
                http.post("/v1/verify", json={"token": labelled["token"]})
            case "issue":
                assert exchange(http, labelled["token"]).status_code == 201
            case "renew":
                assert http.post("/v1/tokens/renew", headers=bearer(labelled["token"])).status_code == 200
        for _ in range(2):
            row = http.get(f"/v1/tokens/{labelled['token_id']}", headers=bearer(whole)).json()
            assert row["last_used_at"] == "2026-11-21T12:05:00Z"
            timed.run(timed.runtime.tokens.write_uses())


def test_a_labelled_token_is_revoked_by_its_id(http: httpx.Client, user: User) -> None:
    labelled, whole = user.issue(note="ci"), user.token()
    for _ in range(2):
        assert http.delete(f"/v1/tokens/{labelled['token_id']}", headers=bearer(whole)).status_code == 204
    assert not alive(http, labelled["token"])
    assert alive(http, whole)


@pytest.mark.parametrize(
    ("query", "status"), [("limit=x", 400), ("limit=-1", 400), ("limit=1001", 400), ("limit=0", 200)]
)
def test_a_page_has_a_size_within_bounds(http: httpx.Client, user: User, query: str, status: int) -> None:
    assert http.get(f"/v1/tokens?{query}", headers=bearer(user.token())).status_code == status


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("31d", "at most 30d"),
        ("800h", "at most 720h"),
        ("5w", "at most 30d"),
        ("720h1m", "at most 720h"),
        (2_592_001, "at most 2592000 seconds"),
        ("2592001", "at most 2592000 seconds"),
    ],
)
def test_the_longest_life_is_told_in_the_unit_that_was_asked_in(
    timed: Service, asked: str | int, words: str
) -> None:
    user = new_user(timed)
    with timed.client() as http:
        body = {"username": user.username, "password": user.password, "expires_in": asked}
        assert http.post("/v1/tokens", json=body).json()["detail"].endswith(words)
        token = user.token(expires_in="1w")
        answer = http.post("/v1/tokens/renew", json={"expires_in": asked}, headers=bearer(token))
        assert answer.json()["detail"].endswith(words)


@pytest.mark.parametrize(
    ("given", "audience", "location"),
    [
        ({}, "default", ""),
        ({"public_url": "https://auth.example"}, "default", "https://auth.example"),
        ({"public_url": "https://auth.example/below"}, "default", "https://auth.example/below"),
        ({"public_url": "https://auth.example"}, "photos", ""),
        ({"public_url": "https://auth.example", "location": "us"}, "default", "us"),
        ({"public_url": "https://auth.example", "location": "us"}, "photos", "us"),
        ({"public_url": "https://auth.example", "unsafe_share_account_keys": True}, "default", ""),
    ],
)
def test_a_token_for_an_account_says_where_it_is_from(
    start: Callable[..., Service], given: dict[str, Any], audience: str, location: str
) -> None:
    """A token for an app does not: the app's verifier would refuse a location that it was not told of."""
    service = start(**given)
    token = new_user(service).token(audience=audience)
    assert Macaroon.decode(token).location == location
    with service.client() as http:
        assert alive(http, token, audience=audience)
        moved = Macaroon(Macaroon.decode(token).wire._replace(location="https://old.example")).encode()
        assert alive(http, moved, audience=audience) == ("location" not in given)
