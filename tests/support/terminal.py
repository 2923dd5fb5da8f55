"""A bash on a terminal of its own, as a person has one. What is pasted is read by whoever reads the terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROMPT = re.compile(r"<<ready:(\d+)>>")
_MOVES = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+|\x1b)")
_BASH = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp('bash', sys.argv[1:])"
)
"""Python that makes its standard input the terminal of its session, and becomes a bash."""


@dataclass(frozen=True)
class Pasted:
    """What was on the screen after a paste, and how each command ended."""

    text: str
    codes: list[int]


def shown(screen: str) -> list[str]:
    """The lines that are left to see: a progress bar draws over itself, and goes."""
    lines, at = [""], 0
    for number, act, control, text in _MOVES.findall(screen):
        if text:
            lines[at] += text
        elif control == "\n":
            at += 1
            lines += [""] * (at == len(lines))
        elif act == "A":
            at = max(0, at - int(number or 1))
        elif act == "K":
            lines[at] = ""
    return lines if lines[-1] else lines[:-1]


class Terminal:
    """A bash, until `close`. It shows no echo of what is typed."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, columns: int = 200) -> None:
        self._handle, inside = pty.openpty()
        termios.tcsetwinsize(inside, (50, columns))
        modes = termios.tcgetattr(inside)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(inside, termios.TCSANOW, modes)
        self._bash = subprocess.Popen(
            [sys.executable, "-c", _BASH, "bash", "--norc", "--noprofile", "--noediting", "-i"],
            cwd=folder,
            env={**environment, "PS1": "<<ready:$?>>", "PS2": "", "HISTFILE": "/dev/null", "TERM": "xterm"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        self._read(1, {}, 20)

    def paste(self, text: str, answers: Mapping[str, str] | None = None, *, patience: float = 60) -> Pasted:
        """Paste it all at once: a command a line. Whoever asks `answers`' key is answered with its value.

        Fails if the commands have not all ended after `patience` seconds.
        """
        lines = text.splitlines()
        count = sum(not line.endswith("\\") for line in lines)
        os.write(self._handle, "".join(f"{line}\n" for line in lines).encode())
        screen = self._read(count, {**(answers or {})}, patience)
        plain = "".join(f"{line.rstrip()}\n" for line in shown(_PROMPT.sub("", screen)))
        return Pasted(plain, [int(code) for code in _PROMPT.findall(screen)])

    def _read(self, prompts: int, answers: dict[str, str], patience: float) -> str:
        """What appears until bash has asked `prompts` times for a command."""
        screen = b""
        until = time.monotonic() + patience
        while len(_PROMPT.findall(text := screen.decode("utf-8", "replace"))) < prompts:
            left = until - time.monotonic()
            assert left > 0, f"{prompts} commands have not ended:\n{text}"
            if select.select([self._handle], [], [], left)[0]:
                screen += os.read(self._handle, 65536)
            asked = next(
                (words for words in answers if screen.decode("utf-8", "replace").endswith(words)), None
            )
            if asked is not None:
                os.write(self._handle, f"{answers.pop(asked)}\n".encode())
        return text

    def close(self) -> None:
        """Bash goes, with what it left running."""
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.wait()
        os.close(self._handle)
