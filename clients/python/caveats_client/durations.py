"""Lengths of time as people write and read them: `8h` in, `in 7 h 59 min` out. Knows no clock.

The same grammar as the service's: whole seconds, or a whole number with s, m, h or d.
"""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_FORM = re.compile(r"(0|[1-9][0-9]{0,9})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = timedelta(days=36_500)
_WORDS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def parse_duration(text: str) -> timedelta:
    """The length that `text` spells. Raises `ValueError`, which says what is accepted."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            "a length of time is whole seconds, or a number with s, m, h or d: 90s, 15m, 8h, 30d"
        )
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise ValueError("a length of time is at most 36500d")
    return timedelta(seconds=seconds)


def in_words(length: timedelta) -> str:
    """`length` to the nearest of its two largest units: `7 h 59 min`, `3 d`, `42 s`. The sign does not count."""
    seconds = round(abs(length).total_seconds())
    for (unit, size), (smaller, smaller_size) in pairwise(_WORDS):
        rounded = round(seconds / smaller_size) * smaller_size
        if rounded >= size:
            count, more = rounded // size, rounded % size // smaller_size
            return f"{count} {unit} {more} {smaller}" if more else f"{count} {unit}"
    return f"{seconds} s"


def relative(moment: datetime, now: datetime) -> str:
    """`moment` as seen from `now`: `in 8 h`, `3 min ago`, `now`."""
    length = moment - now
    if abs(length) < timedelta(seconds=1):
        return "now"
    return f"in {in_words(length)}" if length > timedelta(0) else f"{in_words(length)} ago"
