"""Groups of commands in sections, and commands whose modules are imported when they are run.

Knows click. Knows no command, and imports one only to run it, to complete it or to show its help: `caveats --help`
shows the lines of the table in `app`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from caveats_cli import commands as shared
from caveats_client.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Command(shared.Command):
    """A command that takes no empty value of an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does. Raises `BadParameter` for an option with an empty value: often a variable that is not set."""
        rest = super().parse_args(ctx, args)
        for parameter in self.get_params(ctx):
            value = ctx.params.get(parameter.name or "")
            is_empty = value == "" or (isinstance(value, tuple) and "" in value)
            if is_empty and isinstance(parameter, click.Option) and parameter.name != "token":
                raise click.BadParameter("it is empty: leave it out, or give it a value", ctx, parameter)
        return rest


class DeferredCommand(shared.DeferredCommand):
    """A command in a module of this package."""

    package = __package__


class CommandGroup(Command, click.Group):
    """Commands in sections: the help shows each section with its lines."""

    def __init__(
        self,
        name: str | None = None,
        *,
        sections: Mapping[str, Sequence[click.Command]],
        **attributes: Any,
    ) -> None:
        commands = [command for section in sections.values() for command in section]
        super().__init__(name, commands=commands, **attributes)
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the sections."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A table for each section."""
        width = max(map(len, self.commands))
        for title, commands in self._sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{command.name:<{width}}", command.get_short_help_str()) for command in commands]
                )


class Program(CommandGroup):
    """The program's group. It ends the process with an `ExitCode` for every error of a command."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command that the arguments name, and exit. The arguments are those of `click.Command.main`."""
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except ModuleNotFoundError:
            raise  # the program says which extra to install
        except Exception as error:  # noqa: BLE001  # the process's edge: every error becomes words and an exit code
            from caveats_client.cli.failures import report  # noqa: PLC0415  # it knows all that can fail

            code = report(error, as_json=shared.wants_json(args, options))
        sys.exit(code if isinstance(code, int) else ExitCode.OK)
