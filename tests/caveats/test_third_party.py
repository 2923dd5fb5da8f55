"""Tickets: sealed for one party, and whatever else arrives as a ticket is malformed."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_support import HOUR, NOW, PARTY, PARTY_KEY, ROOT_KEY, at_most, counter_random, outcome
from nacl.bindings import crypto_box, crypto_box_seed_keypair

from caveats import (
    InvalidKey,
    MalformedCaveat,
    MalformedTicket,
    PrivateKey,
    ThirdParty,
    discharge,
    open_ticket,
)
from caveats.third_party import seal_ticket
from caveats.wire import encode_base64

TICKET, CAVEAT_KEY = seal_ticket(
    PARTY, ("is a member", "of group ä"), audience="photos", expires_at=NOW + HOUR, random=counter_random()
)
PLAIN = {
    "key": encode_base64(ROOT_KEY),
    "location": "https://party.example",
    "audience": "",
    "expires": 0,
    "id": "x",
    "conditions": ["c"],
}


def written(members) -> bytes:
    """The one spelling in which a ticket's JSON is read."""
    return json.dumps(members, separators=(",", ":")).encode()


def boxed(plain: bytes) -> bytes:
    """A well-made box with any content: whoever has the public key can make one."""
    public, secret = crypto_box_seed_keypair(b"s" * 32)
    return b"\x43\x01" + public + b"n" * 24 + crypto_box(plain, b"n" * 24, PARTY.public_key, secret)


def test_what_is_sealed_opens():
    ticket = open_ticket(TICKET, PARTY_KEY)
    assert ticket.caveat_key == CAVEAT_KEY
    assert ticket.conditions == ("is a member", "of group ä")
    assert (ticket.location, ticket.audience, ticket.expires_at) == (PARTY.location, "photos", NOW + HOUR)
    assert len(ticket.ticket_id) == 32
    assert ticket.raw == TICKET


def test_an_expiry_of_zero_is_none():
    assert open_ticket(boxed(written(PLAIN)), PARTY_KEY).expires_at is None


def test_a_ticket_for_another_party_is_malformed():
    assert outcome(open_ticket, TICKET, PrivateKey.generate()) is MalformedTicket


def test_every_prefix_of_a_ticket_is_malformed():
    for size in range(len(TICKET)):
        assert outcome(open_ticket, TICKET[:size], PARTY_KEY) is MalformedTicket


def test_every_changed_byte_of_a_ticket_is_malformed():
    for at in range(len(TICKET)):
        changed = TICKET[:at] + bytes([TICKET[at] ^ 1]) + TICKET[at + 1 :]
        assert outcome(open_ticket, changed, PARTY_KEY) is MalformedTicket


@given(garbage=st.binary(max_size=300), ours=st.booleans())
def test_garbage_is_a_malformed_ticket(garbage, ours):
    assert outcome(open_ticket, b"\x43\x01" * ours + garbage, PARTY_KEY) is MalformedTicket


HOSTILE = [
    ("empty", b""),
    ("no-json", b"x"),
    ("not-utf8", b"\xff"),
    ("null", b"null"),
    ("list", b"[]"),
    ("deep", b"[" * 100_000),
    ("big-integer", b"9" * 5000),
    ("nan", b'{"expires":NaN}'),
    ("nothing-in-it", b"{}"),
    *[(f"no-{name}", written({k: v for k, v in PLAIN.items() if k != name})) for name in PLAIN],
    *[
        (name, written({**PLAIN, **change}))
        for name, change in {
            "more": {"x": 1},
            "key-number": {"key": 1},
            "key-empty": {"key": ""},
            "key-short": {"key": "AAAA"},
            "key-long": {"key": "A" * 1000},
            "key-33": {"key": encode_base64(b"k" * 33)},
            "key-zero": {"key": encode_base64(bytes(32))},
            "key-padded": {"key": encode_base64(ROOT_KEY) + "="},
            "key-not-ascii": {"key": "é" * 43},
            "expires-float": {"expires": 1.0},
            "expires-true": {"expires": True},
            "expires-negative": {"expires": -1},
            "expires-huge": {"expires": 2**63},
            "expires-beyond-calendars": {"expires": 2**37},
            "conditions-text": {"conditions": "c"},
            "conditions-numbers": {"conditions": [1]},
            "conditions-null": {"conditions": None},
            "condition-half-a-character": {"conditions": ["\ud800"]},
            "location-half-a-character": {"location": "\ud800"},
            "audience-half-a-character": {"audience": "\udfff"},
            "id-half-a-character": {"id": "\ud800"},
        }.items()
    ],
    ("another-spelling", json.dumps(PLAIN).encode()),
    ("another-order", written(dict(reversed(PLAIN.items())))),
    ("a-member-twice", written(PLAIN)[:-1] + b',"id":"x"}'),
]


@pytest.mark.parametrize("plain", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_box_that_holds_something_else_is_a_malformed_ticket(plain):
    with at_most(0.05):
        assert outcome(open_ticket, boxed(plain), PARTY_KEY) is MalformedTicket


def test_what_opens_can_be_answered_and_written():
    widest = {**PLAIN, "location": "ä" * 50, "expires": 2**37 - 1, "conditions": ["🖨"] * 20}
    answer = discharge(open_ticket(boxed(written(widest)), PARTY_KEY), now=NOW)
    assert answer.encode()


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33, bytes(32), None, "k" * 32, bytearray(b"k" * 32)])
def test_what_is_no_x25519_key_is_refused_when_it_is_loaded(key):
    assert outcome(ThirdParty, "https://x", key) is InvalidKey
    assert outcome(PrivateKey, key) is InvalidKey


@pytest.mark.parametrize(
    "point", [b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"], ids=["one", "minus-one"]
)
def test_a_point_that_no_box_can_be_made_for_is_refused(point):
    assert outcome(seal_ticket, ThirdParty("https://x", point), ()) is InvalidKey


def test_a_third_party_is_somewhere():
    assert outcome(ThirdParty, "", PARTY_KEY.public_key) is MalformedCaveat


def test_a_ticket_expires_at_a_time_with_a_zone():
    with pytest.raises(MalformedCaveat):
        seal_ticket(PARTY, (), expires_at=datetime(2026, 11, 21))


def test_a_private_key_comes_from_the_randomness_it_is_given():
    one = PrivateKey.generate(lambda size: b"r" * size)
    assert one == PrivateKey.generate(lambda size: b"r" * size)
    assert one != PrivateKey.generate()
    assert len(one.public_key) == 32


def test_no_repr_shows_a_key():
    assert repr(PARTY_KEY) == "PrivateKey(...)"
    assert "pppp" not in repr(open_ticket(TICKET, PARTY_KEY))
    assert repr(CAVEAT_KEY) not in repr(open_ticket(TICKET, PARTY_KEY))
