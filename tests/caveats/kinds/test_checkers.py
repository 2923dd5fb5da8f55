"""Checkers: handed in, loud on duplicates, closed on unknowns, and only True passes."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import ClassVar

import pytest

from caveats import (
    Caveat,
    Checkers,
    Context,
    Failure,
    Note,
    Scope,
    UnknownCaveat,
    Unmet,
    UnsatisfiedCaveats,
    User,
    Verifier,
    standard_checkers,
    unsatisfied,
)
from caveats.kinds import STANDARD
from tests.support.law import EXAMPLES, KEYRING, NOW, REQUEST, issue

HERE = Context(now=NOW)


@dataclass(frozen=True)
class Album(Caveat):
    kind: ClassVar[str] = "photos/album"
    number: int

    @property
    def value(self) -> str:
        return str(self.number)

    @classmethod
    def parse(cls, value: str):
        return cls(int(value))


def with_album(check) -> Checkers:
    checkers = standard_checkers()
    checkers.register(Album, check)
    return checkers


class Equal:
    """Equal to everything, so that only identity tells it from True."""

    def __eq__(self, other):
        return True

    __hash__ = None

    def __bool__(self):
        return True


async def a_coroutine(caveat, context):
    return True


async def an_async_generator(caveat, context):
    yield True


def raises(error):
    def check(caveat, context):
        raise error

    return check


NOT_TRUE = [
    ("none", lambda caveat, context: None),
    ("false", lambda caveat, context: False),
    ("one", lambda caveat, context: 1),
    ("one-point-zero", lambda caveat, context: 1.0),
    ("yes", lambda caveat, context: "yes"),
    ("list", lambda caveat, context: [True]),
    ("the-caveat", lambda caveat, context: caveat),
    ("equal-to-true", lambda caveat, context: Equal()),
    ("a-function", lambda caveat, context: lambda: True),
    ("coroutine", a_coroutine),
    ("async-generator", an_async_generator),
    ("generator", lambda caveat, context: (yes for yes in [True])),
    ("raises", raises(ValueError("secret"))),
    ("raises-key-error", raises(KeyError("x"))),
    ("raises-assertion", raises(AssertionError())),
    ("raises-recursion", raises(RecursionError())),
    ("raises-not-implemented", raises(NotImplementedError())),
    ("raises-stop-iteration", raises(StopIteration())),
    ("not-callable", None),
    ("wrong-arity", lambda: True),
    ("unmet", lambda caveat, context: Unmet("no", "never")),
]


@pytest.mark.parametrize("check", [row[1] for row in NOT_TRUE], ids=[row[0] for row in NOT_TRUE])
def test_only_true_passes(check):
    checkers = with_album(check)
    unmet = checkers.answer(Album(1), HERE)
    assert isinstance(unmet, Unmet)
    assert unmet.reason
    assert unmet.hint
    assert "secret" not in unmet.reason
    with pytest.raises(UnsatisfiedCaveats) as caught:
        Verifier(KEYRING, audience="photos", checkers=checkers).verify(issue(Album(1)), REQUEST)
    assert [failure.kind for failure in caught.value.failures] == ["photos/album"]


def test_true_passes():

    checkers = with_album(lambda caveat, context: True)
    assert checkers.answer(Album(1), HERE) is None
    assert Verifier(KEYRING, audience="photos", checkers=checkers).verify(issue(Album(1)), REQUEST)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_is_no_exception_of_the_check_goes_through(stop):
    """Stopping the program is no answer, so nobody makes a refusal or a grant of it."""
    with pytest.raises(stop):
        with_album(raises(stop())).answer(Album(1), HERE)


def test_an_unknown_kind_refuses():
    for checkers in (standard_checkers(), Checkers()):
        (failure,) = unsatisfied([UnknownCaveat(b"photos/album = 1")], checkers, HERE)
        assert failure == Failure(
            0,
            "unknown",
            "photos/album = 1",
            "holder",
            "no caveat of this kind is known here",
            "nothing here; an app that knows this kind may accept it",
        )


def test_a_kind_without_a_check_refuses():
    (failure,) = unsatisfied([Album(1)], standard_checkers(), HERE)
    assert failure.reason == "no check for this kind is known here"


def test_an_unknown_caveat_is_read_again_by_checkers_that_know_it():
    checkers = with_album(lambda caveat, context: caveat.number == 1)
    assert unsatisfied([UnknownCaveat(b"photos/album = 1")], checkers, HERE) == ()
    assert len(unsatisfied([UnknownCaveat(b"photos/album = 2")], checkers, HERE)) == 1


def test_a_duplicate_is_loud():
    checkers = with_album(lambda caveat, context: True)
    with pytest.raises(ValueError, match="already registered"):
        checkers.register(Album, lambda caveat, context: True)
    with pytest.raises(ValueError, match="already registered"):
        standard_checkers().register(Note, lambda caveat, context: False)


def test_two_classes_of_one_kind_are_a_duplicate():
    class Impostor(Album):
        pass

    with pytest.raises(ValueError, match="already registered"):
        with_album(lambda caveat, context: True).register(Impostor, lambda caveat, context: True)


@pytest.mark.parametrize("name", ["", "Album", "a b", "a/b/c", "a = b", 7, None])
def test_an_ill_formed_kind_is_loud(name):
    class Ill(Album):
        kind = name

    with pytest.raises(ValueError, match="must read"):
        Checkers().register(Ill, lambda caveat, context: True)


def test_a_class_without_a_kind_is_loud():
    with pytest.raises(ValueError, match="must read"):
        Checkers().register(Caveat, lambda caveat, context: True)


def test_what_is_unknown_cannot_be_given_a_check():
    with pytest.raises(ValueError, match="unknown"):
        Checkers().register(UnknownCaveat, lambda caveat, context: True)


def test_instances_share_nothing():
    one, other = standard_checkers(), standard_checkers()
    one.register(Album, lambda caveat, context: True)
    assert "photos/album" not in other.kinds
    copy = one.copy()
    assert copy.kinds == one.kinds
    assert copy.answer(Album(1), HERE) is None
    copy.register(type("Other", (Album,), {"kind": "photos/other"}), lambda caveat, context: True)
    assert "photos/other" not in one.kinds
    one.kinds.clear()
    assert "photos/album" in one.kinds


def test_a_kind_registered_later_is_read_from_then_on():
    checkers = standard_checkers()
    assert type(checkers.parse(b"photos/album = 1")) is UnknownCaveat
    checkers.register(Album, lambda caveat, context: True)
    assert checkers.parse(b"photos/album = 1") == Album(1)


def test_what_is_remembered_is_bounded():
    checkers = standard_checkers()
    for number in range(10_000):
        assert checkers.parse(b"note = %d" % number) == Note(str(number))
    assert len(checkers._known) <= 4096


def test_what_is_remembered_of_long_predicates_is_bounded_in_bytes():
    checkers = standard_checkers()
    for number in range(1000):
        checkers.parse(b"scope = " + b" ".join(b"a%d/%d:r" % (n, number) for n in range(90)))
    assert sum(map(len, checkers._known)) <= 256 * 1024 + 1024


def test_every_standard_kind_is_registered_once():
    assert list(standard_checkers().kinds) == [row.kind.kind for row in STANDARD]
    assert set(standard_checkers().kinds.values()) == set(EXAMPLES)


def test_all_failures_are_collected_in_chain_order_with_who_added_them():
    caveats = [User("alice"), Scope("a:b"), Note("x"), UnknownCaveat(b"?")]
    failures = unsatisfied(caveats, standard_checkers(), Context(now=NOW, user="bob"), ["issuer", "issuer"])
    assert [(failure.index, failure.kind, failure.added_by) for failure in failures] == [
        (0, "user", "issuer"),
        (1, "scope", "issuer"),
        (3, "unknown", "holder"),
    ]
    assert str(failures[0]) == (
        "user = alice (added by the issuer): the request is made as 'bob'; would pass: a request made as 'alice'"
    )


def test_users_that_contradict_each_other_fail_whatever_the_request():
    for user in (None, "alice", "bob"):
        failures = unsatisfied([User("alice"), User("bob")], standard_checkers(), Context(now=NOW, user=user))
        assert 1 in {failure.index for failure in failures}
    assert unsatisfied([User("alice")] * 3, standard_checkers(), HERE) == ()


def test_many_threads_read_and_register_without_trouble():
    checkers = standard_checkers()
    errors = []

    def work(offset):
        try:
            for number in range(3000):
                assert checkers.parse(b"note = %d" % (number + offset)) == Note(str(number + offset))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for number in range(50):
        checkers.register(type(f"K{number}", (Album,), {"kind": f"k{number}"}), lambda caveat, context: True)
    for thread in threads:
        thread.join()
    assert not errors


@dataclass(frozen=True)
class Says(Caveat):
    """A kind that states a fact."""

    kind: ClassVar[str] = "says"
    fact: str

    @property
    def value(self) -> str:
        return self.fact

    @classmethod
    def parse(cls, value: str) -> Says:
        return cls(value)

    @property
    def claim(self) -> tuple[str, str]:
        subject, _, value = self.fact.partition(" ")
        if subject == "broken":
            raise RuntimeError
        return subject, value


@pytest.mark.parametrize(
    ("facts", "said_no"),
    [
        (("colour red",), ()),
        (("colour red", "colour red", "size 4"), ()),
        (("colour red", "colour blue", "colour red"), (1,)),
        (("broken",), (0,)),
    ],
)
def test_claims_that_contradict_each_other_fail_whatever_the_checks_say(facts, said_no):
    checkers = standard_checkers()
    checkers.register(Says, lambda caveat, context: True)
    caveats = [Says(fact) for fact in facts]
    assert tuple(failure.index for failure in unsatisfied(caveats, checkers, HERE)) == said_no
    verifier = Verifier(KEYRING, checkers=checkers, audience="photos")
    token = issue().attenuate(*caveats)
    for presented in (token, token.encode(), token.encode()):
        failures = verifier.failures(presented, REQUEST)
        assert tuple(failure.index - 3 for failure in failures) == said_no


@dataclass(frozen=True)
class Anything(Caveat):
    """A plug-in that promises more than it keeps: it would read nothing at all."""

    kind: ClassVar[str] = "photos/anything"
    canonical: ClassVar[bool] = True
    text: str

    @property
    def value(self) -> str:
        return self.text

    @classmethod
    def parse(cls, value: str):
        return cls(value)


@pytest.mark.parametrize("predicate", [b"photos/anything", b"photos/anything =", b"photos/anything x"])
def test_a_kind_without_equals_is_not_of_that_kind_whatever_its_parser_reads(predicate: bytes) -> None:
    checkers = Checkers()
    checkers.register(Anything, lambda _caveat, _context: True)
    assert type(checkers.parse(b"photos/anything = x")) is Anything
    assert type(checkers.parse(predicate)) is UnknownCaveat
    assert unsatisfied([checkers.parse(predicate)], checkers, HERE)


def test_plain_predicates_come_with_their_checks_and_are_typed_once():
    checkers = standard_checkers()
    predicates = [b"user = alice", b"scope = photos:read", b"note = a"]
    caveats, questions = checkers.parse_all(predicates)
    assert caveats == (User("alice"), Scope("photos:read"), Note("a"))
    assert questions == [(checkers.check_for(caveat), caveat) for caveat in caveats]
    again, _ = checkers.parse_all(predicates)
    assert all(one is other for one, other in zip(caveats, again, strict=True))


@pytest.mark.parametrize(
    "predicates",
    [
        pytest.param([b"user = alice", b"user = alice"], id="a second claim"),
        pytest.param([b"user = alice", b"audience = photos"], id="an audience, which the verifier fills in"),
        pytest.param([b"user = alice", b"audience = photos", b"note = a"], id="and something plain after it"),
    ],
)
def test_checks_alone_do_not_decide_where_a_verifier_has_more_to_ask(predicates):
    caveats, questions = standard_checkers().parse_all(predicates)
    assert len(caveats) == len(predicates)
    assert questions is None


def test_a_kind_with_one_space_may_have_a_prefix_and_others_may_not():
    @dataclass(frozen=True)
    class Origin(Caveat):
        kind: ClassVar[str] = "http:origin"
        spaced: ClassVar[bool] = True

    Checkers().register(Origin, lambda _caveat, _context: True)
    Origin.spaced = False
    with pytest.raises(ValueError, match="must read"):
        Checkers().register(Origin, lambda _caveat, _context: True)


def test_the_copy_that_a_plug_in_gets_costs_the_same_however_much_the_app_says_of_a_request():
    seen = []
    context = Context(NOW, extra={"rows": [{"id": number} for number in range(9)]})
    with_album(lambda caveat, context: seen.append(context) or True).answer(Album(1), context)
    assert seen[0] == context
    assert seen[0] is not context
    assert seen[0].extra is context.extra
