"""How a command ends: the exit codes, and what is said to a person about each way to fail.

Knows every error family that a command can meet. Writes to standard error only, and no token.
"""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import typer
from typer import rich_utils
from typer.core import TyperGroup

from caveats import CaveatsError
from caveats_client.api.errors import (
    BadRequest,
    ClientError,
    Forbidden,
    InteractionRequired,
    NotAuthenticated,
    NotFound,
    RateLimited,
    Unavailable,
    UnusableAddress,
    safe,
    without_tokens,
)
from caveats_client.cli import INTERRUPTED
from caveats_client.cli.credentials import CredentialsError
from caveats_client.cli.render import message

if TYPE_CHECKING:
    from collections.abc import Sequence


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


class Commands(TyperGroup):
    """A group of commands that ends as `ExitCode` says, whatever happens in one."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit."""
        if os.environ.get("NO_COLOR"):
            rich_utils.COLOR_SYSTEM = None  # the colours alone would go, and bold and dim stay
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except Exception as error:  # noqa: BLE001  the process's edge: every error becomes words and an exit code
            code = _end(error)
        if code == INTERRUPTED and sys.stderr.isatty():
            sys.stderr.write("\n")
        sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _end(error: Exception) -> int:
    """Say what happened. Answers with the exit code."""
    match error:
        case typer.TyperException():
            _wrong_usage(error)
            return error.exit_code
        case typer.Abort():
            return INTERRUPTED
        case CliError():
            message(str(error))
            return error.code
        case CredentialsError():
            message(str(error))
            return ExitCode.NOT_SIGNED_IN
        case CaveatsError():
            message(str(error))
            return ExitCode.MALFORMED
        case ClientError():
            return _failed_call(error)
        case _:
            message(f"unexpected {type(error).__name__} at {_where(error)}: this is a bug, please report it")
            return ExitCode.UNEXPECTED


def _where(error: Exception) -> str:
    """The line that raised it: enough to report, and nothing of what was handled there."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else "an unknown place"


def _wrong_usage(error: typer.TyperException) -> None:
    words = without_tokens(error.format_message())  # an argument too many may well be a token
    if not words or type(error).__name__ == "NoArgsIsHelpError":
        return
    context = getattr(error, "ctx", None)
    message(words)
    if context is not None:
        message(f"try: {context.command_path} --help", label="")


def _failed_call(error: ClientError) -> int:
    words = error.detail
    match error:
        case NotAuthenticated():
            code = ExitCode.NOT_SIGNED_IN
            if error.code in ("invalid_token", "credential_required"):
                words += ": it may have expired or been revoked; `caveats login` gets another"
        case InteractionRequired():
            code = ExitCode.NOT_SIGNED_IN
        case Forbidden():
            code = ExitCode.REFUSED
        case NotFound():
            code = ExitCode.NOT_FOUND
        case Unavailable() | RateLimited():
            code = ExitCode.UNAVAILABLE
            if error.retry_after is not None:
                words += f"; try again in {error.retry_after} s"
        case BadRequest() | UnusableAddress():
            code = ExitCode.USAGE
        case _:
            code = ExitCode.UNEXPECTED
    message(words)
    if isinstance(error, Forbidden):
        for failure in error.failures:
            message(f"  {safe(str(failure))}", label="")
    return code
