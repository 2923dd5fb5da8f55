"""The exit codes, and the error that ends a command with one of them. `failures` writes its message."""

from __future__ import annotations

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2


EXIT_CODES = """Exit codes:

  0  done
  1  it did not work: the message says why
  2  wrong usage, or a setting with a wrong value
  130  interrupted

A command whose reader is gone, as behind `head`, ends by SIGPIPE: 141 for a shell."""


class CliError(Exception):
    """Ends the command: the message for the person, the exit code, and a name of the error for programs."""

    def __init__(self, code: ExitCode, text: str, name: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.name = name or code.name.lower()

    @classmethod
    def of(cls, error: Exception) -> CliError:
        """It did not work, because of an error of the service: its message, and its class as the name."""
        return cls(ExitCode.FAILED, str(error), _words(type(error).__name__))

    def __reduce__(self) -> tuple[type[CliError], tuple[ExitCode, str, str], dict[str, object]]:
        return type(self), (self.code, str(self), self.name), self.__dict__


def _words(name: str) -> str:
    """`KeyInUse` as `key_in_use`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
