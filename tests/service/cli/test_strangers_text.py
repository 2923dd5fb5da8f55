"""Names and labels that strangers wrote, in what `caveats-service` prints and logs: never markup, never an escape sequence."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from caveats import PrivateKey
from caveats.token import encode_base64
from caveats_service.server.logging import configure
from caveats_service.settings import Settings
from tests.support.service import COMMAND, admin_token, bearer, cli, environment, serving

HOSTILE = {
    "markup that ends": "bot [/x]",
    "markup": "[red]x[/red] [link=http://evil]y[/link] :smile:",
    "an escape sequence": "\x1b[2J\x1b]0;owned\x07x",
    "a C1 control": "\x9b31mx",
    "another line": "x\nid  who  did\r\x0b\x0c",
    "another language": "été",
    "another direction": "\u202eevil\u2066x\u200b",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which agents, verifiers and labelled tokens have hostile names."""
    folder = tmp_path_factory.mktemp("strangers")
    with serving(folder) as service, service.client(headers=bearer(admin_token(service))) as http:
        for name in HOSTILE.values():
            key = encode_base64(PrivateKey.generate().public_key)
            body = {"username": "admin", "public_key": key, "name": name}
            assert http.post("/v1/agents", json=body).status_code == 201
            body = {"audience": "photos", "public_key": key, "name": name}
            assert http.post("/v1/verifiers", json=body).status_code == 201
            assert http.post("/v1/tokens", json={"note": name}).status_code in (201, 400)
    return folder


def shown(name: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


@pytest.mark.parametrize("list_it", [("agents", "list"), ("audit",)], ids=" ".join)
def test_a_hostile_name_is_shown_as_it_is_on_one_line_without_control_characters(
    folder: Path, list_it: tuple[str, ...]
) -> None:
    out = cli(folder, *list_it).stdout
    assert all(line.isprintable() for line in out.split("\n"))
    for name in HOSTILE.values():
        assert shown(name) in out, out


def test_hostile_notes_of_tokens_are_shown_so_too(folder: Path) -> None:
    out = cli(folder, "users", "tokens", "admin", COLUMNS="300").stdout
    assert all(line.isprintable() for line in out.split("\n"))
    for name in ("markup", "markup that ends", "another language"):
        assert shown(HOSTILE[name]) in out, out


def test_json_has_hostile_names_unchanged_in_ascii(folder: Path) -> None:
    out = cli(folder, "agents", "list", "--json").stdout
    assert out.isascii()
    assert {agent["name"] for agent in json.loads(out)} == set(HOSTILE.values())


@pytest.mark.slow
def test_an_ascii_terminal_shows_other_characters_as_escapes(folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "agents", "list"],
        env={**environment(folder), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"\\xe9t\\xe9" in done.stdout


@pytest.mark.parametrize(
    "name", ["x[red]y.backup", "x[b]y.backup", "x\x1b[31m.backup", "x\ny.backup"], ids=ascii
)
def test_a_path_is_reported_as_it_is(folder: Path, tmp_path: Path, name: str) -> None:
    done = cli(folder, "backup", str(tmp_path / name))
    assert f"backed up to {tmp_path / shown(name)};" in done.stderr
    assert (tmp_path / name).exists()
    again = cli(folder, "backup", str(tmp_path / name), expect=1)
    assert "\x1b[31m." not in again.stderr
    assert "Traceback" not in again.stderr


@pytest.fixture
def _logging() -> Iterator[None]:
    handlers = logging.getLogger().handlers
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers = handlers


@pytest.mark.usefixtures("_logging")
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("log_json", [False, True])
def test_a_hostile_name_stays_in_its_line_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, *, log_json: bool
) -> None:
    configure(Settings.load(log_json=log_json, data_dir=tmp_path))
    try:
        raise ValueError(name)
    except ValueError:
        structlog.get_logger().error("it_failed", user=name, several=[name], exc_info=sys.exc_info())
    structlog.get_logger().warning(name)
    err = capsys.readouterr().err
    assert all(line.isprintable() for line in err.split("\n"))
    assert err.count("it_failed") == 1
    assert "Traceback (most recent call last)" in err
