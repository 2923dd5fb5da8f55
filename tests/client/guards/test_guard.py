"""What the guards have in common, without a server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.authentication import AuthenticationError
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient

import caveats
from caveats import (
    Context,
    Expires,
    Grant,
    Identifier,
    Macaroon,
    MalformedCaveat,
    MasterKey,
    MasterKeyring,
    Path,
    Scope,
    User,
    Verifier,
    new_token_id,
)
from caveats.http import IncomingRequest, Problem
from caveats.kinds import parse_scope
from caveats_client.api.errors import ClientError, Unavailable, UnexpectedResponse
from caveats_client.guards import asgi, rules, wsgi
from caveats_client.guards.guard import Guard
from tests.support.guard import NOW, now
from tests.support.hostile_heads import GRANTED, HEADS, Answer, Head

KEYRING = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])
ISSUED = (User("alice"), Expires.after(timedelta(hours=8), now=NOW), Scope("*"))
IDENTIFIER = Identifier("k1", "photos", new_token_id(NOW), 3)
TOKEN = Macaroon.mint(KEYRING.root_key(IDENTIFIER), IDENTIFIER, caveats=ISSUED)
VERIFIER = Verifier(KEYRING, audience="photos")


def bearer(*more: caveats.Caveat) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + TOKEN.attenuate(*more).encode().encode()


def incoming(
    *headers: tuple[bytes, bytes], path: str | None = "/photos/42", query: bytes = b""
) -> IncomingRequest:
    return IncomingRequest("GET", path, query, headers or (bearer(),), "127.0.0.1")


def guard_around(verifier: Any = VERIFIER, **how: Any) -> Guard:
    return Guard(verifier, now=now, **how)


# heads through a Unix socket; all others are asked of the real apps in test_frameworks.py


@pytest.mark.parametrize("head", [head for head in HEADS if head.peer == "socket"], ids=lambda head: head.id)
@pytest.mark.parametrize("peer", [None, ""])
def test_every_head_through_a_unix_socket_has_its_answer(head: Head, peer: str | None) -> None:
    text = TOKEN.attenuate(*[predicate.encode() for predicate in head.caveats]).encode()
    headers = [(b"host", b"app.example"), *((n.lower(), v) for n, v in head.filled(text.encode()))]
    request = IncomingRequest("GET", "/photos/42", head.query, headers, peer)
    try:
        guard_around(trusted_proxies=["unix"]).judge(request)
        answer = GRANTED
    except Problem as problem:
        answer = Answer(problem.status, problem.code, problem.headers.get("WWW-Authenticate"))
    assert answer == head.answer


# verifiers


class Answering:
    """A verifier that says or raises what it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.context: Context | None = None

    def verify(self, text: str, context: Context) -> Any:
        self.context = context
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Slow:
    """An async verifier."""

    def __init__(self, verifier: Any) -> None:
        self.verifier = verifier

    async def verify(self, text: str, context: Context) -> Grant:
        await asyncio.sleep(0)
        answer: Grant = self.verifier.verify(text, context)
        return answer


class Promising:
    """One that answers with something to await that is no coroutine."""

    def verify(self, text: str, context: Context) -> Awaitable[Grant]:
        class Promise:
            def __await__(self) -> Any:
                yield from asyncio.sleep(0).__await__()
                return VERIFIER.verify(text, context)

        return Promise()


@pytest.mark.parametrize(
    "verifier", [VERIFIER, Slow(VERIFIER), Promising()], ids=["sync", "async", "awaitable"]
)
def test_verifiers_of_either_kind_serve_both_ways(verifier: Any) -> None:
    judging = guard_around(verifier)
    assert judging.judge(incoming()).user == "alice"
    assert asyncio.run(judging.judge_async(incoming())).user == "alice"


@pytest.mark.parametrize("answer", [None, True, 1, "alice", {}, ()])
@pytest.mark.parametrize("around", [lambda verifier: verifier, Slow], ids=["sync", "async"])
def test_only_a_grant_is_a_grant(answer: Any, around: Any) -> None:
    judging = guard_around(around(Answering(answer)))
    with pytest.raises(TypeError, match="answers with a Grant"):
        judging.judge(incoming())
    with pytest.raises(TypeError, match="answers with a Grant"):
        asyncio.run(judging.judge_async(incoming()))


async def test_a_sync_verifier_that_waits_does_not_hold_up_the_event_loop() -> None:
    go, told = threading.Event(), ContextVar("told", default="")

    class Waiting:
        def verify(self, text: str, context: Context) -> Grant:
            assert go.wait(30), "the event loop stood still"
            assert told.get() == "by the request's task"
            return VERIFIER.verify(text, context)

    told.set("by the request's task")
    judging = guard_around(Waiting())
    judged = [asyncio.create_task(judging.judge_async(incoming())) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in judged)
    go.set()
    assert [grant.user for grant in await asyncio.gather(*judged)] == ["alice"] * 5
    judging._renew()  # as in the child of a fork, which has no threads
    assert (await judging.judge_async(incoming())).user == "alice"


async def test_a_verifier_that_waits_for_nobody_needs_no_thread() -> None:
    asked: list[int] = []

    class Counted(Verifier):
        def verify(self, *asking: Any) -> Grant:
            asked.append(threading.get_ident())
            return super().verify(*asking)

    await guard_around(Counted(KEYRING, audience="photos")).judge_async(incoming())
    assert asked == [threading.get_ident()]


def waiting(error: Exception, seconds: object) -> Exception:
    error.retry_after = seconds  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (caveats.Stale("old"), "1"),
        (waiting(caveats.Stale("old"), 12), "12"),
        (waiting(caveats.Stale("old"), 0.2), "1"),
        (waiting(caveats.Stale("old"), "soon"), "1"),
        (caveats.RejectedDelivery("old"), "1"),
        (waiting(Unavailable("down"), 5), "5"),
        (waiting(Unavailable("down"), None), "1"),
        (UnexpectedResponse("what"), "1"),
        (ClientError("what"), "1"),
    ],
)
@pytest.mark.parametrize("around", [lambda verifier: verifier, Slow], ids=["sync", "async"])
def test_a_verifier_that_cannot_say_yes_is_a_503_for_a_while(
    error: Exception, after: str, around: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Problem) as raised:
        guard_around(around(Answering(error))).judge(incoming())
    problem = raised.value
    assert (problem.status, problem.code, problem.headers["Retry-After"]) == (503, "unavailable", after)
    assert type(error).__name__ in caplog.text
    assert "cav1_" not in caplog.text


def test_an_unknown_error_is_no_way_in() -> None:
    with pytest.raises(ZeroDivisionError):
        guard_around(Answering(ZeroDivisionError())).judge(incoming())


def test_answers_can_be_added_and_the_nearest_class_counts() -> None:
    class Gone(caveats.Stale):
        """An error of some verifier."""

    answers = {Gone: lambda error: Problem(429, "rate_limited", str(error))}
    judging = guard_around(answers=answers)
    assert judging.problem(Gone("x")).status == 429
    assert judging.problem(caveats.Stale("x")).status == 503
    with pytest.raises(Problem) as raised:
        guard_around(Answering(Gone("x")), answers=answers).judge(incoming())
    assert raised.value.code == "rate_limited"


def test_the_verifier_is_told_everything() -> None:
    asked = Answering(VERIFIER.verify(TOKEN.encode(), Context(NOW)))
    guard_around(asked, audience="photos").judge(incoming(), ("photos:read",), {"tenant": "acme"})
    assert asked.context == Context(
        NOW,
        "photos",
        ("photos:read",),
        method="GET",
        path="/photos/42",
        client_ip="127.0.0.1",
        extra={"tenant": "acme"},
    )


def test_the_host_is_the_header_s() -> None:
    asked = Answering(VERIFIER.verify(TOKEN.encode(), Context(NOW)))
    guard_around(asked).judge(incoming(bearer(), (b"host", b"app.example:80")))
    assert asked.context.host == "app.example:80"


def test_the_verifier_s_own_audience_counts_where_the_guard_names_none() -> None:
    with pytest.raises(ValueError, match="'photos', and none of 'notes'"):
        guard_around(audience="notes")
    assert guard_around().judge(incoming()).audience == "photos"


# scopes


@given(
    st.text()
    | st.sampled_from(["..", ".", "", "*", "a/b", "a:b", "42", "a%2Fb", "{x}", "a b", "42:read photos"])
)
def test_a_parameter_fills_one_segment_or_nothing(value: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    (filled,) = rules.filled_scopes(("photos/{id}/notes:read",), {"id": value})
    try:
        pattern = parse_scope(filled)
    except MalformedCaveat:
        return
    assert pattern == parse_scope(f"photos/{value}/notes:read")
    assert pattern.resource.count("/") == 2


def test_scopes_are_checked_where_they_are_written() -> None:
    assert rules.checked_scopes("photos:read photos/{id}:write") == ("photos:read", "photos/{id}:write")
    assert rules.checked_scopes(["photos:{action}"]) == ("photos:{action}",)
    assert rules.checked_scopes(()) == ()
    for wrong in ("photos", "photos:read,write", "photos/{}:read", "photos/{a-b}:read", "", "a:b  c:d"):
        with pytest.raises(MalformedCaveat):
            rules.checked_scopes(wrong)
    with pytest.raises(KeyError):
        rules.filled_scopes(("photos/{id}:read",), {})


@pytest.mark.parametrize("patterns", ["static/*", "/a/../b", "/a//b", "/%61", "*"])
def test_public_paths_are_checked_where_they_are_written(patterns: str) -> None:
    with pytest.raises(MalformedCaveat):
        rules.checked_paths(patterns)


# ASGI and WSGI


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.complete"})
        return
    await send({"type": "reached", "user": asgi.grant_of(scope).user, "state": scope["state"]["kept"]})


async def through(scope: dict[str, Any]) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing to read before the answer")

    guarded = asgi.TokenMiddleware(app, VERIFIER, scopes="photos:read", now=now)
    await guarded({"headers": [], "state": {"kept": 1}, **scope}, receive, send)
    return sent


async def test_a_websocket_needs_a_token_too() -> None:
    socket = {"type": "websocket", "raw_path": b"/photos/42", "client": ("127.0.0.1", 1)}
    assert await through({**socket, "headers": [bearer()]}) == [
        {"type": "reached", "user": "alice", "state": 1}
    ]
    assert await through(socket) == [{"type": "websocket.close", "code": 1008}]
    start, body = await through({**socket, "extensions": {"websocket.http.response": {}}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert b"credential_required" in body["body"]
    head = {**socket, "headers": [bearer(caveats.Method("GET"), Path("/photos/*"))]}
    assert (await through(head))[0]["type"] == "reached"


async def test_lifespan_goes_past_the_guard() -> None:
    assert await through({"type": "lifespan"}) == [{"type": "lifespan.startup.complete"}]


@pytest.mark.parametrize("raw_path", [{}, {"raw_path": None}])
async def test_a_path_caveat_refuses_where_the_server_keeps_only_the_decoded_path(
    raw_path: dict[str, Any],
) -> None:
    scope = {"type": "http", "method": "GET", "path": "/photos/42", **raw_path}
    assert (await through({**scope, "headers": [bearer()]}))[0]["type"] == "reached"
    start, body = await through({**scope, "headers": [bearer(Path("/photos/*"))]})
    assert start["status"] == 403
    assert b"the request has no path" in body["body"]
    assert b"decoded_paths=True" in body["body"]


@pytest.mark.parametrize("state", [{}, {"state": {}}, {"state": {"grant": "alice"}}])
def test_without_a_guard_there_is_no_grant(state: dict[str, Any]) -> None:
    with pytest.raises(LookupError):
        asgi.grant_of(state)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"REQUEST_URI": "/a%2Fb?c", "PATH_INFO": "/a/b"}, "/a%2Fb"),
        ({"RAW_URI": "/a%2Fb?c", "PATH_INFO": "/a/b"}, "/a%2Fb"),
        ({"REQUEST_URI": "/\xc3\xa9"}, "/\\xc3\\xa9"),
        ({"REQUEST_URI": "/\u0142"}, "/\\u0142"),
        ({"REQUEST_URI": "", "PATH_INFO": "/a"}, None),
        ({"PATH_INFO": "/a"}, None),
    ],
)
def test_wsgi_s_path_is_the_one_in_the_request_line(environ: dict[str, str], path: str | None) -> None:
    assert wsgi.request_of({"REQUEST_METHOD": "GET", **environ}).path == path


@pytest.mark.parametrize(
    ("path", "mount", "public"),
    [
        ("/fotos/K%C3%A4se%20brot/1", "", True),
        ("/f%C3%BCr%20alle", "", True),
        ("/app%20x/f%C3%BCr%20alle", "/app x", True),
        ("/app%20x/f%C3%BCr%20alle", "", False),
        ("/fotos/K%25C3%25A4se%2520brot/1", "", False),
        ("/fotos/K%C3%A4se%20brot/../x", "", False),
        ("/fotos/K%C3%A4se%20brot/%2e%2e/x", "", False),
        ("/fotos/K%C3%A4se%20brot/..%20/x", "", False),
        ("/fotos/K\\xc3\\xa4se", "", False),
    ],
)
def test_a_public_path_may_have_spaces_and_letters_beyond_ascii(path: str, mount: str, public: bool) -> None:
    patterns = rules.checked_paths(["/fotos/Käse brot/*", "/f%C3%BCr%20alle"])
    request = IncomingRequest("GET", path, b"", [], None, mount)
    assert rules.is_public(patterns, request) is public


@pytest.mark.parametrize(
    ("inside", "script", "public"),
    [
        ("/healthz", "", True),
        ("/healthz", "/app", True),
        ("/static/a b", "/app", True),
        ("/f\xc3\xbcr alle", "", True),
        ("/app/healthz", "/app", False),
        ("/healthz/", "", False),
        ("/static/../x", "", False),
        ("/static/%2e%2e/x", "", False),
        ("//healthz", "", False),
        ("/static/a\\b", "", False),
        ("/static/\xff", "", False),
        ("", "", False),
    ],
)
def test_where_only_the_decoded_path_is_known_it_says_what_is_public(
    inside: str, script: str, public: bool
) -> None:
    request = wsgi.request_of({"REQUEST_METHOD": "GET", "PATH_INFO": inside, "SCRIPT_NAME": script})
    assert request.path is None
    assert (
        rules.is_public(rules.checked_paths(["/healthz", "/static/*", "/f%C3%BCr%20alle"]), request) is public
    )


@pytest.mark.parametrize(
    ("path", "root_path", "public"),
    [
        ("/healthz", "", True),
        ("/app/healthz", "/app", True),
        ("/healthz", "/app", True),
        ("/static/../x", "", False),
    ],
)
def test_so_it_does_in_an_asgi_scope(path: str, root_path: str, public: bool) -> None:
    request = IncomingRequest.from_asgi({"headers": [], "path": path, "root_path": root_path})
    assert request.path is None
    assert rules.is_public(rules.checked_paths(["/healthz", "/static/*"]), request) is public


def test_a_proxy_that_is_not_trusted_is_named_in_the_refusal_and_once_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = guard_around()
    headers = (bearer(caveats.ClientIp("192.0.2.7")), (b"x-forwarded-for", b"192.0.2.7"))
    for judge in (guard.judge, lambda request: asyncio.run(guard.judge_async(request)), guard.judge):
        with pytest.raises(Problem) as refused:
            judge(incoming(*headers))
        (failure,) = refused.value.members["failures"]  # type: ignore[misc]
        assert "127.0.0.1 sends X-Forwarded-*" in failure["hint"]
        assert "trusted_proxies" in failure["hint"]
    assert caplog.text.count("trusted_proxies") == 1
    assert guard_around(trusted_proxies=["127.0.0.1"]).judge(incoming(*headers)).user == "alice"


@pytest.mark.parametrize(
    ("environ", "path", "mount"),
    [
        ({"PATH_INFO": "/K\xc3\xa4se brot"}, "/K%C3%A4se%20brot", ""),
        ({"SCRIPT_NAME": "/\xc3\xa4", "PATH_INFO": "/b"}, "/%C3%A4/b", "/ä"),
        ({"PATH_INFO": "/K%C3%A4se"}, "/K%25C3%25A4se", ""),
        ({"PATH_INFO": "/a\\b"}, "/a%5Cb", ""),
        ({"PATH_INFO": "/~a;b=c@d"}, "/~a;b=c@d", ""),
    ],
)
def test_a_decoded_path_is_encoded_again_once(environ: dict[str, str], path: str, mount: str) -> None:
    request = wsgi.request_of({"REQUEST_METHOD": "GET", **environ}, decoded_paths=True)
    assert (request.path, request.mount) == (path, mount)


@pytest.mark.parametrize(("depth", "status"), [(60, None), (100, 400)])
async def test_facts_that_a_client_nests_too_deep_are_a_bad_request(depth: int, status: int | None) -> None:
    body: Any = "end"
    for _ in range(depth):
        body = [body]
    guard = guard_around()
    if status is None:
        assert guard.judge(incoming(), ["photos:read"], {"body": body}).user == "alice"
        return
    with pytest.raises(Problem, match="64 lists and mappings") as refused:
        guard.judge(incoming(), ["photos:read"], {"body": body})
    assert refused.value.status == status
    with pytest.raises(Problem, match="64 lists and mappings"):
        await guard.judge_async(incoming(), ["photos:read"], {"body": body})


# FastAPI and Starlette


def test_openapi_says_that_a_token_is_needed_and_how_to_send_it() -> None:
    from fastapi import Depends, FastAPI

    from caveats_client.guards.fastapi import TokenGuard

    guard = TokenGuard(VERIFIER, audience="photos", now=now)
    requires = guard.requires("photos/{photo_id}:read")
    app = FastAPI()

    @app.get("/photos/{photo_id}")
    def photo(photo_id: int, grant: Grant = Depends(requires)) -> str:  # noqa: B008, FAST002  # the annotation would name a local
        return grant.user

    with_token = {"Authorization": bearer(Scope("photos/42:read"))[1].decode()}
    with TestClient(app) as client:
        described = client.get("/openapi.json").json()
        assert described["components"]["securitySchemes"] == {
            "bearerAuth": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "macaroon",
                "description": "A token, or a bundle of a token and its discharges.",
            },
            "tokenHeader": {
                "type": "apiKey",
                "in": "header",
                "name": "X-Auth-Token",
                "description": "The same, where something on the way keeps `Authorization` for itself.",
            },
        }
        operation = described["paths"]["/photos/{photo_id}"]["get"]
        assert operation["security"] == [{"bearerAuth": []}, {"tokenHeader": []}]
        assert [parameter["name"] for parameter in operation["parameters"]] == ["photo_id"]
        assert client.get("/photos/42", headers=with_token).json() == "alice"
        assert client.get("/photos/43", headers=with_token).status_code == 403
        bare = client.get("/photos/42")
        assert (bare.status_code, bare.json()["detail"]["code"]) == (401, "credential_required")
        assert bare.headers["www-authenticate"] == 'Bearer realm="caveats"'
        assert bare.headers["content-type"] == "application/json"
        assert int(bare.headers["content-length"]) == len(bare.content)
        guard.install(app)
        app.middleware_stack = None
        assert client.get("/photos/42").json()["code"] == "credential_required"


async def test_starlette_s_other_errors_are_bad_requests() -> None:
    from caveats_client.guards.starlette import TokenBackend

    conn = HTTPConnection({"type": "http", "headers": []})
    assert TokenBackend.on_error(conn, AuthenticationError("?")).status_code == 400


# who imports whom


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("caveats_client", set()),
        ("caveats_client.guards", set()),
        ("caveats_client.guards.guard", set()),
        ("caveats_client.guards.asgi", set()),
        ("caveats_client.guards.starlette", {"starlette"}),
        ("caveats_client.guards.fastapi", {"fastapi", "starlette"}),
        ("caveats_client.guards.flask", {"flask"}),
        ("caveats_client.guards.django", {"django"}),
    ],
)
def test_each_module_imports_its_own_framework_and_no_other(module: str, own: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"starlette", "fastapi", "flask", "django"} == own
