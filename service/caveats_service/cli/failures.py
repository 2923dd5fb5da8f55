"""The message and the exit code for each error that ends a command.

Knows click and the operating system; errors of the service arrive as `CliError`. Writes only to standard error: lines for
people, or with `--json` one JSON object on one line, which is the last one there.
"""

from __future__ import annotations

import json

import click

from caveats_service.cli import INTERRUPTED
from caveats_service.cli.exit_codes import CliError, ExitCode


def report(error: Exception, *, as_json: bool = False) -> int:
    """Write the error's message. Returns the exit code."""
    match error:
        case click.Abort():
            return INTERRUPTED
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message())
            return error.exit_code
        case click.ClickException():
            context = getattr(error, "ctx", None)
            more = () if context is None else (f"try: {context.command_path} --help",)
            name = ExitCode(error.exit_code).name.lower()
            return _write(error.exit_code, name, _without_tokens(error), more, as_json=as_json)
        case CliError():
            return _write(error.code, error.name, str(error), as_json=as_json)
        case OSError() if error.strerror:
            place = "" if error.filename is None else f"{error.filename}: "
            return _write(ExitCode.FAILED, "failed", f"{place}{error.strerror}", as_json=as_json)
        case _:
            words = f"unexpected {type(error).__name__} at {_where(error)}: this is a bug, please report it"
            return _write(ExitCode.FAILED, "unexpected", words, as_json=as_json)


def _write(exit_code: int, name: str, words: str, more: tuple[str, ...] = (), *, as_json: bool) -> int:
    if as_json:
        members = {"code": name, "detail": words, "exit_code": int(exit_code)}
        click.echo(json.dumps(members), err=True)
        return exit_code
    from caveats.printable import printable  # noqa: PLC0415  # the library takes a while to import

    # Each of a list of settings has a line; U+2028 and the like end none.
    for line in (*f"caveats-service: {words}".split("\n"), *more):
        click.echo(printable(line), err=True)
    return exit_code


def _without_tokens(error: click.ClickException) -> str:
    """The message of wrong usage. A surplus argument may be a token: it is not shown."""
    from caveats.printable import without_tokens  # noqa: PLC0415  # see above

    return without_tokens(error.format_message())


def _where(error: Exception) -> str:
    """The function and line that raised the error: enough for a bug report, without any data."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else "an unknown place"
