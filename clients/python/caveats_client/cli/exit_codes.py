"""The exit codes, and the error that ends a command with one of them. Knows no other error: `failures` does."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can tell apart."""

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
  2  wrong usage, or a value that the service does not take
  3  not signed in, or the token or the password is not accepted; a third party
     wants to know who asks
  4  refused by caveats, or for want of rights
  5  no such thing
  6  the service is busy or out of reach
  7  malformed token or caveat
  130  interrupted"""


class CliError(Exception):
    """The command cannot go on: what to say, and how to exit."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code
