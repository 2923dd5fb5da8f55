"""Builders and readers as tables: what is sent for each question, and what is made of each answer."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from caveats import Bundle, Context, Expires, Failure, Macaroon, MalformedCaveat, Method
from caveats.context import facts_of
from caveats_client import (
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    NotLive,
    RateLimited,
    RequestFacts,
    Unavailable,
    UnexpectedResponse,
)
from caveats_client.api import calls, messages
from caveats_client.api.calls import FactKeywords
from caveats_client.api.messages import Call, Reply
from caveats_service.app import ROUTES

AT = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)

USER = {
    "username": "alice",
    "is_admin": False,
    "scope": "*",
    "created_at": "2026-11-21T12:00:00Z",
    "disabled_at": None,
}
LABEL = {
    "token_id": "01KAJ5M3W8E2RZ6V8Q4T0N9XCD",
    "note": "laptop",
    "scope": "photos:read notes:*",
    "audience": "default",
    "issued_at": "2026-11-21T12:00:00Z",
    "expires_at": "2026-11-21T20:00:00Z",
    "last_used_at": None,
}
JUDGED: dict[str, Any] = {
    "index": 2,
    "kind": "scope",
    "predicate": "scope = photos:read",
    "added_by": "holder",
    "satisfied": False,
    "reason": "the request needs notes:read",
    "hint": "a request that needs no more than photos:read",
}
VERIFIED: dict[str, Any] = {
    "granted": False,
    "code": "caveats_unsatisfied",
    "user": "alice",
    "token_id": "01KAJ5M3W8E2RZ6V8Q4T0N9XCD",
    "audience": "default",
    "scope": "photos:read",
    "issued_at": "2026-11-21T12:00:00Z",
    "expires_at": "2026-11-21T20:00:00Z",
    "caveats": [{**JUDGED, "index": 0, "satisfied": True, "reason": None, "hint": None}, JUDGED],
    "branches": ["00" * 16],
}
ENTRY = {
    "sequence": 7,
    "kind": "branch",
    "token_id": "01KAJ5M3W8E2RZ6V8Q4T0N9XCD",
    "branch_id": "00" * 16,
    "user": None,
    "issued_up_to": None,
    "expires_at": "2026-12-21T12:00:00Z",
}
KEY = {
    "id": "k2",
    "state": "published",
    "created_at": "2026-11-21T12:00:00Z",
    "activated_at": None,
    "verifying_since": None,
    "retire_after": None,
    "retired_at": None,
}

BUILT: list[tuple[str, Call[Any], str, str, dict[str, Any] | None, bool]] = [
    (
        "register",
        calls.register_user("alice", "pw"),
        "POST",
        "/v1/users",
        {"username": "alice", "password": "pw"},
        False,
    ),
    (
        "register as admin",
        calls.register_user("alice", "pw", as_admin=True),
        "POST",
        "/v1/users",
        {"username": "alice", "password": "pw"},
        True,
    ),
    ("users", calls.list_users(), "GET", "/v1/users", None, True),
    (
        "change password",
        calls.change_password("alice", "old", "new"),
        "PUT",
        "/v1/users/alice/password",
        {"password": "old", "new_password": "new"},
        False,
    ),
    (
        "change password as admin",
        calls.change_password("alice", None, "new"),
        "PUT",
        "/v1/users/alice/password",
        {"new_password": "new"},
        True,
    ),
    (
        "set a password for once",
        calls.change_password("alice", None, "new", must_change_password=True),
        "PUT",
        "/v1/users/alice/password",
        {"new_password": "new", "must_change_password": True},
        True,
    ),
    (
        "a name is one segment",
        calls.disable_user("a/../b c"),
        "POST",
        "/v1/users/a%2F..%2Fb%20c/disable",
        {},
        True,
    ),
    ("enable", calls.enable_user("alice"), "POST", "/v1/users/alice/enable", {}, True),
    (
        "add client",
        calls.add_client("site", users=["a"], audiences=["photos"], scope=["a:b", "c:d"], longest_life="1h"),
        "POST",
        "/v1/clients",
        {
            "name": "site",
            "users": ["a"],
            "groups": [],
            "audiences": ["photos"],
            "scope": "a:b c:d",
            "longest_life": "1h",
        },
        True,
    ),
    ("list clients", calls.list_clients(), "GET", "/v1/clients", None, True),
    ("remove client", calls.remove_client("x"), "DELETE", "/v1/clients/x", None, True),
    (
        "issue for",
        calls.issue_for("alice", client_id="id", client_secret="s3cret", scope="a:b"),
        "POST",
        "/v1/tokens",
        {"client_id": "id", "client_secret": "s3cret", "user": "alice", "scope": "a:b"},
        False,
    ),
    ("delete user", calls.delete_user("alice"), "DELETE", "/v1/users/alice", None, True),
    (
        "login",
        calls.login("alice", "pw"),
        "POST",
        "/v1/tokens",
        {"username": "alice", "password": "pw"},
        False,
    ),
    (
        "login with everything",
        calls.login(
            "alice",
            "pw",
            scope=["photos:read", "notes:*"],
            audience="photos",
            expires_in="8h",
            caveats=[Method("GET"), "path = /a", b"note = b"],
            note="laptop",
        ),
        "POST",
        "/v1/tokens",
        {
            "username": "alice",
            "password": "pw",
            "scope": "photos:read notes:*",
            "audience": "photos",
            "expires_in": "8h",
            "caveats": ["method = GET", "path = /a", "note = b"],
            "note": "laptop",
        },
        False,
    ),
    (
        "issue",
        calls.issue(scope="photos:read", expires_in=timedelta(minutes=5)),
        "POST",
        "/v1/tokens",
        {"scope": "photos:read", "expires_in": 300},
        True,
    ),
    ("renew", calls.renew(), "POST", "/v1/tokens/renew", {}, True),
    ("renew for", calls.renew(expires_in=60), "POST", "/v1/tokens/renew", {"expires_in": 60}, True),
    ("tokens", calls.list_tokens(), "GET", "/v1/tokens", None, True),
    ("token", calls.get_token("01K"), "GET", "/v1/tokens/01K", None, True),
    ("a user's tokens", calls.list_user_tokens("bob"), "GET", "/v1/users/bob/tokens", None, True),
    (
        "revoke a user's token",
        calls.revoke_user_token("bob", "01K"),
        "DELETE",
        "/v1/users/bob/tokens/01K",
        None,
        True,
    ),
    ("verify", calls.verify("cav1_x", RequestFacts()), "POST", "/v1/verify", {"token": "cav1_x"}, False),
    (
        "verify with every fact",
        calls.verify(
            "cav1_x",
            RequestFacts(
                ["a:b", "c:d"],
                "photos",
                method="GET",
                path="/a",
                client_ip="10.0.0.1",
                user="alice",
                extra={"album": 42},
            ),
        ),
        "POST",
        "/v1/verify",
        {
            "token": "cav1_x",
            "scope": "a:b c:d",
            "audience": "photos",
            "method": "GET",
            "path": "/a",
            "client_ip": "10.0.0.1",
            "user": "alice",
            "extra": {"album": 42},
        },
        False,
    ),
    (
        "verify many",
        calls.verify_many([("cav1_x", RequestFacts()), ("cav1_y", RequestFacts(scope="a:b"))]),
        "POST",
        "/v1/verify",
        {"tokens": [{"token": "cav1_x"}, {"token": "cav1_y", "scope": "a:b"}]},
        False,
    ),
    (
        "revoke what is presented",
        calls.revoke_presented(),
        "POST",
        "/v1/revocations",
        {"presented": True},
        True,
    ),
    ("revoke a token", calls.revoke_token("01K"), "POST", "/v1/revocations", {"token_id": "01K"}, True),
    (
        "revoke a branch",
        calls.revoke_branch("01K", "00"),
        "POST",
        "/v1/revocations",
        {"token_id": "01K", "branch_id": "00"},
        True,
    ),
    ("revoke a user", calls.revoke_user("bob"), "POST", "/v1/revocations", {"user": "bob"}, True),
    ("counts", calls.list_counts(), "GET", "/v1/counts", None, True),
    ("keys", calls.list_keys(), "GET", "/v1/keys", None, True),
    ("rotate", calls.rotate_keys(), "POST", "/v1/keys/rotate", {}, True),
    ("rotate now", calls.rotate_keys(now=True), "POST", "/v1/keys/rotate", {"now": True}, True),
    ("retire", calls.retire_key("k1"), "POST", "/v1/keys/k1/retire", {}, True),
    (
        "retire by force",
        calls.retire_key("k1", force=True),
        "POST",
        "/v1/keys/k1/retire",
        {"force": True},
        True,
    ),
    ("groups", calls.list_groups(), "GET", "/v1/groups", None, True),
    ("group", calls.get_group("staff"), "GET", "/v1/groups/staff", None, True),
    (
        "set a group",
        calls.set_group("staff", ("alice",)),
        "PUT",
        "/v1/groups/staff",
        {"members": ["alice"]},
        True,
    ),
    ("delete a group", calls.delete_group("staff"), "DELETE", "/v1/groups/staff", None, True),
    (
        "add a member",
        calls.add_group_member("staff", "bob"),
        "PUT",
        "/v1/groups/staff/members/bob",
        None,
        True,
    ),
    (
        "remove a member",
        calls.remove_group_member("staff", "bob"),
        "DELETE",
        "/v1/groups/staff/members/bob",
        None,
        True,
    ),
    (
        "register an agent",
        calls.register_agent("alice", bytes(32), "build"),
        "POST",
        "/v1/agents",
        {"username": "alice", "public_key": "A" * 43, "name": "build"},
        True,
    ),
    ("agents", calls.list_agents(), "GET", "/v1/agents", None, True),
    ("remove an agent", calls.remove_agent("01K"), "DELETE", "/v1/agents/01K", None, True),
    ("discharge info", calls.discharge_info(), "GET", "/discharge/info", None, False),
    ("public key", calls.public_key(), "GET", "/publickey", None, False),
    ("delete a token", calls.delete_token("01K"), "DELETE", "/v1/tokens/01K", None, True),
    (
        "sign in",
        calls.sign_in("alice", "pw", scope=["a:b", "c:d"]),
        "POST",
        "/v1/session",
        {"username": "alice", "password": "pw", "scope": "a:b c:d"},
        False,
    ),
    ("session", calls.get_session("s=x"), "GET", "/v1/session", None, False),
    ("sign out", calls.sign_out("s=x"), "DELETE", "/v1/session", None, False),
    ("revocations", calls.list_revocations(), "GET", "/v1/revocations", None, True),
    (
        "register a verifier",
        calls.register_verifier(bytes(32), "photos", "eu-1"),
        "POST",
        "/v1/verifiers",
        {"public_key": "A" * 43, "audience": "photos", "name": "eu-1"},
        True,
    ),
    ("verifiers", calls.list_verifiers(), "GET", "/v1/verifiers", None, True),
    ("revoke a verifier", calls.revoke_verifier("01K"), "DELETE", "/v1/verifiers/01K", None, True),
    ("a verifier's keys", calls.get_verifier_keys("01K"), "GET", "/v1/verifiers/01K/keys", None, False),
    ("about", calls.about(), "GET", "/", None, False),
    ("health", calls.health(), "GET", "/healthz", None, False),
    ("ready", calls.ready(), "GET", "/readyz", None, False),
]

NO_BUILDER = {
    ("GET", "/v1/revocations/feed"): "lines and events, which `verifiers.feed_client` reads",
    ("GET", "/v1/authorize"): "proxies ask it",
    ("GET", "/console/{file:path}"): "a file for a browser",
    ("POST", "/discharge"): "a form, which `discharge.protocol` sends",
    **{
        (method, path): "`discharge.protocol` and browsers take the address from an answer"
        for method, path, _ in ROUTES
        if path.startswith("/discharge/") and path != "/discharge/info"
    },
}


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for method, path, _ in ROUTES if (method, path) not in NO_BUILDER],
    ids=lambda value: value.replace("/", "|"),
)
def test_every_json_endpoint_of_the_service_has_a_builder(method: str, path: str) -> None:
    pattern = re.compile(re.sub(r"\{[\w:]+\}", "[^/]+", path))
    assert any(row[2] == method and pattern.fullmatch(row[3]) for row in BUILT)


def test_every_builder_is_in_the_table() -> None:
    """So that none is left over for an endpoint that the service no longer has."""
    builders = {
        name
        for name, value in vars(calls).items()
        if inspect.isfunction(value) and str(value.__annotations__.get("return")).startswith("Call[")
    }
    source = inspect.getsource(sys.modules[__name__])
    assert {name for name in builders if not name.startswith("_") and f"calls.{name}(" not in source} == set()
    routes = [(method, re.sub(r"\{[\w:]+\}", "[^/]+", path)) for method, path, _ in ROUTES]
    for _, call, *_ in BUILT:
        assert any(call.method == method and re.fullmatch(path, call.path) for method, path in routes)


def test_a_session_call_carries_its_cookie_and_shows_it_to_nobody() -> None:
    call = calls.get_session("__Host-caveats=cav1_x")
    assert call.headers == {"Cookie": "__Host-caveats=cav1_x"}
    assert "cav1_x" not in repr(call)
    body = {"user": "alice", "token_id": "01K", "scope": "*", "expires_at": "2026-11-21T12:00:00Z"}
    reply = Reply(200, json.dumps(body).encode(), set_cookie="__Host-caveats=cav1_y; Path=/; HttpOnly")
    assert call.answer(reply).cookie == "__Host-caveats=cav1_y"
    assert "cav1_y" not in repr(reply) + repr(call.answer(reply))
    with pytest.raises(UnexpectedResponse, match="no cookie"):
        call.answer(Reply(200, json.dumps(body).encode()))


@pytest.mark.parametrize("box", ["not base64!", 7, None])
def test_a_box_that_is_no_base64_is_no_answer(box: Any) -> None:
    with pytest.raises(UnexpectedResponse, match="box"):
        answer(calls.get_verifier_keys("01K"), {"box": box})


@pytest.mark.parametrize(
    ("call", "method", "path", "body", "authenticated"),
    [row[1:] for row in BUILT],
    ids=[row[0] for row in BUILT],
)
def test_each_question_is_built_as_the_service_takes_it(
    call: Call[Any], method: str, path: str, body: dict[str, Any] | None, authenticated: bool
) -> None:
    assert (call.method, call.path, call.body, call.authenticated) == (method, path, body, authenticated)
    assert (json.loads(call.content) if call.content is not None else None) == body


def test_pages_are_asked_for_in_the_query() -> None:
    assert calls.list_tokens(after="01K", limit=5).query == {"after": "01K", "limit": "5"}
    assert calls.list_users(after="bob").query == {"after": "bob"}
    assert calls.list_revocations(after=7, limit=5).query == {"after": "7", "limit": "5"}
    assert calls.list_revocations().query == {}
    assert calls.list_tokens().query == {}


def test_a_macaroon_and_a_bundle_are_verified_as_their_text(token: Macaroon) -> None:
    for given in (token, Bundle(token), token.encode()):
        assert calls.verify(given, RequestFacts()).body == {"token": token.encode()}


def test_the_frozen_facts_of_a_context_are_asked_about_as_json(token: Macaroon) -> None:
    context = Context(AT, extra={"albums": {"ids": [1, 2]}})
    body = calls.verify(token, RequestFacts(**facts_of(context))).body
    assert json.loads(json.dumps(body))["extra"] == {"albums": {"ids": [1, 2]}}


def test_whoami_asks_as_the_audience_that_the_token_is_for(mint: Any) -> None:
    token = mint(audience="photos")
    assert calls.whoami(token).body == {"token": token.encode(), "audience": "photos"}
    foreign = Macaroon.mint(b"k", b"theirs")
    assert calls.whoami(foreign.encode()).body == {"token": foreign.encode()}


@pytest.mark.parametrize("name", ["", ".", "..", "\ud800"])
def test_a_name_that_would_climb_out_of_the_path_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        calls.get_token(name)


def test_any_text_can_be_sent() -> None:
    """A lone surrogate is no reason to fall over: the service refuses it, with its reason."""
    content = calls.login("alice", "pw\ud800\u2028é").content
    assert content is not None
    assert content.isascii()
    assert json.loads(content)["password"] == "pw\ud800\u2028é"


def test_a_predicate_that_is_not_text_is_refused() -> None:
    with pytest.raises(MalformedCaveat):
        calls.issue(caveats=[b"note = \xff"])


def test_neither_call_nor_reply_show_what_they_carry() -> None:
    assert "hunter2" not in repr(calls.login("alice", "hunter2"))
    assert "hunter2" not in repr(Reply(200, b"hunter2"))


# Answers


def answer(call: Call[Any], body: Any, status: int = 200) -> Any:
    if call.named:
        body = {**body, "request_sha256": hashlib.sha256(call.content or b"").hexdigest()}
    return call.answer(Reply(status, json.dumps(body).encode()))


def test_an_issue_is_read(token: Macaroon) -> None:
    issued = answer(calls.issue(), {**LABEL, "token": token.encode(), "user": "alice", "more": "later"}, 201)
    assert issued.token == token
    assert (issued.user, issued.scopes) == ("alice", ("photos:read", "notes:*"))
    assert issued.expires_at - issued.issued_at == timedelta(hours=8)


def test_labelled_tokens_are_read() -> None:
    used = {**LABEL, "last_used_at": "2026-11-21T12:00:00.250Z"}
    page = answer(calls.list_tokens(), {"tokens": [LABEL, used], "next": "01K"})
    assert page.next == "01K"
    assert [record.last_used_at for record in page.tokens] == [None, AT.replace(microsecond=250_000)]
    assert answer(calls.get_token(str(LABEL["token_id"])), LABEL) == page.tokens[0]


def test_what_ended_a_labelled_token_is_read_and_an_older_service_does_not_say_it() -> None:
    said = {"status": "revoked", "revoked_by": "copy", "revoked_at": "2026-11-21T12:00:00Z"}
    more = {"revoked_copies": 2, "unreported_use": True}
    page = answer(calls.list_user_tokens("bob"), {"tokens": [{**LABEL, **said, **more}, LABEL], "next": None})
    revoked, older = page.tokens
    assert (revoked.status, revoked.revoked_by, revoked.revoked_at) == ("revoked", "copy", AT)
    assert (revoked.revoked_copies, revoked.unreported_use) == (2, True)
    assert (older.status, older.revoked_by, older.revoked_at) == ("", None, None)
    assert (older.revoked_copies, older.unreported_use) == (0, False)


def test_a_verification_is_read() -> None:
    verification = answer(calls.verify("t", RequestFacts()), VERIFIED)
    assert not verification.granted
    assert verification.scopes == ("photos:read",)
    assert [(judged.index, judged.hint) for judged in verification.failures] == [(2, JUDGED["hint"])]
    assert verification.caveats[0].reason == ""


def test_of_many_the_refused_and_the_dead_are_told_apart() -> None:
    dead = {"granted": False, "code": "invalid_token", "user": None, "token_id": None, "caveats": []}
    granted = {**VERIFIED, "granted": True, "code": None}
    results = answer(calls.verify_many([]), {"results": [granted, VERIFIED, dead]})
    assert [result.granted for result in results] == [True, False, False]
    assert results[2] == NotLive("invalid_token")
    assert results[1].failures


def test_whoami_of_an_expired_token_is_nobody() -> None:
    """The service explains an expired token to its holder, and yet it speaks for nobody any more."""
    call = calls.whoami(Macaroon.mint(b"k", b"i").encode())
    assert answer(call, VERIFIED).user == "alice"
    expired = {**JUDGED, "kind": Expires.kind, "predicate": "expires = 2026-11-21T11:00:00Z"}
    with pytest.raises(NotAuthenticated, match="expired"):
        answer(call, {**VERIFIED, "caveats": [expired]})


def test_the_rest_is_read() -> None:
    assert answer(calls.register_user("alice", "pw"), USER, 201).created_at == AT
    assert answer(calls.list_users(), {"users": [USER], "next": None}).users[0].username == "alice"
    assert answer(calls.revoke_presented(), ENTRY, 201).sequence == 7
    assert answer(calls.list_keys(), {"keys": [KEY]})[0].key_id == "k2"
    assert answer(calls.rotate_keys(), KEY, 201).state == "published"
    assert answer(calls.ready(), {"status": "ready"}) is None
    assert calls.change_password("a", "b", "c").answer(Reply(204, b"")) is None


@pytest.mark.parametrize("name", list(VERIFIED))
def test_an_answer_without_a_member_is_no_answer(name: str) -> None:
    body = {**VERIFIED}
    del body[name]
    if name in ("code", "issued_at", "expires_at"):
        answer(calls.verify("t", RequestFacts()), body)
        return
    with pytest.raises(UnexpectedResponse, match=name):
        answer(calls.verify("t", RequestFacts()), body)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("granted", 1),
        ("granted", "true"),
        ("user", None),
        ("user", 7),
        ("scope", ["photos:read"]),
        ("expires_at", "soon"),
        ("expires_at", "2026-11-21T12:00:00"),
        ("expires_at", 1),
        ("caveats", {}),
        ("caveats", [None]),
        ("caveats", [{**JUDGED, "index": True}]),
        ("caveats", [{**JUDGED, "index": "2"}]),
        ("branches", [1]),
    ],
)
def test_an_answer_of_another_shape_is_no_answer(name: str, value: Any) -> None:
    with pytest.raises(UnexpectedResponse):
        answer(calls.verify("t", RequestFacts()), {**VERIFIED, name: value})


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"<html>", b"\xff", b"{", b"[" * 100_000, b'{"token_id": 1' + b"0" * 5000 + b"}"],
)
def test_what_is_not_a_json_object_is_no_answer(body: bytes) -> None:
    with pytest.raises(UnexpectedResponse):
        calls.get_token("01K").answer(Reply(200, body))


def test_an_issued_token_that_is_none_is_no_answer_and_is_not_repeated() -> None:
    with pytest.raises(UnexpectedResponse) as refused:
        answer(calls.issue(), {**LABEL, "token": "cav1_broken", "user": "alice"})
    assert "cav1_broken" not in repr(refused.value) + repr(refused.value.__cause__)


# Problems


def problem(status: int, code: str = "", retry_after: str | None = None, **more: Any) -> ClientError:
    body = {"type": "urn:x", "title": "A title", "status": status, "code": code, **more}
    return messages.problem(Reply(status, json.dumps(body).encode(), retry_after))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "bad_request", BadRequest),
        (400, "two_credentials", BadRequest),
        (401, "invalid_token", NotAuthenticated),
        (401, "damaged_token", NotAuthenticated),
        (401, "invalid_credentials", NotAuthenticated),
        (403, "forbidden", Forbidden),
        (403, "wrong_audience", Forbidden),
        (404, "not_found", NotFound),
        (405, "method_not_allowed", UnexpectedResponse),
        (409, "conflict", Conflict),
        (409, "key_in_use", Conflict),
        (413, "too_large", BadRequest),
        (415, "unsupported_media_type", BadRequest),
        (418, "teapot", BadRequest),
        (429, "rate_limited", RateLimited),
        (431, "headers_too_large", BadRequest),
        (500, "internal", UnexpectedResponse),
        (502, "", Unavailable),
        (503, "unavailable", Unavailable),
        (504, "", Unavailable),
    ],
)
def test_each_status_is_the_error_that_says_what_to_do(
    status: int, code: str, error: type[ClientError]
) -> None:
    found = problem(status, code, detail="some words")
    assert type(found) is error
    assert (found.status, found.code, found.detail, str(found)) == (status, code, "some words", "some words")


def test_without_a_detail_the_title_is_told() -> None:
    assert problem(404, "not_found").detail == "A title"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3),
        ("0", 0),
        (None, None),
        ("soon", None),
        ("-1", None),
        ("٣", None),
        ("1" * 30, None),
        ("1.5", None),
        ("Sat, 21 Nov 2026 12:00:07 GMT", 7),
        ("Saturday, 21-Nov-26 12:00:07 GMT", 7),
        ("Sat Nov 21 12:00:07 2026", 7),
        ("Sat, 21 Nov 2026 11:59:00 GMT", 0),
        ("Sat, 99 Nov 2026 11:59:00 GMT", None),
        ("Sat, 21 Nov 99999 11:59:00 GMT", None),
    ],
)
def test_when_to_try_again_is_read_if_it_is_a_number_or_a_date(
    header: str | None, seconds: int | None
) -> None:
    for status in (429, 503):
        error = messages.problem(Reply(status, b"", header, date="Sat, 21 Nov 2026 12:00:00 GMT"))
        assert isinstance(error, RateLimited | Unavailable)
        assert error.retry_after == seconds


@pytest.mark.parametrize("date", [None, "", "today"])
def test_a_time_to_try_again_without_a_date_is_compared_with_this_machines_clock(date: str | None) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 <= (messages.seconds_to_wait(soon, date) or 0) <= 100


def test_a_refusal_by_caveats_holds_every_failure() -> None:
    row = {name: value for name, value in JUDGED.items() if name != "satisfied"}
    error = problem(403, "caveats_unsatisfied", failures=[row])
    assert isinstance(error, Forbidden)
    assert error.failures == (Failure(**row),)


@pytest.mark.parametrize("failures", [None, {}, [1], [{}], "x"])
def test_failures_of_another_shape_are_none(failures: Any) -> None:
    error = problem(403, "caveats_unsatisfied", failures=failures)
    assert isinstance(error, Forbidden)
    assert error.failures == ()


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
def test_a_redirect_is_no_answer(status: int) -> None:
    error = messages.problem(Reply(status, b""))
    assert type(error) is UnexpectedResponse
    assert "redirect" in str(error)


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b'{"detail": 7, "code": []}'])
def test_a_problem_of_another_make_is_still_an_error(body: bytes) -> None:
    error = messages.problem(Reply(503, body, "2"))
    assert type(error) is Unavailable
    assert error.code == ""
    assert type(messages.problem(Reply(404, body))) is UnexpectedResponse  # some other server's 404


@pytest.mark.parametrize(
    "body", [b"", b"<html>Sign in</html>", b'{"error": "x"}', b'{"code": 7, "title": "No"}']
)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, Unavailable) for status in (401, 403, 407, 408, 413, 421, 425, 502, 503, 504)),
        *((status, UnexpectedResponse) for status in (400, 404, 405, 409, 410, 414, 431, 451, 500)),
        (429, RateLimited),
    ],
)
def test_what_has_no_code_was_not_said_by_the_service(
    status: int, error: type[ClientError], body: bytes
) -> None:
    found = messages.problem(Reply(status, body, "7"))
    assert type(found) is error
    if status < 500:
        assert "something on the way" in str(found)
    if error in (Unavailable, RateLimited):
        assert found.retry_after == 7  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [200, 201, 202, 206])
@pytest.mark.parametrize("body", [b"", b"<html>Sign in</html>"])
def test_nothing_is_done_because_something_on_the_way_says_so(status: int, body: bytes) -> None:
    """An empty answer is the service's only with 204."""
    for call in (calls.change_password("alice", "a" * 12, "b" * 12), calls.delete_group("ops")):
        with pytest.raises(UnexpectedResponse):
            call.answer(Reply(status, body))
        assert call.answer(Reply(204, b"")) is None


def test_no_error_repeats_a_token_or_goes_on_for_ever(token: Macaroon) -> None:
    """Even where a proxy, or a bug of the service, should repeat what was sent."""
    error = problem(400, "bad_request", detail=f"not good: {token.encode()} " + "x " * 2000)
    for shown in (str(error), repr(error), error.detail, repr(error.args)):
        assert token.encode()[5:40] not in shown
        assert len(shown) < 1100


def test_the_keywords_of_facts_are_the_fields_of_request_facts() -> None:
    assert FactKeywords.__annotations__.keys() == {field.name for field in fields(RequestFacts)}
