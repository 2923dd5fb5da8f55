"""The message and the exit code for each error that ends a command.

Knows every class of errors that a command can raise. Writes only to standard error, and never a token: lines for people,
or with `--json` one JSON object on one line, which is the last one there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click

from caveats import CaveatsError
from caveats.printable import without_tokens
from caveats_cli.failures import error_json, in_words, unexpected
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
from caveats_client.cli.output import block, jsonable, message


@dataclass(frozen=True, slots=True)
class Failure:
    """How a command has failed. `code`: a name for programs, the service's own if the service said one."""

    exit_code: int
    detail: str
    code: str = ""
    more: tuple[str, ...] = ()
    """More lines, for people only."""
    members: dict[str, Any] = field(default_factory=dict)
    """More members, for programs only."""


def report(error: Exception, *, as_json: bool = False) -> int:
    """Write the error's message. Returns the exit code."""
    if isinstance(error, click.Abort):
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        block(error.format_message())
        return error.exit_code
    failure = _failure(error)
    if as_json:
        code = failure.code or ExitCode(failure.exit_code).name.lower()
        members = jsonable(failure.members)
        message(error_json(code, failure.detail, failure.exit_code, members), label="")
        return failure.exit_code
    message(failure.detail)
    for line in failure.more:
        message(line, label="")
    return failure.exit_code


def _failure(error: Exception) -> Failure:
    match error:
        case click.ClickException():
            context = getattr(error, "ctx", None)
            return Failure(
                error.exit_code,
                without_tokens(error.format_message()),  # a surplus argument may be a token: do not show it
                more=() if context is None else (f"try: {context.command_path} --help",),
            )
        case CliError():
            return Failure(error.code, str(error))
        case CredentialsError():
            return Failure(ExitCode.NOT_SIGNED_IN, str(error))
        case CaveatsError():
            return Failure(ExitCode.MALFORMED, str(error))
        case ClientError():
            return _failed_call(error)
        case OSError() if error.strerror:
            return Failure(ExitCode.UNEXPECTED, without_tokens(in_words(error)))
        case _:
            return Failure(ExitCode.UNEXPECTED, unexpected(error))


def _failed_call(error: ClientError) -> Failure:
    words = error.detail
    more: tuple[str, ...] = ()
    members: dict[str, Any] = {} if error.status is None else {"status": error.status}
    match error:
        case NotAuthenticated():
            code = ExitCode.NOT_SIGNED_IN
        case InteractionRequired():
            code = ExitCode.NOT_SIGNED_IN
        case Forbidden():
            code = ExitCode.REFUSED
            more = tuple(f"  {failure}" for failure in error.failures)
            members["failures"] = list(error.failures)
        case NotFound():
            code = ExitCode.NOT_FOUND
        case Unavailable() | RateLimited():
            code = ExitCode.UNAVAILABLE
            if error.retry_after is not None:
                words += f"; try again in {error.retry_after} s"
                members["retry_after"] = error.retry_after
        case BadRequest() | UnusableAddress():
            code = ExitCode.USAGE
        case _:
            code = ExitCode.UNEXPECTED
    return Failure(code, words, error.code, more, members)
