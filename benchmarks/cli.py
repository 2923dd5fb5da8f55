"""The command line's start: the processor time of whole processes, beside a Python that does nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.sample import logins
from benchmarks.table import Bar, Row, Section, times

_ROUNDS = 15
_LONGEST = 200
"""Milliseconds of processor time that an offline command may take."""
_PYTHON = "python -c pass"


class _Process(NamedTuple):
    name: str
    arguments: list[str]
    environment: dict[str, str] = {}  # noqa: RUF012  # nobody writes to it
    promised: bool = True


def cli() -> Section:
    """Milliseconds of processor time, user's and system's, in the best round of each."""
    processes = _processes()
    best = dict.fromkeys((process.name for process in processes), float("inf"))
    for _ in range(_ROUNDS):
        for process in processes:
            best[process.name] = min(best[process.name], _cost(process))
    section = Section(f"Processor time of a command from start to end [times as much as {_PYTHON}]")
    for process in processes:
        cost = best[process.name]
        bar = Bar(f"< {_LONGEST} ms", cost < _LONGEST) if process.promised else None
        section.rows.append(Row(process.name, times(cost / best[_PYTHON]), f"{cost:.0f} ms", bar))
    return section


def _processes() -> list[_Process]:
    python, program = sys.executable, str(Path(sys.executable).parent / "caveats")
    [login] = logins(1)
    token = login.mint().encode()
    return [
        _Process(_PYTHON, [python, "-c", "pass"], promised=False),
        _Process('python -c "import click"', [python, "-c", "import click"], promised=False),
        _Process('python -c "import caveats"', [python, "-c", "import caveats"], promised=False),
        _Process("caveats --version", [program, "--version"]),
        _Process("caveats --help", [program, "--help"]),
        _Process("caveats attenuate", [program, "attenuate", "--scope", "photos/42:read", token]),
        _Process("caveats inspect", [program, "inspect", token]),
        _Process("caveats inspect --json", [program, "inspect", "--json", token]),
        _Process("completion of a command", [program], _completing("caveats att")),
        _Process("completion of a flag", [program], _completing("caveats attenuate --sc")),
    ]


def _completing(words: str) -> dict[str, str]:
    return {
        "_CAVEATS_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }


def _cost(process: _Process) -> float:
    """Milliseconds. Ends the run unless the process ends well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        process.arguments,
        env={**os.environ, **process.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
