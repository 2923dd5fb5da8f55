"""One table of requests, asked of a small real app of every framework, each served for real."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from caveats import (
    Audience,
    Caveat,
    ClientIp,
    Expires,
    Host,
    Identifier,
    Macaroon,
    MasterKey,
    MasterKeyring,
    Method,
    NotBefore,
    PrivateKey,
    Scope,
    ThirdParty,
    UnknownCaveat,
    User,
    new_token_id,
)
from caveats import (
    Path as PathCaveat,
)
from tests.javascript.peer import CLIENT, NODE
from tests.support.guard import AUDIENCE, FAR, NOW, STALE, Tenant
from tests.support.hostile_heads import HEADS, Answer, Head
from tests.support.raw_http import Reply, ask

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
HAS_NODE = NODE is not None and (CLIENT / "node_modules/hono").is_dir()
KEYRING = MasterKeyring([MasterKey("k1", bytes(range(1, 33)))])
ELSEWHERE = MasterKeyring([MasterKey("k1", bytes(range(2, 34)))])
LATER = MasterKeyring([MasterKey("k2", bytes(range(1, 33)))])
REVOKED = new_token_id(NOW)
LOCAL, PROXY = "127.0.0.1", "127.0.0.2"
PHOTOS = PathCaveat("/photos/*")

APPS = {
    "asgi": ["asgi_app.py"],
    "asgi, h11, async verifier": ["asgi_app.py", "h11", "async"],
    "starlette": ["starlette_app.py"],
    "starlette, async verifier": ["starlette_app.py", "async"],
    "fastapi": ["fastapi_app.py"],
    "fastapi, async verifier": ["fastapi_app.py", "async"],
    "flask": ["flask_app.py"],
    "flask, whole app, async verifier": ["flask_app.py", "protect", "async"],
    "django": ["django_app.py"],
    "django, middleware, async verifier": ["django_app.py", "middleware", "async"],
    "django on asgi, async verifier": ["django_app.py", "asgi", "async"],
    "django on asgi, middleware": ["django_app.py", "asgi", "middleware"],
    "node:http": ["apps.js", "node"],
    "express": ["apps.js", "express"],
    "hono": ["apps.js", "hono"],
}
JOINED = {"hono"} | {
    name
    for name, (app, *how) in APPS.items()
    if app in ("flask_app.py", "django_app.py") and "asgi" not in how
}
"""Served by WSGI or by Fetch's Request, which join the lines of a header with a comma."""
RESOLVED = {"hono": ("/photos/x/../42", "/photos/./42")}
"""Where a guard and its app see nothing but a URL whose dot segments were resolved before them: of Fetch's Request."""


# Tokens


def mint(
    *more: Caveat,
    keyring: MasterKeyring = KEYRING,
    audience: str = AUDIENCE,
    scope: str = "*",
    life: timedelta = timedelta(hours=8),
    token_id: str | None = None,
) -> Macaroon:
    issued = (User("alice"), Expires.after(life, now=NOW), Scope(scope))
    identifier = Identifier(keyring.active.key_id, audience, token_id or new_token_id(NOW), len(issued))
    return Macaroon.mint(keyring.root_key(identifier), identifier, caveats=issued).attenuate(*more)


def text(*more: Caveat, **how: Any) -> bytes:
    return mint(*more, **how).encode().encode()


def bearer(*more: Caveat, **how: Any) -> tuple[bytes, bytes]:
    return b"Authorization", b"Bearer " + text(*more, **how)


FULL = text()
AUTH = (b"Authorization", b"Bearer " + FULL)
_cut = FULL[:-9] + FULL[-8:]
_parties = mint().require_discharge(
    ThirdParty("https://third.example", PrivateKey(b"k" * 32).public_key), "ok"
)


# The table


@dataclass(frozen=True)
class Row:
    """A request, and the answer that every app must give to it."""

    id: str
    headers: list[tuple[bytes, bytes]]
    status: int | None
    """None: whatever the server makes of it, but the guarded view does not see another path than /photos/..."""
    code: str = ""
    target: bytes | str = "/photos/42"
    method: str = "GET"
    source: str = LOCAL
    kinds: list[str] = field(default_factory=list)
    """The kinds of the caveats that refuse."""


def refused(id: str, kind: str, headers: list[tuple[bytes, bytes]], **request: Any) -> Row:
    return Row(id, headers, 403, "caveats_unsatisfied", kinds=[kind], **request)


def disguised(id: str, target: bytes | str) -> Row:
    return refused(id, "path", [bearer(PHOTOS)], target=target)


def strange(id: str, target: bytes | str) -> Row:
    return Row(id, [bearer(PHOTOS)], None, target=target)


def ip(*networks: str) -> tuple[bytes, bytes]:
    return bearer(ClientIp(*networks))


def forwarded(value: bytes) -> tuple[bytes, bytes]:
    return b"X-Forwarded-For", value


XFF_TEN = forwarded(b"10.1.2.3")
ROWS = [
    # who gets in
    Row("bearer", [AUTH], 200),
    Row("post", [bearer(Method("POST"), Scope("photos:write"))], 200, method="POST"),
    Row("with a query", [bearer(PHOTOS)], 200, target="/photos/42?page_token=1&path=/../x"),
    Row("narrow scope", [bearer(Scope("photos:read"))], 200),
    Row("method listed", [bearer(Method("GET", "HEAD"))], 200),
    Row("path below", [bearer(PHOTOS)], 200),
    Row("path with parameters", [bearer(PHOTOS)], 200, target="/photos/42;size=big"),
    Row("scope filled from the path", [bearer(Scope("albums/42:read"))], 200, target="/albums/42"),
    Row("a name with a space and letters", [bearer(PathCaveat("/photos/Käse brot"))], 200, target="/photos/K%C3%A4se%20brot"),
    Row("as the request line has it", [bearer(PathCaveat("/photos/K%C3%A4se%20brot"))], 200, target="/photos/K%c3%a4se%20brot"),
    Row("plug-in satisfied", [bearer(Tenant("acme")), (b"X-Tenant", b"acme")], 200),
    Row("audience listed", [bearer(Audience("photos", "thumbs"))], 200),
    # not authentic, not live: one answer
    Row("a space inside", [(b"X-Auth-Token", FULL[:30] + b" " + FULL[30:])], 401, "damaged_token"),
    Row("cut", [(b"Authorization", b"Bearer " + _cut)], 401, "damaged_token"),
    Row("another's key", [bearer(keyring=ELSEWHERE)], 401, "invalid_token"),
    Row("unknown key", [bearer(keyring=LATER)], 401, "invalid_token"),
    Row("revoked", [bearer(token_id=REVOKED)], 401, "invalid_token"),
    Row("expired", [bearer(life=timedelta(0))], 401, "invalid_token"),
    Row("expired by the holder", [bearer(Expires(NOW))], 401, "invalid_token"),
    Row("expired, and more", [bearer(Expires(NOW), Method("PUT"), PathCaveat("/x"))], 401, "invalid_token"),
    Row("third party not asked", [(b"X-Auth-Token", _parties.encode().encode())], 401, "discharge_required"),
    # authentic, and not for this
    Row("another audience", [bearer(audience="notes")], 403, "wrong_audience"),
    refused("audience not listed", "audience", [bearer(Audience("thumbs"))]),
    refused("not yet", "not-before", [bearer(NotBefore(FAR))]),
    refused("scope", "scope", [bearer(Scope("notes:read"))]),
    refused("scope of a sibling", "scope", [bearer(Scope("photos/42:read"))]),
    refused("scope for another method", "scope", [bearer(Scope("photos:read"))], method="POST"),
    refused("method", "method", [bearer(Method("GET"))], method="POST"),
    refused("another method", "method", [bearer(Method("POST"))]),
    refused("scope from the path", "scope", [bearer(Scope("albums/42:read"))], target="/albums/43"),
    refused("escaped slash into a scope", "scope", [bearer(Scope("albums/42:read"))], target="/albums/42%2F43"),
    refused("a slash into a scope", "scope", [bearer(Scope("albums/42:read"))], target="/albums/42/43"),
    refused("a colon into a scope", "scope", [bearer(Scope("albums/42:read"))], target="/albums/42:read"),
    refused("a star into a scope", "scope", [bearer(Scope("albums/42:read"))], target="/albums/*"),
    refused("plug-in", "acme/tenant", [bearer(Tenant("acme")), (b"X-Tenant", b"evil")]),
    refused("plug-in without its fact", "acme/tenant", [bearer(Tenant("acme"))]),
    refused("unknown kind", "unknown", [bearer(UnknownCaveat(b"acme/unheard-of = x"))]),
    Row("nothing new heard", [AUTH, (b"X-Tenant", STALE.encode())], 503, "unavailable"),
    # paths in disguise
    disguised("escaped slash", "/photos%2F42"),
    disguised("escaped slash below", "/photos/42%2f43"),
    disguised("dot segment", "/photos/../secret"),
    disguised("dot segments that stay inside", "/photos/x/../42"),
    disguised("one dot", "/photos/./42"),
    disguised("escaped dots", "/photos/%2e%2e/secret"),
    disguised("half-escaped dots", "/photos/.%2E/secret"),
    disguised("double escape", "/photos/%252e%252e/secret"),
    disguised("escaped letter", "/photos/4%32"),
    disguised("two slashes", "/photos//42"),
    disguised("dots and a parameter", "/photos/..;/secret"),
    disguised("other case", "/Photos/42"),
    disguised("longer name", "/photosX/42"),
    disguised("the folder itself", "/photos"),
    disguised("elsewhere", "/secret"),
    disguised("elsewhere, named in the query", "/secret?/photos/42"),
    disguised("letters escaped twice", "/photos/K%25C3%25A4se"),
    disguised("latin-1", "/photos/K%E4se"),
    disguised("overlong dots", "/photos/%C0%AE%C0%AE/secret"),
    disguised("dots and a space", "/photos/..%20/secret"),
    disguised("dots and nothing to see", "/photos/..%E2%80%8B/secret"),
    strange("backslash", "/photos/..\\secret"),
    strange("two slashes at the start", "//photos/42"),
    strange("two slashes, elsewhere", "//secret"),
    strange("host before the path", "//photos/../secret"),
    strange("absolute form", "http://app.example/photos/42"),
    strange("absolute form, elsewhere", "http://app.example/secret"),
    strange("absolute form, path as host", "http://photos/secret"),
    strange("fragment", "/photos/42#/../../secret"),
    strange("fragment elsewhere", "/secret#/photos/42"),
    strange("escaped NUL", "/photos/42%00/../../secret"),
    strange("bytes beyond ASCII", b"/photos/\xe9"),
    strange("overlong slash", b"/photos\xc0\xaf42"),
    strange("fullwidth dots", "/photos/\uff0e\uff0e/secret"),
    strange("escaped question mark", "/secret%3f/photos/42"),
    strange("no slash", "photos/42"),
    # whose address
    Row("from here", [ip("127.0.0.1")], 200),
    Row("a stranger's own, whatever it says", [ip("127.0.0.1"), XFF_TEN], 200),
]  # fmt: skip


# The apps


@contextlib.contextmanager
def running(name: str, *arguments: str) -> Iterator[int]:
    """The port of an app, which ends with the block, or with this process."""
    told = {"keyring": KEYRING.export(AUDIENCE).to_json(), "revoked": REVOKED}
    program = [NODE or "node", str(CLIENT / "test" / name)]
    if not name.endswith(".js"):
        program = [sys.executable, str(HERE / "apps" / name)]
    process = subprocess.Popen(
        [*program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1] / "support"), "PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            process.stdin.write(json.dumps(told) + "\n")
            process.stdin.flush()
            port = process.stdout.readline()
            assert port, f"{name} did not start"
            yield int(port)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Every app, all started at once on first use."""
    with contextlib.ExitStack() as stack:
        commands = {name: command for name, command in APPS.items() if "apps.js" not in command or HAS_NODE}
        started = {name: stack.enter_context(running(*command)) for name, command in commands.items()}
        yield started


@pytest.fixture(params=APPS)
def framework(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if "apps.js" in APPS[name] and not HAS_NODE:
        pytest.skip("the JavaScript client is not there with what its tests need: make javascript")
    return name


@pytest.fixture
def port(framework: str, ports: dict[str, int]) -> int:
    return ports[framework]


# The tests


def check_refusal(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """The problem, as the service would word it."""
    assert (reply.status, reply.header("content-type")) == (status, "application/problem+json"), reply
    assert reply.header("cache-control") == "no-store"
    assert int(reply.header("content-length")) == len(reply.body)
    problem: dict[str, Any] = json.loads(reply.body)
    assert (problem["status"], problem["code"], problem["type"]) == (
        status,
        code,
        f"urn:caveats:problem:{code}",
    )
    assert b"cav1_" not in reply.body
    if status == 503:
        assert reply.header("retry-after") == "7"
    if status in (401, 403) and code != "wrong_audience":
        error = {"credential_required": "", "caveats_unsatisfied": ', error="insufficient_scope"'}
        expected = error.get(code, ', error="invalid_token"')
        assert reply.header("www-authenticate") == f'Bearer realm="caveats"{expected}'
    if code == "invalid_token":
        assert set(problem) == {"type", "title", "status", "code"}
    return problem


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_framework_answers_alike(row: Row, framework: str, port: int) -> None:
    reply = ask(port, row.target, row.headers, method=row.method, source=row.source)
    if row.status == 200 or row.target in RESOLVED.get(framework, ()):
        assert reply.status == 200, reply
        answer = json.loads(reply.body)
        assert answer["user"] == "alice"
        assert row.status == 200 or answer["path"] == "/photos/42"
    elif row.status is not None:
        problem = check_refusal(reply, row.status, row.code)
        assert {failure["kind"] for failure in problem.get("failures", [])} == set(row.kinds)
    elif reply.status == 200:
        seen = json.loads(reply.body)["path"]
        assert seen.startswith("/photos/"), reply
        assert ".." not in seen, reply


@pytest.mark.parametrize("head", [head for head in HEADS if head.peer != "socket"], ids=lambda head: head.id)
def test_every_head_has_its_answer(head: Head, framework: str, ports: dict[str, int]) -> None:
    """As of the service. Nobody connects through a Unix socket here: that is asked in test_guard.py."""
    reply = ask(
        ports[framework],
        b"/photos/42" + head.path + (b"?" + head.query if head.query else b""),
        head.filled(text(*[predicate.encode() for predicate in head.caveats])),
        source=PROXY if head.peer == "proxy" else LOCAL,
    )
    expected = head.joined if head.joined is not None and framework in JOINED else head.answer
    problem = check_refusal(reply, expected.status, expected.code) if expected.code else {}
    challenges = [value for name, value in reply.headers if name.lower() == "www-authenticate"]
    assert Answer(reply.status, problem.get("code"), *challenges) == expected


@pytest.mark.parametrize("framework", ["node:http", "express", "hono"], indirect=True)
def test_the_guards_in_javascript_answer_byte_for_byte_as_those_in_python(
    framework: str, ports: dict[str, int]
) -> None:
    """But for the name of the option that a hint about proxies names."""
    for head in HEADS:
        repeated = len({name.lower() for name, _ in head.headers}) < len(head.headers)
        if head.peer == "socket" or (framework in JOINED and repeated):
            continue
        target = b"/photos/42" + head.path + (b"?" + head.query if head.query else b"")
        filled = head.filled(text(*[predicate.encode() for predicate in head.caveats]))
        source = PROXY if head.peer == "proxy" else LOCAL
        theirs, own = (ask(ports[app], target, filled, source=source) for app in ("asgi", framework))
        if theirs.status != 200:
            assert own.body.replace(b"trustedProxies", b"trusted_proxies") == theirs.body, head.id
            assert own.header("content-type") == theirs.header("content-type")


HOSTS = {
    "case, port and last dot": (b"APP.example.:8080", 200),
    "another": (b"app.example.evil.example", 403),
    "empty": (b"", 403),
    "user": (b"app.example@evil.example", 403),
    "user before": (b"alice@app.example", 403),
    "space": (b"app.example evil.example", 403),
    "list": (b"app.example, evil.example", 403),
    "address": (b"app.example/x", 403),
    "IPv6": (b"[::1]:80", 403),
    "beyond ASCII": ("app.ex\u0430mple".encode(), 403),
    "full width": ("\uff41pp.example".encode(), 403),
    "second line": (b"app.example\r\nHost: evil.example", 403),
    "second line first": (b"evil.example\r\nHost: app.example", 403),
}


@pytest.mark.parametrize(("sent", "status"), HOSTS.values(), ids=HOSTS)
def test_a_hostile_host_passes_no_host_caveat(sent: bytes, status: int, port: int) -> None:
    """Some servers and frameworks refuse such a request by themselves."""
    reply = ask(port, "/photos/42", [bearer(Host("app.example"))], host=sent)
    assert reply.status in ({200} if status == 200 else {status, 400}), reply


def test_a_refusal_says_which_caveat_whose_and_why(port: int) -> None:
    reply = ask(port, "/photos/42", [bearer(Scope("photos:*"), Method("GET"))], method="POST")
    failures = check_refusal(reply, 403, "caveats_unsatisfied")["failures"]
    assert failures == [
        {
            "index": 4,
            "kind": "method",
            "predicate": "method = GET",
            "added_by": "holder",
            "reason": "the request's method is POST",
            "hint": "one of: GET",
        }
    ]


def test_the_app_is_given_the_grant(port: int) -> None:
    reply = ask(port, "/photos/42", [bearer(Scope("photos/*:* photos:read"))])
    assert json.loads(reply.body) == {
        "user": "alice",
        "scopes": ["photos/*:*", "photos:read"],
        "path": "/photos/42",
    }


def test_head_is_refused_without_a_body(port: int) -> None:
    reply = ask(port, "/photos/42", method="HEAD")
    assert (reply.status, reply.body) == (401, b"")


@pytest.mark.parametrize("target", ["/healthz", "/static/x.css", "/static/a/b.js"])
@pytest.mark.parametrize("headers", [[], [(b"Authorization", b"Bearer nonsense")]], ids=["no token", "any"])
def test_public_paths_need_no_token(target: str, headers: list[tuple[bytes, bytes]], port: int) -> None:
    reply = ask(port, target, headers)
    assert (reply.status, json.loads(reply.body)) == (200, {"public": True})


@pytest.mark.parametrize(
    "target",
    [
        "/static/../photos/42",
        "/static/%2e%2e/photos/42",
        "/static/..%2fphotos/42",
        "/static%2F..%2Fphotos/42",
        "/static/..;/photos/42",
        "/healthz/../photos/42",
        "/healthz;/photos/42",
        "/healthz%2f..%2fphotos/42",
        "//static/photos/42",
        "/static",
        "/static/",
        "http://app.example/static/../photos/42",
        "/photos/42?/static/x",
        "/photos/42#/static/x",
    ],
)
def test_nothing_guarded_is_reached_by_way_of_a_public_path(target: str, port: int) -> None:
    reply = ask(port, target)
    assert reply.status != 200 or json.loads(reply.body) == {"public": True}, reply


@pytest.mark.parametrize("name", ["flask_app.py", "django_app.py"])
@pytest.mark.parametrize(
    ("arguments", "target", "status"),
    [
        ([], "/photos/42", 403),
        ([], "/photos%2F42", 403),
        (["decoded"], "/photos/42", 200),
        (["decoded"], "/photos/%2e%2e/secret", 403),
        (["decoded"], "/secret", 403),
        (["decoded"], "/photos/%252e", 403),
        (["decoded"], "/photos/K%C3%A4se%20brot", 200),
        (["decoded"], "/photos/K%25C3%25A4se", 403),
        (["decoded"], "/photos/K%E4se", 403),
        (["decoded"], "/photos/x%5C..%5C42", 403),
    ],
)
def test_without_the_raw_path_a_path_caveat_refuses_unless_the_decoded_one_is_asked_for(
    name: str, arguments: list[str], target: str, status: int
) -> None:
    """wsgiref keeps the decoded path only; that is what Django's runserver is made of."""
    with running(name, "wsgiref", *arguments) as port:
        assert ask(port, target, [bearer(PHOTOS)]).status == status
        assert ask(port, target, [bearer()]).status == 200
