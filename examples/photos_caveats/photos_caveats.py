"""The caveat kind `photos/album`: a token with `photos/album = 42` is good for album 42 and for no other.

A kind is a frozen dataclass and a check. An app registers the two in code; `register` is what the entry point
names, so that a service can enable the kind by name. Knows requests by one fact, `photos/album`, the album's
number as text; knows no app.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from caveats import Caveat, Checkers, Context, MalformedCaveat, Unmet

ALBUM = "photos/album"
"""The kind, and the name of the fact in `Context.extra`."""

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Album(Caveat):
    """The one album that the token is good for. Two that differ leave nothing."""

    kind: ClassVar[str] = ALBUM
    number: int

    def __post_init__(self) -> None:
        """A number that can be written."""
        if type(self.number) is not int or _NUMBER.fullmatch(str(self.number)) is None:
            raise MalformedCaveat("an album has a number, from 1")

    @property
    def value(self) -> str:
        """The number in digits."""
        return str(self.number)

    @classmethod
    def parse(cls, value: str) -> Self:
        """The album with this number: no sign, no leading zero, no digits but 0 to 9."""
        if _NUMBER.fullmatch(value) is None:
            raise MalformedCaveat("a photos/album caveat holds the number of an album")
        return cls(int(value))


def check_album(caveat: Album, context: Context) -> Literal[True] | Unmet:
    """The request is about this album."""
    album = context.extra.get(ALBUM)
    would_pass = f"a request for album {caveat.value}"
    if not isinstance(album, str):
        return Unmet("the request is about no album", would_pass)
    return album == caveat.value or Unmet(f"the request is about album {album}", would_pass)


def register(checkers: Checkers) -> None:
    """Add the kind to these checkers."""
    checkers.register(Album, check_album)
