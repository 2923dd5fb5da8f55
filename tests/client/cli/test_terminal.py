"""A command that needs a person ends at once where there is none, and says what to give it instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CAVEATS = Path(sys.executable).parent / "caveats"
SERVICE = Path(sys.executable).parent / "caveats-service"
NOBODY = "http://127.0.0.1:9"


def ended(*command: object, folder: Path, stdin: str) -> subprocess.CompletedProcess[str]:
    """The command in a session of its own, which has no terminal, with this standard input."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")},
        "CAVEATS_CONFIG_DIR": str(folder),
        "CAVEATS_DATA_DIR": str(folder / "data"),
    }
    shell = f'exec "$@" {stdin}'
    return subprocess.run(
        ["sh", "-c", shell, "sh", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
        env=environment,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stdin", ["< /dev/null", "<&-"], ids=["null", "closed"])
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ([CAVEATS, "login", "alice", "--url", NOBODY], 2, "--password-stdin"),
        ([CAVEATS, "login", "--url", NOBODY], 2, "no user name"),
        ([CAVEATS, "register", "bob", "--url", NOBODY], 2, "--password-stdin"),
        ([CAVEATS, "passwd", "alice", "--url", NOBODY], 2, "--password-stdin"),
        ([CAVEATS, "whoami", "--url", NOBODY], 3, "not signed in"),
        ([SERVICE, "users", "add", "alice"], 2, "--password-stdin"),
        ([SERVICE, "users", "passwd", "alice"], 2, "--password-stdin"),
    ],
    ids=lambda value: " ".join(map(str, value[1:3])) if isinstance(value, list) else "",
)
def test_nobody_is_asked_where_nobody_is(
    tmp_path: Path, command: list[object], code: int, words: str, stdin: str
) -> None:
    done = ended(*command, folder=tmp_path, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.slow
def test_a_closed_standard_error_stops_no_command(tmp_path: Path) -> None:
    done = ended(CAVEATS, "whoami", "--url", NOBODY, folder=tmp_path, stdin="2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
