"""Groups of commands, and commands whose module is imported when they run.

Knows click, knows no command. Importing all modules takes more than a second, `caveats-service --help` a tenth of one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click


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

    def __init__(self, name: str, description: str, *commands: click.Command) -> None:
        super().__init__(
            name, help=description, short_help=description, commands=commands, no_args_is_help=True
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)
