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
from rich.console import Console
from rich.table import Table
from rich.text import Text

from caveats.printable import printable
from caveats.token import encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from _typeshed import DataclassInstance

_Record = TypeVar("_Record", bound="DataclassInstance")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def note(message: str) -> None:
    """Say what was done."""
    click.echo(printable(message), err=True)


def fail(message: str) -> NoReturn:
    """End with exit code 1: it did not work."""
    _end(message, 1)


def wrong_usage(message: str) -> NoReturn:
    """End with exit code 2: an argument or a setting is wrong."""
    _end(message, 2)


def _end(message: str, code: int) -> NoReturn:
    for line in f"caveats-service: {message}".split("\n"):  # U+2028 and the like end no line of ours
        click.secho(printable(line), fg="red", err=True)
    raise SystemExit(code)


def print_records(
    records: Iterable[_Record],
    columns: Mapping[str, Callable[[_Record], str]],
    *,
    as_json: bool,
    without: Collection[str] = (),
) -> None:
    """Print records as a table as wide as the terminal, or as a JSON array of all their fields.

    `columns`: the title of each column of the table, and what makes its cells. `without`: fields to leave out of JSON.
    """
    if as_json:
        array = [_record_json(record, without) for record in records]
        sys.stdout.write(json.dumps(array, indent=2) + "\n")
        return
    table = Table(*columns, box=None, pad_edge=False)
    for record in records:
        table.add_row(*(Text(printable(cell(record))) for cell in columns.values()))
    Console(highlight=False).print(table)


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
