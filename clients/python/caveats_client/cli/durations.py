"""Durations for people: `in 7 h 59 min`, `3 min ago`. Knows no clock."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_WORDS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def in_words(length: timedelta) -> str:
    """`length` rounded to its two largest units: `7 h 59 min`, `3 d`, `42 s`. The sign is ignored."""
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
