"""Commands that messages name: each is there with its options, and works as it is when it is pasted."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import caveats_client
import caveats_service
from caveats import Expires, Macaroon, PrivateKey, ThirdParty
from caveats_client.cli.app import app
from caveats_client.cli.credentials import Credentials, Login
from caveats_service.cli.app import app as service_app
from tests.support.service import ADMIN_PASSWORD, PASSWORD, Service, new_user, serving

CAVEATS = Path(sys.executable).parent / "caveats"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("hints")) as running:
        yield running


def run(*arguments: str, password: str = PASSWORD) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"CAVEATS_PASSWORD": password}, prog_name="caveats")


def good(done: Result) -> str:
    assert done.exit_code == 0, done.output
    return done.stdout


def pasted(text: str, password: str = PASSWORD) -> Result:
    """The command at the end of a message, as a shell reads it."""
    found = re.search(r"(?:: |^ *)caveats ([a-z][^;\n]*)$", text, re.MULTILINE)
    assert found is not None, text
    return run(*shlex.split(found[1]), password=password)


# Those that stand in the code


def literals(package: object) -> Iterator[tuple[str, str]]:
    """Every text of the package's modules, with the module's name. Of a formatted one, what is filled in is X."""
    root = Path(str(package.__file__)).parent  # type: ignore[attr-defined]
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        inner = {
            id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield (
                    path.name,
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
                    ),
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                yield path.name, node.value


NAMED = sorted(
    {
        (module, found[1].strip())
        for package in (caveats_client, caveats_service)
        for module, text in literals(package)
        for found in re.finditer(r"`(caveats(?:-service)? [a-z][^`]*)`", text)
    }
)


def command_of(group: click.Group, words: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = group
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    return (command.load() if hasattr(command, "load") else command), words


@pytest.mark.parametrize(("module", "text"), NAMED, ids=[f"{module} {text}" for module, text in NAMED])
def test_a_command_that_a_text_names_is_there_with_its_options(module: str, text: str) -> None:
    program, *words = shlex.split(text)
    command, rest = command_of(app if program == "caveats" else service_app, words)
    assert set(rest) <= {"--help"} or not isinstance(command, click.Group), text
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("--")} <= options, text


def test_there_are_such_texts() -> None:
    assert len(NAMED) > 10


# Those that are made when something happens


@pytest.mark.slow
def test_who_was_registered_signs_in_by_what_was_said(service: Service) -> None:
    done = run("register", "hinted", "--url", service.url)
    good(done)
    good(pasted(done.stderr))
    assert "hinted" in good(run("whoami"))


def test_after_a_new_password_one_signs_in_by_what_was_said(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user(service)
    good(run("login", user.username, "--url", service.url))
    monkeypatch.setenv("CAVEATS_NEW_PASSWORD", "another password")
    done = run("passwd")
    good(done)
    good(pasted(done.stderr, "another password"))
    assert user.username in good(run("whoami"))


def test_a_login_that_takes_anothers_place_says_so(service: Service) -> None:
    first, second = new_user(service), new_user(service)
    good(run("login", first.username, "--url", service.url))
    again, other = run("login", first.username), run("login", second.username)
    assert "in place of" not in again.stderr
    assert f"as {second.username}, in place of {first.username}, until" in other.stderr


def test_a_token_that_is_printed_leaves_the_stored_login_alone(service: Service) -> None:
    user = new_user(service)
    good(run("login", user.username, "--url", service.url))
    admin = run("login", "admin", "--scope", "caveats:admin", "--print", password=ADMIN_PASSWORD)
    token = good(admin).strip()
    assert "of admin for default, until" in admin.stderr
    assert user.username in good(run("whoami"))
    assert "no labelled tokens" in run("tokens", "--user", user.username, "--token", token).stderr


def test_a_renewal_that_gains_nothing_says_so(service: Service) -> None:
    good(run("login", new_user(service).username, "--url", service.url, "--expires-in", "1h"))
    assert run("renew", "--expires-in", "2h").stderr.startswith("caveats: renewed: until ")
    short = good(run("attenuate", "--expires-in", "10m")).strip()
    done = run("renew", short, "--expires-in", "2h")
    assert good(done).startswith("cav1_")
    assert "it ends no later than before" in done.stderr
    assert "no later" not in run("renew", "--expires-in", "3h").stderr


@pytest.mark.parametrize("prints", [False, True], ids=["stored", "printed"])
def test_a_login_tells_programs_what_it_is(service: Service, prints: bool) -> None:
    user = new_user(service)
    more = ("--print",) if prints else ()
    facts = json.loads(good(run("login", user.username, "--url", service.url, "--json", *more)))
    assert facts["user"] == user.username
    assert ("token" in facts) is prints


def test_who_is_not_signed_in_is_told_how(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAVEATS_USERNAME", new_user(service).username)
    done = run("issue", "--url", service.url)
    assert done.exit_code == 3
    found = re.search(r"to sign in: caveats (.*?);", done.stderr)
    assert found is not None
    good(run(*shlex.split(found[1])))
    good(run("issue"))


def test_an_expired_login_is_told_from_a_revoked_one(service: Service) -> None:
    user = new_user(service)
    good(run("login", user.username, "--url", service.url))
    login = Credentials.here().load().find(None)
    assert login is not None
    whole = Macaroon.decode(login.token)
    late = whole.attenuate(Expires(datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)))
    Credentials.here().save(Login(login.url, login.username, late.encode()))
    for command in (("whoami",), ("issue",), ("renew",), ("tokens",), ("verify",)):
        done = run(*command)
        if command == ("verify",):
            assert done.exit_code in (3, 4)
            continue
        assert done.exit_code == 3
        assert f"the stored login at {service.url} has expired 2 h ago (" in done.stderr
        assert "revoked" not in done.stderr
    good(pasted(done.stderr if "caveats login" in done.stderr else run("whoami").stderr))

    again = Credentials.here().load().find(None)
    assert again is not None
    good(run("revoke", again.token))
    for command in (("whoami",), ("issue",)):
        done = run(*command)
        assert done.exit_code == 3
        assert "is not accepted and has not expired: it was revoked" in done.stderr
        assert "the token has expired" not in done.stderr
    good(pasted(done.stderr))
    good(run("whoami"))


def test_an_expired_login_is_known_without_the_service(mint: Callable[..., Macaroon]) -> None:
    away = "http://127.0.0.1:9"
    for life, code, words in (
        (-1, 3, f"the stored login at {away} has expired 1 h ago"),
        (1, 6, "cannot reach"),
    ):
        login = mint(now=datetime.now(UTC) - timedelta(hours=2), life=timedelta(hours=2 + life))
        Credentials.here().save(Login(away, "alice", login.encode()))
        for command in (("whoami",), ("issue",), ("tokens",), ("renew",)):
            done = run(*command)
            assert done.exit_code == code, done.stderr
            assert words in done.stderr


def test_who_lacks_the_scope_of_an_administrator_is_told_the_login_that_gives_it(service: Service) -> None:
    good(run("login", "admin", "--url", service.url, password=ADMIN_PASSWORD))
    for command in (
        ("verifier", "list"),
        ("register", "somebody.else", "--as-admin"),
        ("revoke", "--user", new_user(service).username),
    ):
        good(run("login", "admin", "--url", service.url, password=ADMIN_PASSWORD))
        done = run(*command)
        assert done.exit_code == 4
        assert f"caveats login admin --url {service.url} --scope '* caveats:*'" in done.stderr
        good(pasted(done.stderr.splitlines()[0], ADMIN_PASSWORD))
        good(run(*command))


def test_a_token_of_another_service_is_named_as_that(service: Service) -> None:
    user = new_user(service)
    token = Macaroon.decode(user.token())
    Credentials.here().save(Login("https://other.example", "bob", token.encode()))
    forged = token.wire._replace(signature=bytes(32))
    for text, other in (
        (Macaroon(forged._replace(location="https://third.example")).encode(), "https://third.example"),
        (Macaroon(forged).encode(), "https://other.example"),
    ):
        done = run("whoami", text, "--url", service.url)
        assert done.exit_code == 3
        assert done.stderr == f"caveats: the token is one of {other}: {service.url} does not accept it\n"


def test_a_token_without_its_discharge_names_the_command_that_collects_it(service: Service) -> None:
    user = new_user(service)
    party = ThirdParty("https://idm.example", PrivateKey.generate().public_key)
    asked = Macaroon.decode(user.token()).require_discharge(party, "x = y")
    for command in ("whoami", "verify"):
        done = run(command, asked.encode(), "--url", service.url)
        assert done.exit_code == 3
        assert "needs a discharge from https://idm.example" in done.stderr
        assert "caveats discharge --allow https://idm.example\n" in done.stderr


def test_who_has_no_labelled_tokens_is_told_how_to_make_one(service: Service) -> None:
    good(run("login", new_user(service).username, "--url", service.url))
    done = run("tokens")
    found = re.search(r"caveats (issue .*)", done.stderr)
    assert found is not None
    good(run(*shlex.split(found[1])))
    assert "what it is for" in good(run("tokens"))


def test_an_app_is_registered_by_what_init_said(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "photos' own.verifier"
    done = run("verifier", "init", str(file))
    good(done)
    good(run("login", "admin", "--url", service.url, "--scope", "* caveats:*", password=ADMIN_PASSWORD))
    good(pasted(done.stderr))


def test_after_a_sign_out_it_is_said_which_service_is_the_current_one(mint: Callable[..., Macaroon]) -> None:
    for name in ("a", "b", "c"):
        Credentials.here().save(Login(f"https://{name}.example", "alice", mint().encode()))
    done = run("logout", "--forget", "--url", "https://a.example")
    assert "the current service is https://c.example" in done.stderr
    done = run("logout", "--forget")
    assert (
        "no service is the current one now; still signed in to https://b.example: choose with --url"
        in done.stderr
    )
    done = run("logout")
    assert done.exit_code == 3
    assert "still signed in to https://b.example" in done.stderr
    assert run("logout", "--forget", "--url", "https://b.example").stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 200])
def test_passwd_asks_for_the_user_then_for_the_service(service: Service, width: int, tmp_path: Path) -> None:
    """As the first start of a service says it: `caveats passwd`, and nothing else."""
    user = new_user(service)
    shown = typed_at_terminal(
        [str(CAVEATS), "passwd"],
        {
            "User name: ": user.username,
            "Address of the service: ": f" <{service.url.removeprefix('http://')}> ",
            f"Present password of {user.username} at {service.url}: ": PASSWORD,
            f"New password at {service.url}: ": "another password",
            "The same again: ": "another password",
        },
        width, tmp_path,
    )  # fmt: skip
    assert f"changed the password of {user.username}" in shown
    assert f"caveats login {user.username} --url {service.url}" in shown
    assert "another password" not in shown


def typed_at_terminal(command: list[str], answers: dict[str, str], width: int, folder: Path) -> str:
    """What a terminal of this width shows while each prompt is answered in its turn."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")}
    environment |= {"CAVEATS_CONFIG_DIR": str(folder), "COLUMNS": str(width), "TERM": "xterm"}
    shown, waiting = "", dict(answers)
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment
    ) as running:
        os.close(theirs)
        while select.select([ours], [], [], 30)[0]:
            try:
                shown += os.read(ours, 4096).decode()
            except OSError:  # the other end is gone
                break
            for prompt in list(waiting):
                if shown.endswith(prompt):
                    os.write(ours, f"{waiting.pop(prompt)}\n".encode())
    os.close(ours)
    assert running.returncode == 0, shown
    assert not waiting, shown
    return shown.replace("\r\n", "\n")
