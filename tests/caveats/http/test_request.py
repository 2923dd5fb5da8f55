"""The head of a request: as it came in, and a table of whole heads with the answer to each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import caveats
from caveats.http import (
    IncomingRequest,
    Problem,
    TrustedProxies,
    check_url,
    context_of,
    find_problem,
    opens_websocket,
    path_below,
    path_text,
    served_path,
    token_of,
)
from caveats.kinds import plain_path
from tests.support.hostile_heads import GRANTED, HEADS, Answer, Head

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COOKIE = "__Host-caveats-session"
KEYRING = caveats.MasterKeyring([caveats.MasterKey("k1", bytes(range(1, 33)))])
IDENTIFIER = caveats.Identifier("k1", "photos", caveats.new_token_id(NOW), 3)
TOKEN = caveats.Macaroon.mint(
    KEYRING.root_key(IDENTIFIER),
    IDENTIFIER,
    caveats=[caveats.User("alice"), caveats.Expires.after(timedelta(hours=1), now=NOW), caveats.Scope("*")],
)
PEERS = {"stranger": "127.0.0.1", "proxy": "127.0.0.2", "socket": None}


def judged(head: Head, cookie_name: str) -> Answer:
    """The answer to a head, by what this module offers and a verifier."""
    token = TOKEN.attenuate(*[predicate.encode() for predicate in head.caveats]).encode().encode()
    request = IncomingRequest(
        "GET",
        path_text(b"/photos/42" + head.path),
        head.query,
        [(b"host", b"app.example"), *((name.lower(), value) for name, value in head.filled(token))],
        PEERS[head.peer],
    )
    try:
        referers = [value for name, value in request.headers if name == b"referer"]
        check_url(b"/photos/42" + head.path, head.query, referers)
        text = token_of(request.headers, cookie_name).text
        context = context_of(request, TrustedProxies(["127.0.0.2", "unix"]), now=NOW, scopes=["photos:read"])
        caveats.Verifier(KEYRING, audience="photos").verify(text, context)
    except (Problem, caveats.CaveatsError) as error:
        problem = find_problem(error)
        assert problem is not None
        return Answer(problem.status, problem.code, problem.headers.get("WWW-Authenticate"))
    return GRANTED


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.id)
def test_every_head_has_its_answer(head: Head) -> None:
    assert judged(head, "") == head.answer
    assert judged(head, COOKIE) == (head.with_cookies or head.answer)


def test_every_head_has_a_name_of_its_own() -> None:
    assert len({head.id for head in HEADS}) == len(HEADS)


def test_a_request_is_read_from_an_asgi_scope_as_it_came() -> None:
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/a/é",
        "raw_path": b"/a%2F\xe9",
        "query_string": b"q",
        "headers": [(b"X-Auth-Token", b"x")],
        "client": ("10.0.0.1", 80),
        "root_path": "/a",
    }
    assert IncomingRequest.from_asgi(scope) == IncomingRequest(
        "PUT", "/a%2F\\xe9", b"q", [(b"x-auth-token", b"x")], "10.0.0.1", "/a"
    )
    socket = {"type": "websocket", "headers": [], "client": None, "path": "/a"}
    assert IncomingRequest.from_asgi(socket) == IncomingRequest("GET", None, b"", [], None)


def test_a_byte_beyond_ascii_passes_for_no_letter_of_a_path() -> None:
    assert path_text("/é".encode()) == "/\\xc3\\xa9"


@pytest.mark.parametrize(
    ("path", "mount", "seen"),
    [
        (None, "/app", None),
        ("/app/a", "", "/app/a"),
        ("/app/a", "/app", "/a"),
        ("/app/a", "/app/", "/a"),
        ("/application/a", "/app", "/application/a"),
        ("/a", "/app", "/a"),
        ("/app", "/app", ""),
        ("/app/app/a", "/app", "/app/a"),
    ],
)
def test_an_app_sees_the_path_below_its_mount(path: str | None, mount: str, seen: str | None) -> None:
    assert IncomingRequest("GET", path, b"", [], None, mount).path_in_app == seen


@pytest.mark.parametrize(
    ("sent", "served", "mount", "judged"),
    [
        ("/a", None, "", "/a"),
        ("/a", "/a", "", "/a"),
        ("/app/a", "/a", "/app/", "/app/a"),
        ("/a", "/a", "/app", "/a"),
        ("/a", "/b", "/app", "/app/b"),
        ("/a", "/app/b", "/app", "/app/b"),
        ("/a", "/K\u00e4se brot", "", "/K%C3%A4se%20brot"),
        ("/a", "/\udce4", "", "/%ED%B3%A4"),
        ("/a%2Fb", "/a/b", "", "/a%2Fb"),
        ("/a", "/b", "/BOX/", "/BOX/b"),
        ("/app/%c3%a4", "/\u00e4", "/app/", "/app/%c3%a4"),
    ],
)
def test_a_path_that_was_rewritten_on_the_way_is_read_as_rewritten_and_a_disguise_as_sent(
    sent: str, served: str | None, mount: str, judged: str
) -> None:
    assert served_path(sent, served, mount) == judged
    scope = {"type": "http", "headers": [], "raw_path": sent.encode(), "path": served, "root_path": mount}
    assert IncomingRequest.from_asgi(scope).path == judged


def test_a_query_that_a_test_client_gives_as_text_is_read() -> None:
    scope = {"type": "http", "headers": [], "query_string": "a=1"}
    assert IncomingRequest.from_asgi(scope).query == b"a=1"


@pytest.mark.parametrize(
    ("sent", "inside", "mount", "judged", "below"),
    [
        ("/app/a", "/a", "/app", "/app/a", "/a"),
        ("/app/app/a", "/app/a", "/app", "/app/app/a", "/app/a"),
        ("/app/a", "/app/a", "/app", "/app/a", "/app/a"),
        ("/a", "/a", "/app", "/a", "/a"),
        ("/app/a", "/app/b", "/app", "/app/app/b", "/app/b"),
        ("/K%C3%A4se/a", "/a", "/K\u00e4se/", "/K%C3%A4se/a", "/a"),
        ("/BOX/a", "/a", "/BOX", "/BOX/a", "/a"),
    ],
)
def test_a_path_in_an_app_that_begins_as_its_mount_does_keeps_that_beginning(
    sent: str, inside: str, mount: str, judged: str, below: str
) -> None:
    path, kept = path_below(sent, inside, mount)
    assert path == judged
    assert kept == ("" if sent == inside else mount)
    assert IncomingRequest("GET", plain_path(path), b"", [], None, kept).path_in_app == below


@pytest.mark.parametrize(
    ("name", "opens"),
    [(b"sec-websocket-key", True), (b"sec-websocket-version", True), (b"sec-fetch-site", False)],
)
def test_a_handshake_is_known_by_any_of_its_fields(name: bytes, opens: bool) -> None:
    assert opens_websocket([(b"host", b"a"), (name, b"13")]) is opens
