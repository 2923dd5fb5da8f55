"""The kit accepts every standard kind, and catches a kind for each law that can be broken."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from caveats import (
    Caveat,
    Checkers,
    Context,
    Identifier,
    Macaroon,
    MalformedCaveat,
    Method,
    Note,
    Path,
    Scope,
    Unmet,
    UnsatisfiedCaveats,
    User,
    standard_checkers,
    unsatisfied,
    verify,
)
from caveats.kinds import STANDARD
from caveats.testing import check_kind
from tests.support.law import CONTEXTS, EXAMPLES, NOW

IDENTIFIER = Identifier("k1", "photos", "01KAJQ00000000000000000001", 1)

MALFORMED = {
    "user": ["", " alice", "alice ", "a\tb", "a\x00", "a = b", "a\x85", "a\u2028b", "\ud800"],
    "expires": [
        "2026-12-01T00:00:00",
        "2026-12-01T00:00:00+00:00",
        "2026-12-01 00:00:00Z",
        "2026-12-01T00:00:00z",
        "2026-12-01T00:00:00.0Z",
        "2026-12-01T24:00:00Z",
        "2026-12-01T00:00:60Z",
        "2026-02-30T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-12-01",
        "20261201T000000Z",
        "2026-W49-1T00:00:00Z",
        "+2026-12-01T00:00:00Z",
        "٢٠٢٦-12-01T00:00:00Z",
        "1796083200",
        "1_000",
        "nan",
        "1e400",
        "-0",
        "5" * 900,
    ],
    "not-before": ["2026-12-01T00:00:00", "2026-12-01T00:00:00Z\n", "2026-13-01T00:00:00Z", "now"],
    "scope": [
        "photos",
        ":read",
        "photos:",
        "photos:read  photos:write",
        "photos:read photos:read",
        "photos:read,photos:write",
        "photos/../x:read",
        "../x:read",
        "./x:read",
        "photos/..:read",
        "photos//42:read",
        "/photos:read",
        "photos/:read",
        "photos/*/x:read",
        "*:read",
        "**",
        "photos:re ad",
        "photos:**",
        "photos:*x",
        "fötos:read",
        "photos%2f42:read",
        "photos\\42:read",
        "photos:read:write",
    ],
    "audience": ["Photos", "photos,thumbs", "photos photos", "-photos", "1photos", "a" * 33, "phötos", "*"],
    "method": ["get", "GET,HEAD", "GET GET", "GET  HEAD", "G3T", "*", "ＧＥＴ"],
    "path": [
        "albums",
        "//albums",
        "/albums//42",
        "/albums/../42",
        "/albums/..",
        "/.",
        "/albums/./42",
        "/albums/%34",
        "/albums\\42",
        "/albums/*/x",
        "/albums*",
        "/albums/**",
        "/albums?x",
        "/albums#x",
        "*",
        "/albums /albums",
        "/albums/..;/42",
        "/albums/\uff0e\uff0e/42",
        "/albums\uff0f42",
    ],
    "host": [
        "Photos.example",
        "photos.example.",
        "photos.example:443",
        "photos.example:",
        "alice@photos.example",
        "https://photos.example",
        "photos.example/",
        "photos.example,albums.example",
        "photos.example photos.example",
        "photos..example",
        ".photos.example",
        "-photos.example",
        "photos-.example",
        "photos_1.example",
        "*.example",
        "*",
        "[2001:db8::1]",
        "2001:db8::1",
        "ph\u00f6tos.example",
        "photos.ex\u0430mple",
        "photos\u3002example",
        "ｐhotos.example",
        "a" * 64 + ".example",
        "a." * 127 + "a",
    ],
    "client-ip": [
        "10.0.0.1/8",
        "010.0.0.0/8",
        "10.0.0.0/08",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/33",
        "10.0.0",
        "10",
        "0x0a000000",
        "::ffff:10.0.0.0/104",
        "::ffff:a00:0/104",
        "::ffff:0:0/96",
        "::ffff:a00:1",
        "::ffff:10.0.0.1",
        "2001:DB8::/32",
        "2001:db8:0::/32",
        "fe80::1%eth0",
        "fe80::%1/64",
        "localhost",
        "10.0.0.1 10.0.0.1",
        "１０.0.0.1",
        "10.0.0.1,10.0.0.2",
    ],
    "note": ["", " x", "x\n", "a = b"],
    "renewed": ["2026-12-01", ""],
    "parent": [
        "",
        "k1",
        "01KAJQ00000000000000000001",
        "01KAJQ00000000000000000001 " + "ab" * 16,
        "k0 01KAJQ00000000000000000001",
        "k1  01KAJQ00000000000000000001",
        "k1 01KAJQ0000000000000000000",
        "k1 01kajq00000000000000000001",
        "k1 01KAJQ00000000000000000001 " + "AB" * 16,
        "k1 01KAJQ00000000000000000001 " + "ab" * 15,
        "k1 01KAJQ00000000000000000001 " + "ab" * 16 + " " + "ab" * 16,
        "k1 81KAJQ00000000000000000001",
    ],
}
UNCONDITIONAL = {"user", "expires", "not-before", "note", "renewed", "parent", "scope"}


@pytest.mark.parametrize("kind", [row.kind for row in STANDARD], ids=lambda kind: kind.kind)
def test_every_standard_kind_keeps_the_laws(kind):
    check_kind(
        standard_checkers(),
        kind,
        caveats=EXAMPLES[kind],
        malformed=MALFORMED[kind.kind],
        contexts=CONTEXTS,
        unconditional=kind.kind in UNCONDITIONAL,
    )


def test_every_standard_kind_has_its_rows():
    assert set(MALFORMED) == {row.kind.kind for row in STANDARD} == {kind.kind for kind in EXAMPLES}


@dataclass(frozen=True)
class Album(Caveat):
    kind: ClassVar[str] = "photos/album"
    number: int

    @property
    def value(self) -> str:
        return str(self.number)

    @classmethod
    def parse(cls, value: str):
        if not value.isdecimal():
            raise MalformedCaveat("an album is a number")
        return cls(int(value))


def check_album(caveat, context):
    if "album" not in context.extra:
        return Unmet("the request names no album", f"album {caveat.number}")
    return context.extra["album"] == caveat.number or Unmet("another album", f"album {caveat.number}")


HERE = [Context(now=NOW, extra={"album": 42}), Context(now=NOW, audience="NOT ONE", extra={"album": 7})]


def prove(kind=Album, check=check_album, checkers=None, **changes):
    checkers = Checkers() if checkers is None else checkers
    if kind.kind not in checkers.kinds:
        checkers.register(kind, check)
    arguments = {"caveats": [kind(42), kind(7)], "malformed": ["", "042", "x", "٤٢"], "contexts": HERE}
    check_kind(checkers, kind, **(arguments | changes))


@pytest.mark.parametrize("checkers", [Checkers, standard_checkers])
def test_a_plug_in_kind_that_keeps_the_laws_passes(checkers):
    prove(checkers=checkers())


@dataclass(frozen=True)
class Lenient(Album):
    """Two spellings, which it claims to be none: `canonical` leaves the comparison out."""

    kind: ClassVar[str] = "photos/lenient"
    canonical: ClassVar[bool] = True


@dataclass(frozen=True)
class Spaced(Album):
    kind: ClassVar[str] = "photos/spaced"

    @property
    def value(self) -> str:
        return f" {self.number}"


@dataclass(frozen=True)
class Forgetful(Album):
    kind: ClassVar[str] = "photos/forgetful"

    @classmethod
    def parse(cls, value):
        return cls(0)


@dataclass(frozen=True)
class Unequal(Album):
    """Reads back as something else that is written alike."""

    kind: ClassVar[str] = "photos/unequal"
    other: int = 0

    @classmethod
    def parse(cls, value):
        return cls(int(value), 1)


@dataclass(frozen=True)
class Dressed(Album):
    kind: ClassVar[str] = "photos/dressed"

    @property
    def predicate(self) -> bytes:
        return b"photos/album = 1"


@dataclass
class Mutable(Caveat):
    kind: ClassVar[str] = "photos/mutable"
    number: int


def writes_extra(caveat, context):
    context.extra.setdefault("seen", [])
    return True


def appends_to_extra(caveat, context):
    context.extra["log"].append(caveat)
    return True


async def is_a_coroutine(caveat, context):
    return True


def raises(caveat, context):
    return context.extra["album"] == caveat.number


def alternates():
    answers = iter([True, False] * 1000)
    return lambda caveat, context: next(answers)


def wavers(first, last):
    """A check with a memory: from its `first` call to its `last` it refuses."""
    asked = []

    def check(caveat, context):
        asked.append(caveat)
        return "album" in context.extra and not first < len(asked) <= last

    return check


@dataclass(frozen=True)
class Raising(Album):
    kind: ClassVar[str] = "photos/raising"

    def narrow(self, authority):
        raise RuntimeError


@dataclass(frozen=True)
class Silent(Album):
    kind: ClassVar[str] = "photos/silent"

    def narrow(self, authority):
        return None


@dataclass(frozen=True)
class Widening(Album):
    kind: ClassVar[str] = "photos/widening"

    def narrow(self, authority):
        return replace(authority, user="somebody else")


def rewrites(name, value):
    """A check that says a request is another, for whoever is asked after it."""

    def check(caveat, context):
        object.__setattr__(context, name, value)
        return check_album(caveat, context)

    return check


class Fact:
    """A fact that is an object of its own."""

    def __init__(self):
        self.names = ["a"]


def changes_a_fact(caveat, context):
    if "fact" in context.extra:
        context.extra["fact"].names.append("b")
    return check_album(caveat, context)


def rewrites_itself(caveat, context):
    object.__setattr__(caveat, "number", 42)
    return "album" in context.extra


def stops(error):
    def check(caveat, context):
        raise error

    return check


def remembers():
    """A check that answers as it did the first time, until it has been asked for another caveat in between."""
    last = []

    def check(caveat, context):
        last.append(caveat.number)
        return "album" in context.extra and last.count(42) < 40 and context.extra["album"] == caveat.number

    return check


@dataclass(frozen=True)
class Wildcard(Album):
    """Equal to everything."""

    kind: ClassVar[str] = "photos/wildcard"

    def __eq__(self, other):
        return True

    __hash__ = None


class AnyText(str):
    """Equal to every text."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = None


@dataclass(frozen=True)
class WrittenAnyhow(Album):
    kind: ClassVar[str] = "photos/written-anyhow"

    @property
    def value(self):
        return AnyText(self.number)


@dataclass(frozen=True)
class Forgetting(Album):
    """Leaves out the caveats of other kinds."""

    kind: ClassVar[str] = "photos/forgetting"

    def narrow(self, authority):
        return replace(authority, others=(self,))


@dataclass(frozen=True)
class Freeing(Album):
    """Nothing is left of the scopes' limit."""

    kind: ClassVar[str] = "photos/freeing"

    def narrow(self, authority):
        return replace(authority, scope_limit=None)


@dataclass(frozen=True)
class Exiting(Album):
    kind: ClassVar[str] = "photos/exiting"

    @classmethod
    def parse(cls, value):
        raise SystemExit


class Yes(Unmet):
    """An explanation that is a yes to whoever asks for its truth."""

    def __bool__(self):
        return True


BROKEN = [
    ("rewrites-path", lambda: prove(check=rewrites("path", "/public")), "changes the context"),
    ("rewrites-method", lambda: prove(check=rewrites("method", "GET")), "changes the context"),
    ("rewrites-now", lambda: prove(check=rewrites("now", NOW.replace(year=2020))), "changes the context"),
    ("rewrites-scopes", lambda: prove(check=rewrites("scopes", ("a:b",))), "changes the context"),
    ("rewrites-extra", lambda: prove(check=rewrites("extra", {"album": 42})), "changes the context"),
    (
        "changes-a-fact",
        lambda: prove(check=changes_a_fact, contexts=[Context(now=NOW, extra={"album": 42, "fact": Fact()})]),
        "changes the context",
    ),
    ("rewrites-itself", lambda: prove(check=rewrites_itself), "changes the caveat"),
    ("exits", lambda: prove(check=stops(SystemExit())), "raises SystemExit"),
    ("interrupts", lambda: prove(check=stops(KeyboardInterrupt())), "raises KeyboardInterrupt"),
    ("recurses", lambda: prove(check=stops(RecursionError())), "raises RecursionError"),
    ("exits-on-reading", lambda: prove(Exiting), "raises SystemExit"),
    ("answers-yes-as-unmet", lambda: prove(check=lambda c, x: Yes("a", "b")), "Yes"),
    ("remembers", lambda: prove(check=remembers()), "asked again later|then False"),
    ("wildcard", lambda: prove(Wildcard), "is not False"),
    ("written-anyhow", lambda: prove(WrittenAnyhow), "grammar of values"),
    ("narrow-forgets-others", lambda: prove(Forgetting), "widens"),
    ("narrow-frees", lambda: prove(Freeing), "widens"),
    ("narrow-raises", lambda: prove(Raising), "narrow raises"),
    ("narrow-answers-none", lambda: prove(Silent), "not Authority"),
    ("narrow-widens", lambda: prove(Widening), "widens"),
    ("lenient", lambda: prove(Lenient, malformed=[]), "two spellings"),
    ("spaced", lambda: prove(Spaced), "grammar of values"),
    ("forgetful", lambda: prove(Forgetful), "reads back as"),
    ("unequal", lambda: prove(Unequal), "reads back as"),
    ("dressed", lambda: prove(Dressed), "not the bytes"),
    ("mutable", lambda: prove(Mutable), "frozen"),
    ("not-registered", lambda: check_kind(Checkers(), Album, caveats=[Album(1)]), "not registered"),
    ("no-kind", lambda: check_kind(Checkers(), Caveat, caveats=[]), "names no kind"),
    ("no-examples", lambda: prove(caveats=[]), "at least one example"),
    ("foreign-example", lambda: prove(caveats=[Note("x")]), "not a Album"),
    ("well-formed", lambda: prove(malformed=["42"]), "was read as"),
    ("answers-none", lambda: prove(check=lambda c, x: None), "NoneType"),
    ("answers-1", lambda: prove(check=lambda c, x: 1), "int"),
    ("answers-yes", lambda: prove(check=lambda c, x: "yes"), "str"),
    ("coroutine", lambda: prove(check=is_a_coroutine), "coroutine"),
    ("raises", lambda: prove(check=raises), "raises KeyError"),
    ("alternates", lambda: prove(check=alternates()), "then False"),
    ("writes-extra", lambda: prove(check=writes_extra), "changes the context"),
    (
        "appends-to-extra",
        lambda: prove(check=appends_to_extra, contexts=[Context(now=NOW, extra={"log": []})]),
        "changes the context",
    ),
    ("missing-facts-pass", lambda: prove(check=lambda c, x: True), "no fact but the time"),
    ("not-unconditional", lambda: prove(unconditional=True), "it is conditional"),
    ("never-holds", lambda: prove(check=lambda c, x: False), "nothing has been shown"),
    ("no-contexts", lambda: prove(contexts=[]), "nothing has been shown"),
]


@pytest.mark.parametrize(("broken", "message"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_kind_that_breaks_a_law_fails_and_is_told_which(broken, message):
    with pytest.raises(AssertionError, match=message):
        broken()


def test_a_check_whose_memory_widens_is_caught_through_minted_tokens():
    messages = []
    for first in range(10, 60, 2):
        try:
            prove(check=wavers(first, first + 3))
        except AssertionError as error:
            messages.append(str(error))
    assert any("turns a refusal" in message for message in messages)


def test_the_kit_needs_no_test_framework():
    code = "import sys, caveats.testing; print([m for m in ('pytest', 'hypothesis') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_check_does_to_its_context_is_nothing_to_the_caveats_after_it():
    """Also where the kit was not asked."""
    later = [Method("GET"), Path("/photos/*"), Scope("photos:read"), Album(42)]
    request = Context(now=NOW, method="DELETE", path="/admin", scopes=("admin:write",), extra={"album": 7})

    def check_rewriting(caveat, context):
        for name, value in {
            "method": "GET",
            "path": "/photos/42",
            "scopes": ("photos:read",),
            "extra": {"album": 42},
        }.items():
            object.__setattr__(context, name, value)
        return True

    checkers = standard_checkers()
    checkers.register(Lenient, check_rewriting)
    checkers.register(Album, check_album)
    for copy in (checkers, checkers.copy()):
        failures = unsatisfied([Lenient(1), *later, Lenient(1)], copy, request)
        assert [failure.kind for failure in failures] == ["method", "path", "scope", "photos/album"]
        token = Macaroon.mint(b"k" * 32, IDENTIFIER, caveats=[User("alice"), Lenient(1), *later])
        with pytest.raises(UnsatisfiedCaveats) as refused:
            verify(token, b"k" * 32, copy, request)
        assert len(refused.value.failures) == len(later)
    assert (request.method, request.path) == ("DELETE", "/admin")


def test_a_standard_kind_with_a_check_of_an_app_s_own_has_no_way_to_change_a_context_either():
    checkers = Checkers()
    checkers.register(Note, lambda caveat, context: object.__setattr__(context, "method", "GET") or True)
    request = Context(now=NOW, method="DELETE")
    assert checkers.answer(Note("x"), request) is None
    assert request.method == "DELETE"
