"""What a service, a third party or a file says is shown with control characters as escapes, by every command.

A fake service answers every call with hostile text in every member that is a text. Nothing of it may reach the terminal
raw: no escape sequence, no line of its own, nothing that turns the direction of writing.
"""

from __future__ import annotations

import ast
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner, Result

import caveats_client.cli
from caveats import Expires, Identifier, Macaroon, Scope, ThirdParty, User, new_token_id
from caveats.token import encode_base64
from caveats_client.cli.app import app
from caveats_client.cli.commands import DeferredCommand
from caveats_client.cli.credentials import Credentials, Login
from caveats_client.verifiers.registration import Registration
from tests.support.bakery import KEY
from tests.support.law import KEYRING

ODD = {
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "c1": "\x9b31m\x85",
    "lines": "a\r\n\x0b\x0cgranted  token x of root\u2028\u2029",
    "bidi": "\u202egpj.exe\u202c\u2066x\u2069\u200f",
    "hidden": "\u200b\u00ad\ufeff\u00a0\u2060\U000e0041",
    "surrogate": "\ud800\udfff",
    "nul": "\x00\x08\x7f",
    "markup": "[red]x[/red][/]",
}
WRITTEN = "".join(ODD.values())
NOW = datetime.now(UTC)
LATER = f"{NOW + timedelta(hours=8):%Y-%m-%dT%H:%M:%SZ}"
ID = "01KAJQ00000000000000000001"


def minted(user: str = "alice") -> Macaroon:
    """A token as the service issues it, but for what it says."""
    name = Identifier("k1", "default", new_token_id(NOW), 3)
    caveats = [User(user), Expires.after(timedelta(hours=8), now=NOW), Scope("*")]
    return Macaroon.mint(KEYRING.root_key(name), name, location="", caveats=caveats)


TOKEN = minted()


def hostile_token() -> str:
    raw = WRITTEN.encode("utf-8", "surrogatepass")
    return minted().attenuate(b"note = " + raw, b"x/y = " + raw, raw).encode()


class Fake(BaseHTTPRequestHandler):
    """Answers with `status`, and with what `answers` has for the method and path, or else with a problem."""

    answers: ClassVar[dict[str, Any]] = {}
    status: ClassVar[int] = 200

    def answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        found = next((body for place, body in self.answers.items() if path.startswith(place)), None)
        status = self.status if found is not None or self.status >= 400 else 404
        members = problem(status) if found is None or status >= 400 else found
        body = json.dumps({**members, "request_sha256": sha256(sent).hexdigest()}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status in (429, 503):
            self.send_header("Retry-After", "3")
        self.end_headers()
        self.wfile.write(body)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: Any) -> None:
        pass


def problem(status: int) -> dict[str, Any]:
    failure = {
        "index": 0,
        "kind": WRITTEN,
        "predicate": WRITTEN,
        "added_by": WRITTEN,
        "reason": WRITTEN,
        "hint": WRITTEN,
    }
    return {
        "type": WRITTEN,
        "title": WRITTEN,
        "status": status,
        "code": WRITTEN,
        "detail": WRITTEN,
        "failures": [failure],
        "Code": "permission denied",
        "Message": WRITTEN,
    }


def answers(presented: Macaroon) -> dict[str, Any]:
    """The fullest answer to each call, with hostile text wherever the client does not compare it."""
    issued = {
        "token": presented.encode(),
        "token_id": presented.unverified_identifier.token_id,
        "user": "alice",
        "audience": "default",
        "scope": WRITTEN,
        "issued_at": LATER,
        "expires_at": LATER,
    }
    verifier = {
        "verifier_id": WRITTEN,
        "audience": WRITTEN,
        "name": WRITTEN,
        "public_key": encode_base64(KEY.public_key),
        "service_public_key": encode_base64(KEY.public_key),
        "created_at": LATER,
        "created_by": WRITTEN,
        "revoked_at": LATER,
        "revoked_by": WRITTEN,
    }
    record = {
        "token_id": WRITTEN,
        "note": WRITTEN,
        "scope": WRITTEN,
        "audience": WRITTEN,
        "issued_at": LATER,
        "expires_at": LATER,
        "last_used_at": LATER,
    }
    judged = {
        "index": 0,
        "kind": WRITTEN,
        "predicate": WRITTEN,
        "added_by": WRITTEN,
        "satisfied": False,
        "reason": WRITTEN,
        "hint": WRITTEN,
    }
    entry = {
        "sequence": 1,
        "kind": WRITTEN,
        "token_id": issued["token_id"],
        "branch_id": None,
        "user": None,
        "issued_up_to": None,
        "reason": WRITTEN,
        "revoked_at": LATER,
        "expires_at": LATER,
        "already": WRITTEN,
    }
    user = {
        "username": WRITTEN,
        "is_admin": True,
        "scope": WRITTEN,
        "created_at": LATER,
        "disabled_at": None,
    }
    return {
        "/v1/tokens/me": {**issued, "scope": WRITTEN},
        "/v1/tokens": {**issued, "tokens": [record, record], "next": None},
        "/v1/verify": {
            **issued,
            "user": WRITTEN,
            "granted": False,
            "caveats": [judged, {**judged, "satisfied": True}],
            "branches": [WRITTEN],
        },
        "/v1/revocations": entry,
        "/v1/users": user,
        "/v1/verifiers": {**verifier, "verifiers": [verifier, verifier]},
        "/discharge/info": {"PublicKey": b64encode(KEY.public_key).decode(), "Version": 3},
        "/v1/sessions": user,
        "/v1/about": {"service": WRITTEN, "version": WRITTEN},
        "/": {WRITTEN: WRITTEN},
    }


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Fake.answers, Fake.status = answers(TOKEN), 200
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: str, stdin: str = "") -> Result:
        environment = {"CAVEATS_PASSWORD": "correct horse", "CAVEATS_NEW_PASSWORD": "battery staple"}
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment, prog_name="caveats")

    return invoke


COMMANDS = {
    "login": ["login", "alice"],
    "logout": ["logout"],
    "whoami": ["whoami"],
    "register": ["register", "bob"],
    "passwd": ["passwd", "alice"],
    "issue": ["issue", "--scope", "photos:read"],
    "renew": ["renew"],
    "attenuate": ["attenuate", "--third-party", "URL", "--condition", "signed-in = alice", "TOKEN"],
    "discharge": ["discharge", "GUARDED"],
    "inspect": ["inspect", "HOSTILE"],
    "verify": ["verify", "TOKEN", "--scope", "photos:read"],
    "revoke": ["revoke", "TOKEN"],
    "tokens": ["tokens"],
    "completion": ["completion", "bash"],
    "verifier init": ["verifier", "init", "FILE"],
    "verifier register": ["verifier", "register", "FILE", "--audience", "photos"],
    "verifier list": ["verifier", "list"],
    "verifier revoke": ["verifier", "revoke", ID],
}
JSON = [
    "whoami",
    "issue",
    "renew",
    "inspect",
    "verify",
    "revoke",
    "tokens",
    "verifier register",
    "verifier list",
]
OFFLINE = ["inspect", "completion", "verifier init"]


def every_command(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, DeferredCommand):
            yield f"{before}{name}"
        else:
            assert isinstance(command, click.Group)
            yield from every_command(command, f"{before}{name} ")


def test_every_command_is_among_these() -> None:
    assert set(COMMANDS) == set(every_command(app))


def call(run: Run, url: str, name: str, folder: Path, *more: str) -> Result:
    file = folder / "app.verifier"
    if "FILE" in COMMANDS[name] and name != "verifier init":
        Registration.generate().save(file)
    guarded = minted().require_discharge(ThirdParty(url, KEY.public_key), "signed-in = alice").encode()
    Credentials.here().save(Login(url, "alice", TOKEN.encode()))
    known = {"URL": url, "FILE": str(file), "TOKEN": TOKEN.encode(), "HOSTILE": hostile_token()}
    given = [known.get(word, guarded if word == "GUARDED" else word) for word in COMMANDS[name]]
    return run(*given, *([] if name in OFFLINE else ["--url", url]), *more)


def shown_raw(text: str) -> list[str]:
    """What a terminal would obey: nothing but printed characters and this program's own ends of lines."""
    return [one for one in text if not one.isprintable() and one != "\n"]


def own_lines(text: str) -> bool:
    """Whether no line begins as a hostile text wants it to."""
    return not any(line.startswith(("granted  token x", "\u2028")) for line in text.split("\n"))


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 429, 500, 503, 302])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_shows_what_a_service_said_raw(
    run: Run, service: str, tmp_path: Path, name: str, status: int
) -> None:
    Fake.status = status
    done = call(run, service, name, tmp_path)
    assert shown_raw(done.output) == []
    assert own_lines(done.output)
    assert "unexpected" not in done.stderr, done.stderr
    assert done.exit_code in (0, 1, 2, 3, 4, 5, 6)
    assert done.exit_code != 0 or status == 200 or name in OFFLINE or (name, status) == ("logout", 401)


@pytest.mark.parametrize("name", JSON)
def test_json_stays_json(run: Run, service: str, tmp_path: Path, name: str) -> None:
    done = call(run, service, name, tmp_path, "--json")
    assert shown_raw(done.output) == []
    if done.stdout:
        json.loads(done.stdout)
        assert done.stdout.isascii()


def test_the_answers_are_shown_by_the_commands_that_show_them(run: Run, service: str, tmp_path: Path) -> None:
    """Otherwise this file would show that nothing is shown raw because nothing is shown."""
    for name in ("verify", "tokens", "verifier list", "verifier register", "revoke"):
        done = call(run, service, name, tmp_path)
        assert r"\x1b" in done.output, (name, done.output)
        assert r"\u202e" in done.output


def test_a_hostile_token_is_narrowed_and_inspected_without_showing_it_raw(run: Run) -> None:
    for command in (["inspect"], ["attenuate", "--note", "x"], ["inspect", "--json"]):
        done = run(*command, hostile_token())
        assert done.exit_code == 0, done.output
        assert shown_raw(done.output) == []
        assert own_lines(done.output)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_text_of_the_person_is_escaped_in_messages_too(run: Run, service: str, text: str) -> None:
    for arguments in (
        ["login", text],
        ["verify", text],
        ["verifier", "revoke", text],
        [text],
        ["revoke", "--user", text],
    ):
        done = run(*arguments, "--url", service)
        assert shown_raw(done.output) == []


def test_only_one_module_writes_and_only_one_makes_rich_texts() -> None:
    """The rule of the house: `output` writes and escapes, `render` makes texts for tables and escapes."""
    for path in Path(caveats_client.cli.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in node.body
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("write", "echo", "secho", "getpass"):
                written = ast.unparse(node)
                allowed = path.name == "output.py" or written in ("formatter.write", "super().write")
                assert allowed or written == "sys.stderr.write", f"{path.name}: {written}"
            if isinstance(node, ast.ImportFrom) and node.module == "rich.text":
                assert path.name == "render.py" or node in for_types, path.name
