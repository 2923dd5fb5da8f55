"""What options take, in words for people: a whole number with its limits. Knows click, knows no command."""

from __future__ import annotations

import re

import click

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class WholeNumber(click.ParamType[int]):
    """A whole number from `least` to `most`."""

    name = "number"

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Raises `click.BadParameter`."""
        if _NUMBER.fullmatch(str(value)) is None or not self.least <= int(value) <= self.most:
            self.fail(f"{value!r} is not a whole number from {self.least} to {self.most}", param, ctx)
        return int(value)
