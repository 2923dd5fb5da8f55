"""Lengths of time as people write them: `90s`, `15m`, `8h`, `30d`, `1w`, `1h30m`.

The one parser for the service's settings, request bodies and command lines. Knows no policy: whether a length is allowed
is for the caller to judge. Strict on purpose: no sign, space, underscore, fraction or foreign digit passes.
"""

from __future__ import annotations

import re
from datetime import timedelta

FORMS = "a whole number with s, m, h, d or w (90s, 15m, 8h, 30d, 1w), or several, the largest first (1h30m)"
ACCEPTED = f"whole seconds (900), or {FORMS}"
LONGEST = timedelta(days=36_500)

_COUNT = r"(?:0|[1-9][0-9]{0,9})"
_FORM = re.compile("".join(rf"(?:{_COUNT}{unit})?" for unit in "wdhms"))
_PART = re.compile(rf"({_COUNT})([wdhms])")
_BARE = re.compile(_COUNT)
_UNITS = {
    "": timedelta(seconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


class BadDuration(ValueError):
    """Not a length of time in an accepted form."""


def parse_duration(value: str | int) -> timedelta:
    """The length that `value` spells, from zero to a hundred years; anything else raises `BadDuration`."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadDuration(f"a duration is {ACCEPTED}")
    if isinstance(value, int):
        if value < 0:
            raise BadDuration("a duration cannot be negative")
        return _sum([(value, "")])
    if _BARE.fullmatch(value):
        return _sum([(int(value), "")])
    if not value or _FORM.fullmatch(value) is None:
        raise BadDuration(f"a duration is {ACCEPTED}")
    return _sum([(int(count), unit) for count, unit in _PART.findall(value)])


def parse_typed_duration(text: str) -> timedelta:
    """As `parse_duration`, for what a person types: a number without a unit raises `BadDuration`, which asks for one."""
    if _BARE.fullmatch(text):
        raise BadDuration(
            f"{text} has no unit: {text}s is seconds, {text}m minutes, {text}h hours, {text}d days"
        )
    try:
        return parse_duration(text)
    except BadDuration as error:
        raise BadDuration(str(error).replace(ACCEPTED, FORMS)) from None


def _sum(parts: list[tuple[int, str]]) -> timedelta:
    unit = parts[0][1]
    if sum(count * (_UNITS[each] // _UNITS["s"]) for count, each in parts) > LONGEST // _UNITS["s"]:
        raise BadDuration(f"a duration is at most {format_duration(LONGEST, unit)}")
    return sum((count * _UNITS[each] for count, each in parts), timedelta(0))


def unit_of(value: str | int) -> str:
    """The unit in which `value` is written: the first of its letters, empty for bare seconds."""
    return next((letter for letter in str(value) if letter in _UNITS), "")


def format_duration(value: timedelta, unit: str | None = None) -> str:
    """A text that `parse_duration` reads back as `value` (whole seconds).

    In `unit`, as of `unit_of`, if that makes a whole number of it; else the shortest.
    """
    if unit is not None and value % _UNITS[unit] == timedelta(0):
        return f"{value // _UNITS[unit]}{unit}"
    for name in ("d", "h", "m"):
        if value and value % _UNITS[name] == timedelta(0):
            return f"{value // _UNITS[name]}{name}"
    return f"{value // _UNITS['s']}s"
