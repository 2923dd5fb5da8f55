"""The exit codes, and the error that ends a command with one of them. `failures` knows all other errors."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_SIGNED_IN = 3
    REFUSED = 4
    NOT_FOUND = 5
    UNAVAILABLE = 6
    MALFORMED = 7


EXIT_CODES = """Exit codes:

  0  done
  1  anything that is not listed here
  2  wrong usage, or a value that the service does not accept
  3  not signed in, or the token or the password is not accepted; a third party wants to know who asks
  4  refused by caveats, or not permitted
  5  not found
  6  the service is busy or cannot be reached
  7  malformed token or caveat
  130  interrupted

A command whose reader is gone, as behind `head`, ends by SIGPIPE: 141 for a shell."""


class CliError(Exception):
    """Ends the command: the message for the person, and the exit code."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[type[CliError], tuple[ExitCode, str], dict[str, object]]:
        return type(self), (self.code, str(self)), self.__dict__
