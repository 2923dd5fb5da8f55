"""Groups of commands, and commands whose module is imported when they run.

Knows click, knows no command. Importing all modules takes more than a second, `caveats-service --help` a tenth of one.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from caveats_cli import commands as shared
from caveats_service.cli.exit_codes import ExitCode


class DeferredCommand(shared.DeferredCommand):
    """A command in a module of this package."""

    package = __package__


class CommandGroup(shared.Command, click.Group):
    """Commands that are listed in this order."""

    def __init__(self, name: str, description: str, *commands: click.Command, **attributes: Any) -> None:
        super().__init__(
            name,
            help=description,
            short_help=description,
            commands=commands,
            no_args_is_help=True,
            **attributes,
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)


class Program(CommandGroup):
    """The program's group. It ends the process with an exit code and one line for every error of a command."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command that the arguments name, and exit. The arguments are those of `click.Command.main`."""
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except ModuleNotFoundError:
            raise  # the caller says which extra has it
        except Exception as error:  # noqa: BLE001  # the process's edge: every error becomes words and an exit code
            from caveats_service.cli.failures import report  # noqa: PLC0415  # a command that works needs none

            code = report(error, as_json=shared.wants_json(args, options))
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
