"""The macaroon: mint, attenuate, require a discharge, encode, decode."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from datetime import datetime
from typing import ClassVar

import pytest

from caveats import (
    BadSignature,
    Bundle,
    Caveat,
    DischargeRefused,
    Expires,
    InvalidKey,
    LimitExceeded,
    Limits,
    Macaroon,
    MalformedCaveat,
    MalformedToken,
    Note,
    Scope,
    ThirdPartyCaveat,
    UnknownCaveat,
    User,
    authenticate,
    discharge,
    open_ticket,
)
from tests.support.law import (
    HOUR,
    NOW,
    PARTY,
    PARTY_KEY,
    ROOT_KEY,
    counter_random,
    identifier,
    issue,
    outcome,
)


def test_minting_with_caveats_is_minting_and_then_narrowing():
    one = Macaroon.mint(ROOT_KEY, b"id", location="loc", caveats=[User("alice"), Note("x")])
    other = Macaroon.mint(ROOT_KEY, b"id", location="loc").attenuate(User("alice")).attenuate(Note("x"))
    assert one == other
    assert hash(one) == hash(other)
    assert (one.location, one.identifier) == ("loc", b"id")


def test_narrowing_leaves_the_original_alone():
    token = issue()
    narrow = token.attenuate(Note("x"))
    assert narrow.wire.caveats[:-1] == token.wire.caveats
    assert narrow.wire.signature != token.wire.signature
    assert token.attenuate() == token
    with pytest.raises(FrozenInstanceError):
        token.wire = narrow.wire


@pytest.mark.parametrize("key", [b"", bytes(32), None, "key", bytearray(b"key")])
def test_nothing_is_minted_under_what_is_no_key(key):
    assert outcome(Macaroon.mint, key, b"id") is InvalidKey
    with pytest.raises(InvalidKey):
        issue().with_third_party("loc", key, b"ticket", nonce=bytes(24))
    assert outcome(authenticate, issue(), key) is InvalidKey


@pytest.mark.parametrize("name", [b"", "", "id", None, 7, bytearray(b"id")])
def test_a_macaroon_has_an_identifier(name):
    assert outcome(Macaroon.mint, ROOT_KEY, name) is MalformedToken


def test_an_identifier_of_ours_is_read_before_it_is_believed():
    assert issue().unverified_identifier == identifier()
    assert Macaroon.mint(ROOT_KEY, b"id").unverified_identifier is None


def test_unverified_caveats_are_typed_in_chain_order():
    token = issue(b"vendor/x = 1").require_discharge(PARTY, random=counter_random()).attenuate(Note("x"))
    kinds = [type(caveat) for caveat in token.unverified_caveats]
    assert kinds == [User, Expires, Scope, UnknownCaveat, ThirdPartyCaveat, Note]


@dataclass(frozen=True)
class Plug(Caveat):
    kind: ClassVar[str] = "vendor/plug"
    value: str = ""


@dataclass(frozen=True)
class Ill(Plug):
    kind: ClassVar[str] = "Vendor Plug"


BAD = [
    ("empty-value", Plug("")),
    ("outer-space", Plug("x ")),
    ("control", Plug("a\nb")),
    ("equals", Plug("a = b")),
    ("ill-named-kind", Ill("x")),
    ("text", "user = alice"),
    ("none", None),
    ("number", 7),
    ("class", User),
]


@pytest.mark.parametrize("caveat", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_a_caveat_that_no_verifier_would_read_is_refused_where_it_is_added(caveat):
    assert outcome(issue().attenuate, caveat) is MalformedCaveat


def test_bytes_and_unknown_caveats_are_added_as_they_are():
    for raw in (b"", b"vendor/x = 1", b"\xff", b" x "):
        assert issue().attenuate(raw) == issue().attenuate(UnknownCaveat(raw))
        assert issue().attenuate(raw).wire.caveats[-1] == raw
    assert issue().attenuate(Plug("x")).wire.caveats[-1] == b"vendor/plug = x"


def test_limits_hold_where_caveats_are_added():
    token = issue()
    assert outcome(token.attenuate, b"x" * 1024) is None
    assert outcome(token.attenuate, b"x" * 1025) is LimitExceeded
    assert outcome(token.attenuate, *[b"x"] * 61) is None
    assert outcome(token.attenuate, *[b"x"] * 62) is LimitExceeded
    assert outcome(token.attenuate, b"xx", limits=Limits(predicate=1)) is LimitExceeded
    full = token.attenuate(*[b"x"] * 61)
    with pytest.raises(LimitExceeded):
        full.require_discharge(PARTY, random=counter_random())
    with pytest.raises(LimitExceeded):
        token.require_discharge(PARTY, "x" * 5000, random=counter_random())


def test_a_third_party_caveat_opens_for_its_party_only_and_its_discharge_fits():
    token = issue().require_discharge(
        PARTY, "is a member", audience="photos", expires_at=NOW + HOUR, random=counter_random()
    )
    caveat = token.wire.caveats[-1]
    ticket = open_ticket(caveat.ticket, PARTY_KEY)
    assert (ticket.conditions, ticket.audience, ticket.expires_at) == (("is a member",), "photos", NOW + HOUR)
    answer = discharge(ticket, [Expires(NOW + HOUR)], now=NOW)
    assert answer.location == PARTY.location == caveat.location
    assert token.bind(answer).wire.signature != answer.wire.signature
    assert Bundle.bind(token, [answer]).discharges == (token.bind(answer),)


def test_two_third_party_caveats_never_share_a_nonce_or_a_key():
    token = issue()
    for _ in range(10):
        token = token.require_discharge(PARTY, "x")
    sealed = [caveat for caveat in token.wire.caveats if isinstance(caveat, ThirdPartyCaveat)]
    assert len({caveat.vid[:24] for caveat in sealed}) == len({caveat.ticket for caveat in sealed}) == 10


@pytest.mark.parametrize("thing", [None, 7, b"", b"cav1_", ["cav1_"], Note("x")])
def test_what_is_no_text_is_malformed(thing):
    assert outcome(Macaroon.decode, thing) is MalformedToken
    assert outcome(Bundle.decode, thing) is MalformedToken


@pytest.mark.parametrize("thing", [None, 7, "", "cav1_", bytearray(b"\x02")])
def test_what_is_no_bytes_is_malformed(thing):
    assert outcome(Macaroon.from_bytes, thing) is MalformedToken


def test_bytes_are_capped_before_they_are_read():
    assert outcome(Macaroon.from_bytes, b"\x02" * 20_000) is LimitExceeded


def test_a_repr_tells_the_identifier_and_how_many_caveats():
    assert repr(Macaroon.mint(ROOT_KEY, b"id")) == "Macaroon(identifier=b'id', 0 caveats)"
    assert repr(Macaroon.mint(ROOT_KEY, b"id", caveats=[b"x"])) == "Macaroon(identifier=b'id', 1 caveat)"


def test_a_discharge_is_not_made_for_an_expired_ticket():
    token = issue().require_discharge(PARTY, expires_at=NOW, random=counter_random())
    ticket = open_ticket(token.wire.caveats[-1].ticket, PARTY_KEY)
    assert outcome(discharge, ticket, now=NOW) is DischargeRefused
    assert outcome(discharge, ticket, now=NOW - HOUR) is None


def test_a_naive_expiry_of_a_ticket_is_refused():
    with pytest.raises(MalformedCaveat):
        issue().require_discharge(PARTY, expires_at=datetime(2026, 11, 21))


def test_a_macaroon_of_another_issuer_is_authenticated_all_the_same():
    macaroon = Macaroon.mint(b"a key of any length", b"\xff\0", caveats=[b"anything at all"])
    assert authenticate(Macaroon.decode(macaroon.encode()), b"a key of any length").caveats == (
        UnknownCaveat(b"anything at all", "a predicate reads 'kind = value'"),
    )
    assert outcome(authenticate, macaroon, b"another key") is BadSignature
