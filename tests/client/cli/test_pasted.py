"""A token as people paste it: what is around it does not count, what is no token is named, and headers stay strict."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from caveats import (
    Bundle,
    Macaroon,
    MalformedToken,
    Note,
    PrivateKey,
    ThirdParty,
    ThirdPartyCaveat,
    discharge,
    open_ticket,
)
from caveats.http import Problem, TokenCredential, credential_of
from caveats_client.cli.app import app
from caveats_client.cli.pasted import is_token, misfit, unwrapped
from tests.support.pastes import HARMLESS, wrapped

CAVEATS = Path(sys.executable).parent / "caveats"


def run(*arguments: str, stdin: str | bytes = "", **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin, env=environment, prog_name="caveats")


@pytest.fixture
def bundle(token: Macaroon) -> Bundle:
    key = PrivateKey.generate()
    asked = token.require_discharge(ThirdParty("https://approve.example", key.public_key), "x = y")
    caveat = asked.unverified_caveats[-1]
    assert isinstance(caveat, ThirdPartyCaveat)
    return Bundle.bind(asked, [discharge(open_ticket(caveat.ticket, key), now=datetime.now(UTC))])


@pytest.mark.parametrize("dress", HARMLESS.values(), ids=HARMLESS)
def test_what_is_put_around_a_token_is_taken_off(
    dress: Callable[[str], str], token: Macaroon, bundle: Bundle
) -> None:
    for text in (token.encode(), token.attenuate(Note("x" * 700)).encode(), bundle.encode()):
        assert unwrapped(dress(text)) == text


@pytest.mark.parametrize("name", ["a header in quotes", "indented lines", "a BOM", "a period", "all at once"])
def test_a_token_is_taken_from_each_place_as_it_was_pasted(name: str, token: Macaroon) -> None:
    pasted = HARMLESS[name](token.encode())
    narrower = token.attenuate(Note("x")).encode() + "\n"
    narrow = ("attenuate", "--note", "x")
    assert run(*narrow, pasted).stdout == narrower
    assert run(*narrow, "-", stdin=pasted).stdout == narrower
    assert run(*narrow, CAVEATS_TOKEN=pasted).stdout == narrower


@pytest.mark.parametrize("words", [["Bearer"], ["Authorization:", "Bearer"], ["X-Auth-Token:"]], ids=" ".join)
def test_a_header_without_quotes_is_taken(words: list[str], token: Macaroon) -> None:
    assert run("inspect", "--json", *words, token.encode()).exit_code == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_windows_is_read(encoding: str, token: Macaroon) -> None:
    assert run("inspect", "--json", "-", stdin=f"{token.encode()}\r\n".encode(encoding)).exit_code == 0


@pytest.mark.parametrize("pad", ["", "="], ids=["bare", "padded"])
def test_a_macaroon_in_standard_base64_is_read(pad: str, token: Macaroon) -> None:
    raw = token.attenuate(Note("\u00fe\u00ff\u00bf")).to_bytes()
    text = base64.b64encode(raw).decode().rstrip("=")
    assert is_token(unwrapped(text + pad))


def test_json_is_left_as_it_is(token: Macaroon) -> None:
    """Between its quotes white space counts."""
    text = '{"v": 2, "i": "a b", "s64": "' + "A" * 43 + '"}'
    assert Macaroon.decode(unwrapped(f" {text}\n")) == Macaroon.decode(text)


NAMED: dict[str, tuple[Callable[[str], str], str]] = {
    "a JWT": (lambda _: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "a JWT, not a token"),
    "a JWT as a header": (lambda _: "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", "a JWT"),
    "an encrypted JWT": (lambda _: "eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn", "a JWT"),
    "Basic": (lambda _: "Authorization: Basic YWxpY2U6aHVudGVyMg==", "a username and password"),
    "Basic alone": (lambda _: "basic YWxpY2U6aHVudGVyMg==", "a username and password"),
    "Digest": (lambda _: 'Authorization: Digest username="alice"', "the scheme Digest"),
    "Macaroon": (lambda text: f"Authorization: Macaroon root={text}", "the scheme Macaroon"),
    "PyPI": (lambda _: "pypi-AgEIcHlwaS5vcmcCJGFiYw", "a token of PyPI"),
    "Fly.io": (lambda _: "FlyV1 fm2_lJPECAAAAAAAAAAAxBB", "a token of Fly.io"),
    "GitHub": (lambda _: "ghp_0123456789abcdefghijklmnopqrstuvwxyz", "a token of GitHub"),
    "a bakery's list": (lambda _: "W3siaWRlbnRpZmllciI6IngifV0", "a list of a bakery's macaroons"),
    "an ellipsis within": (lambda text: f"{text[:20]}\u2026{text[-8:]}", "a display cut short"),
    "three dots within": (lambda text: f"{text[:20]}...{text[-8:]}", "a display cut short"),
    "an ellipsis at the end": (lambda text: f"{text[:40]}\u2026", "a display cut short"),
    "dots in quotes": (lambda text: f'"{text[:40]}..."', "a display cut short"),
    "capitals": (str.upper, "became capitals or small"),
    "a dash of a word processor": (
        lambda text: f"{text[:20]}\u2014{text[20:]}",
        "U+2014 (em dash) at place 21",
    ),
    "a letter of another script": (lambda text: f"{text[:9]}\u0430{text[10:]}", "CYRILLIC".lower()),
    "a sentence": (lambda text: f"the token is {text}", "a token and other text"),
    "two of them": (lambda text: f"{text} {text}", "more than one token"),
    "two of them, with a comma": (lambda text: f"{text},{text}", "more than one token"),
    "an answer of the service": (lambda text: '{"token": "' + text + '", "user": "alice"}', "jq -r .token"),
    "a variable": (lambda _: "$TOKEN", "the name of a variable"),
    "a variable in braces": (lambda _: "'${TOKEN}'", "the name of a variable"),
    "a variable of Windows": (lambda _: "%TOKEN%", "the name of a variable"),
    "an id": (lambda _: "01KAJ5M3W8E2RZ6V8Q4T0N9XCD", "a token's id, not its text"),
    "an address": (lambda _: "https://auth.example", "an address, not a token"),
    "a file": (lambda _: __file__, "the name of a file"),
    "cut off": (lambda text: text[:-9], "checksum"),
    "mistyped": (lambda text: text[:20] + ("A" if text[20] != "A" else "B") + text[21:], "checksum"),
    "nothing but wrapping": (lambda _: '"Bearer "', "holds no token"),
}


@pytest.mark.parametrize(("dress", "words"), NAMED.values(), ids=NAMED)
def test_what_is_no_token_is_named_and_never_repeated(
    dress: Callable[[str], str], words: str, token: Macaroon
) -> None:
    pasted = dress(token.encode())
    for done in (
        run("inspect", pasted),
        run("inspect", "-", stdin=pasted),
        run("whoami", "--url", "http://127.0.0.1:9", CAVEATS_TOKEN=pasted),
        run("tokens", "--token", pasted, "--url", "http://127.0.0.1:9"),
    ):
        assert (done.exit_code, done.stdout) == (7, ""), done.stderr
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert token.encode()[8:30] not in done.stderr
        assert "YWxpY2U6" not in done.stderr


def test_the_library_takes_a_token_as_it_is_only(token: Macaroon) -> None:
    for name, dress in HARMLESS.items():
        if name != "as it is":
            with pytest.raises(MalformedToken):
                Bundle.decode(dress(token.encode()))


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("how", ["argument", "-", "pipe", "file", "variable"])
def test_the_installed_program_takes_a_token_that_a_mail_wrapped(
    how: str, width: int, token: Macaroon, tmp_path: Path
) -> None:
    pasted = textwrap.indent(wrapped(token.encode(), width), "  ") + "\n"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")}
    if how == "variable":
        environment["CAVEATS_TOKEN"] = pasted
    (tmp_path / "token").write_text(pasted)
    with (tmp_path / "token").open() as file:
        options: dict[str, Any] = {
            "-": {"input": pasted},
            "pipe": {"input": pasted},
            "file": {"stdin": file},
        }.get(how, {"stdin": subprocess.DEVNULL})
        done = subprocess.run(
            [CAVEATS, "attenuate", "--note", "x", *{"argument": [pasted], "-": ["-"]}.get(how, [])],
            capture_output=True, text=True, timeout=60, check=False, env=environment, **options,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == token.attenuate(Note("x")).encode() + "\n"


@pytest.mark.parametrize(
    ("dress", "code", "words"),
    [
        ("{}", 6, "cannot reach"),
        ("'{}'", 6, "cannot reach"),
        (" {}.\n", 6, "cannot reach"),
        ("cav1_{}", 2, "a token's text, not its id"),
        ("{}X", 2, "not a token's id: it has 26 letters and digits"),
        ("x", 2, "not a token's id"),
    ],
)
def test_an_id_is_taken_as_it_is_pasted_and_a_token_in_its_place_goes_nowhere(
    dress: str, code: int, words: str, token: Macaroon
) -> None:
    for one in ("01KAJ5M3W8E2RZ6V8Q4T0N9XCD", "01kaj5m3w8e2rz6v8q4t0n9xcd"):
        done = run(
            "revoke",
            "--token-id",
            dress.format(one),
            "--url",
            "http://127.0.0.1:9",
            CAVEATS_TOKEN=token.encode(),
        )
        assert done.exit_code == code
        assert words in done.stderr


@pytest.mark.parametrize("dress", ['"{}"', "Bearer {}", "{}.", "<{}>", "\ufeff{}"])
def test_a_header_takes_a_token_as_it_is_only(dress: str, token: Macaroon) -> None:
    """A second reading there would be a way around whoever looked at the header first."""
    value = dress.format(token.encode()).encode()
    try:
        found = credential_of([(b"authorization", b"Bearer " + value)])
    except Problem:
        return
    assert isinstance(found, TokenCredential)
    with pytest.raises(MalformedToken):
        Bundle.decode(found.text)


@pytest.mark.parametrize(
    "text",
    [
        " " * 65_000 + "x",
        "x" + " " * 65_000 + "x\n",
        "\n" * 65_000 + "x",
        "=" * 65_000,
        "Bearer " * 9_000,
        '"' * 65_000 + "x",
        "a" * 65_000 + " =",
        "\x1b[" * 30_000,
        "> " * 30_000 + "\nx",
        "cav1_" * 13_000,
    ],
    ids=range(10),
)
def test_no_text_takes_long_to_look_at(text: str) -> None:
    begun = time.process_time()
    unwrapped(text)
    misfit(text)
    assert time.process_time() - begun < 2
