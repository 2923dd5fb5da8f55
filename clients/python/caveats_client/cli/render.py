"""Shows answers on a terminal: tables, and texts in colour. Knows rich, which each function imports when it runs.

Rich takes longer to import than most commands take to run, and a command that prints JSON does not need it. Text from
others is shown with control characters as escapes, line breaks included, and is never read as markup: no other module of
the commands makes a `Text`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from caveats.printable import printable
from caveats_client.cli.durations import relative
from caveats_client.cli.output import block, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from rich.table import Table
    from rich.text import Text

_UNBROKEN = 4096
"""More columns than any terminal has: such a line is never broken."""


def show(renderable: object) -> None:
    """Print a table, a tree or a text in colour; lines are broken only on a terminal."""
    from rich.console import Console  # noqa: PLC0415  # imported when it draws

    out = sys.stdout
    console = Console(
        file=out,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=None if out.isatty() else _UNBROKEN,
    )
    with console.capture() as captured:
        console.print(renderable)
    block("\n".join(line.rstrip(" ") for line in captured.get().removesuffix("\n").split("\n")))


def styled(text: str, style: str = "") -> Text:
    """One line of text in a style of rich's, such as `bold red`."""
    from rich.text import Text  # noqa: PLC0415  # imported when it draws

    return Text(printable(text), style=style)


def line(*parts: tuple[str, str]) -> Text:
    """One line of several texts, each with its style."""
    from rich.text import Text  # noqa: PLC0415  # imported when it draws

    return Text.assemble(*((printable(text), style) for text, style in parts))


def lines(*each: Text) -> Text:
    """These lines, one below another."""
    from rich.text import Text  # noqa: PLC0415  # imported when it draws

    return Text("\n").join(each)


def rows(pairs: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values in two columns."""
    from rich.table import Table  # noqa: PLC0415  # imported when it draws

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(styled(name), styled(value) if isinstance(value, str) else value)
    return grid


def table(columns: Mapping[str, bool], body: Iterable[Iterable[str]]) -> Table:
    """A plain table. `columns`: whether the cells under a heading may be broken into lines."""
    from rich.table import Table  # noqa: PLC0415  # imported when it draws

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading, breaks in columns.items():
        grid.add_column(heading, no_wrap=not breaks, overflow="fold")
    for cells in body:
        grid.add_row(*(styled(cell) for cell in cells))
    return grid


def expiry(at: datetime | None, now: datetime) -> Text:
    """An expiry: relative to now in words, and the time itself."""
    if at is None:
        return styled("never", "yellow")
    if at <= now:
        return styled(f"expired {relative(at, now)} ({moment(at)})", "red")
    return styled(f"{relative(at, now)} ({moment(at)})")
