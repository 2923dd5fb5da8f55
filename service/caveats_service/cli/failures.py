"""The message and the exit code for each error that ends a command.

Knows click and the operating system; errors of the service arrive as `CliError`. Writes only to standard error: lines for
people, or with `--json` one JSON object on one line, which is the last one there.
"""

from __future__ import annotations

import sys

import click

from caveats_cli.failures import error_json, in_words, unexpected
from caveats_service.cli import INTERRUPTED
from caveats_service.cli.exit_codes import CliError, ExitCode


def report(error: Exception, *, as_json: bool = False) -> int:
    """Write the error's message. Returns the exit code."""
    match error:
        case click.Abort():
            return INTERRUPTED
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), file=sys.stdout)
            return error.exit_code
        case click.ClickException():
            context = getattr(error, "ctx", None)
            more = () if context is None else (f"try: {context.command_path} --help",)
            name = ExitCode(error.exit_code).name.lower()
            return _write(error.exit_code, name, _without_tokens(error), more, as_json=as_json)
        case CliError():
            return _write(error.code, error.name, str(error), as_json=as_json)
        case OSError() if error.strerror:
            return _write(ExitCode.FAILED, "failed", in_words(error), as_json=as_json)
        case _:
            return _write(ExitCode.FAILED, "unexpected", unexpected(error), as_json=as_json)


def _write(exit_code: int, name: str, words: str, more: tuple[str, ...] = (), *, as_json: bool) -> int:
    if as_json:
        click.echo(error_json(name, words, exit_code), file=sys.stderr)
        return exit_code
    from caveats.printable import printable  # noqa: PLC0415  # the library takes a while to import

    # Each of a list of settings has a line; U+2028 and the like end none.
    for line in (*f"caveats-service: {words}".split("\n"), *more):
        click.echo(printable(line), file=sys.stderr)
    return exit_code


def _without_tokens(error: click.ClickException) -> str:
    """The message of wrong usage. A surplus argument may be a token: it is not shown."""
    from caveats.printable import without_tokens  # noqa: PLC0415  # see above

    return without_tokens(error.format_message())
