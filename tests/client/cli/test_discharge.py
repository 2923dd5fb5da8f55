"""`caveats discharge`, `attenuate --third-party` and what `inspect` shows of both, against real third parties."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from caveats import Bundle, Expires, Macaroon, ThirdPartyCaveat, authenticate, discharge, open_ticket
from caveats.bakery import BakeryMacaroon, BakeryParty, first_party_checkers
from caveats.token import decode_any_base64
from caveats_client.cli.app import app
from caveats_client.cli.credentials import Credentials, Login
from tests.support.bakery import AGENT_KEY, CONDITION, KEY, Asked, Site, ThirdParty, said, site

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROOT_KEY = b"a root key"
PUBLIC = b64encode(KEY.public_key).decode()
Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: str, stdin: str = "", **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment, prog_name="caveats")

    return invoke


@pytest.fixture
def idm() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture(autouse=True)
def no_browser(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been opened."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)) or True)
    monkeypatch.delenv("BAKERY_AGENT_FILE", raising=False)
    return opened


def token(idm: Site, condition: str = CONDITION) -> str:
    made = BakeryMacaroon(Macaroon.mint(ROOT_KEY, b"root"), 2)
    return made.require_discharge(BakeryParty(idm.url, KEY.public_key), condition).macaroon.encode()


def nearby(idm: Site) -> tuple[str, ...]:
    return ("--allow", idm.url, "--allow-private")


def is_good(text: str) -> bool:
    return bool(authenticate(Bundle.decode(text.strip()), ROOT_KEY, kinds=first_party_checkers().kinds))


# discharge


def test_discharge_prints_the_bundle_and_nothing_else(run: Run, idm: Site) -> None:
    ThirdParty(idm)
    done = run("discharge", token(idm), *nearby(idm))
    assert done.exit_code == 0, done.output
    assert is_good(done.stdout)
    assert done.stdout.count("\n") == 1
    assert f"discharged by {idm.url}" in done.stderr
    piped = run("discharge", "-", "--json", *nearby(idm), stdin=token(idm))
    members = json.loads(piped.stdout)
    assert is_good(members["token"])
    assert [(one["location"], one["discharge"]) for one in members["discharges"]] == [(idm.url, 1)]


def test_a_token_that_needs_nobody_comes_out_as_it_went_in(run: Run) -> None:
    plain = Macaroon.mint(ROOT_KEY, b"root").encode()
    done = run("discharge", plain)
    assert (done.exit_code, done.stdout) == (0, f"{plain}\n")
    assert "needs no discharge" in done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [([], "not on the list"), (["--allow"], "private network"), (["--allow-private"], "not on the list")],
)
def test_nobody_is_asked_who_is_not_allowed(run: Run, idm: Site, flags: list[str], words: str) -> None:
    ThirdParty(idm)
    given = [part for flag in flags for part in ([flag, idm.url] if flag == "--allow" else [flag])]
    refused = run("discharge", token(idm), *given)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert words in refused.stderr
    assert not idm.asked


def test_who_is_not_allowed_is_allowed_by_the_command_that_is_said(run: Run, idm: Site) -> None:
    ThirdParty(idm)
    refused = run("discharge", token(idm), "--allow", "https://another.example")
    said = refused.stderr.strip().partition("to ask it: caveats ")[2]
    assert said == f"discharge --allow https://another.example --allow {idm.url}"
    assert is_good(run(*said.split(), "--allow-private", token(idm)).stdout)


def test_the_browser_is_opened_and_the_person_waited_for(run: Run, idm: Site, no_browser: list[str]) -> None:
    third = ThirdParty(idm, ways=("browser-window",))
    threading.Timer(0.2, third.decided.set).start()
    done = run("discharge", token(idm), "--wait", *nearby(idm))
    assert is_good(done.stdout)
    assert no_browser == [f"{idm.url}/visit?w=1"]
    assert "waiting for 127.0.0.1, 5 min at most" in done.stderr


def test_no_browser_prints_the_address(run: Run, idm: Site, no_browser: list[str]) -> None:
    third = ThirdParty(idm, ways=("browser-window",))
    third.decided.set()
    done = run("discharge", token(idm), "--no-browser", "--wait", *nearby(idm))
    assert is_good(done.stdout)
    assert f"to go on, open {idm.url}/visit?w=1" in done.stderr
    assert "do not share that address" in done.stderr
    assert "the page says what to send them" in done.stderr
    assert no_browser == []


@pytest.mark.parametrize("flags", [(), ("--no-browser",)])
def test_without_a_terminal_nobody_is_waited_for(
    run: Run, idm: Site, no_browser: list[str], flags: tuple[str, ...]
) -> None:
    third = ThirdParty(idm, ways=("browser-window",))
    done = run("discharge", token(idm), *flags, *nearby(idm))
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert "wants to know who asks" in done.stderr
    assert "no terminal" in done.stderr
    assert "--wait" in done.stderr
    assert no_browser == []
    assert not any("/wait" in asked.path for asked in idm.asked)
    third.decided.set()


@pytest.mark.slow
def test_with_standard_error_on_a_terminal_a_person_is_waited_for(idm: Site) -> None:
    """`T=$(caveats discharge "$T")`: only the messages are on the terminal."""
    third = ThirdParty(idm, ways=("browser-window",))
    third.decided.set()
    terminal, own = os.openpty()
    done = subprocess.run(
        [Path(sys.executable).parent / "caveats", "discharge", token(idm), "--no-browser", *nearby(idm)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=own,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(own)
    os.close(terminal)
    assert done.returncode == 0
    assert is_good(done.stdout)


def agent_file(folder: Path, url: str) -> str:
    file = folder / "robot.json"
    file.write_text(
        json.dumps(
            {
                "key": {
                    "public": b64encode(AGENT_KEY.public_key).decode(),
                    "private": b64encode(AGENT_KEY.secret).decode(),
                },
                "agents": [{"url": url, "username": "robot"}],
            }
        )
    )
    return str(file)


def test_an_agent_s_file_is_used(run: Run, idm: Site, tmp_path: Path) -> None:
    ThirdParty(idm, ways=("agent", "browser-window"))
    file = agent_file(tmp_path, idm.url)
    assert is_good(run("discharge", token(idm), "--agent", file, *nearby(idm)).stdout)
    assert is_good(run("discharge", token(idm), *nearby(idm), BAKERY_AGENT_FILE=file).stdout)


def test_a_file_that_is_no_agent_s_is_wrong_usage(run: Run, idm: Site, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"key": {"private": "secret"}}')
    for name in ("bad.json", "none.json"):
        refused = run("discharge", token(idm), "--agent", str(tmp_path / name), *nearby(idm))
        assert refused.exit_code == 2
        assert name in refused.stderr
        assert "secret" not in refused.stderr


def test_a_form_is_answered_at_the_terminal(
    run: Run, idm: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ThirdParty(idm, ways=("form", "browser-window"))
    refused = run("discharge", token(idm), "--form", *nearby(idm))
    assert refused.exit_code == 2
    assert "no terminal" in refused.stderr
    terminal = io.StringIO("alice\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", terminal)
    asked: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: asked.append(prompt) or "wonder")
    with pytest.raises(SystemExit) as done:
        app(["discharge", token(idm), "--form", *nearby(idm)], prog_name="caveats")
    shown = capsys.readouterr()
    assert done.value.code == 0
    assert is_good(shown.out)
    assert asked == ["the password: "]
    assert shown.err.startswith("name: ")
    assert "wonder" not in shown.err


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (said({"Code": "permission denied", "Message": "not today"}, 401), 4, "not today"),
        (
            said({"Code": "interaction required", "Info": {"InteractionMethods": {"form": {}}}}, 401),
            3,
            "form",
        ),
        (said({}, 503), 6, "no discharge"),
        ((200, {}, b"<html>"), 1, "JSON"),
        (said({"Code": "bad request", "Message": "what?"}, 400), 2, "what?"),
    ],
)
def test_each_way_to_fail_has_its_exit_code(run: Run, idm: Site, answer: Any, code: int, words: str) -> None:
    idm.places["/discharge"] = lambda _: answer
    failed = run("discharge", token(idm), *nearby(idm))
    assert (failed.exit_code, failed.stdout) == (code, "")
    assert words in failed.stderr


def test_the_service_one_is_signed_in_to_is_told_who_asks_and_nobody_else(run: Run, idm: Site) -> None:
    ThirdParty(idm)
    login = Macaroon.mint(ROOT_KEY, b"login").encode()
    Credentials.here().save(Login(idm.url, "alice", login))
    done = run("discharge", token(idm))
    assert is_good(done.stdout), done.stderr
    assert [asked.headers["authorization"] for asked in idm.asked] == [f"Bearer {login}"]
    with site() as other:
        ThirdParty(other)
        assert is_good(run("discharge", token(other), *nearby(other)).stdout)
        assert [asked.headers["authorization"] for asked in other.asked] == [None]


def test_a_login_that_is_not_taken_is_left_out_and_a_person_asked(
    run: Run, idm: Site, no_browser: list[str]
) -> None:
    third = ThirdParty(idm, ways=("browser-window",))
    third.decided.set()
    idm.places["/discharge"] = lambda asked: (
        said({"Code": "permission denied"}, 401) if asked.headers["authorization"] else third.discharge(asked)
    )
    Credentials.here().save(Login(idm.url, "alice", Macaroon.mint(ROOT_KEY, b"login").encode()))
    assert is_good(run("discharge", token(idm), "--wait").stdout)
    assert len(no_browser) == 1
    assert [bool(asked.headers["authorization"]) for asked in idm.asked] == [True, False, False, False]


# attenuate


def open_last(text: str) -> Any:
    caveat = Macaroon.decode(text.strip()).wire.caveats[-1]
    assert isinstance(caveat, ThirdPartyCaveat)
    return open_ticket(caveat.ticket, KEY)


def test_attenuate_fetches_the_third_party_s_key(run: Run, idm: Site, mint: Any) -> None:
    ThirdParty(idm)
    macaroon = mint(audience="photos")
    asked = ("--condition", "signed-in = alice", "--condition", "member-of = ops")
    done = run("attenuate", macaroon.encode(), "--scope", "photos:read", "--third-party", idm.url, *asked)
    assert done.exit_code == 0, done.stderr
    ticket = open_last(done.stdout)
    assert ticket.conditions == ("signed-in = alice", "member-of = ops")
    assert (ticket.location, ticket.audience) == (idm.url, "photos")
    [expires] = [one for one in macaroon.unverified_caveats if isinstance(one, Expires)]
    assert ticket.expires_at == expires.at
    assert idm.paths() == ["/discharge/info"]


def test_a_public_key_makes_it_offline(run: Run, token: Macaroon) -> None:
    where = "https://nobody.example/idm/"
    done = run(
        "attenuate", token.encode(), "--third-party", where, "--condition", "x = y", "--public-key", PUBLIC
    )
    assert open_last(done.stdout).location == "https://nobody.example/idm"


def test_a_bakery_gets_a_ticket_for_each_condition(run: Run, idm: Site) -> None:
    ThirdParty(idm)
    plain = Macaroon.mint(ROOT_KEY, b"root").encode()
    asked = ("--third-party", idm.url, "--condition", CONDITION, "--condition", CONDITION, "--bakery")
    narrow = run("attenuate", plain, *asked).stdout.strip()
    assert len(Macaroon.decode(narrow).wire.caveats) == 2
    done = run("discharge", narrow, *nearby(idm))
    assert is_good(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--third-party", "https://idm.example"), "--third-party: goes with --condition"),
        (("--condition", "x = y"), "--condition: goes with --third-party"),
        (("--public-key", PUBLIC, "--scope", "x:y"), "--public-key: goes with --third-party"),
        (("--bakery", "--scope", "x:y"), "--bakery: goes with --third-party"),
        (("--third-party", "https://idm.example", "--condition", "x = y", "--public-key", "AAAA"), ""),
        (("--third-party", "https://idm.example", "--condition", "x = y", "--public-key", "äöü"), ""),
        (("--third-party", "idm.example", "--condition", "x = y", "--public-key", PUBLIC), ""),
        (("--third-party", "http://idm.example", "--condition", "x = y"), ""),
    ],
)
def test_flags_that_do_not_go_together_are_wrong_usage(
    run: Run, token: Macaroon, flags: tuple[str, ...], words: str
) -> None:
    refused = run("attenuate", token.encode(), *flags)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert words in refused.stderr


# inspect


def test_inspect_shows_which_discharge_meets_which(run: Run, idm: Site) -> None:
    def answer(asked: Asked) -> Any:
        ticket = open_ticket(decode_any_base64(asked.form["id64"]), KEY)
        made = discharge(ticket, now=datetime.now(UTC), user="alice")
        return said({"Macaroon": BakeryMacaroon(made, 2).to_members()})

    third = ThirdParty(idm)
    bakery = third.discharge
    idm.places["/discharge"] = lambda asked: (
        answer(asked) if decode_any_base64(asked.form["id64"])[:1] == b"\x43" else bakery(asked)
    )
    start = Macaroon.mint(ROOT_KEY, b"root").encode()
    ours = run("attenuate", start, "--third-party", idm.url, "--condition", "signed-in = alice").stdout
    both = run(
        "attenuate", ours.strip(), "--third-party", idm.url, "--condition", CONDITION, "--bakery"
    ).stdout
    bare = run("inspect", both.strip())
    assert bare.stdout.count("has no discharge here") == 2
    assert f"needs    a discharge from {idm.url}" in bare.stdout
    bundle = run("discharge", both.strip(), *nearby(idm)).stdout.strip()
    shown = run("inspect", bundle).stdout
    assert f"third party {idm.url}  met by discharge 1, which expires in " in shown
    assert f"third party {idm.url} (bakery 2)  met by discharge 2" in shown
    root, first, second = bundle.split(".")
    other_way = json.loads(run("inspect", f"{root}.{second}.{first}", "--json").stdout)
    assert [
        (one["location"], one["ticket"], one["discharged"], one["discharge"])
        for one in other_way["third_parties"]
    ] == [(idm.url, "caveats", True, 2), (idm.url, "bakery 2", True, 1)]
    half = json.loads(run("inspect", f"{root}.{second}", "--json").stdout)
    assert [one["discharge"] for one in half["third_parties"]] == [None, 1]
