"""What holders and strangers can lengthen has a bound, and at the bound the owner of an account still goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx

from caveats import Expires, Identifier, Macaroon, Scope, User, new_token_id
from tests.support.service import Clock, Service, bearer, narrow, new_user, problem

_keys: Iterator[int] = iter(range(10**9))


def key() -> dict[str, str]:
    """An idempotency key that was never used."""
    return {"Idempotency-Key": f"some-key-{next(_keys)}"}


def issue(
    http: httpx.Client, token: str, headers: dict[str, str] | None = None, **asked: Any
) -> httpx.Response:
    body = {"scope": "photos:read", "expires_in": "10m", **asked}
    return http.post("/v1/tokens", json=body, headers={**bearer(token), **(headers or {})})


def test_labelled_tokens_are_bounded_and_narrow_copies_take_half(
    start: Callable[..., Service], clock: Clock
) -> None:
    service = start(now=clock, max_labels=4)
    user = new_user(service)
    token, another = user.token(), user.token()
    copies = [
        narrow(token, "scope = photos:read"),
        narrow(another, "scope = photos:*"),
        narrow(token, "path = /x"),
    ]
    with service.client() as http:
        answers = [issue(http, copy, note="n").status_code for copy in copies]
        assert answers == [201, 201, 409]
        assert problem(issue(http, copies[0], note="n")) == (409, "conflict")
        assert issue(http, copies[0]).status_code == 201, "without a label there is nothing to count"
        assert [issue(http, token, note="mine").status_code for _ in range(3)] == [201, 201, 409]
        assert issue(http, token).status_code == 201
        assert len(http.get("/v1/tokens", headers=bearer(token)).json()["tokens"]) == 4
        clock.forward(minutes=11)
        assert issue(http, copies[0], note="n").status_code == 201


def test_replies_that_are_kept_are_counted_by_the_token_that_all_came_of(
    start: Callable[..., Service],
) -> None:
    service = start(keep_limit_holder="4/hour")
    user = new_user(service)
    token = user.token()
    with service.client() as http:
        child = issue(http, narrow(token, "scope = photos:*"), key()).json()["token"]
        grandchild = issue(http, child, key()).json()["token"]
        asking = [narrow(token, f"note = {n}") for n in range(2)]
        assert [issue(http, copy, key()).status_code for copy in asking] == [201, 201]
        for copy in (token, narrow(token, "note = 9"), child, grandchild, narrow(grandchild, "method = GET")):
            refused = issue(http, copy, key())
            assert problem(refused) == (429, "rate_limited")
            assert issue(http, copy).status_code == 201, "without a key nothing is kept"
        assert problem(issue(http, token, note="a label")) == (429, "rate_limited")
        by_password = {"username": user.username, "password": user.password}
        assert http.post("/v1/tokens", json=by_password, headers=key()).status_code == 201
        assert issue(http, user.token(), key()).status_code == 201, "another sign-in is counted by itself"


def test_who_may_keep_no_more_revokes_all_the_same(start: Callable[..., Service]) -> None:
    service = start(keep_limit_holder="1/hour")
    user = new_user(service)
    token = user.token()
    with service.client() as http:
        assert issue(http, token, key()).status_code == 201
        assert problem(issue(http, token, key())) == (429, "rate_limited")
        body = {"user": user.username}
        answer = http.post("/v1/revocations", json=body, headers={**bearer(token), **key()})
        assert answer.status_code == 201
        assert issue(http, token).status_code == 401


def test_an_address_has_a_bound_for_all_its_tokens(start: Callable[..., Service]) -> None:
    service = start(keep_limit_address="3/hour", trusted_proxies="127.0.0.0/8")
    tokens = [new_user(service).token() for _ in range(4)]
    with service.client() as http:
        here, there = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        answers = [issue(http, token, {**key(), **here}).status_code for token in tokens]
        assert answers == [201, 201, 201, 429]
        assert issue(http, tokens[3], {**key(), **there}).status_code == 201


def test_tokens_that_an_app_can_make_without_end_are_counted_together(start: Callable[..., Service]) -> None:
    service = start(keep_limit_holder="3/hour")
    new_user(service)
    keyring = service.runtime.master_keys.keyring

    def forged() -> str:
        """What an app with the keys of its audience can write: any token id."""
        now = service.runtime.now()
        identifier = Identifier(keyring.active.key_id, "photos", new_token_id(now), 3)
        caveats = (User("admin"), Expires(now.replace(year=now.year + 1)), Scope("photos:*"))
        return Macaroon.mint(keyring.root_key(identifier), identifier, caveats=caveats).encode()

    with service.client() as http:
        answers = [issue(http, forged(), key(), audience="photos").status_code for _ in range(5)]
    assert answers == [201, 201, 201, 429, 429]
