"""What a command must not import: what it does not need, and takes long to import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from caveats import Macaroon

LARGE = {"asyncio", "caveats_service", "httpx2", "pydantic", "typer"}
"""Packages that no offline command needs. Each takes as long to import as the command takes to run, or longer."""


def imported(*arguments: str, **environment: str) -> set[str]:
    """The packages that a process has imported when the command has run in it."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules})))\n"
        "from caveats_client.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **environment},
    )
    assert done.stdout
    return set(done.stderr.split())


def completing(words: str) -> Mapping[str, str]:
    return {
        "_CAVEATS_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (("--version",), "caveats nacl rich"),
        (("--help",), "caveats nacl rich"),
        (("completion", "zsh"), "caveats nacl rich"),
        (("attenuate", "--note", "x", "TOKEN"), "rich"),
        (("inspect", "TOKEN"), ""),
        (("inspect", "--json", "TOKEN"), "rich"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_command_imports_what_it_needs(token: Macaroon, arguments: tuple[str, ...], others: str) -> None:
    given = (token.encode() if argument == "TOKEN" else argument for argument in arguments)
    assert not imported(*given) & {*LARGE, *others.split()}


@pytest.mark.parametrize(
    ("words", "others"),
    [
        ("caveats ", "caveats nacl rich"),
        ("caveats att", "caveats nacl rich"),
        ("caveats verifier ", "caveats nacl rich"),
        ("caveats attenuate --", "rich"),
        ("caveats login --", "rich"),
        ("caveats tokens --", "rich"),
        ("caveats discharge --", "rich"),
        ("caveats verifier register --", "rich"),
    ],
)
def test_completion_imports_what_it_needs(words: str, others: str) -> None:
    assert not imported(**completing(words), CAVEATS_URL="https://auth.example") & {*LARGE, *others.split()}
