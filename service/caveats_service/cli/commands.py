"""Groups of commands, and commands whose module is imported when they run.

Knows click, knows no command. Importing all modules takes more than a second, `caveats-service --help` a tenth of one.
"""

from __future__ import annotations

import itertools
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from caveats_service.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence


class DeferredCommand(click.Command):
    """A command of which only the name and the help line are known before it runs.

    `place`: `module:function`, where the module is one of this package.
    """

    def __init__(self, name: str, place: str, line: str) -> None:
        super().__init__(name, short_help=line)
        self.place = place

    def load(self) -> click.Command:
        """The command itself; its module is imported."""
        module, _, function = self.place.partition(":")
        command: click.Command = getattr(import_module(f"{__package__}.{module}"), function)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """A context of the command itself: from here on click runs, completes or explains that one."""
        return self.load().make_context(info_name, args, parent, **extra)


class CommandGroup(click.Group):
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
        given = options.get("args", args[0] if args else None)
        as_json = wants_json(sys.argv[1:] if given is None else given)
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except ModuleNotFoundError:
            raise  # the caller says which extra has it
        except Exception as error:  # noqa: BLE001  # the process's edge: every error becomes words and an exit code
            from caveats_service.cli.failures import report  # noqa: PLC0415  # a command that works needs none

            code = report(error, as_json=as_json)
        sys.exit(code if isinstance(code, int) else ExitCode.OK)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` is among the arguments, also where they are wrong: a program reads the errors then."""
    return "--json" in itertools.takewhile(lambda argument: argument != "--", arguments)
