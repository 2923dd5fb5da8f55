"""What a caveat is: the predicate grammar, and the shape of a kind. Knows no kind by name.

A predicate is `kind = value`: exactly one ` = ` right after the kind. The kind is `[a-z][a-z0-9-]{0,31}`,
a plug-in's with `vendor/` before it. The value is UTF-8 without control characters and without outer
spaces. It is a grammar of bytes: nothing is stripped, folded or read leniently, and a value that its own
kind would write differently is not of that kind.

A kind that another project writes with one space (`allow read write`) says `spaced`: its value stands after the
first space or is left out, and may be empty, hold ` = ` or end in a space. Its name may have a `prefix:` before it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from caveats.errors import MalformedCaveat

if TYPE_CHECKING:
    from collections.abc import Mapping

_KIND = re.compile(r"(?:[a-z][a-z0-9-]{0,31}/)?[a-z][a-z0-9-]{0,31}")
_SPACED_KIND = re.compile(rf"(?:[a-z][a-z0-9-]{{0,31}}:)?{_KIND.pattern}")
_EQUALS = " = "
_CONTROL = frozenset(("Cc", "Cs", "Zl", "Zp"))
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


class Caveat:
    """A first-party caveat. A kind is a frozen dataclass derived from this, with `kind`, `value` and `parse`."""

    __slots__ = ()
    kind: ClassVar[str]
    canonical: ClassVar[bool] = False
    """True where `parse` by itself admits only well-formed values, and only in the form that `value` writes.

    Checking the value before and comparing it after are then left out.
    """
    spaced: ClassVar[bool] = False
    """True where one space stands between kind and value, and a kind without a value stands alone."""

    @property
    def value(self) -> str:
        """What stands after ` = `."""
        raise NotImplementedError

    @classmethod
    def parse(cls, value: str) -> Self:
        """The caveat with this value; raises `MalformedCaveat`. The grammar of values has been checked."""
        raise NotImplementedError

    @property
    def predicate(self) -> bytes:
        """The bytes that are signed."""
        return str(self).encode()

    @property
    def claim(self) -> tuple[str, str] | None:
        """For a kind that states a fact: of what, and which. Caveats that state two of one thing refuse."""
        return None

    def __str__(self) -> str:
        if self.spaced:
            return f"{self.kind} {self.value}" if self.value else self.kind
        return f"{self.kind}{_EQUALS}{self.value}"


@dataclass(frozen=True, slots=True)
class UnknownCaveat(Caveat):
    """A caveat of no kind known here, or not in its kind's grammar. Kept as it came; always refuses."""

    kind: ClassVar[str] = "unknown"
    raw: bytes
    why: str = "no caveat of this kind is known here"

    @property
    def value(self) -> str:
        """The raw bytes, as far as they are text that is safe to print."""
        return self.raw.decode("utf-8", "backslashreplace").translate(_ESCAPED)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Any text: nothing is known about it."""
        return cls(value.encode())

    @property
    def predicate(self) -> bytes:
        """The bytes as they came."""
        return self.raw

    def __str__(self) -> str:
        return self.value


def is_kind(name: str, *, spaced: bool = False) -> bool:
    """Whether `name` can name a kind; one that is `spaced`, if you say so."""
    return (_SPACED_KIND if spaced else _KIND).fullmatch(name) is not None


def check_value(value: str) -> str:
    """`value` itself if the grammar of values allows it. Raises `MalformedCaveat`."""
    if type(value) is not str or not value:
        raise MalformedCaveat("a caveat's value is text, and not empty")
    if value != value.strip():
        raise MalformedCaveat("a caveat's value has no outer spaces")
    _check_printable(value)
    if _EQUALS in value:
        raise MalformedCaveat("a caveat holds ' = ' once")
    return value


def check_caveat(caveat: Caveat) -> None:
    """Raises `MalformedCaveat` where no verifier would read this caveat."""
    if not is_kind(caveat.kind, spaced=caveat.spaced):
        raise MalformedCaveat(f"{caveat.kind!r} names no kind")
    if caveat.spaced:
        _check_printable(caveat.value)
    else:
        check_value(caveat.value)


def _check_printable(value: str) -> str:
    if not value.isprintable() and any(unicodedata.category(c) in _CONTROL for c in value):
        raise MalformedCaveat("a caveat's value has no control characters")
    return value


def parse_predicate(predicate: bytes, kinds: Mapping[str, type[Caveat]]) -> Caveat:
    """The caveat that these bytes are, of one of `kinds`; an `UnknownCaveat` if of none. Never raises."""
    try:
        text = predicate.decode("utf-8")
        name, equals, value = text.partition(_EQUALS)
        kind = kinds.get(name)
        if kind is None or not equals or kind.spaced:
            first, _, rest = text.partition(" ")
            kind = kind if first == name else kinds.get(first)
            if kind is not None and kind.spaced:
                return _parse_spaced(kind, rest, text)
            well_formed = equals and is_kind(name)
            return (
                UnknownCaveat(predicate)
                if well_formed
                else UnknownCaveat(predicate, "a predicate reads 'kind = value'")
            )
        caveat = kind.parse(value if kind.canonical else check_value(value))
        if type(caveat) is not kind or (not kind.canonical and caveat.value != value):
            return UnknownCaveat(predicate, f"not the canonical form of a {name} caveat")
    except UnicodeDecodeError:
        return UnknownCaveat(predicate, "a predicate is UTF-8")
    except MalformedCaveat as error:
        return UnknownCaveat(predicate, str(error))
    except Exception as error:  # noqa: BLE001  # a plug-in's parse is foreign code: whatever it raises, its caveat refuses
        return UnknownCaveat(predicate, f"reading it failed: {type(error).__name__}")
    return caveat


def _parse_spaced(kind: type[Caveat], value: str, text: str) -> Caveat:
    caveat = kind.parse(_check_printable(value))
    if type(caveat) is not kind or str(caveat) != text:
        return UnknownCaveat(text.encode(), f"not the canonical form of a {kind.kind} caveat")
    return caveat
