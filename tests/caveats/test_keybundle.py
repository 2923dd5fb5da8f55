"""Audience keys on their way: from the pinned service, for one verifier, not expired, not older than those in use."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_support import HOUR, KEYRING, NOW, PARTY_KEY, counter_random, outcome
from nacl.bindings import crypto_box

from caveats import InvalidKey, PrivateKey, RejectedDelivery
from caveats.keybundle import KeyBundle, open_bundle, seal_bundle

SERVICE = PrivateKey(b"s" * 32)
APP = PARTY_KEY
BUNDLE = KeyBundle("app-1", KEYRING.export("photos"), epoch=1, serial=1000, not_after=NOW + HOUR)
SEALED = seal_bundle(BUNDLE, APP.public_key, SERVICE, counter_random())


def opened(data, recipient=APP, sender=SERVICE.public_key, **changes):
    arguments = {"verifier_id": "app-1", "audience": "photos", "now": NOW} | changes
    return open_bundle(data, recipient, sender, **arguments)


def test_a_bundle_survives_the_way():
    arrived = opened(SEALED, newer_than=1000)
    assert arrived.keyring.keys == BUNDLE.keyring.keys
    assert (arrived.verifier_id, arrived.audience, arrived.epoch, arrived.serial) == (
        "app-1",
        "photos",
        1,
        1000,
    )
    assert arrived.not_after == NOW + HOUR


def test_two_boxes_of_one_bundle_differ():
    assert seal_bundle(BUNDLE, APP.public_key, SERVICE) != seal_bundle(BUNDLE, APP.public_key, SERVICE)


ROWS = [
    ("another-recipient", {"recipient": PrivateKey(b"x" * 32)}),
    ("another-service", {"sender": PrivateKey(b"x" * 32).public_key}),
    ("another-verifier", {"verifier_id": "app-2"}),
    ("another-audience", {"audience": "thumbs"}),
    ("expired", {"now": NOW + HOUR}),
    ("older-than-the-one-in-use", {"newer_than": 1001}),
]


@pytest.mark.parametrize("changes", [row[1] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_bundle_for_somebody_else_or_of_another_time_is_rejected(changes):
    assert outcome(opened, SEALED, **changes) is RejectedDelivery


def test_any_changed_byte_and_every_prefix_is_rejected():
    for at in range(len(SEALED)):
        changed = SEALED[:at] + bytes([SEALED[at] ^ 1]) + SEALED[at + 1 :]
        assert outcome(opened, changed) is RejectedDelivery
        assert outcome(opened, SEALED[:at]) is RejectedDelivery


@given(st.binary(max_size=100), st.booleans())
def test_garbage_is_rejected(garbage, ours):
    assert outcome(opened, b"\x4b\x01" * ours + garbage) is RejectedDelivery


MEMBERS = {
    "verifier_id": "app-1",
    "epoch": 1,
    "serial": 1000,
    "not_after": int((NOW + HOUR).timestamp()),
    **BUNDLE.keyring.to_json(),
}
NEWER = [
    ("null", "null"),
    ("list", "[]"),
    ("no-json", "{"),
    *[(f"no-{name}", json.dumps({k: v for k, v in MEMBERS.items() if k != name})) for name in MEMBERS],
    *[
        (name, json.dumps({**MEMBERS, **change}))
        for name, change in {
            "epoch-null": {"epoch": None},
            "serial-text": {"serial": "x"},
            "serial-infinite": {"serial": float("inf")},
            "not-after-huge": {"not_after": 10**30},
            "not-after-beyond": {"not_after": 10**12},
            "not-after-text": {"not_after": "x"},
            "keys-null": {"keys": None},
            "audience-upper": {"audience": "Photos"},
        }.items()
    ],
]


@pytest.mark.parametrize("text", [row[1] for row in NEWER], ids=[row[0] for row in NEWER])
def test_an_authentic_box_with_something_else_in_it_is_rejected(text):
    data = b"\x4b\x01" + b"n" * 24 + crypto_box(text.encode(), b"n" * 24, APP.public_key, SERVICE.secret)
    assert outcome(opened, data) is RejectedDelivery


@pytest.mark.parametrize("point", [b"", b"x" * 31, b"\1" + bytes(31)], ids=["none", "short", "low-order"])
def test_a_bundle_cannot_be_sealed_for_what_is_no_key(point):
    assert outcome(seal_bundle, BUNDLE, point, SERVICE) is InvalidKey


def test_a_bundle_shows_no_key():
    assert BUNDLE.keyring.keys[0].secret.hex() not in repr(BUNDLE)
    assert repr(BUNDLE.keyring.keys[0].secret)[2:-1] not in repr(replace(BUNDLE, serial=1))
