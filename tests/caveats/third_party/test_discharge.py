"""The third party's side: conditions judged, discharges minted; and whom a verifier believes about the user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar

import pytest

from caveats import (
    Bundle,
    Caveat,
    Checkers,
    Context,
    Discharger,
    DischargeRefused,
    Expires,
    InvalidKey,
    LimitExceeded,
    Limits,
    Macaroon,
    MalformedTicket,
    Note,
    PrivateKey,
    ThirdParty,
    Unmet,
    User,
    authenticate,
    discharge,
    open_ticket,
)
from caveats.token import chain
from tests.support.law import HOUR, NOW, PARTY, PARTY_KEY, ROOT_KEY, counter_random, issue, outcome

OTHER_KEY = PrivateKey(b"q" * 32)
OTHER = ThirdParty("https://other.example", OTHER_KEY.public_key)


@dataclass(frozen=True)
class MemberOf(Caveat):
    """A condition, which is a caveat like any other."""

    kind: ClassVar[str] = "member-of"
    group: str

    @property
    def value(self) -> str:
        return self.group

    @classmethod
    def parse(cls, value: str) -> MemberOf:
        return cls(value)


def check_member_of(caveat: MemberOf, context: Context) -> bool | Unmet:
    return caveat.group in context.extra.get("groups", ()) or Unmet("no such group", "a member")


CHECKERS = Checkers()
CHECKERS.register(MemberOf, check_member_of)
HERE = Discharger(PARTY.location, (PARTY_KEY,), CHECKERS)
OPS = Context(now=NOW, user="bob", extra={"groups": ("ops",)})


def ticket(*conditions: str, party: ThirdParty = PARTY, **more: object) -> bytes:
    return party.seal_ticket(conditions, random=counter_random(), **more)[0]


def asked(*conditions: str) -> Macaroon:
    return Macaroon.mint(ROOT_KEY, b"root").require_discharge(PARTY, *conditions, random=counter_random())


def test_what_holds_is_discharged_and_the_discharge_fits():
    token = asked("member-of = ops")
    answer = HERE.discharge(HERE.open(token.wire.caveats[0].ticket), OPS)
    assert authenticate(Bundle.bind(token, [answer]), ROOT_KEY).caveats == (Expires(NOW + HERE.life),)


@pytest.mark.parametrize(
    ("conditions", "context", "said_no"),
    [
        (("member-of = ops",), OPS, 0),
        ((), OPS, 0),
        (("member-of = ops", "member-of = dev"), OPS, 1),
        (("member-of = dev", "member-of = sec"), OPS, 2),
        (("member-of = ops",), Context(now=NOW), 1),
        (("what is this",), OPS, 1),
        (("user = bob",), OPS, 1),
        (("",), OPS, 1),
    ],
    ids=["holds", "none", "one-of-two", "neither", "fact-missing", "unknown", "kind-not-judged", "empty"],
)
def test_every_condition_that_says_no_is_explained(conditions, context, said_no):
    opened = HERE.open(ticket(*conditions))
    assert len(HERE.failures(opened, context)) == said_no
    if not said_no:
        HERE.discharge(opened, context)
        return
    with pytest.raises(DischargeRefused) as caught:
        HERE.discharge(opened, context)
    assert len(caught.value.failures) == said_no


@pytest.mark.parametrize(
    ("here", "sealed", "error"),
    [
        (HERE, ticket("x"), None),
        (replace(HERE, location=PARTY.location + "/"), ticket("x"), None),
        (replace(HERE, location="https://elsewhere.example"), ticket("x"), DischargeRefused),
        (replace(HERE, audiences=("photos",)), ticket("x", audience="photos"), None),
        (replace(HERE, audiences=("photos",)), ticket("x", audience="notes"), DischargeRefused),
        (replace(HERE, audiences=("photos",)), ticket("x"), DischargeRefused),
        (HERE, ticket("x", audience="notes"), None),
        (replace(HERE, keys=(OTHER_KEY, PARTY_KEY)), ticket("x"), None),
        (replace(HERE, keys=(OTHER_KEY,)), ticket("x"), MalformedTicket),
        (replace(HERE, keys=()), ticket("x"), MalformedTicket),
        (HERE, ticket("x", party=OTHER), MalformedTicket),
        (HERE, ticket("x" * 5000), MalformedTicket),
        (replace(HERE, limits=Limits(ticket=100)), ticket("x"), MalformedTicket),
        (HERE, ticket("x")[:-1], MalformedTicket),
        (HERE, b"", MalformedTicket),
    ],
    ids=[
        "fits",
        "slash",
        "other-location",
        "served-audience",
        "other-audience",
        "no-audience",
        "any-audience",
        "older-key",
        "wrong-key",
        "no-key",
        "other-party",
        "too-long",
        "over-its-limit",
        "cut",
        "empty",
    ],
)
def test_a_ticket_is_opened_by_whom_and_where_it_is_for(here, sealed, error):
    assert outcome(here.open, sealed) is error


def test_an_expired_ticket_is_not_discharged():
    opened = HERE.open(ticket(expires_at=NOW))
    assert outcome(HERE.discharge, opened, OPS) is DischargeRefused
    assert outcome(HERE.discharge, opened, replace(OPS, now=NOW - timedelta(seconds=1))) is None


def test_a_discharge_is_short_lived_and_carries_what_it_is_given():
    opened = HERE.open(ticket())
    answer = replace(HERE, life=HOUR).discharge(opened, OPS, user="bob", caveats=[Note("asked twice")])
    assert answer.unverified_caveats == (User("bob"), Expires(NOW + HOUR), Note("asked twice"))
    assert answer.location == PARTY.location
    assert answer.identifier == opened.raw


def test_a_ticket_says_what_can_be_written():
    with pytest.raises(ValueError, match="UTF-8"):
        ticket("\ud800")


# Whom a verifier believes about the user


def signed_in(token: Macaroon, key: PrivateKey = PARTY_KEY, user: str | None = "alice") -> Macaroon:
    """The answer to the token's last third-party caveat."""
    return discharge(open_ticket(token.wire.caveats[-1].ticket, key), now=NOW, user=user)


def believed(
    token: Macaroon, *answers: Macaroon, party: ThirdParty = PARTY, key: bytes = ROOT_KEY
) -> str | None:
    return authenticate(Bundle.bind(token, answers), ROOT_KEY).user_asserted_by(party, key)


ISSUED = Macaroon.mint(ROOT_KEY, b"anonymous")
TRUSTING = ISSUED.require_discharge(PARTY, root_key=ROOT_KEY, random=counter_random())


def test_the_party_that_the_issuer_named_says_who_the_user_is():
    assert believed(TRUSTING, signed_in(TRUSTING)) == "alice"
    assert believed(TRUSTING.attenuate(Note("x")), signed_in(TRUSTING)) == "alice"


def test_a_party_that_was_not_named_says_nothing():
    """What another party says is a caveat like any other, wherever a holder claims that it comes from."""
    token = TRUSTING.require_discharge(OTHER, random=counter_random())
    answers = [signed_in(TRUSTING, user=None), signed_in(token, OTHER_KEY, "mallory")]
    assert believed(token, *answers) is None
    assert believed(token, *answers, party=OTHER) is None
    caveat = token.wire.caveats[-1]._replace(location=PARTY.location)
    relocated = Macaroon(token.wire._replace(caveats=(*token.wire.caveats[:-1], caveat)))
    assert believed(relocated, *answers) is None


def test_a_holder_who_asks_the_same_party_is_not_believed():
    """The holder makes the ticket, knows its key, and answers it: whoever it names, it is only a caveat."""
    sealed, caveat_key = PARTY.seal_ticket(random=counter_random())
    token = ISSUED.with_third_party(PARTY.location, caveat_key, sealed, nonce=b"n" * 24)
    forged = Macaroon.mint(caveat_key, sealed, location=PARTY.location, caveats=[User("mallory")])
    assert believed(token, forged) is None
    guess = chain.caveat_key(b"a guess", b"user\0" + PARTY.public_key + b"n" * 24 + b"anonymous")
    token = ISSUED.with_third_party(PARTY.location, guess, b"t", nonce=b"n" * 24)
    assert believed(token, Macaroon.mint(guess, b"t", caveats=[User("mallory")])) is None


def test_what_a_holder_appends_to_a_discharge_is_not_believed():
    silent = signed_in(TRUSTING, user=None)
    assert believed(TRUSTING, silent) is None
    assert believed(TRUSTING, silent.attenuate(User("mallory"))) is None
    assert believed(TRUSTING, signed_in(TRUSTING).attenuate(User("mallory"))) == "alice"


def test_a_discharge_without_a_caveat_or_with_a_third_party_s_first_says_nothing():
    """Of other makes: ours always begin with a caveat of their own."""
    opened = open_ticket(TRUSTING.wire.caveats[0].ticket, PARTY_KEY)
    bare = Macaroon.mint(opened.caveat_key, opened.raw)
    assert believed(TRUSTING, bare) is None
    nested = bare.require_discharge(OTHER, random=counter_random())
    answer = discharge(open_ticket(nested.wire.caveats[0].ticket, OTHER_KEY), now=NOW, user="mallory")
    assert believed(TRUSTING, nested, answer) is None
    assert believed(TRUSTING, bare.attenuate(Note("x"))) is None


def test_what_was_required_for_one_token_is_believed_of_that_one_only():
    other = Macaroon.mint(ROOT_KEY, b"another").require_discharge(
        PARTY, root_key=ROOT_KEY, random=counter_random()
    )
    keys = {open_ticket(token.wire.caveats[0].ticket, PARTY_KEY).caveat_key for token in (TRUSTING, other)}
    assert len(keys) == 2
    assert believed(TRUSTING, signed_in(TRUSTING), key=b"not the root key") is None


def test_each_caveat_of_a_believed_party_has_a_key_of_its_own():
    """Or the answer to one question would do for another, in this token or in one minted anew."""
    twice = TRUSTING.require_discharge(PARTY, "member-of = ops", root_key=ROOT_KEY)
    again = ISSUED.require_discharge(PARTY, root_key=ROOT_KEY)
    tickets = [caveat.ticket for caveat in (*twice.wire.caveats, *again.wire.caveats)]
    assert len({open_ticket(each, PARTY_KEY).caveat_key for each in tickets}) == 3


def test_a_root_key_that_is_none_is_refused():
    assert outcome(ISSUED.require_discharge, PARTY, root_key=b"") is InvalidKey


def test_a_ticket_too_long_for_the_token_is_refused_when_it_is_made():
    assert outcome(issue().require_discharge, PARTY, "x" * 5000) is LimitExceeded
