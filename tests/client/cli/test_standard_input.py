"""Standard input is read where it was meant: what is no token is left there, and a silent pipe holds nothing up."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caveats import Macaroon, Note
from caveats_client.cli.credentials import Credentials, Login

CAVEATS = Path(sys.executable).parent / "caveats"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def stored(mint: Any) -> Macaroon:
    login: Macaroon = mint(user="stored")
    Credentials.here().save(Login(NOBODY, "stored", login.encode()))
    return login


def user_of(output: str) -> object:
    return json.loads(output)["authority"]["user"]


def started(*arguments: str, stdin: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [CAVEATS, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How it ended by itself, while its standard input stays open."""
    code = process.wait(30)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        shown = process.stdout.read(), process.stderr.read()
    if process.stdin is not None:
        process.stdin.close()
    return code, *shown


@pytest.fixture(params=["pipe", "socket"])
def channel(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """The end to read and the end to write."""
    if request.param == "pipe":
        read, write = os.pipe()
    else:
        read, write = (end.detach() for end in socket.socketpair())
    yield read, write
    for handle in (read, write):
        try:
            os.close(handle)
        except OSError:
            pass


@pytest.mark.slow
def test_a_silent_pipe_is_not_waited_for(channel: tuple[int, int], stored: Macaroon) -> None:
    begun = time.monotonic()
    code, out, err = ended(started("inspect", "--json", stdin=channel[0]))
    assert (code, user_of(out)) == (0, "stored")
    assert err == f"caveats: nothing comes through standard input: uses the stored login at {NOBODY}\n"
    assert time.monotonic() - begun < 15


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("attenuate", "--method", "GET"), ("verify", "--scope", "a:b"), ("discharge",)], ids=" ".join
)
def test_the_stored_login_never_passes_for_a_token_that_is_slow_to_come(
    command: tuple[str, ...], stored: Macaroon
) -> None:
    code, out, err = ended(started(*command))
    assert (code, out) == (2, "")
    assert "nothing comes through standard input: give - to wait for a token there" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("inspect",), 3, "not signed in"),
        (("whoami", "--url", NOBODY), 3, "not signed in"),
        (("renew", "--url", NOBODY), 3, "not signed in"),
        (("revoke", "--url", NOBODY), 2, "no copy given"),
        (("tokens", "--url", NOBODY), 3, "not signed in"),
        (("login", "alice", "--url", NOBODY), 2, "--password-stdin"),
        (("login", "--url", NOBODY), 2, "no user name"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_no_command_hangs_on_a_pipe_that_nobody_writes_to(
    command: tuple[str, ...], code: int, words: str
) -> None:
    done, out, err = ended(started(*command))
    assert (done, out) == (code, "")
    assert words in err


@pytest.mark.slow
def test_a_token_that_is_there_is_taken_though_the_pipe_stays_open(
    channel: tuple[int, int], token: Macaroon, stored: Macaroon
) -> None:
    read, write = channel
    os.write(write, token.encode().encode() + b"\n")
    code, out, _ = ended(started("inspect", "--json", stdin=read))
    assert (code, user_of(out)) == (0, "alice")


@pytest.mark.slow
def test_what_follows_the_token_is_left(channel: tuple[int, int], token: Macaroon) -> None:
    read, write = channel
    os.write(write, b"\n  " + token.encode().encode() + b"\r\nnext\n")
    os.close(write)
    code, out, _ = ended(started("attenuate", "--note", "x", stdin=read))
    assert (code, out) == (0, token.attenuate(Note("x")).encode() + "\n")
    assert os.read(read, 100) == b"next\n"


@pytest.mark.slow
def test_what_is_no_token_is_left_whole(channel: tuple[int, int], stored: Macaroon) -> None:
    read, write = channel
    os.write(write, b"bob\n")
    os.close(write)
    code, out, err = ended(started("inspect", stdin=read))
    assert (code, out) == (7, "")
    assert "in a loop, give the token as an argument" in err
    assert os.read(read, 100) == b"bob\n"


@pytest.mark.slow
def test_a_file_is_left_behind_its_token(token: Macaroon, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{token.encode()}\nnext\n")
    with (tmp_path / "tokens").open("rb", buffering=0) as file:
        assert ended(started("inspect", stdin=file))[0] == 0
        assert file.read() == b"next\n"


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 500])
def test_what_is_pasted_at_a_terminal_ends_with_the_token(width: int, token: Macaroon) -> None:
    """Nobody has to know Ctrl-D."""
    ours, theirs = pty.openpty()
    process = started("inspect", "--json", "-", stdin=theirs)
    os.close(theirs)
    text = token.encode()
    os.write(ours, "".join(f"  {text[at : at + width]}\n" for at in range(0, len(text), width)).encode())
    code, out, _ = ended(process)
    os.close(ours)
    assert (code, user_of(out)) == (0, "alice")


@pytest.mark.slow
def test_a_dash_waits_for_whoever_is_slow(token: Macaroon, stored: Macaroon) -> None:
    process = started("inspect", "--json", "-")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    out, _ = process.communicate(token.encode())
    assert user_of(out) == "alice"
