"""Lengths of time as people write them: `90`, `90s`, `15m`, `8h`, `30d`.

The one parser for the service's settings, request bodies and command lines. Knows no policy: whether a length is allowed
is for the caller to judge. Strict on purpose: no sign, space, underscore, fraction or foreign digit passes.
"""

from __future__ import annotations

import re
from datetime import timedelta

ACCEPTED = "whole seconds (900) or a whole number with s, m, h or d (90s, 15m, 8h, 30d)"
LONGEST = timedelta(days=36_500)

_FORM = re.compile(r"(0|[1-9][0-9]{0,9})([smhd]?)")
_UNITS = {
    "": timedelta(seconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


class BadDuration(ValueError):
    """Not a length of time in an accepted form."""


def parse_duration(value: str | int) -> timedelta:
    """The length that `value` spells, from zero to a hundred years; anything else raises `BadDuration`."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadDuration(f"a duration is {ACCEPTED}")
    if isinstance(value, int):
        count, unit = value, timedelta(seconds=1)
        if count < 0:
            raise BadDuration("a duration cannot be negative")
    else:
        match = _FORM.fullmatch(value)
        if match is None:
            raise BadDuration(f"a duration is {ACCEPTED}")
        count, unit = int(match[1]), _UNITS[match[2]]
    if count > LONGEST // unit:
        raise BadDuration("a duration is at most 36500d")
    return count * unit


def format_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as `value` (whole seconds)."""
    for name in ("d", "h", "m"):
        if value and value % _UNITS[name] == timedelta(0):
            return f"{value // _UNITS[name]}{name}"
    return f"{value // _UNITS['s']}s"
