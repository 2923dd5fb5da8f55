"""Three shapes of value that most kinds have: one text, a list of words, a moment. Knows no kind by name.

The value is the first field of the kind's dataclass, under the kind's own name for it:

    @dataclass(frozen=True, slots=True)
    class Colour(TextCaveat):
        kind: ClassVar[str] = "paint/colour"
        colour: str
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from caveats.errors import MalformedCaveat
from caveats.kinds.base import Caveat

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")


class _FirstField(Caveat):
    """A caveat whose value is its first field."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]

    @property
    def _first(self) -> Any:
        return getattr(self, self.__match_args__[0])


class TextCaveat(_FirstField):
    """A kind whose value is one text."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The text."""
        text: str = self._first
        return text

    @classmethod
    def parse(cls, value: str) -> Self:
        """Any text that the kind can hold."""
        return cls(value)  # type: ignore[call-arg]  # of the dataclass


class WordsCaveat(_FirstField):
    """A kind whose value is a list of words. Its dataclass has `init=False`: this class makes the words from the value."""

    __slots__ = ()

    def __init__(self, *words: str) -> None:
        """One or more words; a text may hold several, with one space between. Raises `MalformedCaveat`."""
        object.__setattr__(self, self.__match_args__[0], self.read(" ".join(words)))

    @classmethod
    def read(cls, value: str) -> tuple[Any, ...]:
        """The words of a value, each once. Raises `MalformedCaveat`."""
        words = cls.split(value)
        if "" in words:
            raise MalformedCaveat(f"a {cls.kind} caveat lists its values with one space between")
        if len(words) > 1 and len(set(words)) != len(words):
            raise MalformedCaveat(f"a {cls.kind} caveat lists each value once")
        return tuple(map(cls.read_word, words))

    @classmethod
    def split(cls, value: str) -> Sequence[str]:
        """The words of a value, as they are written."""
        return value.split(" ")

    @classmethod
    def read_word(cls, word: str) -> Any:
        """One word, typed. Raises `MalformedCaveat` for a word that the kind cannot hold."""
        return word

    @classmethod
    def typed_by_hand(cls, word: str) -> str:
        """The form in which the kind holds a word that a person may write in another form."""
        return word

    @property
    def value(self) -> str:
        """The words."""
        return " ".join(map(str, self._first))

    @classmethod
    def parse(cls, value: str) -> Self:
        """Words with one space between."""
        return cls(value)


class MomentCaveat(_FirstField):
    """A kind whose value is a time: UTC, whole seconds."""

    __slots__ = ()
    canonical: ClassVar[bool] = True

    def __post_init__(self) -> None:
        moment = self._first
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise MalformedCaveat("a time is a datetime with a time zone")
        if moment.tzinfo is UTC and not moment.microsecond:
            return
        try:
            whole = moment.astimezone(UTC).replace(microsecond=0)
        except OverflowError:
            raise MalformedCaveat("that time does not exist in UTC") from None
        object.__setattr__(self, self.__match_args__[0], whole)

    @property
    def moment(self) -> datetime:
        """The time, UTC, rounded down to the second."""
        moment: datetime = self._first
        return moment

    @property
    def value(self) -> str:
        """`YYYY-MM-DDTHH:MM:SSZ`."""
        return write_moment(self._first)

    @classmethod
    def parse(cls, value: str) -> Self:
        """`YYYY-MM-DDTHH:MM:SSZ`, in this form only.

        What was parsed is not checked again: 5 % of the time for a token that was never seen.
        """
        caveat = object.__new__(cls)
        object.__setattr__(caveat, cls.__match_args__[0], parse_moment(value))
        return caveat


def parse_moment(value: str) -> datetime:
    """The time that `YYYY-MM-DDTHH:MM:SSZ`, in this form only, says. Raises `MalformedCaveat`."""
    if _MOMENT.fullmatch(value) is None:
        raise MalformedCaveat("a time reads YYYY-MM-DDTHH:MM:SSZ")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise MalformedCaveat("there is no such day or time") from None


def write_moment(moment: datetime) -> str:
    """The one form of a time in caveats: `YYYY-MM-DDTHH:MM:SSZ`, rounded down to the second."""
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()[:19] + "Z"
