"""The one table: rows in sections, ratios first, each bar with what was measured. Knows no libraries."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bar:
    """What a row must reach."""

    asked: str
    met: bool

    def __str__(self) -> str:
        return f"{self.asked}: {'ok' if self.met else 'MISSED'}"


@dataclass(frozen=True)
class Row:
    """One thing measured. `ratio` is what to compare between machines; `value` was this machine's."""

    name: str
    ratio: str
    value: str
    bar: Bar | None = None


@dataclass
class Section:
    """Rows that were measured together, under a line that says what the ratio is of."""

    title: str
    rows: list[Row] = field(default_factory=list)

    @property
    def missed(self) -> list[Row]:
        """The rows that do not reach their bar."""
        return [row for row in self.rows if row.bar is not None and not row.bar.met]

    def __str__(self) -> str:
        lines = ["", self.title]
        for row in self.rows:
            bar = "" if row.bar is None else str(row.bar)
            lines.append(f"  {row.name:<50} {row.ratio:>7} {row.value:>24}   {bar}".rstrip())
        return "\n".join(lines)


def times(ratio: float) -> str:
    """A ratio, as people say it."""
    return f"{ratio:.3g}x" if ratio < 100 else f"{ratio:.0f}x"


def at_least(asked: float, ratio: float) -> Bar:
    """The bar of being so many times as fast."""
    return Bar(f">= {asked:g}x", ratio >= asked)
