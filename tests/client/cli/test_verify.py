"""The facts that `verify` is given: what no request can have is an error, before anybody is asked."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from caveats import Macaroon
from caveats_client.cli.app import app

NOBODY = "http://127.0.0.1:9"


def verify(token: Macaroon, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, ["verify", token.encode(), "--url", NOBODY, *arguments], prog_name="caveats"
    )


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("--client-ip", "nope", "is not an address"),
        ("--client-ip", "10.0.0.0/8", "is not an address"),
        ("--client-ip", "10.0.0.256", "is not an address"),
        ("--client-ip", "10.1.2.3:80", "is not an address"),
        ("--client-ip", "fe80::1%eth0", "is not an address"),
        ("--client-ip", "localhost", "is not an address"),
        ("--method", "G ET", "is not an HTTP method"),
        ("--method", "GET,HEAD", "is not an HTTP method"),
        ("--method", "*", "is not an HTTP method"),
        ("--path", "albums/42", "begins with /"),
        ("--path", "https://photos.example/albums", "begins with /"),
        ("--path", "/albums?x=1", "ends before ?"),
        ("--path", "/albums#top", "ends before ?"),
        ("--path", "/al\tbums", "characters that no path has"),
        ("--host", "https://photos.example", "is not a host name"),
        ("--host", "photos example", "is not a host name"),
        ("--host", "-", "is not a host name"),
        ("--scope", "photos", "not a scope"),
        ("--scope", "photos:read  photos:write", "not a scope"),
        ("--audience", "Photos", "is not an audience"),
        ("--extra", "x", "NAME=VALUE"),
    ],
)
def test_what_no_request_has_is_an_error(token: Macaroon, flag: str, text: str, words: str) -> None:
    done = verify(token, flag, text)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert flag in done.stderr


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--client-ip", "10.1.2.3"),
        ("--client-ip", "2001:db8::1"),
        ("--client-ip", "::ffff:10.1.2.3"),
        ("--method", "get"),
        ("--method", "M-SEARCH"),
        ("--path", "/"),
        ("--path", "/my albums/%C3%A4"),
        ("--path", "/a/../b"),
        ("--host", "photos.example:8443"),
        ("--host", "10.1.2.3"),
        ("--scope", "photos:read photos/42:*"),
        ("--audience", "photos"),
        ("--user", "Alice A."),
        ("--extra", "x="),
    ],
)
def test_what_a_request_can_have_is_asked_about(token: Macaroon, flag: str, text: str) -> None:
    done = verify(token, flag, text)
    assert done.exit_code == 6
    assert "cannot reach" in done.stderr


@pytest.mark.parametrize(
    ("flag", "text", "words"),
    [
        ("--expires", "2026-12-01", "has no time: write 2026-12-01T00:00:00Z"),
        ("--expires", "2026-12-01T18:00", "has no time zone"),
        ("--expires", "2026-13-01T18:00:00Z", "not a time"),
        ("--not-before", "tomorrow", "not a time"),
        ("--not-before", "20261201", "has no time: write 2026-12-01T00:00:00Z"),
        ("--client-ip", "nope", "not an address or network"),
        ("--method", "G,ET", "method"),
        ("--path", "albums", "path"),
    ],
)
def test_what_no_caveat_says_is_an_error_too(token: Macaroon, flag: str, text: str, words: str) -> None:
    done = CliRunner().invoke(app, ["attenuate", flag, text, token.encode()], prog_name="caveats")
    assert (done.exit_code, done.stdout) == (7, "")
    assert words in done.stderr


def test_the_time_that_a_message_proposes_is_accepted(token: Macaroon) -> None:
    done = CliRunner().invoke(app, ["attenuate", "--expires", "2026-12-01T00:00:00Z", token.encode()])
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8", "8 has no unit: 8s is seconds"),
        ("0", "0 has no unit"),
        ("1.5h", "1h30m"),
        ("8 h", "a whole number with s, m, h, d or w"),
        ("900000h", "at most 876000h"),
        ("forever", "a whole number with s, m, h, d or w"),
    ],
)
@pytest.mark.parametrize("command", ["attenuate", "issue", "renew", "login"])
def test_a_life_has_its_unit(token: Macaroon, command: str, text: str, words: str) -> None:
    environment = {"CAVEATS_TOKEN": token.encode(), "CAVEATS_USERNAME": "alice", "CAVEATS_URL": NOBODY}
    done = CliRunner().invoke(app, [command, "--expires-in", text], env=environment, prog_name="caveats")
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
