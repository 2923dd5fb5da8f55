"""Tickets: sealed for one party, and whatever else arrives as a ticket is malformed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_box, crypto_box_seed_keypair

from caveats import (
    InvalidKey,
    LimitExceeded,
    MalformedCaveat,
    MalformedTicket,
    PrivateKey,
    ThirdParty,
    discharge,
    open_ticket,
)
from tests.support.law import HOUR, NOW, PARTY, PARTY_KEY, ROOT_KEY, at_most, counter_random, outcome

TICKET, CAVEAT_KEY = PARTY.seal_ticket(
    ("is a member", "of group ä"), audience="photos", expires_at=NOW + HOUR, random=counter_random()
)
PLAIN = {"key": ROOT_KEY, "id": b"i" * 16, "expires": bytes(5), "texts": ("https://party.example", "", "c")}


def text(words: str | bytes) -> bytes:
    data = words.encode() if isinstance(words, str) else words
    return len(data).to_bytes(2, "big") + data


def written(members) -> bytes:
    """What stands in a box."""
    return members["key"] + members["id"] + members["expires"] + b"".join(map(text, members["texts"]))


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


GOOD = written(PLAIN)
HOSTILE = [
    *[(f"cut-at-{size}", GOOD[:size]) for size in range(len(GOOD)) if size != len(GOOD) - 3],
    ("one-byte-more", GOOD + b"x"),
    ("half-a-length-more", GOOD + b"\0"),
    ("a-length-past-the-end", GOOD + b"\xff\xffx"),
    ("key-zero", written({**PLAIN, "key": bytes(32)})),
    ("expires-beyond-calendars", written({**PLAIN, "expires": (2**37).to_bytes(5, "big")})),
    ("expires-huge", written({**PLAIN, "expires": b"\xff" * 5})),
    ("no-texts", written({**PLAIN, "texts": ()})),
    ("no-audience", written({**PLAIN, "texts": ("https://party.example",)})),
    *[
        (f"text-{place}-{name}", written({**PLAIN, "texts": (*PLAIN["texts"][:place], bad)}))
        for place in range(3)
        for name, bad in (
            ("not-utf8", b"\xff"),
            ("half-a-character", b"\xed\xa0\x80"),
            ("overlong", b"\xc0\x80"),
        )
    ],
    ("json", b'{"key":"AAAA","location":"https://party.example","audience":"","expires":0,"id":"x"}'),
]


@pytest.mark.parametrize("plain", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_box_that_holds_something_else_is_a_malformed_ticket(plain):
    with at_most(0.05):
        assert outcome(open_ticket, boxed(plain), PARTY_KEY) is MalformedTicket


def test_what_opens_can_be_answered_and_written():
    widest = {**PLAIN, "expires": (2**37 - 1).to_bytes(5, "big"), "texts": ("ä" * 50, "ö", *["🖨"] * 20)}
    answer = discharge(open_ticket(boxed(written(widest)), PARTY_KEY), now=NOW)
    assert answer.encode()


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33, bytes(32), None, "k" * 32, bytearray(b"k" * 32)])
def test_what_is_no_x25519_key_is_refused_when_it_is_loaded(key):
    assert outcome(ThirdParty, "https://x", key) is InvalidKey
    assert outcome(PrivateKey, key) is InvalidKey


def test_a_public_key_is_x25519_as_rfc_7748_has_it():
    """Its section 5.2: the base point times nine."""
    nine = b"\x09" + bytes(31)
    expected = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert PrivateKey(nine).public_key.hex() == expected


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_public_keys_are_those_that_another_library_makes(secret):
    theirs = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    assert PrivateKey(secret).public_key == theirs


@pytest.mark.parametrize(
    "point", [b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"], ids=["one", "minus-one"]
)
def test_a_point_that_no_box_can_be_made_for_is_refused(point):
    assert outcome(ThirdParty, "https://x", point) is InvalidKey


def test_a_third_party_is_somewhere():
    assert outcome(ThirdParty, "", PARTY_KEY.public_key) is MalformedCaveat


def test_a_ticket_expires_at_a_time_with_a_zone():
    with pytest.raises(MalformedCaveat):
        PARTY.seal_ticket(expires_at=datetime(2026, 11, 21))


@pytest.mark.parametrize(
    "moment",
    [datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)],
)
def test_a_ticket_expires_at_a_time_that_it_can_tell_from_never(moment):
    with pytest.raises(MalformedCaveat):
        PARTY.seal_ticket(expires_at=moment)


def test_a_text_in_a_ticket_has_an_end():
    assert outcome(PARTY.seal_ticket, ("x" * 65_535,)) is None
    assert outcome(PARTY.seal_ticket, ("x" * 65_536,)) is LimitExceeded


def test_a_private_key_comes_from_the_randomness_it_is_given():
    one = PrivateKey.generate(lambda size: b"r" * size)
    assert one == PrivateKey.generate(lambda size: b"r" * size)
    assert one != PrivateKey.generate()
    assert len(one.public_key) == 32


def test_no_repr_shows_a_key():
    assert repr(PARTY_KEY) == "PrivateKey(...)"
    assert "pppp" not in repr(open_ticket(TICKET, PARTY_KEY))
    assert repr(CAVEAT_KEY) not in repr(open_ticket(TICKET, PARTY_KEY))
