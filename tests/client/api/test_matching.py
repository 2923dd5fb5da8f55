"""Answers that are about something else than what was asked are refused, whatever mixed them up."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from caveats import Expires, Identifier, Macaroon, Method, Note, Parent, Scope, User, new_token_id
from caveats_client import UnexpectedResponse
from caveats_client.api import calls
from caveats_client.api.messages import Call, Reply

AT = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
HELD_ID = new_token_id(AT)


def minted(  # what a token has
    *more: Any,
    user: str = "alice",
    scope: str = "photos:*",
    life: timedelta = timedelta(hours=1),
    audience: str = "default",
    token_id: str | None = None,
) -> Macaroon:
    caveats = (User(user), Expires.after(life, now=AT), Scope(scope), *more)
    identifier = Identifier("k1", audience, token_id or new_token_id(AT), len(caveats))
    return Macaroon.mint(b"key", identifier, caveats=caveats)


HELD = minted(token_id=HELD_ID)
CHILD = Parent("k1", HELD_ID, ())


def answered(token: Macaroon, call: Call[Any], presented: Macaroon | None = None) -> Any:
    """What `call` makes of an answer that has `token`."""
    identifier = token.unverified_identifier
    assert identifier is not None
    user, expires, scope, *_ = token.unverified_caveats
    body = {
        "token": token.encode(),
        "token_id": identifier.token_id,
        "user": user.value,
        "audience": identifier.audience,
        "scope": scope.value,
        "issued_at": AT.isoformat(),
        "expires_at": expires.at.isoformat(),
    }
    return call.answer(Reply(201, json.dumps(body).encode()), presented)


@pytest.mark.parametrize(
    ("token", "call"),
    [
        (minted(), calls.login("alice", "pw")),
        (minted(), calls.login("Alice", "pw", scope="photos:* notes:read", expires_in="1h")),
        (minted(CHILD), calls.issue()),
        (minted(CHILD, scope="photos/42:read"), calls.issue(scope=["photos:read"], expires_in=3600)),
        (minted(CHILD, Method("GET"), audience="photos"), calls.issue(audience="photos", caveats=[Method("GET")])),
        (minted(CHILD), calls.issue(caveats=["acme/door = 7"])),
    ],
)  # fmt: skip
def test_a_token_that_is_what_was_asked_is_taken(token: Macaroon, call: Call[Any]) -> None:
    assert answered(token, call, HELD if call.authenticated else None).token == token


@pytest.mark.parametrize(
    ("token", "call", "why"),
    [
        (minted(user="bob"), calls.login("alice", "pw"), "another user"),
        (minted(CHILD, user="bob"), calls.issue(), "another user"),
        (minted(), calls.issue(), "issued against another"),
        (minted(Parent("k1", new_token_id(AT), ())), calls.issue(), "issued against another"),
        (minted(CHILD, audience="photos"), calls.issue(), "another audience"),
        (minted(CHILD), calls.issue(audience="photos"), "another audience"),
        (minted(audience="photos"), calls.login("alice", "pw", audience="notes"), "another audience"),
        (minted(CHILD), calls.issue(scope="photos:read"), "allows more"),
        (minted(scope="*"), calls.login("alice", "pw", scope="photos:* notes:*"), "allows more"),
        (minted(CHILD, life=timedelta(hours=8)), calls.issue(expires_in="10m"), "lives longer"),
        (minted(CHILD), calls.issue(expires_in=timedelta(minutes=10)), "lives longer"),
        (minted(CHILD), calls.issue(caveats=["method = GET"]), "without the caveats"),
    ],
)  # fmt: skip
def test_a_token_for_somebody_else_or_for_more_is_refused(token: Macaroon, call: Call[Any], why: str) -> None:
    with pytest.raises(UnexpectedResponse, match=why):
        answered(token, call, HELD if call.authenticated else None)


def test_a_renewal_is_of_the_presented_copy() -> None:
    narrow = HELD.attenuate(Method("GET"), Note("for the printer"))
    later = minted(Method("GET"), Note("for the printer"), token_id=HELD_ID, life=timedelta(hours=2))
    assert answered(later, calls.renew(expires_in="2h"), narrow).token == later
    for other, why in (
        (minted(Method("GET"), Note("for the printer")), "another token"),
        (minted(Method("GET"), token_id=HELD_ID), "another copy"),
        (minted(Method("GET"), Note("for the printer"), token_id=HELD_ID, user="bob"), "another user"),
    ):
        with pytest.raises(UnexpectedResponse, match=why):
            answered(other, calls.renew(expires_in="2h"), narrow)


OTHER_ID = new_token_id(AT)
ENTRY = {"sequence": 7, "kind": "branch", "token_id": HELD_ID, "branch_id": "00" * 16, "user": "alice"}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (calls.revoke_presented, "another token"),
        (lambda: calls.revoke_token(OTHER_ID), "another token_id"),
        (lambda: calls.revoke_branch(HELD_ID, "11" * 16), "another branch_id"),
        (lambda: calls.revoke_user("bob"), "another user"),
    ],
)
def test_a_revocation_is_of_what_was_asked(make: Callable[[], Call[Any]], name: str) -> None:
    """Who is told that a token is dead must not be told of another one."""
    body = json.dumps({**ENTRY, "expires_at": AT.isoformat()}).encode()
    with pytest.raises(UnexpectedResponse, match=name):
        make().answer(Reply(201, body), minted(token_id=OTHER_ID))
    for asked in (calls.revoke_presented(), calls.revoke_token(HELD_ID), calls.revoke_user("Alice")):
        assert asked.answer(Reply(201, body), HELD).sequence == 7
