"""Commands whose module is imported when they run, how their help is laid out, and whether a program reads what they say.

Knows click, knows no command. Importing all modules of a program takes up to a second, its help a tenth of one.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sys
import textwrap
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import click

from caveats_cli.failures import asks_for_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Command(click.Command):
    """A command whose help is its docstring: paragraphs are wrapped to the terminal, indented lines such as examples are not."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The docstring."""
        with formatter.indentation():
            _write(formatter, inspect.cleandoc(self.help or ""))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The text at the end."""
        _write(formatter, self.epilog or "")


_ENTRY = re.compile(r" *\d+  (?=\w)")
"""The number at the beginning of a line that says what it means."""


def _write(formatter: click.HelpFormatter, text: str) -> None:
    """Write a text. An example is never broken, since it is there to be pasted; the meaning of a number may be."""
    if not text:
        return
    formatter.write_paragraph()
    margin = " " * formatter.current_indent
    for prose, lines in itertools.groupby(text.splitlines(), lambda line: line != "" and line[0] != " "):
        if prose:
            formatter.write_text(" ".join(lines))
            continue
        for line in lines:
            number = _ENTRY.match(line)
            hanging = margin + " " * (number.end() if number else 0)
            wrapped = textwrap.wrap(
                margin + line, formatter.width, subsequent_indent=hanging, break_on_hyphens=False
            )
            formatter.write("\n".join(wrapped if number else [f"{margin}{line}".rstrip()]) + "\n")


class DeferredCommand(click.Command):
    """A command of which only the name and the help line are known before it runs.

    `place`: `module:function`, where the module is one of `package`, which a subclass sets.
    """

    package: ClassVar[str]

    def __init__(self, name: str, place: str, line: str) -> None:
        super().__init__(name, short_help=line)
        self.place = place

    def load(self) -> click.Command:
        """The command itself; its module is imported."""
        module, _, function = self.place.partition(":")
        command: click.Command = getattr(import_module(f"{self.package}.{module}"), function)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """A context of the command itself: from here on click runs, completes or explains that one."""
        return self.load().make_context(info_name, args, parent, **extra)


def wants_json(args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Whether `--json` is among the arguments of `click.Command.main(*args, **options)`.

    Also where they are wrong, so that a program can read that error too.
    """
    given = options.get("args", args[0] if args else None)
    arguments = sys.argv[1:] if given is None else given
    return asks_for_json(arguments)
