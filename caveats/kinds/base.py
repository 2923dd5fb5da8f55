"""What a caveat is: the grammar of predicates, the shape of a kind, the answer of a check. Knows no kind by name.

A predicate reads `kind = value`, with exactly one ` = `, right after the kind. The kind is `[a-z][a-z0-9-]{0,31}`,
a plug-in's has `vendor/` before it. The value is UTF-8 without control characters and without outer spaces. It is a
grammar of bytes: nothing is stripped, folded to lower case or read leniently. A value that its own kind would write
differently is not of that kind.

Bakeries write one space in place of ` = ` (`allow read write`). Such a kind sets `spaced`: its value stands after the
first space or is left out; it may be empty, hold ` = ` or end in a space. Its name may have a `prefix:` before it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from caveats.errors import MalformedCaveat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caveats.context import Context
    from caveats.kinds.authority import Authority

_KIND = re.compile(r"(?:[a-z][a-z0-9-]{0,31}/)?[a-z][a-z0-9-]{0,31}")
_SPACED_KIND = re.compile(rf"(?:[a-z][a-z0-9-]{{0,31}}:)?{_KIND.pattern}")
_EQUALS = " = "
_CONTROL = frozenset(("Cc", "Cs", "Zl", "Zp"))
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


class Caveat:
    """A first-party caveat. A kind is a frozen dataclass derived from this class, with `kind`, `value` and `parse`.

    What a kind says of itself beyond that has a default, which is right for most kinds.
    """

    __slots__ = ()
    kind: ClassVar[str]
    canonical: ClassVar[bool] = False
    """True where `parse` admits only values of the grammar, and only in the form that `value` writes.

    The value is then neither checked before nor compared after.
    """
    spaced: ClassVar[bool] = False
    """True where one space stands between kind and value, and a kind without a value stands alone."""
    liveness: ClassVar[bool] = False
    """True for what decides if a token is alive here and now, whatever it is used for: a time, a place.

    The service judges these also where it only takes a token to renew it or to issue another one against it.
    """
    issuer_only: ClassVar[bool] = False
    """True for what only the issuer writes: a request for a token cannot ask for it."""
    inherited: ClassVar[bool] = True
    """False where a token that is issued against this one does not get the caveat as it is."""
    check_decides: ClassVar[bool] = True
    """False where a verifier does more than ask the check: fill in its audience, look up another token."""

    @property
    def value(self) -> str:
        """What stands after ` = `."""
        raise NotImplementedError

    @classmethod
    def parse(cls, value: str) -> Self:
        """The caveat with this value, whose grammar has been checked. Raises `MalformedCaveat`."""
        raise NotImplementedError

    @property
    def predicate(self) -> bytes:
        """The bytes that are signed."""
        return str(self).encode()

    @property
    def claim(self) -> tuple[str, str] | None:
        """For a kind that states a fact: its subject and the fact. Two facts about one subject refuse."""
        return None

    def narrow(self, authority: Authority) -> Authority:
        """What is left of `authority` under this caveat. By default no field of it is narrower, and the caveat is listed."""
        return authority.changed(others=(*authority.others, self))

    def repeats(self, before: Authority) -> str | None:
        """Why the caveat takes nothing away from `before`. None if it takes something, or if its kind cannot tell."""
        same = any(other.predicate == self.predicate for other in before.others)
        return "the same caveat stands before it" if same else None

    def __str__(self) -> str:
        if self.spaced:
            return f"{self.kind} {self.value}" if self.value else self.kind
        return f"{self.kind}{_EQUALS}{self.value}"


class Unmet(NamedTuple):
    """Why a caveat refuses: what the request had, and what would pass. False, so that `a or Unmet(...)` works."""

    reason: str
    hint: str

    def __bool__(self) -> Literal[False]:
        return False


Answer = Literal[True] | Unmet
"""What a check answers. Anything but `True` itself refuses."""
Check = Callable[[Any, "Context"], object]
"""A check of one kind: the caveat and the request's facts in, an `Answer` out."""


@dataclass(frozen=True, slots=True)
class UnknownCaveat(Caveat):
    """A caveat of a kind that is not known here, or not in its kind's grammar. Kept as it came; always refuses."""

    kind: ClassVar[str] = "unknown"
    raw: bytes
    why: str = "no caveat of this kind is known here"

    @property
    def value(self) -> str:
        """The raw bytes as text that is safe to print."""
        return self.raw.decode("utf-8", "backslashreplace").translate(_ESCAPED)

    @classmethod
    def parse(cls, value: str) -> Self:
        """Any text."""
        return cls(value.encode())

    @property
    def predicate(self) -> bytes:
        """The bytes as they came."""
        return self.raw

    def repeats(self, before: Authority) -> str | None:
        """None: nobody can tell what it takes away."""
        return None

    def __str__(self) -> str:
        return self.value


def is_kind(name: str, *, spaced: bool = False) -> bool:
    """Whether `name` can name a kind. `spaced`: a kind of that form."""
    return (_SPACED_KIND if spaced else _KIND).fullmatch(name) is not None


def check_value(value: str) -> str:
    """`value`, if the grammar of values allows it. Raises `MalformedCaveat`."""
    if type(value) is not str or not value:
        raise MalformedCaveat("a caveat's value is text, and not empty")
    if value != value.strip():
        raise MalformedCaveat("a caveat's value has no outer spaces")
    if not value.isprintable():
        _check_printable(value)
    if _EQUALS in value:
        raise MalformedCaveat("a caveat holds ' = ' once")
    return value


def check_caveat(caveat: Caveat) -> None:
    """Raises `MalformedCaveat` for a caveat that no verifier would read."""
    if not is_kind(caveat.kind, spaced=caveat.spaced):
        raise MalformedCaveat(f"{caveat.kind!r} names no kind")
    if caveat.spaced:
        _check_printable(caveat.value)
    else:
        check_value(caveat.value)


def _check_printable(value: str) -> str:
    if any(unicodedata.category(c) in _CONTROL for c in value):
        raise MalformedCaveat("a caveat's value has no control characters")
    return value


def parse_predicate(predicate: bytes, kinds: Mapping[str, type[Caveat]]) -> Caveat:
    """The caveat that these bytes are, of one of `kinds`; an `UnknownCaveat` otherwise. Never raises."""
    try:
        text = predicate.decode("utf-8")
        name, equals, value = text.partition(_EQUALS)
        kind = kinds.get(name) if equals else None
        if kind is None or kind.spaced:
            return _parse_spaced(text, kinds, well_formed=bool(equals) and is_kind(name))
        caveat = kind.parse(value if kind.canonical else check_value(value))
        if type(caveat) is not kind or (not kind.canonical and not _is_text(caveat.value, value)):
            return UnknownCaveat(predicate, f"not the canonical form of a {name} caveat")
    except UnicodeDecodeError:
        return UnknownCaveat(predicate, "a predicate is UTF-8")
    except MalformedCaveat as error:
        return UnknownCaveat(predicate, str(error))
    except Exception as error:  # noqa: BLE001  # a plug-in's parse is foreign code: whatever it raises, its caveat refuses
        return UnknownCaveat(predicate, f"reading it failed: {type(error).__name__}")
    return caveat


def _is_text(written: object, read: str) -> bool:
    """Whether a kind writes what was read. A text of a class of its own may call itself equal to any other."""
    return type(written) is str and written == read


def _parse_spaced(text: str, kinds: Mapping[str, type[Caveat]], *, well_formed: bool) -> Caveat:
    """The caveat of a `spaced` kind in `text`. `well_formed`: whether it reads as a predicate of some other kind."""
    name, _, value = text.partition(" ")
    kind = kinds.get(name)
    if kind is None or not kind.spaced:
        raw = text.encode()
        return UnknownCaveat(raw) if well_formed else UnknownCaveat(raw, "a predicate reads 'kind = value'")
    caveat = kind.parse(_check_printable(value))
    if type(caveat) is not kind or not _is_text(str(caveat), text):
        return UnknownCaveat(text.encode(), f"not the canonical form of a {name} caveat")
    return caveat
