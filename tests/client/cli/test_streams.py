"""Standard streams that are closed, full or without a reader, for both programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caveats import Macaroon, Note

CAVEATS = Path(sys.executable).parent / "caveats"
SERVICE = Path(sys.executable).parent / "caveats-service"
NOBODY = "http://127.0.0.1:9"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs a shell")]


def shell(redirect: str, *command: object, folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command with its streams redirected by a shell, which it replaces."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")},
        "CAVEATS_CONFIG_DIR": str(folder / "config"),
        "CAVEATS_DATA_DIR": str(folder / "data"),
    }
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", *map(str, command)],
        capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=folder, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database."""
    made = tmp_path_factory.mktemp("streams")
    assert shell("", SERVICE, "migrate", folder=made).returncode == 0
    return made


PRINTS = [
    (CAVEATS, "--help"),
    (CAVEATS, "--version"),
    (CAVEATS, "inspect", "TOKEN"),
    (CAVEATS, "attenuate", "--note", "x", "TOKEN"),
    (SERVICE, "--version"),
    (SERVICE, "settings"),
    (SERVICE, "keys", "list"),
    (SERVICE, "keys", "export", "--audience", "photos"),
]


def with_token(command: tuple[object, ...], token: Macaroon) -> list[object]:
    return [token.encode() if word == "TOKEN" else word for word in command]


def name_of(command: tuple[object, ...]) -> str:
    return " ".join([Path(str(command[0])).name, *map(str, command[1:])])


@pytest.mark.parametrize(
    ("redirect", "why"), [("> /dev/full", "No space left on device"), (">&-", "it is closed")]
)
@pytest.mark.parametrize("command", PRINTS, ids=name_of)
def test_data_that_cannot_be_written_is_one_line_and_exit_code_1(
    command: tuple[object, ...], redirect: str, why: str, folder: Path, token: Macaroon
) -> None:
    done = shell(redirect, *with_token(command, token), folder=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"cannot write to standard output: {why}\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", PRINTS, ids=name_of)
def test_a_reader_that_is_gone_ends_it_as_a_shell_expects(
    command: tuple[object, ...], folder: Path, token: Macaroon
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            list(map(str, with_token(command, token))),
            stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False, cwd=folder,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize("command", PRINTS, ids=name_of)
def test_head_takes_what_it_wants(command: tuple[object, ...], folder: Path, token: Macaroon) -> None:
    large = token.attenuate(*[Note("x" * 900)] * 13)
    done = shell("| head -c 1", *with_token(command, large), folder=folder)
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 1, "")


@pytest.mark.parametrize("redirect", ["2>&-", "2> /dev/full", "2>&- <&- >&-", "> /dev/full 2>&1"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ((CAVEATS, "whoami", "--url", NOBODY), 3),
        ((CAVEATS, "inspect", "nonsense"), 7),
        ((CAVEATS, "frobnicate"), 2),
        ((SERVICE, "users", "disable", "nobody"), 1),
        ((SERVICE, "frobnicate"), 2),
        ((SERVICE, "keys", "rotate"), None),
    ],
    ids=lambda value: name_of(value) if isinstance(value, tuple) else "",
)
def test_a_message_that_cannot_be_written_changes_nothing(
    command: tuple[object, ...], code: int | None, redirect: str, folder: Path
) -> None:
    plain = shell("", *command, folder=folder) if code is None else None
    done = shell(redirect, *command, folder=folder)
    assert done.returncode == (code if plain is None else plain.returncode)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_command_without_data_does_not_mind_a_closed_output(folder: Path) -> None:
    done = shell(">&-", SERVICE, "backup", "copy.db", folder=folder)
    assert done.returncode == 0
    assert "backed up" in done.stderr
    assert (folder / "copy.db").stat().st_size > 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_of_the_service_takes_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    """SQLite's file as descriptor 2 would get what is written to standard error."""
    assert shell(closed, SERVICE, "migrate", folder=tmp_path).returncode == 0
    assert shell("", SERVICE, "keys", "list", folder=tmp_path).returncode == 0
