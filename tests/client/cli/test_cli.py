"""The commands without a service: what works offline, where tokens come from, how a command ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import click
import pytest
from click.testing import CliRunner, Result

from caveats import (
    Bundle,
    Expires,
    Macaroon,
    Note,
    PrivateKey,
    Scope,
    ThirdParty,
    ThirdPartyCaveat,
    discharge,
    open_ticket,
)
from caveats_client.cli.app import app
from caveats_client.cli.commands import DeferredCommand
from caveats_client.cli.credentials import Credentials, Login
from caveats_client.cli.output import message

COMMANDS = [
    "login",
    "logout",
    "whoami",
    "register",
    "passwd",
    "issue",
    "renew",
    "attenuate",
    "inspect",
    "verify",
    "revoke",
    "tokens",
    "completion",
]
NOBODY = "http://127.0.0.1:9"  # where nobody listens

Caveats = Callable[..., Result]


@pytest.fixture
def caveats() -> Caveats:
    def run(*arguments: str, stdin: str | bytes = "", **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment, prog_name="caveats")

    return run


def script(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real console script."""
    beside = Path(sys.executable).parent / "caveats"
    return subprocess.run(
        [beside, *arguments], capture_output=True, text=True, timeout=30, check=False, **options
    )


def predicates(text: str) -> list[str]:
    return [str(caveat) for caveat in Macaroon.decode(text.strip()).unverified_caveats]


# Help


def test_help_names_every_command_and_every_exit_code(caveats: Caveats) -> None:
    shown = caveats("--help")
    assert shown.exit_code == 0
    for command in COMMANDS:
        assert command in shown.stdout
    for code in ("0  done", "3  not signed in", "6  the service", "7  malformed", "130  interrupted"):
        assert code in shown.stdout
    assert "wants to know who asks" in shown.stdout  # for `discharge`


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_examples(caveats: Caveats, command: str) -> None:
    shown = caveats(command, "--help")
    assert shown.exit_code == 0
    assert f"caveats {command}" in shown.stdout.partition("For example:")[2]


def deferred(group: click.Group) -> list[DeferredCommand]:
    rows: list[DeferredCommand] = []
    for command in group.commands.values():
        rows += [command] if isinstance(command, DeferredCommand) else deferred(command)
    return rows


@pytest.mark.parametrize("row", deferred(app), ids=lambda row: row.place)
def test_the_table_says_of_each_command_what_its_help_says_first(row: DeferredCommand) -> None:
    command = row.load()
    assert command.name == row.name
    assert (command.help or "").partition("\n")[0] == row.short_help


def test_without_arguments_there_is_help(caveats: Caveats) -> None:
    shown = caveats()
    assert shown.exit_code == 2
    assert "attenuate" in shown.output


def test_the_version_is_told(caveats: Caveats) -> None:
    assert caveats("--version").stdout.startswith("caveats 0.")


# Narrowing


def test_attenuate_prints_the_narrower_copy_and_nothing_else(caveats: Caveats, token: Macaroon) -> None:
    narrowed = caveats("attenuate", "--scope", "photos/42:read", "--note", "for the printer", token.encode())
    assert narrowed.exit_code == 0
    assert narrowed.stderr == ""
    assert narrowed.stdout.count("\n") == 1
    assert Macaroon.decode(narrowed.stdout.strip()) == token.attenuate(
        Scope("photos/42:read"), Note("for the printer")
    )


def test_every_flag_is_a_caveat(caveats: Caveats, token: Macaroon) -> None:
    flags = {
        "--scope": "photos/42:read",
        "--expires": "2026-12-01T18:00:00Z",
        "--not-before": "2026-11-01T18:00:00Z",
        "--audience": "default",
        "--method": "get",
        "--path": "/albums/*",
        "--client-ip": "10.0.0.0/8",
        "--note": "a note",
        "--caveat": "photos/album = 42",
    }
    narrowed = caveats("attenuate", token.encode(), *(word for pair in flags.items() for word in pair))
    assert predicates(narrowed.stdout)[3:] == [
        "scope = photos/42:read",
        "expires = 2026-12-01T18:00:00Z",
        "not-before = 2026-11-01T18:00:00Z",
        "audience = default",
        "method = GET",
        "path = /albums/*",
        "client-ip = 10.0.0.0/8",
        "note = a note",
        "photos/album = 42",
    ]


def test_an_expiry_counts_from_now(caveats: Caveats, token: Macaroon) -> None:
    before = datetime.now(UTC)
    text = caveats("attenuate", "--expires-in", "10m", token.encode()).stdout.strip()
    added = Macaroon.decode(text).unverified_caveats[-1]
    assert isinstance(added, Expires)
    assert timedelta(seconds=-1) < added.at - before - timedelta(minutes=10) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--scope", "*"), "scope = * adds nothing: the scopes before it are no wider"),
        (("--expires-in", "30d"), "adds nothing: an earlier expiry stands before it"),
        (("--scope", "caveats:admin"), "allows nothing"),
        (("--expires", "2020-01-01T00:00:00Z"), "has expired already"),
    ],
)
def test_what_was_for_nothing_is_pointed_out_and_done(
    caveats: Caveats, token: Macaroon, flags: tuple[str, ...], words: str
) -> None:
    narrowed = caveats("attenuate", *flags, token.encode())
    assert narrowed.exit_code == 0
    assert words in narrowed.stderr
    assert len(predicates(narrowed.stdout)) == 4


def test_attenuate_and_inspect_ask_nobody(caveats: Caveats, token: Macaroon) -> None:
    """No address, no login, and a proxy that would fail: they work all the same."""
    for arguments in (["attenuate", "--note", "x"], ["inspect"], ["inspect", "--json"]):
        done = caveats(*arguments, token.encode(), ALL_PROXY=NOBODY, HTTPS_PROXY=NOBODY)
        assert (done.exit_code, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("attenuate", "TOKEN"), 2, "no caveat given: say how to narrow it"),
        (("attenuate", "TOKEN", "--expires-in", "tomorrow"), 2, "a duration is"),
        (("attenuate", "TOKEN", "--nonsense"), 2, "No such option"),
        (("attenuate", "TOKEN", "TOKEN", "--note", "x"), 2, "unexpected extra argument"),
        (("attenuate", "TOKEN", "--scope", "photos"), 7, "not a scope"),
        (("attenuate", "TOKEN", "--caveat", "expries = x"), 7, "did you mean expires"),
        (("attenuate", "--note", "x", "nonsense"), 7, "macaroon"),
        (("attenuate", "--note", "x", "TOKENx"), 7, "checksum"),
        (("attenuate", "--note", "x", ""), 7, "holds no token"),
        (("inspect", "x" * 20_000), 7, "at most"),
        (("attenuate", "--note", "x" * 2000, "TOKEN"), 7, "at most 1024 bytes"),
        (("inspect",), 3, "not signed in"),
        (("whoami",), 3, "not signed in"),
        (("logout",), 3, "not signed in"),
        (("tokens",), 3, "not signed in"),
        (("issue", "--url", NOBODY), 3, "not signed in"),
        (("verify", "TOKEN"), 2, "no service chosen"),
        (("verify", "TOKEN", "--extra", "x", "--url", NOBODY), 2, "NAME=VALUE"),
        (("revoke",), 2, "no copy given"),
        (("revoke", "TOKEN", "--user", "bob"), 2, "one of"),
        (("revoke", "--user", "bob", "--token-id", "x"), 2, "one of"),
        (("revoke", "TOKEN", "--branch-id", "00"), 2, "goes with --token-id"),
        (("revoke", "TOKEN", "--token", "TOKEN"), 2, "the argument itself"),
        (("register", "bob", "--token", "TOKEN", "--url", NOBODY), 2, "--as-admin"),
        (("register", "bob", "--token", "-", "--as-admin", "--password-stdin"), 2, "standard input"),
        (("login", "alice", "--url", NOBODY), 2, "no terminal"),
        (("login", "--url", NOBODY), 2, "no user name"),
        (("login", "--password-stdin", "--url", NOBODY), 2, "the name is an argument"),
        (("login", "alice", "--password-stdin", "--url", NOBODY), 2, "the password is empty"),
        (("login", "alice", "--password", "hunter2"), 2, "No such option"),
        (("passwd", "--url", NOBODY), 2, "no user name"),
        (("whoami", "TOKEN", "--url", "http://auth.example"), 2, "plain http"),
        (("whoami", "TOKEN", "--url", "http:auth.example"), 2, "not the address of a service"),
        (("whoami", "TOKEN", "--url", NOBODY), 6, "cannot reach http://127.0.0.1:9"),
        (("completion", "cmd"), 2, "bash"),
        (("frobnicate",), 2, "No such command"),
        (("inspect", "no token"), 7, "not a token: one begins with cav1_"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_each_way_to_fail_has_its_words_and_its_exit_code(
    caveats: Caveats, token: Macaroon, arguments: tuple[str, ...], code: int, words: str
) -> None:
    text = token.encode()
    done = caveats(
        *(text + argument[5:] if argument.startswith("TOKEN") else argument for argument in arguments)
    )
    assert done.exit_code == code
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output
    assert text[5:40] not in done.output  # not even in a complaint about an argument too many


def test_a_bug_is_said_without_a_traceback(
    caveats: Caveats, token: Macaroon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(token.encode())

    monkeypatch.setattr("caveats_client.cli.inspect.inspection_of", broken)
    done = caveats("inspect", token.encode())
    assert done.exit_code == 1
    assert "unexpected RuntimeError" in done.stderr
    assert "this is a bug" in done.stderr
    assert "cav1_" not in done.output


def test_a_bound_bundle_is_not_narrowed(caveats: Caveats, token: Macaroon) -> None:
    key = PrivateKey.generate()
    asked = token.require_discharge(ThirdParty("https://approve.example", key.public_key), "x = y")
    caveat = asked.unverified_caveats[-1]
    assert isinstance(caveat, ThirdPartyCaveat)
    bound = Bundle.bind(asked, [discharge(open_ticket(caveat.ticket, key), now=datetime.now(UTC))])
    done = caveats("attenuate", "--note", "x", bound.encode())
    assert done.exit_code == 2
    assert "narrowing makes them invalid" in done.stderr


# Where a token comes from


@pytest.fixture
def four(mint: Any) -> dict[str, Macaroon]:
    """Four tokens, each of somebody else, one for each place to find a token in."""
    found = {user: mint(user=user) for user in ("argument", "stdin", "environment", "stored")}
    Credentials.here().save(Login("https://auth.example", "stored", found["stored"].encode()))
    return found


def user_of(output: str) -> str:
    user = json.loads(output)["authority"]["user"]
    assert isinstance(user, str)
    return user


def pipe(text: str) -> TextIO:
    """The end to read of a pipe that `text` was written into."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as file:
        file.write(text)
    return os.fdopen(read)


def test_a_token_is_looked_for_in_a_fixed_order(
    four: dict[str, Macaroon], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Argument, environment, standard input, stored login: with a real pipe."""
    piped, nothing = four["stdin"].encode() + "\n", None
    argument, in_environment = four["argument"].encode(), four["environment"].encode()
    for given, stdin, variable, expected in (
        ((argument,), piped, in_environment, "argument"),
        (("-",), piped, in_environment, "stdin"),
        ((), piped, in_environment, "environment"),
        ((), nothing, in_environment, "environment"),
        ((), piped, None, "stdin"),
        ((), nothing, None, "stored"),
    ):
        if variable is None:
            monkeypatch.delenv("CAVEATS_TOKEN", raising=False)
        else:
            monkeypatch.setenv("CAVEATS_TOKEN", variable)
        with Path(os.devnull).open() if stdin is None else pipe(stdin) as stream:
            monkeypatch.setattr("sys.stdin", stream)
            with pytest.raises(SystemExit) as done:
                app(["inspect", "--json", *given], prog_name="caveats")
        shown = capsys.readouterr()
        assert done.value.code == 0, shown.err
        assert user_of(shown.out) == expected
        assert ("uses the token in CAVEATS_TOKEN" in shown.err) == (
            expected == "environment" and stdin is not None
        )


def test_a_file_redirected_in_is_read(four: dict[str, Macaroon], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(four["stdin"].encode())
    with (tmp_path / "token").open() as file:
        assert user_of(script("inspect", "--json", stdin=file).stdout) == "stdin"


def test_a_dash_without_a_token_is_no_token(caveats: Caveats, four: dict[str, Macaroon]) -> None:
    done = caveats("inspect", "-", stdin="\n")
    assert done.exit_code == 7
    assert "standard input holds no token" in done.stderr


TAKES_A_TOKEN = [
    ("inspect",),
    ("attenuate", "--method", "GET"),
    ("verify", "--scope", "photos:read"),
    ("whoami",),
    ("renew",),
    ("discharge",),
    ("revoke",),
]
ACTS_WITH_A_TOKEN = [
    ("issue",),
    ("tokens",),
    ("revoke", "--user", "bob"),
    ("register", "carol", "--as-admin"),
    ("verifier", "list"),
    ("verifier", "revoke", "01K"),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", TAKES_A_TOKEN, ids=" ".join)
def test_an_empty_pipe_is_never_the_stored_login(command: tuple[str, ...], four: dict[str, Macaroon]) -> None:
    for text in ("", "\n", "  \n"):
        done = script(*command, input=text)
        assert (done.returncode, done.stdout) == (7, "")
        assert "standard input holds no token" in done.stderr


@pytest.mark.parametrize("command", [*TAKES_A_TOKEN, *ACTS_WITH_A_TOKEN], ids=" ".join)
def test_a_variable_that_is_set_but_empty_is_never_the_stored_login(
    command: tuple[str, ...], caveats: Caveats, four: dict[str, Macaroon]
) -> None:
    for text in ("", "  "):
        done = caveats(*command, CAVEATS_TOKEN=text)
        assert (done.exit_code, done.stdout) == (7, "")
        assert "CAVEATS_TOKEN holds no token" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [*((*command, "") for command in TAKES_A_TOKEN), *((*command, "--token", "") for command in ACTS_WITH_A_TOKEN)],
    ids=" ".join,
)  # fmt: skip
def test_an_empty_argument_is_never_the_stored_login(
    arguments: tuple[str, ...], caveats: Caveats, four: dict[str, Macaroon]
) -> None:
    done = caveats(*arguments)
    assert (done.exit_code, done.stdout) == (7, "")
    assert "the argument holds no token" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "TOKEN", "--scope", ""),
        ("verify", "TOKEN", "--scope", "photos:read", "--scope", ""),
        ("verify", "TOKEN", "--audience", ""),
        ("issue", "--scope", ""),
        ("revoke", "--user", ""),
        ("login", "alice", "--url", ""),
    ],
    ids=" ".join,
)
def test_an_option_that_is_given_but_empty_asks_for_nothing_else(
    arguments: tuple[str, ...], caveats: Caveats, four: dict[str, Macaroon]
) -> None:
    done = caveats(*(four["argument"].encode() if one == "TOKEN" else one for one in arguments))
    assert done.exit_code == 2
    assert "it is empty" in done.stderr


def test_an_address_in_the_environment_that_is_empty_is_not_the_current_service(
    caveats: Caveats, four: dict[str, Macaroon]
) -> None:
    done = caveats("login", "alice", CAVEATS_URL="")
    assert done.exit_code == 2
    assert "CAVEATS_URL is set, but empty" in done.stderr


@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_silent_pipe_is_not_waited_for_where_a_token_is_at_hand(
    given: str, four: dict[str, Macaroon], monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "environment":
        monkeypatch.setenv("CAVEATS_TOKEN", four[given].encode())
    read, write = os.pipe()
    try:
        arguments = (four[given].encode(),) if given == "argument" else ()
        assert user_of(script("inspect", "--json", *arguments, stdin=read).stdout) == given
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("loop", "code"),
    [
        ('printf "a\\nb\\nc\\n" | while read x; do TOKEN_AT_HAND INSPECT >/dev/null 2>&1 || exit 9; echo $x; done', 0),
        ('printf "a\\nb\\nc\\n" > lines; while read x; do TOKEN_AT_HAND INSPECT >/dev/null || exit 9; echo $x; done < lines', 0),
        ('printf "a\\nb\\nc\\n" > lines; while read x; do INSPECT </dev/null >/dev/null || exit 9; echo $x; done < lines', 0),
        ('printf "a\\nb\\nc\\n" > lines; while read x; do INSPECT >/dev/null; echo $x; done < lines', 0),
        ('printf "a\\nb\\nc\\n" | while read x; do INSPECT >/dev/null; echo $x; done', 0),
    ],
    ids=[
        "a pipe and a variable", "a file and a variable", "the stored login", "a file that the loop reads", "a pipe"
    ],
)  # fmt: skip
def test_a_command_in_a_loop_leaves_the_loops_input_alone(
    loop: str, code: int, four: dict[str, Macaroon], tmp_path: Path
) -> None:
    beside = Path(sys.executable).with_name("caveats")
    command = loop.replace("TOKEN_AT_HAND", f"CAVEATS_TOKEN={four['environment'].encode()}")
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("INSPECT", f"{beside} inspect --json")],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "a\nb\nc\n"), done.stderr


def test_what_is_piped_in_but_no_token_is_said_and_left(four: dict[str, Macaroon]) -> None:
    read, write = os.pipe()
    os.write(write, b"photos/1 is mine\nphotos/2\n")
    os.close(write)
    try:
        done = script("inspect", stdin=read)
        assert done.returncode == 7
        assert "in a loop, give the token as an argument" in done.stderr
        assert os.read(read, 100) == b"photos/1 is mine\nphotos/2\n"
    finally:
        os.close(read)


def test_white_space_around_a_token_does_not_count(caveats: Caveats, token: Macaroon) -> None:
    assert caveats("inspect", f"  {token.encode()}\n").exit_code == 0
    assert caveats("inspect", "-", stdin=f"\n{token.encode()}\r\n").exit_code == 0


def test_what_is_no_text_on_standard_input_is_malformed(caveats: Caveats) -> None:
    assert caveats("inspect", "-", stdin=b"\xff\xfe\x00").exit_code == 7


def test_somebody_who_waits_at_standard_input_is_told(
    token: Macaroon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = threading.Event()
    monkeypatch.setattr("caveats_client.cli.inputs.REMIND_AFTER", 0.01)
    monkeypatch.setattr("caveats_client.cli.inputs.message", lambda text: (message(text), told.set()))
    read, write = os.pipe()

    def type_it() -> None:
        with os.fdopen(write, "w") as file:
            told.wait(10)
            file.write(token.encode())

    typist = threading.Thread(target=type_it)
    typist.start()
    with os.fdopen(read) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(SystemExit) as done:
            app(["inspect", "-"], prog_name="caveats")
    typist.join()
    assert done.value.code == 0
    assert "reading a token from standard input" in capsys.readouterr().err


def test_a_stored_login_is_never_offered_to_another_service(
    caveats: Caveats, four: dict[str, Macaroon]
) -> None:
    done = caveats("whoami", "--url", NOBODY)
    assert done.exit_code == 3
    assert f"not signed in to {NOBODY}" in done.stderr


def test_a_login_that_others_can_read_is_not_used(caveats: Caveats, four: dict[str, Macaroon]) -> None:
    Credentials.here().path.chmod(0o644)
    for command in (
        ("whoami",),
        ("login", "alice", "--url", NOBODY),
        ("logout",),
        ("attenuate", "--note", "x"),
    ):
        done = caveats(*command)
        assert done.exit_code == 3
        assert "chmod 600" in done.stderr


def test_forgetting_asks_nobody(caveats: Caveats, four: dict[str, Macaroon]) -> None:
    assert caveats("logout", "--forget").exit_code == 0
    assert Credentials.here().load().find(None) is None


# Looking inside


def test_inspect_says_plainly_that_nothing_was_verified(caveats: Caveats, token: Macaroon) -> None:
    text = token.encode()
    forged = Macaroon(token.wire._replace(signature=bytes(32))).encode()
    for given in (text, forged):
        shown = caveats("inspect", given)
        assert "Not verified" in shown.stdout
        assert json.loads(caveats("inspect", "--json", given).stdout)["verified"] is False


def test_inspect_shows_the_chain_the_rest_and_what_was_for_nothing(caveats: Caveats, mint: Any) -> None:
    key = PrivateKey.generate()
    narrow = (
        mint(Note("issued so"))
        .attenuate(Scope("photos/42:read"), Expires.after(timedelta(days=9), now=datetime.now(UTC)))
        .require_discharge(ThirdParty("https://approve.example", key.public_key), "x = y")
        .attenuate(b"photos/album = 42")
    )
    shown = caveats("inspect", narrow.encode()).stdout
    issuer, _, holder = shown.partition("added by holders")
    assert "added by the issuer" in issuer
    assert "user = alice" in issuer
    assert "note = issued so" in issuer
    assert "in 8 h" in issuer
    assert "scope = photos/42:read" in holder
    assert "adds nothing: an earlier expiry stands before it" in holder
    assert "third party https://approve.example" in holder
    assert "photos/album = 42  no caveat of this kind is known here" in holder
    left = shown.partition("what it allows")[2]
    assert "photos/42:read" in left
    assert "a discharge from https://approve.example" in left


def test_inspect_in_json_has_all_of_it(caveats: Caveats, mint: Any) -> None:
    narrow = mint(audience="photos").attenuate(Scope("photos:read"), Scope("*"))
    members = json.loads(caveats("inspect", "--json", narrow.encode()).stdout)
    assert members["audience"] == "photos"
    assert [(row["added_by"], row["redundant"]) for row in members["caveats"]] == [
        ("issuer", None),
        ("issuer", None),
        ("issuer", None),
        ("holder", None),
        ("holder", "the scopes before it are no wider"),
    ]
    assert members["authority"]["scopes"] == ["photos:read"]
    assert members["authority"]["audiences"] == ["photos"]
    assert 28_700 < members["authority"]["expires_in"] <= 28_800
    assert members["authority"]["expired"] is False
    assert members["third_parties"] == []


def test_inspect_tells_an_expired_token_in_words(caveats: Caveats, mint: Any) -> None:
    old = mint(now=datetime.now(UTC) - timedelta(hours=10))
    assert "expired 2 h ago" in caveats("inspect", old.encode()).stdout


def test_inspect_reads_a_foreign_macaroon_too(caveats: Caveats) -> None:
    foreign = Macaroon.mint(
        b"k", b"theirs \x1b[31m", location="https://elsewhere.example", caveats=[b"account = 7"]
    )
    shown = caveats("inspect", foreign.to_pymacaroons().serialize())
    assert shown.exit_code == 0
    assert "not from a caveats service" in shown.stdout
    assert "https://elsewhere.example" in shown.stdout


def test_nothing_in_a_token_commands_the_terminal(caveats: Caveats) -> None:
    """Neither escape sequences nor rich's markup, wherever in the token they stand."""
    hostile = Macaroon.mint(
        b"k",
        b"\x1b]0;owned\x07",
        location="\x1b[2J\u202eloc",
        caveats=[
            Note("[red]note[/red] [link=https://evil.example]x[/link]"),
            b"\x1b[31mred",
            b"note = \x9b31m",
        ],
    ).with_third_party("\x1b[2Jthere", b"r", b"t", nonce=b"n" * 24)
    for arguments in (("inspect",), ("inspect", "--json")):
        shown = caveats(*arguments, hostile.encode())
        assert shown.exit_code == 0
        assert not set("\x1b\x07\x9b\u202e") & set(shown.output)
    assert "[red]note[/red]" in caveats("inspect", hostile.encode()).stdout


def test_no_signature_is_shown(caveats: Caveats, token: Macaroon) -> None:
    signature = token.wire.signature
    for arguments in (("inspect",), ("inspect", "--json")):
        shown = caveats(*arguments, token.encode()).output
        assert signature.hex() not in shown
        assert token.encode()[-40:] not in shown


def test_an_ascii_terminal_is_no_reason_to_fall_over(mint: Any) -> None:
    token = mint(Note("für Ελένη"))
    done = script("inspect", token.encode(), env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.returncode == 0
    assert r"f\xfcr" in done.stdout


def test_no_color_is_honoured(caveats: Caveats, token: Macaroon) -> None:
    assert "\x1b[" in caveats("inspect", token.encode(), FORCE_COLOR="1").stdout
    for arguments in (("inspect", token.encode()), ("--help",), ("frobnicate",)):
        assert "\x1b[" not in caveats(*arguments, FORCE_COLOR="1", NO_COLOR="1").output


def test_lines_are_not_broken_where_no_one_reads_them(caveats: Caveats, token: Macaroon) -> None:
    note = "word " * 60 + "end"
    shown = caveats("inspect", token.attenuate(Note(note)).encode()).stdout
    assert f"note = {note}" in shown
    assert all(line == line.rstrip() for line in shown.splitlines())


# The shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(caveats: Caveats, shell: str) -> None:
    done = caveats("completion", shell)
    assert done.exit_code == 0
    assert f"{shell}_complete" in done.stdout


def completed(script: str, words: str) -> list[str]:
    """What a bash that has sourced `script` offers for the last of `words`."""
    typed = words.split(" ")
    commands = (
        f"{script}\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
        '_caveats_completion caveats; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", commands, "bash", *typed],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=environment,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("caveats att", ["attenuate"]),
        ("caveats re", ["register", "renew", "revoke"]),
        ("caveats attenuate --client", ["--client-ip"]),
        ("caveats verifier l", ["list"]),
        ("caveats verifier register --au", ["--audience"]),
        ("caveats completion f", ["fish"]),
    ],
)
def test_bash_completes_commands_and_flags(caveats: Caveats, words: str, expected: list[str]) -> None:
    assert completed(caveats("completion", "bash").stdout, words) == expected


@pytest.mark.slow
def test_ctrl_c_ends_a_command_with_130_and_no_traceback() -> None:
    beside = Path(sys.executable).parent / "caveats"
    with subprocess.Popen(
        [beside, "inspect", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        running.stderr.readline()  # it says that it waits
        running.send_signal(signal.SIGINT)
        deadline = time.monotonic() + 10
        while running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert running.poll() == 130
        assert "Traceback" not in running.stderr.read()


def test_a_reader_that_goes_away_is_no_error(token: Macaroon) -> None:
    beside = Path(sys.executable).parent / "caveats"
    large = token.attenuate(*[Note("\U0001f600" * 220)] * 13).encode()  # shown, more than a pipe holds
    command = f"'{beside}' inspect --json '{large}' | head -c 1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "{"
    assert done.stderr == ""


# Passwords and services


@pytest.mark.parametrize(
    "arguments", [("login", "alice"), ("register", "alice"), ("passwd", "alice")], ids=" ".join
)
def test_a_prompt_for_a_password_names_the_address_that_it_goes_to(
    arguments: tuple[str, ...], caveats: Caveats, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def typed(prompt: str, *_: Any, **__: Any) -> str:
        prompts.append(prompt)
        if len(prompts) == (2 if arguments[0] == "passwd" else 1):
            raise KeyboardInterrupt
        return "present"

    monkeypatch.setattr("caveats_client.cli.inputs._typed", typed)
    caveats(*arguments, "--url", "https://auth.example")
    assert prompts
    assert all("at https://auth.example" in prompt for prompt in prompts)


def test_after_a_logout_no_other_service_is_the_current_one(
    caveats: Caveats, mint: Callable[..., Macaroon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next sign-in would send a password to a service that nobody chose."""
    for name in ("b", "a"):
        Credentials.here().save(Login(f"https://{name}.example", "alice", mint().encode()))
    done = caveats("logout", "--forget")
    assert "signed out of https://a.example" in done.stderr
    assert "still signed in to https://b.example: choose with --url" in done.stderr
    monkeypatch.setattr(
        "caveats_client.cli.inputs._typed", lambda *_, **__: pytest.fail("asked for a password")
    )
    for command in (("login", "alice"), ("whoami",), ("issue",), ("register", "bob"), ("passwd", "alice")):
        assert caveats(*command).exit_code in (2, 3), command
    assert caveats("logout").exit_code == 3
