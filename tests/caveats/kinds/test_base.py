"""What a caveat is: the predicate grammar. Read exactly, kept as it came otherwise, and never an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from caveats import Caveat, MalformedCaveat, Note, UnknownCaveat, User
from caveats.kinds import STANDARD_KINDS, check_value, is_kind, parse_predicate
from tests.support.law import issue, outcome

KINDS = [
    ("a", True),
    ("not-before", True),
    ("a" * 32, True),
    ("photos/album", True),
    ("a" * 32 + "/" + "b" * 32, True),
    ("", False),
    ("a" * 33, False),
    ("A", False),
    ("1a", False),
    ("-a", False),
    ("a_b", False),
    ("a.b", False),
    ("a b", False),
    ("/a", False),
    ("a/", False),
    ("a/b/c", False),
    ("a\n", False),
    ("ä", False),
]


@pytest.mark.parametrize(("name", "accepted"), KINDS, ids=[repr(row[0]) for row in KINDS])
def test_a_kind_is_named_in_small_letters_with_or_without_a_vendor(name, accepted):
    assert is_kind(name) is accepted
    assert is_kind(name, spaced=True) is accepted


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("http:origin", True),
        ("acme:a/b", True),
        (":a", False),
        ("a:", False),
        ("a:b:c", False),
        ("A:b", False),
    ],
)
def test_only_a_kind_with_one_space_has_a_prefix(name, accepted):
    assert is_kind(name, spaced=True) is accepted
    assert not is_kind(name)


VALUES = [
    ("x", True),
    ("ä 写真 🖨", True),
    ("a=b", True),
    ("a =b", True),
    ("a\u200db", True),
    ("= b", True),
    ("", False),
    (" ", False),
    (" x", False),
    ("x ", False),
    ("\u00a0x", False),
    ("x\u3000", False),
    ("a\tb", False),
    ("a\nb", False),
    ("a\0b", False),
    ("a\x7fb", False),
    ("a\x85b", False),
    ("a\u2028b", False),
    ("a\u2029b", False),
    ("a\ud800b", False),
    ("a = b", False),
    (None, False),
    (b"x", False),
    (1, False),
]


@pytest.mark.parametrize(("value", "accepted"), VALUES, ids=[repr(row[0]) for row in VALUES])
def test_a_value_is_text_without_control_characters_outer_spaces_or_a_second_equals(value, accepted):
    assert outcome(check_value, value) is (None if accepted else MalformedCaveat)


PREDICATES = [
    ("note", b"note = x", Note("x")),
    ("unknown-kind", b"colour = red", UnknownCaveat),
    ("vendor-kind", b"vendor/colour = red", UnknownCaveat),
    ("empty", b"", UnknownCaveat),
    ("no-equals", b"note", UnknownCaveat),
    ("equals-only", b" = ", UnknownCaveat),
    ("no-value", b"note = ", UnknownCaveat),
    ("no-spaces", b"note=x", UnknownCaveat),
    ("two-equals", b"note = a = b", UnknownCaveat),
    ("leading-space", b" note = x", UnknownCaveat),
    ("trailing-space", b"note = x ", UnknownCaveat),
    ("two-spaces", b"note =  x", UnknownCaveat),
    ("tab", b"note\t=\tx", UnknownCaveat),
    ("upper-case", b"NOTE = x", UnknownCaveat),
    ("trailing-newline", b"note = x\n", UnknownCaveat),
    ("trailing-nul", b"note = x\0", UnknownCaveat),
    ("not-utf8", b"note = \xff", UnknownCaveat),
    ("overlong-utf8", b"note = \xc0\xaf", UnknownCaveat),
    ("surrogate", b"note = \xed\xa0\x80", UnknownCaveat),
    ("bom", b"\xef\xbb\xbfnote = x", UnknownCaveat),
    ("lookalike", "nоte = x".encode(), UnknownCaveat),
    ("kind-called-unknown", b"unknown = x", UnknownCaveat),
]


@pytest.mark.parametrize(
    ("predicate", "expected"), [row[1:] for row in PREDICATES], ids=[row[0] for row in PREDICATES]
)
def test_predicate_row(predicate, expected):
    caveat = parse_predicate(predicate, STANDARD_KINDS)
    assert caveat.predicate == predicate
    if expected is UnknownCaveat:
        assert type(caveat) is UnknownCaveat
        assert caveat.raw == predicate
        assert caveat.why
    else:
        assert caveat == expected


@dataclass(frozen=True)
class Foreign(Caveat):
    """A plug-in's kind whose `parse` does something foreign."""

    kind: ClassVar[str] = "foreign"
    canonical: ClassVar[bool] = True

    @classmethod
    def parse(cls, value: str):
        return {
            "none": lambda: None,
            "other": lambda: Note("x"),
            "text": lambda: "x",
            "raises": lambda: 1 / 0,
            "recurses": lambda: cls.parse(value),
            "attribute": lambda: None.value,
        }[value]()


@pytest.mark.parametrize("value", ["none", "other", "text", "raises", "recurses", "attribute", "key-error"])
def test_whatever_a_foreign_parse_does_its_caveat_is_unknown(value):
    """Also if it answers with a caveat of another kind: that one's check would judge it."""
    caveat = parse_predicate(f"foreign = {value}".encode(), {"foreign": Foreign, "note": Note})
    assert type(caveat) is UnknownCaveat


@dataclass(frozen=True)
class Sloppy(Caveat):
    kind: ClassVar[str] = "sloppy"
    number: int

    @property
    def value(self) -> str:
        return str(self.number)

    @classmethod
    def parse(cls, value: str):
        return cls(int(value))


@pytest.mark.parametrize("value", ["1_000", "٤٢", "+5", "-0", "05", "0x5", "1e400", "nan", "5.0", "9" * 900])
def test_a_number_written_otherwise_than_its_kind_writes_it_is_unknown(value):
    caveat = parse_predicate(f"sloppy = {value}".encode(), {"sloppy": Sloppy})
    assert type(caveat) is UnknownCaveat or caveat.value == value


def test_a_number_of_5000_digits_is_unknown():
    assert type(parse_predicate(b"sloppy = " + b"5" * 5000, {"sloppy": Sloppy})) is UnknownCaveat


def test_an_unknown_caveat_is_printed_without_control_characters():
    caveat = UnknownCaveat(b"x\x1b[2J\n\xff \xc2\x85\xe2\x80\xa8")
    assert str(caveat) == caveat.value == "x\\x1b[2J\\x0a\\xff \\x85\\u2028"
    assert caveat.predicate == caveat.raw


def test_an_unknown_caveat_parses_anything():
    assert UnknownCaveat.parse("anything") == UnknownCaveat(b"anything")


def test_a_caveat_prints_as_its_predicate():
    assert str(User("alice")) == "user = alice"
    assert User("ä").predicate == "user = ä".encode()


def test_the_base_itself_is_of_no_kind():
    with pytest.raises(NotImplementedError):
        _ = Caveat().value
    with pytest.raises(NotImplementedError):
        Caveat.parse("x")


@dataclass(frozen=True)
class Allow(Caveat):
    """A kind as other projects write them: one space, and a value that may be left out."""

    kind: ClassVar[str] = "allow"
    spaced: ClassVar[bool] = True
    words: str

    @property
    def value(self) -> str:
        return self.words

    @classmethod
    def parse(cls, value: str) -> Allow:
        return cls("" if value == "nothing" else value)


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (b"allow read write", Allow("read write")),
        (b"allow", Allow("")),
        (b"allow a = b", Allow("a = b")),
        (b"allow = b", Allow("= b")),
        (b"allow  read ", Allow(" read ")),
        (b"allow ", None),
        (b"allow nothing", None),
        (b"allow a\nb", None),
        (b"Allow read", None),
        (b"allowed", None),
        (b" allow", None),
        (b"note x", None),
        (b"note", None),
        (b"note = allow", Note("allow")),
    ],
)
def test_a_spaced_kind_stands_before_one_space_or_alone(predicate, expected):
    read = parse_predicate(predicate, {"allow": Allow, "note": Note})
    assert read == expected if expected is not None else isinstance(read, UnknownCaveat)
    assert read.predicate == predicate


def test_a_spaced_kind_is_appended_as_it_is_read():
    token = issue()
    assert token.attenuate(Allow("")).wire.caveats[-1] == b"allow"
    assert token.attenuate(Allow("a = b ")).wire.caveats[-1] == b"allow a = b "
    with pytest.raises(MalformedCaveat):
        token.attenuate(Allow("a\0b"))
