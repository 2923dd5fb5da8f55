"""POST /v1/verify: granted or refused, caveat by caveat, for whoever holds the token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx2 as httpx
import pytest

from caveats import BranchRevocation, RevocationSet
from tests.support.service import Clock, Service, User, bearer, narrow, new_user, problem


def test_a_grant_says_whose_it_is_and_how_every_caveat_was_met(timed: Service) -> None:
    user = new_user(timed)
    issued = user.issue(scope="photos:*", expires_in="1h", audience="photos")
    copy = narrow(issued["token"], "method = GET", "note = for you")
    with timed.client() as http:
        replied = http.post(
            "/v1/verify",
            json={"token": copy, "audience": "photos", "scope": "photos/42:read", "method": "GET"},
        )
    answer = replied.json()
    branches = answer.pop("branches")
    assert len(branches) == 6
    assert all(len(branch) == 32 for branch in branches)
    row = {"satisfied": True, "reason": None, "hint": None}
    assert answer == {
        "granted": True,
        "code": None,
        "user": user.username,
        "token_id": issued["token_id"],
        "audience": "photos",
        "scope": "photos:*",
        "issued_at": "2026-11-21T12:00:00Z",
        "expires_at": "2026-11-21T13:00:00Z",
        "revoked_branches": [],
        "judged_at": "2026-11-21T12:00:00.000Z",
        "request_sha256": sha256(replied.request.content).hexdigest(),
        "caveats": [
            {"index": 0, "kind": "user", "predicate": f"user = {user.username}", "added_by": "issuer", **row},
            {
                "index": 1,
                "kind": "expires",
                "predicate": "expires = 2026-11-21T13:00:00Z",
                "added_by": "issuer",
                **row,
            },
            {"index": 2, "kind": "scope", "predicate": "scope = photos:*", "added_by": "issuer", **row},
            {"index": 3, "kind": "method", "predicate": "method = GET", "added_by": "holder", **row},
            {"index": 4, "kind": "note", "predicate": "note = for you", "added_by": "holder", **row},
        ],
    }


def test_the_revoked_branches_of_a_token_are_named_to_whoever_holds_a_live_copy(
    http: httpx.Client, user: User
) -> None:
    token = user.token()
    dead, live = narrow(token, "note = dead"), narrow(token, "note = live")
    branch = http.post("/v1/verify", json={"token": dead}).json()["branches"][-1]
    assert http.post("/v1/revocations", json={"presented": True}, headers=bearer(dead)).status_code == 201
    for copy in (token, live):
        assert http.post("/v1/verify", json={"token": copy}).json()["revoked_branches"] == [branch]
    assert http.post("/v1/verify", json={"token": user.token()}).json()["revoked_branches"] == []


def test_more_revoked_branches_than_an_answer_holds_are_not_named(
    service: Service, http: httpx.Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are they listed to find that out: there may be any number."""
    issued = user.issue()
    until = datetime.now(UTC) + timedelta(hours=1)
    dead = [BranchRevocation(issued["token_id"], n.to_bytes(16, "big"), until) for n in range(1001)]

    def named() -> list[str] | None:
        found: list[str] | None = http.post("/v1/verify", json={"token": issued["token"]}).json()[
            "revoked_branches"
        ]
        return found

    for revocation in dead[:-1]:
        service.runtime.feed.revocation_set.add(revocation)
    assert named() == [revocation.branch_id.hex() for revocation in dead[:-1]]
    service.runtime.feed.revocation_set.add(dead[-1])
    monkeypatch.delattr(RevocationSet, "branches_of")
    assert named() is None


@pytest.mark.parametrize(
    ("caveat", "facts", "reason"),
    [
        ("scope = photos:read", {"scope": "photos:write"}, "photos:write"),
        ("scope = photos:read", {}, "no scope"),
        ("method = GET", {"method": "POST"}, "POST"),
        ("method = GET", {}, "no method"),
        ("path = /a/*", {"path": "/a/../b"}, "plain form"),
        ("path = /a/*", {"path": "/a%2f..%2fb"}, "plain form"),
        ("host = photos.example", {"host": "albums.example:443"}, "albums.example"),
        ("host = photos.example", {"host": "photos.example@x"}, "not a DNS name"),
        ("host = photos.example", {}, "no host"),
        ("client-ip = 10.0.0.0/8", {"client_ip": "192.0.2.1"}, "192.0.2.1"),
        ("client-ip = 10.0.0.0/8", {"client_ip": "010.0.0.1"}, "not an IP"),
        ("user = somebody-else", {}, "the token's user is"),
        ("not-before = 2099-01-01T00:00:00Z", {}, "it is 20"),
        ("expires = 2020-01-01T00:00:00Z", {}, "it is 20"),
        ("audience = thumbs", {}, "'default'"),
        ("acme/x = 1", {}, "no caveat of this kind"),
        ("mystery = 1", {}, "no caveat of this kind"),
    ],
)
def test_a_refusal_says_which_caveat_and_why(
    http: httpx.Client, user: User, caveat: str, facts: dict[str, str], reason: str
) -> None:
    answer = http.post("/v1/verify", json={"token": narrow(user.token(), caveat), **facts})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["granted"], body["code"]) == (False, "caveats_unsatisfied")
    refused = [row for row in body["caveats"] if not row["satisfied"]]
    assert [row["predicate"] for row in refused] == [caveat]
    assert reason in refused[0]["reason"]
    assert refused[0]["hint"]
    assert refused[0]["added_by"] == "holder"


def test_all_refusals_are_told_not_only_the_first(http: httpx.Client, user: User) -> None:
    token = narrow(user.token(), "method = GET", "scope = a:b", "path = /x")
    body = http.post("/v1/verify", json={"token": token}).json()
    assert [row["kind"] for row in body["caveats"] if not row["satisfied"]] == ["method", "scope", "path"]


def test_the_request_may_name_its_user(http: httpx.Client, user: User) -> None:
    token = user.token()
    for name, granted in ((user.username, True), ("somebody-else", False)):
        answer = http.post("/v1/verify", json={"token": token, "user": name})
        assert answer.json()["granted"] is granted


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda t: t[:-1], (401, "damaged_token")),
        (lambda t: t[:-6] + "000000", (401, "damaged_token")),
        (lambda t: t[5:-6][:-4] + "AAAA", (401, "invalid_token")),
        (lambda t: "nonsense", (401, "invalid_token")),
        (lambda t: t + " ", (401, "damaged_token")),
        (lambda t: t + "." + t, (401, "invalid_token")),
        (lambda t: "\u00e9" + t, (401, "invalid_token")),
    ],
    ids=[
        "cut",
        "checksum",
        "signature",
        "nonsense",
        "space",
        "a discharge that nobody asked for",
        "not ASCII",
    ],
)
def test_what_is_not_authentic_is_a_401_without_explanation(
    http: httpx.Client, user: User, spoil: Any, expected: tuple[int, str]
) -> None:
    answer = http.post("/v1/verify", json={"token": spoil(user.token())})
    assert problem(answer) == expected
    assert "caveats" not in answer.json()


def test_a_token_for_another_audience_is_refused_by_name(http: httpx.Client, user: User) -> None:
    token = user.token(audience="photos")
    assert problem(http.post("/v1/verify", json={"token": token})) == (403, "wrong_audience")
    assert problem(http.get("/v1/authorize", headers=bearer(token))) == (403, "wrong_audience")
    answer = http.post("/v1/verify", json={"token": token, "audience": "photos"})
    assert answer.json()["granted"]


def test_many_are_judged_each_by_itself(http: httpx.Client, user: User) -> None:
    token = user.token()
    asked = [
        {"token": token},
        {"token": narrow(token, "method = GET"), "method": "POST"},
        {"token": "nonsense"},
        {"token": token[:-1]},
        {"token": token, "audience": "photos"},
        {"token": narrow(token, "method = GET"), "method": "GET"},
    ]
    results = http.post("/v1/verify", json={"tokens": asked}).json()["results"]
    assert [(r["granted"], r["code"]) for r in results] == [
        (True, None),
        (False, "caveats_unsatisfied"),
        (False, "invalid_token"),
        (False, "damaged_token"),
        (False, "wrong_audience"),
        (True, None),
    ]
    assert results[2] == {
        **dict.fromkeys(results[2]),
        "granted": False,
        "code": "invalid_token",
        "caveats": [],
        "branches": [],
        "revoked_branches": None,
    }


def test_at_most_a_hundred_are_judged_at_once(http: httpx.Client) -> None:
    answer = http.post("/v1/verify", json={"tokens": [{"token": "x"}] * 101})
    assert problem(answer) == (400, "bad_request")


def test_an_expired_token_is_the_uniform_401_as_a_credential_and_explained_to_its_holder(
    timed: Service, clock: Clock
) -> None:
    user = new_user(timed)
    token = user.token(expires_in="1h")
    clock.forward(hours=1)
    with timed.client() as http:
        forged = http.get("/v1/authorize", headers=bearer("nonsense"))
        for path in ("/v1/authorize", "/v1/tokens", "/v1/keys"):
            answer = http.get(path, headers=bearer(token))
            assert (answer.status_code, answer.text) == (401, forged.text)
        assert problem(http.post("/v1/tokens", json={}, headers=bearer(token))) == (401, "invalid_token")
        body = http.post("/v1/verify", json={"token": token}).json()
        assert [row["kind"] for row in body["caveats"] if not row["satisfied"]] == ["expires"]


@pytest.mark.parametrize("extra", [{}, {"x": {"y": [1, None, True, "é"]}}, {"x": 1e308}])
def test_extra_facts_are_any_json(http: httpx.Client, user: User, extra: dict[str, Any]) -> None:
    assert http.post("/v1/verify", json={"token": user.token(), "extra": extra}).json()["granted"]


def test_extra_facts_that_are_nested_too_deep_are_a_bad_request(http: httpx.Client, user: User) -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    answer = http.post("/v1/verify", json={"token": user.token(), "extra": {"x": deep}})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "at most 64" in answer.json()["detail"]


def test_the_token_is_not_in_the_answer(http: httpx.Client, user: User) -> None:
    token = user.token()
    assert token not in http.post("/v1/verify", json={"token": token}).text
