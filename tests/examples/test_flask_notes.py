"""The notes: sign in once, a token with each request, nothing kept in between."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import notes
import notes_client
import pytest
from flask import Flask
from local_service import ADMIN_PASSWORD, LocalService, local_service, process

from caveats import (
    Expires,
    Identifier,
    Macaroon,
    MasterKey,
    MasterKeyring,
    Method,
    Note,
    Scope,
    User,
    new_token_id,
)

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
MASTERS = MasterKeyring([MasterKey("k1", bytes(range(32)))])
FULL = ("notes:read", "notes:write")


def issued(user: str = "alice", audience: str = "notes", life: timedelta = timedelta(hours=1)) -> Macaroon:
    now = datetime.now(UTC)
    identifier = Identifier("k1", audience, new_token_id(now), 3)
    caveats = (User(user), Expires(now + life), Scope(*FULL))
    return Macaroon.mint(MASTERS.root_key(identifier), identifier, caveats=caveats)


@pytest.fixture
def app() -> Flask:
    return notes.create_app(MASTERS.export("notes"))


def client_of(app: Flask, token: Macaroon) -> notes_client.NotesClient:
    return notes_client.NotesClient("http://notes", token, httpx.WSGITransport(app))


def ask(app: Flask, token: Macaroon | str, method: str, path: str, **more):
    text = token if isinstance(token, str) else token.encode()
    return app.test_client().open(path, method=method, headers={"X-Auth-Token": text}, **more)


def test_the_notes_are_those_of_the_tokens_user(app: Flask) -> None:
    with client_of(app, issued("alice")) as alice, client_of(app, issued("bob")) as bob:
        first = alice.add("buy milk")
        bob.add("call alice")
        assert alice.all() == {first: "buy milk"}
        assert list(bob.all().values()) == ["call alice"]
        alice.delete(first)
        assert alice.all() == {}


def test_a_user_cannot_delete_what_is_not_theirs(app: Flask) -> None:
    with client_of(app, issued("alice")) as alice:
        number = alice.add("buy milk")
    assert ask(app, issued("bob"), "DELETE", f"/notes/{number}").status_code == 404


@pytest.mark.parametrize(
    ("caveat", "method", "path", "status"),
    [
        (Scope("notes:read"), "GET", "/notes", 200),
        (Scope("notes:read"), "POST", "/notes", 403),
        (Scope("notes:write"), "GET", "/notes", 403),
        (Scope("notes:write"), "POST", "/notes", 201),
        (Scope("notes/7:write"), "DELETE", "/notes/8", 403),
        (Scope("notes/7:write"), "DELETE", "/notes/7", 404),
        (Method("GET"), "POST", "/notes", 403),
        (Note("mine"), "GET", "/notes", 200),
        (Expires(datetime(2020, 1, 1, tzinfo=UTC)), "GET", "/notes", 401),
        (b"moon = full", "GET", "/notes", 403),
    ],
    ids=str,
)
def test_a_narrowed_token_does_what_is_left(app: Flask, caveat, method, path, status) -> None:
    more = {"json": {"text": "x"}} if method == "POST" else {}
    answer = ask(app, issued().attenuate(caveat), method, path, **more)
    assert answer.status_code == status
    if status == 403:
        assert answer.get_json()["failures"][0]["predicate"] == (
            caveat.decode() if isinstance(caveat, bytes) else str(caveat)
        )


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("", 401, "invalid_token"),
        ("nonsense", 401, "invalid_token"),
        ("cav1_damaged000000", 401, "damaged_token"),
        (issued(audience="photos"), 403, "wrong_audience"),
    ],
    ids=["empty", "nonsense", "damaged", "another audience"],
)
def test_what_is_no_token_for_this_app_is_refused(app: Flask, token, status, code) -> None:
    answer = ask(app, token, "GET", "/notes")
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/notes", 401, "credential_required"),
        ("GET", "/elsewhere", 404, "not_found"),
        ("PUT", "/notes", 405, "method_not_allowed"),
    ],
)
def test_every_error_has_the_same_form(app: Flask, method, path, status, code) -> None:
    answer = app.test_client().open(path, method=method)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"text": 1}', b"\xff"])
def test_a_note_is_text(app: Flask, body: bytes) -> None:
    answer = ask(app, issued(), "POST", "/notes", data=body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/notes", "/notes/1", "/elsewhere"])
def test_a_page_of_any_origin_may_send_its_token_and_nothing_of_the_browsers(app: Flask, path: str) -> None:
    """A browser reads an answer to a request with credentials only if they are allowed and the origin is named."""
    asked = {"Origin": "https://a.example", "Access-Control-Request-Headers": "x-auth-token"}
    for answer in (
        app.test_client().options(path, headers=asked),
        app.test_client().get(path, headers={"Origin": "https://a.example"}),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Auth-Token" in answer.headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Set-Cookie" not in answer.headers


def test_the_page_reaches_the_notes_and_the_service_and_nobody_else() -> None:
    app = notes.create_app(MASTERS.export("notes"), "https://auth.example")
    page = app.test_client().get("/")
    policy = page.headers["Content-Security-Policy"]
    assert "connect-src 'self' https://auth.example;" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert b'name="service" content="https://auth.example"' in page.data
    for path in ("/page/notes.js", "/page/notes.css", "/caveats/index.js", "/caveats/client/index.js"):
        assert app.test_client().get(path, buffered=True).status_code == 200, path
    for path in (
        "/caveats/../package.json",
        "/caveats/%2e%2e/package.json",
        "/page/../notes.py",
        "/caveats/",
    ):
        assert app.test_client().get(path, buffered=True).status_code == 404, path


def test_no_session_is_kept_so_a_restarted_app_serves_the_same_token(app: Flask) -> None:
    token = issued()
    assert "Set-Cookie" not in ask(app, token, "GET", "/notes").headers
    assert ask(notes.create_app(MASTERS.export("notes")), token, "GET", "/notes").status_code == 200


def test_the_program_signs_in_at_the_service_and_keeps_notes_at_the_app(
    service: LocalService, examples: Path
) -> None:
    app = f"{examples / 'flask_notes' / 'notes.py'}:from_environment"
    environment = {**service.environment, "NOTES_KEYS": str(service.export_keys("notes"))}
    serve = ("flask", "--app", app, "run", "--port", "0")
    program = [sys.executable, str(examples / "flask_notes" / "notes_client.py")]
    with process(*serve, folder=service.folder, environment=environment) as url:
        given = [*program, "alice", "buy milk", "call Bob", "--auth", service.url, "--url", url]
        done = subprocess.run(
            given,
            env={**environment, "CAVEATS_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "   1  buy milk\n   2  call Bob\n"


def test_notes_with_old_keys_say_so_once_in_their_log_and_not_to_the_client(
    tmp_path: Path, examples: Path
) -> None:
    """The real service rotates its key, and the app has the keys of before."""
    with local_service(tmp_path, CAVEATS_KEY_PROPAGATION="1s") as service:
        environment = {**service.environment, "NOTES_KEYS": str(service.export_keys("notes"))}
        service.run("caveats-service", "keys", "rotate")
        until = time.monotonic() + 30
        while "k2  active" not in service.run("caveats-service", "keys", "list"):
            assert time.monotonic() < until
        login = ("caveats", "login", "admin", "--audience", "notes", "--password-stdin")
        service.run(*login, stdin=ADMIN_PASSWORD)
        token = json.loads((tmp_path / "config" / "credentials.json").read_text())["logins"][service.url][
            "token"
        ]
        app = f"{examples / 'flask_notes' / 'notes.py'}:from_environment"
        serve = ("flask", "--app", app, "run", "--port", "0")
        with process(*serve, folder=tmp_path, environment=environment) as url:
            headers = {"X-Auth-Token": token}
            answers = [httpx.get(f"{url}/notes", headers=headers, trust_env=False) for _ in range(20)]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(401, "invalid_token")}
    assert not any("k2" in answer.text for answer in answers)
    (log,) = tmp_path.glob("flask-*.log")
    assert log.read_text().count("a token of audience notes is under k2, this app has k1: export") == 1
    assert token not in log.read_text()
