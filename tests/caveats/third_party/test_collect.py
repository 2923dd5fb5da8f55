"""Collecting discharges: depth first, each once, and it always ends."""

from __future__ import annotations

import itertools

import pytest

from caveats import (
    BindingMismatch,
    Bundle,
    CaveatsError,
    LimitExceeded,
    Limits,
    Macaroon,
    MissingDischarge,
    Note,
    Unbound,
    UnusedDischarge,
    authenticate,
    collect,
)
from tests.support.law import at_most, outcome

KEY = b"a root key"


def asking(macaroon: Macaroon, *tickets: bytes) -> Macaroon:
    """`macaroon` with a third-party caveat for each ticket; the key of each is its ticket."""
    for number, ticket in enumerate(tickets):
        macaroon = macaroon.with_third_party("there", ticket, ticket, nonce=b"%024d" % number)
    return macaroon


def root(*tickets: bytes) -> Macaroon:
    return asking(Macaroon.mint(KEY, b"root"), *tickets)


def answer(ticket: bytes, *asks: bytes) -> Macaroon:
    return asking(Macaroon.mint(ticket, ticket), *asks)


def run(macaroon: Macaroon, ask, limits: Limits | None = None) -> Unbound:
    """The loop that a client writes."""
    collecting, got = collect(macaroon, *([limits] if limits else [])), None
    while True:
        try:
            needed = collecting.send(got)
        except StopIteration as done:
            return done.value
        got = ask(needed)


def test_a_macaroon_that_asks_nobody_is_ready_at_once():
    assert run(root(), None) == Unbound(root())


def test_discharges_are_asked_for_depth_first_and_fit():
    asks = {b"a": (b"b", b"c"), b"b": (), b"c": (b"d",), b"d": (), b"e": ()}
    asked = []

    def ask(needed):
        asked.append(needed.ticket)
        return answer(needed.ticket, *asks[needed.ticket])

    found = run(root(b"a", b"e"), ask)
    assert asked == [b"a", b"b", b"c", b"d", b"e"]
    assert authenticate(found.bind(), KEY).third_parties == ("",) * 5


def test_the_unbound_are_kept_narrowed_and_bound_anew():
    found = run(root(b"a"), lambda needed: answer(needed.ticket))
    bundle, narrow = found.bind(), found.attenuate(Note("x"))
    assert outcome(authenticate, bundle, KEY) is None
    assert outcome(authenticate, narrow.bind(), KEY) is None
    late = Bundle(bundle.macaroon.attenuate(Note("x")), bundle.discharges)
    assert outcome(authenticate, late, KEY) is BindingMismatch
    assert outcome(narrow.bind, Limits(discharges=0)) is LimitExceeded


def test_a_third_party_that_answers_with_ever_new_caveats_is_asked_sixteen_times_at_most():
    asked = []

    def ask(needed):
        asked.append(needed)
        return answer(needed.ticket, *(needed.ticket + b"%d" % number for number in range(3)))

    assert outcome(run, root(b"a"), ask) is LimitExceeded
    assert len(asked) == 8
    asked.clear()
    assert outcome(run, root(*[b"%d" % n for n in range(17)]), lambda n: asked.append(n) or answer(n.ticket))
    assert len(asked) == 16


@pytest.mark.parametrize(
    "got", [None, answer(b"b"), root(b"a"), Macaroon.mint(b"a", b"a ")], ids=["none", "other", "root", "near"]
)
def test_a_discharge_for_another_ticket_is_refused(got):
    assert outcome(run, root(b"a"), lambda needed: got) is UnusedDischarge


def test_an_already_bound_discharge_is_found_out_at_the_latest_by_the_verifier():
    bound = root(b"a").bind(answer(b"a"))
    assert outcome(authenticate, run(root(b"a"), lambda needed: bound).bind(), KEY) is not None


@pytest.mark.parametrize("asks", [(b"a",), (b"b",)], ids=["itself", "each-other"])
def test_discharges_that_ask_for_one_another_end_in_a_refusal(asks):
    answers = {b"a": answer(b"a", *asks), b"b": answer(b"b", b"a")}
    assert outcome(run, root(b"a"), lambda needed: answers[needed.ticket]) is UnusedDischarge


INTERLOCKING = [b"%02d" % number for number in range(24)]


def interlocking(spread: int) -> tuple[Macaroon, dict[bytes, Macaroon]]:
    """24 discharges, each of which asks for the `spread` after it, round and round."""
    count = len(INTERLOCKING)
    answers = {
        ticket: answer(ticket, *(INTERLOCKING[(place + step + 1) % count] for step in range(spread)))
        for place, ticket in enumerate(INTERLOCKING)
    }
    return root(*INTERLOCKING), answers


@pytest.mark.parametrize("spread", [1, 2, 23])
@pytest.mark.parametrize("limits", [Limits(), Limits(discharges=24), Limits(discharges=24, depth=24)])
def test_a_flow_of_24_interlocking_discharges_ends_under_10_ms_in_a_refusal(spread, limits):
    macaroon, answers = interlocking(spread)
    with at_most(0.01), pytest.raises(CaveatsError):
        run(macaroon, lambda needed: answers[needed.ticket], limits)
    macaroon = root(INTERLOCKING[0])
    with at_most(0.01), pytest.raises(CaveatsError):
        run(macaroon, lambda needed: answers[needed.ticket], limits)


@pytest.mark.parametrize("spread", [1, 2, 23])
@pytest.mark.parametrize("limits", [Limits(discharges=24), Limits(discharges=24, depth=24)])
def test_a_bundle_of_24_interlocking_discharges_is_refused_under_10_ms(spread, limits):
    macaroon, answers = interlocking(spread)
    assert outcome(Bundle.bind, macaroon, answers.values()) is LimitExceeded
    for asker in (macaroon, root(INTERLOCKING[0])):
        bundle = Bundle.bind(asker, answers.values(), limits)
        best = None
        for _ in range(3):
            try:
                with at_most(0.01):
                    assert outcome(authenticate, bundle, KEY, limits=limits) is not None
            except AssertionError as slow:
                best = best or slow
            else:
                break
        else:
            raise best


def test_the_order_of_discharges_does_not_matter():
    asks = {b"a": (b"b",), b"b": (), b"c": ()}
    found = run(root(b"a", b"c"), lambda needed: answer(needed.ticket, *asks[needed.ticket]))
    for order in itertools.permutations(found.discharges):
        assert outcome(authenticate, Unbound(found.macaroon, order).bind(), KEY) is None
        assert outcome(authenticate, Unbound(found.macaroon, order[1:]).bind(), KEY) is MissingDischarge
