"""The message and the exit code for each error that ends a command.

Knows every class of errors that a command can raise. Writes only to standard error, and never a token.
"""

from __future__ import annotations

import click

from caveats import CaveatsError
from caveats.printable import without_tokens
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
)
from caveats_client.cli import INTERRUPTED
from caveats_client.cli.credentials import CredentialsError
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.output import block, message


def report(error: Exception) -> int:
    """Write the error's message for the person. Returns the exit code."""
    match error:
        case click.ClickException():
            _wrong_usage(error)
            return error.exit_code
        case click.Abort():
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
    """The function and line that raised the error: enough for a bug report, without any data."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else "an unknown place"


def _wrong_usage(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        block(error.format_message())
        return
    context = getattr(error, "ctx", None)
    message(without_tokens(error.format_message()))  # a surplus argument may be a token: do not show it
    if context is not None:
        message(f"try: {context.command_path} --help", label="")


def _failed_call(error: ClientError) -> int:
    words = error.detail
    match error:
        case NotAuthenticated():
            code = ExitCode.NOT_SIGNED_IN
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
            message(f"  {failure}", label="")
    return code
