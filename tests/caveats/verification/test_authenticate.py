"""Authentication of the whole tree: each discharge authentic, bound, and used exactly once."""

from __future__ import annotations

import itertools
import time

import pytest

from caveats import (
    BadSignature,
    BindingMismatch,
    Bundle,
    Context,
    Expires,
    LimitExceeded,
    Limits,
    Macaroon,
    MissingDischarge,
    Note,
    UnsatisfiedCaveats,
    UnusedDischarge,
    User,
    authenticate,
    discharge,
    open_ticket,
    standard_checkers,
    unsatisfied,
    verify,
)
from tests.support.law import NOW, PARTY, PARTY_KEY, ROOT_KEY, at_most, counter_random, identifier, outcome

KEY = b"a root key"


def root(*caveats, key=KEY) -> Macaroon:
    return Macaroon.mint(key, b"root", caveats=caveats)


def asking(macaroon: Macaroon, *tickets: bytes) -> Macaroon:
    """`macaroon` with a third-party caveat for each ticket; the key of each is its ticket."""
    for number, ticket in enumerate(tickets):
        macaroon = macaroon.with_third_party("there", ticket, ticket, nonce=b"%024d" % number)
    return macaroon


def answer(ticket: bytes, *caveats, asks: tuple[bytes, ...] = ()) -> Macaroon:
    return asking(Macaroon.mint(ticket, ticket, location="there", caveats=caveats), *asks)


def test_a_macaroon_alone_is_a_bundle_of_itself():
    assert authenticate(root(Note("x")), KEY) == authenticate(Bundle(root(Note("x"))), KEY)


def test_an_authenticated_macaroon_says_who_added_what():
    name = identifier(2)
    token = Macaroon.mint(KEY, name, caveats=[User("alice"), Note("issuer's"), Note("holder's")])
    token = asking(token, b"t").attenuate(Note("holder's again"))
    authentic = authenticate(Bundle.bind(token, [answer(b"t", Note("discharger's"))]), KEY)
    assert [str(caveat) for caveat in authentic.caveats] == [
        "user = alice",
        "note = issuer's",
        "note = holder's",
        "note = holder's again",
        "note = discharger's",
    ]
    assert authentic.added_by == ("issuer", "issuer", "holder", "holder", "discharger")
    assert authentic.third_parties == ("there",)
    assert authentic.macaroon == token
    assert authentic.identified == name
    assert len(authentic.signatures) == len(authentic.branches()) == 6
    assert len(set(authentic.branches())) == 6


def test_in_a_macaroon_of_another_issuer_everything_is_a_holder_s():
    authentic = authenticate(root(Note("x")), KEY)
    assert authentic.identified is None
    assert authentic.added_by == ("holder",)
    assert repr(authentic) == "Authenticated(identifier=b'root', caveats=(Note(text='x'),))"


def test_branches_do_not_depend_on_encoding_or_binding():
    token = asking(root(), b"t")
    bundle = Bundle.bind(token, [answer(b"t")])
    expected = authenticate(bundle, KEY).branches()
    assert authenticate(Bundle.decode(bundle.encode()), KEY).branches() == expected
    from_classic = Macaroon.from_pymacaroons(token.to_pymacaroons())
    assert authenticate(Bundle(from_classic, bundle.discharges), KEY).branches() == expected


T, U, V = b"t", b"u", b"v"
BOUND = asking(root(), T)
OUTER = answer(T, asks=(U,))
ROWS = [
    ("bound", BOUND, [BOUND.bind(answer(T))], None),
    ("two-tickets", asking(root(), T, U), "bind", [answer(U), answer(T)], None),
    ("nested", asking(root(), T), "bind", [answer(T, asks=(U,)), answer(U)], None),
    ("missing", BOUND, [], MissingDischarge),
    ("nested-missing", asking(root(), T), "bind", [answer(T, asks=(U,))], MissingDischarge),
    ("unbound", BOUND, [answer(T)], BindingMismatch),
    ("bound-to-another-root", BOUND, [asking(root(Note("x")), T).bind(answer(T))], BadSignature),
    ("bound-twice", BOUND, [BOUND.bind(BOUND.bind(answer(T)))], BadSignature),
    ("bound-before-narrowing", BOUND.attenuate(Note("x")), [BOUND.bind(answer(T))], BindingMismatch),
    ("bound-to-a-discharge", BOUND, [BOUND.bind(OUTER), OUTER.bind(answer(U))], BadSignature),
    ("under-another-key", BOUND, [BOUND.bind(Macaroon.mint(b"x", T))], BadSignature),
    ("narrowed-by-the-holder", BOUND, [BOUND.bind(answer(T).attenuate(Note("x")))], None),
    ("stripped-by-the-holder", BOUND, "strip", None, BadSignature),
    ("superfluous", root(), [root().bind(answer(T))], UnusedDischarge),
    ("superfluous-beside-a-good-one", BOUND, "bind", [answer(T), answer(U)], UnusedDischarge),
    ("the-root-as-its-own-discharge", BOUND, [BOUND], MissingDischarge),
    ("twice-the-same", BOUND, "bind", [answer(T), answer(T)], UnusedDischarge),
    ("poison-first", BOUND, "bind", [Macaroon.mint(b"x", T), answer(T)], UnusedDischarge),
    ("poison-last", BOUND, "bind", [answer(T), Macaroon.mint(b"x", T)], UnusedDischarge),
    ("one-for-two-caveats", asking(root(), T, T), "bind", [answer(T)], UnusedDischarge),
    ("needs-itself", BOUND, "bind", [answer(T, asks=(T,))], UnusedDischarge),
    ("need-each-other", BOUND, "bind", [answer(T, asks=(U,)), answer(U, asks=(T,))], UnusedDischarge),
    (
        "same-ticket-in-root-and-discharge",
        asking(root(), T, U),
        "bind",
        [answer(T, asks=(U,)), answer(U)],
        UnusedDischarge,
    ),
]


def discharges(row):
    macaroon, given = row[1], row[2]
    if given == "bind":
        return [macaroon.bind(each) for each in row[3]]
    if given == "strip":
        full = macaroon.bind(answer(T, Expires(NOW)))
        return [Macaroon(full.wire._replace(caveats=()))]
    return given


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_discharge_is_authentic_bound_and_used_once(row):
    macaroon, error = row[1], row[-1]
    for ordered in itertools.permutations(discharges(row)):
        with at_most(0.05):
            assert outcome(authenticate, Bundle(macaroon, ordered), KEY) is error
        text = Bundle(macaroon, ordered).encode()
        assert outcome(authenticate, Bundle.decode(text), KEY) is error


def test_a_missing_discharge_says_whom_to_ask_for_what():
    with pytest.raises(MissingDischarge) as caught:
        authenticate(BOUND, KEY)
    assert (caught.value.location, caught.value.ticket) == ("there", T)


def test_a_binding_that_came_too_early_is_explained_and_the_unbound_original_is_still_good():
    narrow = BOUND.attenuate(Note("x"))
    with pytest.raises(BindingMismatch, match="bound before the token was narrowed"):
        authenticate(Bundle(narrow, [BOUND.bind(answer(T))]), KEY)
    with pytest.raises(BindingMismatch, match="not bound"):
        authenticate(Bundle(narrow, [answer(T)]), KEY)
    assert authenticate(Bundle.bind(narrow, [answer(T)]), KEY)


def chain_of(length: int) -> Bundle:
    tickets = [b"%d" % number for number in range(length)]
    answers = [answer(one, asks=(following,)) for one, following in itertools.pairwise(tickets)]
    return Bundle.bind(asking(root(), tickets[0]), [*answers, answer(tickets[-1])], Limits(discharges=1000))


@pytest.mark.parametrize(
    ("length", "error"), [(1, None), (8, None), (9, LimitExceeded), (400, LimitExceeded)]
)
def test_discharges_nest_eight_deep(length, error):
    bundle = chain_of(length)
    with at_most(0.05):
        assert outcome(authenticate, bundle, KEY) is error
    assert outcome(authenticate, bundle, KEY, limits=Limits(depth=1000)) is None


def test_the_worst_bundle_is_refused_in_ten_milliseconds():
    """Sixteen discharges of 64 caveats each, the last one forged: everything has to be computed first."""
    tickets = [b"%d" % number for number in range(16)]
    token = asking(root(*[b"x"] * 48), *tickets)
    answers = [answer(ticket, *[b"x"] * 64) for ticket in tickets]
    text = Bundle.bind(token, answers).encode()
    forged = Bundle.bind(
        token, [*answers[:-1], Macaroon.mint(b"x", tickets[-1], caveats=[b"x"] * 64)]
    ).encode()
    assert len(text) < 64 * 1024
    assert outcome(authenticate, Bundle.decode(text), KEY) is None
    best = 1.0
    for _ in range(5):
        start = time.thread_time()
        assert outcome(lambda: authenticate(Bundle.decode(forged), KEY)) is BadSignature
        best = min(best, time.thread_time() - start)
    assert best < 0.03  # ten on a quiet machine


def test_no_caveat_of_an_accepted_discharge_goes_unjudged():
    """libmacaroons #48: of two discharges for one ticket only one was judged."""
    token = asking(Macaroon.mint(ROOT_KEY, identifier(1), caveats=[User("alice")]), T)
    checkers, now = standard_checkers(), Context(now=NOW)
    dead, alive = answer(T, Expires(NOW)), answer(T, Note("x"))
    for both in ([dead, alive], [alive, dead]):
        assert outcome(verify, Bundle.bind(token, both), ROOT_KEY, checkers, now) is UnusedDischarge
    assert outcome(verify, Bundle.bind(token, [dead]), ROOT_KEY, checkers, now) is UnsatisfiedCaveats
    assert outcome(verify, Bundle.bind(token, [alive]), ROOT_KEY, checkers, now) is None
    (failure,) = unsatisfied(
        (authentic := authenticate(Bundle.bind(token, [dead]), ROOT_KEY)).caveats,
        checkers,
        now,
        authentic.added_by,
    )
    assert failure.added_by == "discharger"


def test_a_discharge_stripped_of_its_expiry_is_forged():
    token = root().require_discharge(PARTY, random=counter_random())
    ticket = open_ticket(token.wire.caveats[-1].ticket, PARTY_KEY)
    full = discharge(ticket, [Expires(NOW)], now=NOW)
    stripped = Macaroon(full.wire._replace(caveats=()))
    assert outcome(authenticate, Bundle.bind(token, [full]), KEY) is None
    assert outcome(authenticate, Bundle.bind(token, [stripped]), KEY) is BadSignature


def test_no_caveat_is_read_before_the_tree_is_known_good():
    read = []

    class Spy(dict):
        def get(self, name, default=None):
            read.append(name)
            return default

    token = asking(root(Note("x")), T)
    for bundle, key in (
        (Bundle(token), KEY),
        (Bundle(token, [answer(T)]), KEY),
        (Bundle.bind(token, [answer(T)]), b"no"),
    ):
        assert outcome(authenticate, bundle, key, kinds=Spy()) is not None
    assert read == []
    authenticate(Bundle.bind(token, [answer(T)]), KEY, kinds=Spy())
    assert set(read) == {"note"}


# Whom a verifier believes about the user


TRUSTING = Macaroon.mint(ROOT_KEY, b"anonymous").require_discharge(
    PARTY, root_key=ROOT_KEY, random=counter_random()
)


def user_of(token: Macaroon, *answers: Macaroon, key: bytes = ROOT_KEY) -> str | None:
    return authenticate(Bundle.bind(token, answers), ROOT_KEY).user_asserted_by(PARTY, key)


def signed_in(token: Macaroon, place: int, user: str | None) -> Macaroon:
    """The party's answer to the token's third-party caveat at `place`."""
    return discharge(open_ticket(token.wire.caveats[place].ticket, PARTY_KEY), now=NOW, user=user)


def test_the_user_is_whom_the_first_caveat_of_a_required_discharge_names():
    assert user_of(TRUSTING, signed_in(TRUSTING, 0, "alice")) == "alice"
    assert user_of(TRUSTING, signed_in(TRUSTING, 0, "alice").attenuate(User("bob"))) == "alice"
    assert user_of(TRUSTING, signed_in(TRUSTING, 0, None)) is None
    assert user_of(TRUSTING, signed_in(TRUSTING, 0, None).attenuate(Note("x"), User("bob"))) is None
    assert user_of(TRUSTING, signed_in(TRUSTING, 0, "alice"), key=b"another key") is None
    ticket = open_ticket(TRUSTING.wire.caveats[0].ticket, PARTY_KEY)
    assert user_of(TRUSTING, Macaroon.mint(ticket.caveat_key, ticket.raw)) is None


def test_a_discharge_that_a_holder_asked_for_says_nothing_of_the_user_and_hides_no_other():
    holders = Macaroon.mint(ROOT_KEY, b"anonymous").require_discharge(PARTY, random=counter_random())
    both = holders.require_discharge(PARTY, root_key=ROOT_KEY, random=counter_random())
    assert user_of(holders, signed_in(holders, 0, "mallory")) is None
    answers = [signed_in(both, 0, "mallory"), signed_in(both, 1, "alice")]
    assert user_of(both, *answers) == "alice"
    assert user_of(both, *reversed(answers)) == "alice"
