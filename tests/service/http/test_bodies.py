"""A request counts from when it is whole: its time, its body, and what is not said in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from caveats_service.app import create_app
from tests.support.service import ADMIN_PASSWORD, CHEAP, Clock, basic, bearer, new_settings

Meanwhile = Callable[[], Awaitable[object]]


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("code"))


class Caller:
    """Requests to an application in this process, whose body can be held back."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        meanwhile: Meanwhile | None = None,
        announced: Mapping[str, str] | None = None,
        comes: bool = True,
    ) -> Answer:
        """The answer. `meanwhile`: what happens between the head and the end of the body, the last byte.

        `announced`: the headers that announce the body, if they do not say its length. `comes`: whether its end does.
        """
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        said = {"content-type": "application/json", **(headers or {})}
        said |= ({"content-length": str(len(raw))} if raw else {}) if announced is None else announced
        where, _, query = path.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(where),
            "raw_path": where.encode(),
            "query_string": query.encode(),
            "headers": [
                (b"host", b"auth.example"),
                *((n.lower().encode(), v.encode()) for n, v in said.items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        parts = [raw] if meanwhile is None else [raw[:-1], raw[-1:]]
        sent: list[Any] = []

        async def receive() -> Mapping[str, Any]:
            if not comes:
                await asyncio.Event().wait()
            if len(parts) == 1 and meanwhile is not None:
                await meanwhile()
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        text = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], dict(sent[0]["headers"]), json.loads(text) if text else {})

    async def token(self, username: str = "admin", password: str = ADMIN_PASSWORD, **asked: Any) -> str:
        answer = await self("POST", "/v1/tokens", {"username": username, "password": password, **asked})
        assert answer.status == 201, answer
        return str(answer.body["token"])


@pytest.fixture
def with_service(tmp_path: Path, clock: Clock) -> Callable[..., None]:
    """Run a test with a service of its own, in this process and by the test's clock."""

    def run(test: Callable[[Caller], Awaitable[None]], **settings: Any) -> None:
        async def body() -> None:
            app = create_app(new_settings(tmp_path, **settings), now=clock, password_profile=CHEAP)
            async with app.router.lifespan_context(app):
                await test(Caller(app))

        asyncio.run(body())

    return run


# by which time a request is judged

HELD_BACK = [
    pytest.param(("POST", "/v1/tokens", {"scope": "photos:read"}), id="issue"),
    pytest.param(("POST", "/v1/tokens/renew", {}), id="renew"),
    pytest.param(("POST", "/v1/revocations", {"user": "admin"}), id="revoke a user"),
    pytest.param(("POST", "/v1/keys/rotate", {"now": True}), id="rotate"),
    pytest.param(("POST", "/v1/keys/k1/retire", {"force": True}), id="retire"),
    pytest.param(("PUT", "/v1/users/bob/password", {"new_password": "another one"}), id="change a password"),
    pytest.param(("POST", "/v1/users", {"username": "carol", "password": "correct horse"}), id="register"),
    pytest.param(("POST", "/v1/users/bob/disable", {}), id="disable"),
    pytest.param(("POST", "/v1/users/bob/enable", {}), id="enable"),
    pytest.param(("PUT", "/v1/groups/crew", {"members": ["bob"]}), id="a group"),
    pytest.param(("POST", "/v1/agents", {"username": "bob", "public_key": "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}), id="an agent"),
    pytest.param(("POST", "/v1/verifiers", {"audience": "photos", "public_key": "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}), id="a verifier"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("held", HELD_BACK)
@pytest.mark.parametrize("fate", ["expired", "revoked"])
def test_a_token_that_died_while_the_body_was_held_back_does_nothing(
    with_service: Callable[..., None], clock: Clock, fate: str, held: tuple[str, str, object]
) -> None:
    method, path, body = held

    async def test(ask: Caller) -> None:
        await ask("POST", "/v1/users", {"username": "bob", "password": "correct horse"})
        admin = await ask.token(scope="* caveats:*", expires_in=60)

        async def expired() -> None:
            clock.forward(seconds=61)

        async def revoked() -> None:
            assert (await ask("DELETE", f"/v1/tokens/{token_id(admin)}", None, bearer(admin))).status == 204

        meanwhile = {"expired": expired, "revoked": revoked}[fate]
        answer = await ask(method, path, body or b"{}", bearer(admin), meanwhile=meanwhile)
        assert (answer.status, answer.code) == (401, "invalid_token")

    with_service(test)


def token_id(token: str) -> str:
    from caveats import Macaroon

    identifier = Macaroon.decode(token).unverified_identifier
    assert identifier is not None
    return identifier.token_id


def test_a_verification_is_judged_by_the_time_at_which_the_question_is_whole(
    with_service: Callable[..., None], clock: Clock
) -> None:
    async def test(ask: Caller) -> None:
        token = await ask.token(expires_in=60)

        async def later() -> None:
            clock.forward(seconds=61)

        for question in ({"token": token}, {"tokens": [{"token": token}]}):
            answer = await ask("POST", "/v1/verify", question)
            assert json.dumps(answer.body).count('"granted": true') == 1
        for question in ({"token": token}, {"tokens": [{"token": token}]}):
            answer = await ask("POST", "/v1/verify", question, meanwhile=later)
            assert json.dumps(answer.body).count('"granted": false') == 1

    with_service(test)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/v1/tokens", {"expires_in": 60}, id="issue"),
        pytest.param("/v1/tokens/renew", {"expires_in": 7200}, id="renew"),
        pytest.param("/v1/session", {"username": "admin", "password": ADMIN_PASSWORD}, id="sign in"),
    ],
)
def test_a_token_begins_when_its_request_is_whole(
    with_service: Callable[..., None], clock: Clock, path: str, body: dict[str, Any]
) -> None:
    """So a password change that was made while the body was held back is not after it."""

    async def test(ask: Caller) -> None:
        token = await ask.token(expires_in=3600)

        async def later() -> None:
            clock.forward(seconds=60)

        headers = {} if "password" in body else bearer(token)
        direct = await ask("POST", path, body, headers)
        held = await ask("POST", path, body, headers, meanwhile=later)
        assert (direct.status, held.status) in ((200, 200), (201, 201))
        assert held.body["expires_at"] > direct.body["expires_at"]

    with_service(test)


# a body has a time limit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/tokens"),
        ("POST", "/v1/verify"),
        ("POST", "/v1/users/bob/disable"),
        ("POST", "/discharge"),
        ("POST", "/discharge/visit/x"),
        ("POST", "/discharge/form/x"),
    ],
)
@pytest.mark.parametrize("announced", [{"content-length": "10"}, {"transfer-encoding": "chunked"}, {}])
def test_a_body_that_takes_too_long_is_a_408_and_the_connection_is_closed(
    with_service: Callable[..., None], method: str, path: str, announced: dict[str, str]
) -> None:
    async def test(ask: Caller) -> None:
        own_site = {"origin": "http://auth.example"}
        answer = await ask(method, path, headers=own_site, announced=announced, comes=False)
        assert answer.status == 408
        assert answer.headers.get(b"connection") == (b"close" if announced else None)

    async def page(ask: Caller) -> None:
        try:
            await test(ask)
        except json.JSONDecodeError:  # a page
            assert path == "/discharge/visit/x"

    with_service(page, body_timeout=0.05)


# a body that was lost


@pytest.mark.parametrize("announced", [{"content-length": "47"}, {"transfer-encoding": "chunked"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/tokens"),
        ("POST", "/v1/tokens/renew"),
        ("POST", "/v1/revocations"),
        ("POST", "/v1/keys/rotate"),
        ("POST", "/v1/keys/k1/retire"),
        ("PUT", "/v1/groups/crew"),
        ("POST", "/v1/users/bob/disable"),
        ("POST", "/v1/verify"),
    ],
)
def test_a_request_that_announces_a_body_and_has_none_is_refused(
    with_service: Callable[..., None], method: str, path: str, announced: dict[str, str]
) -> None:
    async def test(ask: Caller) -> None:
        for headers in (basic("admin", ADMIN_PASSWORD), bearer(await ask.token(scope="* caveats:*"))):
            answer = await ask(method, path, headers=headers, announced=announced)
            assert (answer.status, answer.code) == (400, "bad_request")
            assert "announces a body" in answer.body["detail"]
        assert (await ask("GET", "/v1/keys", None, basic("admin", ADMIN_PASSWORD))).status == 200

    with_service(test)


# a wish that was not said


def test_issue_and_revoke_want_their_wish_said(with_service: Callable[..., None]) -> None:
    """Nothing said is neither a wish for every right, nor for the end of the token that was presented."""

    async def test(ask: Caller) -> None:
        token = await ask.token(scope="albums:read photos:*", expires_in=600)
        for credential in (bearer(token), basic("admin", ADMIN_PASSWORD)):
            for path in ("/v1/tokens", "/v1/revocations"):
                answer = await ask("POST", path, None, credential)
                asks_for_token = path == "/v1/revocations" and "Basic" in credential["Authorization"]
                assert (answer.status, answer.code) == (
                    (401, "credential_required") if asks_for_token else (400, "bad_request")
                )
        for unsaid in ({}, {"presented": False}, {"presented": None}, {"token_id": None}):
            answer = await ask("POST", "/v1/revocations", unsaid, bearer(token))
            assert (answer.status, answer.code) == (400, "bad_request")
        for twice in ({"presented": True, "token_id": token_id(token)}, {"presented": True, "user": "admin"}):
            assert (await ask("POST", "/v1/revocations", twice, bearer(token))).status == 400
        default = await ask("POST", "/v1/tokens", {}, bearer(token))
        assert (default.status, default.body["scope"]) == (201, "albums:read photos:*")  # and is shown
        assert (await ask("POST", "/v1/verify", {"token": token, "scope": "albums:read"})).body["granted"]
        assert (await ask("POST", "/v1/revocations", {"presented": True}, bearer(token))).status == 201
        assert (await ask("POST", "/v1/verify", {"token": token})).code == "invalid_token"

    with_service(test)


def test_a_group_is_not_emptied_by_a_body_that_says_nothing(with_service: Callable[..., None]) -> None:
    async def test(ask: Caller) -> None:
        admin = basic("admin", ADMIN_PASSWORD)
        assert (await ask("PUT", "/v1/groups/crew", {"members": ["admin"]}, admin)).status == 200
        for unsaid in (None, {}):
            assert (await ask("PUT", "/v1/groups/crew", unsaid, admin)).status == 400
        assert (await ask("GET", "/v1/groups/crew", None, admin)).body["members"] == ["admin"]
        assert (await ask("PUT", "/v1/groups/crew", {"members": []}, admin)).body["members"] == []

    with_service(test)


@pytest.mark.parametrize(
    ("method", "path", "narrow"),
    [
        ("POST", "/v1/keys/rotate", ("state", "published")),
        ("POST", "/v1/tokens/renew", ("scope", "photos:read")),
    ],
)
def test_what_is_not_said_elsewhere_is_the_narrow_reading(
    with_service: Callable[..., None], method: str, path: str, narrow: tuple[str, str]
) -> None:
    async def test(ask: Caller) -> None:
        token = await ask.token(scope="photos:read") if "renew" in path else ""
        credential = bearer(token) if token else basic("admin", ADMIN_PASSWORD)
        assert (await ask(method, path, None, credential)).body[narrow[0]] == narrow[1]

    with_service(test)
