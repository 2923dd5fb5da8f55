"""The installed programs as people run them: in pipes, on a terminal of some width, in an empty environment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
"""Where the console scripts are."""
WIDTHS = (60, 200)
"""The columns of a narrow terminal and of a wide one."""


@dataclass(frozen=True)
class Said:
    """How a program has ended, and what it has written. On a terminal all of it is `stdout`."""

    code: int
    stdout: str
    stderr: str = ""


def empty(folder: Path, **variables: str) -> dict[str, str]:
    """An environment with nothing in it but a home, so that no login of whoever runs the tests is seen."""
    return {"HOME": str(folder), **variables}


def _found(command: Sequence[str]) -> list[str]:
    """The command, with the program that is installed here if there is one of this name."""
    here = PROGRAMS / command[0]
    return [str(here) if here.exists() else command[0], *command[1:]]


def piped(*command: str, env: Mapping[str, str], stdin: str | None = "", folder: Path | None = None) -> Said:
    """Run a program with a pipe at each end; `stdin` None: /dev/null."""
    done = subprocess.run(
        _found(command),
        env=env,
        cwd=folder,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def on_terminal(
    *command: str,
    env: Mapping[str, str],
    columns: int = 80,
    answers: Sequence[tuple[str, str]] = (),
    folder: Path | None = None,
) -> Said:
    """Run a program on a terminal of its own. `answers`: what to type once each text has appeared, in this order."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        _found(command),
        env={"TERM": "xterm", **env},
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        screen = _talk(ours, list(answers))
        return Said(process.wait(10), screen.replace("\r\n", "\n"))
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _talk(terminal: int, answers: list[tuple[str, str]]) -> str:
    screen, seen = b"", 0
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            more = os.read(terminal, 65536)
        except OSError:  # the program has closed it
            break
        if not more:
            break
        screen += more
        while answers and answers[0][0].encode() in screen[seen:]:
            seen = screen.index(answers[0][0].encode(), seen) + len(answers[0][0].encode())
            time.sleep(0.1)  # a prompt for a password discards what was typed before it
            with contextlib.suppress(OSError):
                os.write(terminal, answers.pop(0)[1].encode())
    return screen.decode(errors="replace")
