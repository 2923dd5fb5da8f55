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
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

_UNBROKEN = 4096
"""More columns than any terminal has: such a line is never broken."""
_READABLE = 24
"""The fewest columns in which a long cell is broken into lines."""
_PADDING = 2


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


def verdicts(judged: Iterable[tuple[Text, Text]]) -> Table:
    """Words and what they are about, in two columns: a text that is broken into lines stays in its column."""
    from rich.table import Table  # noqa: PLC0415  # imported when it draws

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=len("  refuses"))
    grid.add_column(overflow="fold")
    for word, about in judged:
        grid.add_row(word, about)
    return grid


class Records:
    """Records under headings: a table, or on a terminal that is too narrow for it a line for each cell.

    No cell is cut. Of the columns whose cells may be broken into lines, each needs 24 columns of the terminal at most.
    """

    def __init__(self, columns: Mapping[str, bool], body: Iterable[Iterable[str]]) -> None:
        """`columns`: whether the cells under a heading may be broken into lines."""
        self._columns = columns
        self._rows = [[styled(cell) for cell in cells] for cells in body]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if self._least_width() <= options.max_width:
            yield self._table()
            return
        for number, cells in enumerate(self._rows):
            if number:
                yield styled("")
            yield rows((name, cell) for name, cell in zip(self._columns, cells, strict=True) if cell.plain)

    def _least_width(self) -> int:
        """The columns of the terminal that the table needs."""
        cells = zip(*([styled(name) for name in self._columns], *self._rows), strict=True)
        widths = [max(cell.cell_len for cell in column) for column in cells]
        return sum(
            (min(width, _READABLE) if breaks else width) + _PADDING
            for width, breaks in zip(widths, self._columns.values(), strict=True)
        )

    def _table(self) -> Table:
        from rich.table import Table  # noqa: PLC0415  # imported when it draws

        grid = Table(box=None, pad_edge=False, padding=(0, _PADDING, 0, 0), header_style="dim")
        for heading, breaks in self._columns.items():
            grid.add_column(heading, no_wrap=not breaks, overflow="fold")
        for cells in self._rows:
            grid.add_row(*cells)
        return grid


_MEANINGS = {
    "parent": "issued against that token, and revoked with it",
    "renewed": "its first expiry: it was renewed",
}


def in_short(predicate: str) -> tuple[str, str]:
    """A predicate without what no person reads, and what it means if that does not go without saying."""
    kind, _, value = predicate.partition(" = ")
    if kind == "parent" and value:
        key_id, _, rest = value.partition(" ")
        predicate = f"{kind} = {key_id} {rest.partition(' ')[0]}"
    return predicate, _MEANINGS.get(kind, "")


def expiry(at: datetime | None, now: datetime) -> Text:
    """An expiry: relative to now in words, and the time itself."""
    if at is None:
        return styled("never", "yellow")
    if at <= now:
        return styled(f"expired {relative(at, now)} ({moment(at)})", "red")
    return styled(f"{relative(at, now)} ({moment(at)})")
