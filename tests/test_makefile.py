"""What `make run` and `make test` say while they install for the first time, which takes a minute or two."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.terminal import Terminal

ROOT = Path(__file__).resolve().parents[1]
PIP = """#!/bin/sh
case "$*" in *--version) exit 0 ;; esac
for name in alpha beta gamma; do echo "Collecting $name==1.0 (from constraints.txt)"; echo "  Downloading $name"; echo "WARNING: deprecated" >&2; done
case "$*" in *"{fails}"*) seq 100; echo "ERROR: no such thing" >&2; exit 1 ;; esac
echo "Installing collected packages: alpha, beta, gamma"
"""
"""In place of the environment's Python: it says what pip says, and fetches nothing."""


@pytest.fixture
def make(tmp_path: Path) -> list[str]:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP.replace("{fails}", "--group lint"))
    python.chmod(0o755)
    return [
        "make",
        "--no-print-directory",
        "-C",
        str(ROOT),
        f"VENV={tmp_path / 'venv'}",
        f"PYTHON={sys.executable}",
    ]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_first_run_says_what_it_does_and_how_long_it_takes(make: list[str], tmp_path: Path) -> None:
    done = run(*make, f"{tmp_path}/venv/with-test")
    assert (done.returncode, done.stderr) == (0, "")
    venv = tmp_path / "venv"
    assert done.stdout.splitlines() == [
        f"Setting up {venv}: about 60 packages are fetched and installed, once. It takes a minute or two.",
        "  pip itself ...",
        "  what builds the package ...",
        "  Caveats and all that it uses ...",
        f"Setting up {venv} for 'test': its packages are fetched and installed, once. It takes up to a minute.",
        "  the packages of 'test' ...",
    ]
    assert run(*make, "--question", f"{tmp_path}/venv/with-test").returncode == 0, "it is made once"


def test_what_fails_is_said_and_tried_again(make: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        done = run(*make, f"{tmp_path}/venv/with-lint")
        assert done.returncode != 0
        said = done.stdout.splitlines()
        assert said[-2:] == [
            "ERROR: no such thing",
            f"Setting up {tmp_path / 'venv'} did not work; what pip says is above. The same command tries again.",
        ]
        assert said[-21:-2] == [str(number) for number in range(82, 101)], "the last twenty lines"
        assert not (tmp_path / "venv" / "with-lint").exists()


def test_on_a_terminal_the_packages_are_counted(make: list[str], tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, {"PATH": "/usr/local/bin:/usr/bin:/bin"}, columns=80)
    try:
        screen = terminal.paste(f"{' '.join(make)} {tmp_path}/venv/ready", patience=30)
    finally:
        terminal.close()
    assert screen.codes == [0]
    for words in ("packages found: 1, now alpha==1.0", "packages found: 3, now gamma==1.0", "installing"):
        assert words in screen.text
