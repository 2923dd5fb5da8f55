"""What commands print: data to standard output as a table or as JSON, messages to standard error.

Knows no store. Names and labels are what strangers wrote: they are shown without control characters, and never read as
markup. Data never goes to standard error, and a message never to standard output, so that output can be piped.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from caveats.printable import printable
from caveats.token import encode_base64
from caveats_service.cli.exit_codes import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from _typeshed import DataclassInstance

_Record = TypeVar("_Record", bound="DataclassInstance")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def note(message: str) -> None:
    """Say what was done."""
    # Without `file`, here and wherever something is written, click takes an ASCII terminal for a mistake and writes UTF-8.
    click.echo(printable(message), file=sys.stderr)


def fail(message: str) -> NoReturn:
    """End with exit code 1: it did not work."""
    raise CliError(ExitCode.FAILED, message)


def wrong_usage(message: str) -> NoReturn:
    """End with exit code 2: an argument or a setting is wrong."""
    raise CliError(ExitCode.USAGE, message)


def agreed(question: str) -> bool:
    """Whether the person at the terminal says yes; False where there is none, or where nobody sees the question."""
    return _at_terminal() and sys.stderr.isatty() and click.confirm(printable(question), err=True)


def typed_password() -> str:
    """A password that the person at the terminal types twice. Without a terminal, exit code 2."""
    if not _at_terminal():
        wrong_usage("no terminal to ask for the password at: use --password-stdin")
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def print_records(
    records: Iterable[_Record],
    columns: Mapping[str, Callable[[_Record], str]],
    *,
    as_json: bool,
    without: Collection[str] = (),
    none: str,
) -> None:
    """Print records as a table, or as a JSON array of all their fields.

    Lines are broken only on a terminal; where one is too narrow for the table, each record has a line for each cell.

    `columns`: the title of each column of the table, and what makes its cells. `without`: fields to leave out of JSON.
    `none`: what is said, for people, where there are no records.
    """
    if as_json:
        array = [_record_json(record, without) for record in records]
        sys.stdout.write(json.dumps(array, indent=2) + "\n")
        return
    rows = [[printable(cell(record)) for cell in columns.values()] for record in records]
    if not rows:
        note(none)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _UNBROKEN)
    with console.capture() as captured:
        widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
        if _fit(widths, console.width):
            console.print(_table(columns, rows, widest=widths.index(max(widths))))
        else:
            for number, row in enumerate(rows):
                if number:
                    console.print()
                console.print(_stacked(columns, row))
    click.echo("\n".join(line.rstrip(" ") for line in captured.get().split("\n")), file=sys.stdout, nl=False)


_UNBROKEN = 4096
"""More columns than any terminal has: such a line is never broken."""
_READABLE = 24
"""The fewest columns in which a long cell is broken into lines."""


def _fit(widths: Sequence[int], width: int) -> bool:
    """Whether a table of such columns has place for all cells in whole, but those of the widest, which may be broken."""
    return sum(widths) + 2 * len(widths) - max(0, max(widths) - _READABLE) <= width


def _table(titles: Iterable[str], rows: Iterable[Iterable[str]], *, widest: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, title in enumerate(titles):
        table.add_column(title, no_wrap=number != widest, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _stacked(titles: Collection[str], row: Iterable[str]) -> Table:
    """One record for a narrow terminal: a line for each of its cells that says something."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for title, cell in zip(titles, row, strict=True):
        if cell:
            grid.add_row(title, Text(cell))
    return grid


def _record_json(record: DataclassInstance, without: Collection[str]) -> dict[str, object]:
    return {name: _json_value(value) for name, value in asdict(record).items() if name not in without}


def _json_value(value: object) -> object:
    """Times as RFC 3339 in UTC, whole seconds; bytes as base64url without padding."""
    match value:
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case bytes():
            return encode_base64(value)
        case Enum():
            return value.value
        case _:
            return value


def minute(moment: datetime | None) -> str:
    """A time in a table, to the minute, UTC; empty for None."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
