"""Key bundles: only the pinned service makes one, only the app that it is for opens it, and an old one is no use."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_box, crypto_box_NONCEBYTES

from caveats import InvalidKey, KeyState, MasterKey, MasterKeyring, PrivateKey, RejectedDelivery
from caveats.keys import KeyBundle, open_bundle, seal_bundle

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SERVICE, APP, OTHER = (PrivateKey.generate() for _ in range(3))
APP_ID = "01KAJ5M3W8E2RZ6V8Q4T0N9XCD"
MASTERS = MasterKeyring(
    [MasterKey("k1", bytes(range(1, 33)), KeyState.VERIFYING), MasterKey("k2", bytes(range(2, 34)))]
)
BUNDLE = KeyBundle(APP_ID, MASTERS.export("photos"), epoch=3, serial=1_000, not_after=NOW + DAY)
BOX = seal_bundle(BUNDLE, APP.public_key, SERVICE)


def opened(data: bytes, **given: Any) -> KeyBundle:
    asked: dict[str, Any] = {
        "recipient": APP,
        "sender": SERVICE.public_key,
        "verifier_id": APP_ID,
        "audience": "photos",
        "now": NOW,
        **given,
    }
    return open_bundle(data, asked.pop("recipient"), asked.pop("sender"), **asked)


def boxed(members: object) -> bytes:
    """Whatever a service of another version may put in a box."""
    nonce = bytes(crypto_box_NONCEBYTES)
    plain = json.dumps(members).encode()
    return b"\x4b\x01" + nonce + crypto_box(plain, nonce, APP.public_key, SERVICE.secret)


GOOD: dict[str, Any] = {
    "verifier_id": APP_ID,
    "epoch": 3,
    "serial": 1_000,
    "not_after": int((NOW + DAY).timestamp()),
    **BUNDLE.keyring.to_json(),
}


def test_what_was_sealed_is_opened():
    found = opened(BOX)
    assert (found.verifier_id, found.audience, found.epoch, found.serial) == (APP_ID, "photos", 3, 1_000)
    assert found.not_after == NOW + DAY
    assert found.keyring.keys == BUNDLE.keyring.keys


def test_a_bundle_holds_no_master_key_and_nothing_in_the_clear():
    for master in (bytes(range(1, 33)), bytes(range(2, 34))):
        assert master not in BOX
    assert b"photos" not in BOX
    assert all(key.secret not in BOX for key in BUNDLE.keyring.keys)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"recipient": OTHER}, id="another app's box"),
        pytest.param({"sender": OTHER.public_key}, id="not the pinned service"),
        pytest.param({"sender": APP.public_key}, id="the app itself is not the service"),
        pytest.param({"sender": b"short"}, id="a pin that is no key"),
        pytest.param({"verifier_id": "01KAJ5M3W8E2RZ6V8Q4T0N9XCE"}, id="another verifier of the same app"),
        pytest.param({"audience": "thumbs"}, id="another audience"),
        pytest.param({"now": NOW + DAY}, id="expired, at the very moment"),
        pytest.param({"now": NOW + 2 * DAY}, id="expired"),
        pytest.param({"newer_than": 1_001}, id="older than the one in use"),
    ],
)
def test_a_bundle_from_or_for_somebody_else_or_out_of_date_is_refused(given: dict[str, Any]):
    with pytest.raises(RejectedDelivery):
        opened(BOX, **given)


def test_the_bundle_in_use_is_taken_again_and_one_moment_before_its_end_too():
    assert opened(BOX, newer_than=1_000).serial == 1_000
    assert opened(BOX, now=NOW + DAY - timedelta(microseconds=1)).serial == 1_000


@given(st.integers(0, len(BOX) * 8 - 1))
def test_any_flipped_bit_refuses(bit: int):
    damaged = bytearray(BOX)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RejectedDelivery):
        opened(bytes(damaged))


@given(st.integers(0, len(BOX) - 1))
def test_any_prefix_refuses(size: int):
    with pytest.raises(RejectedDelivery):
        opened(BOX[:size])


@pytest.mark.parametrize(
    "members",
    [
        pytest.param([], id="a list"),
        pytest.param("text", id="text"),
        pytest.param(None, id="nothing"),
        pytest.param({}, id="no members"),
        *(
            pytest.param({**GOOD, name: "1"}, id=f"{name} as text")
            for name in ("epoch", "serial", "not_after")
        ),
        pytest.param({**GOOD, "serial": True}, id="serial as a truth value"),
        pytest.param({**GOOD, "not_after": 10**20}, id="an end beyond all dates"),
        pytest.param({**GOOD, "verifier_id": 7}, id="an id that is no text"),
        pytest.param({**GOOD, "keys": [{"id": "k1", "state": "active", "key": "AA"}]}, id="a short key"),
        pytest.param({**GOOD, "keys": [{}]}, id="a key without members"),
        pytest.param({**GOOD, "audience": "PHOTOS"}, id="no audience"),
        *(pytest.param({k: v for k, v in GOOD.items() if k != name}, id=f"without {name}") for name in GOOD),
    ],
)
def test_an_authentic_box_of_another_form_is_refused(members: object):
    with pytest.raises(RejectedDelivery):
        opened(boxed(members))


def test_a_newer_service_may_say_more():
    assert opened(boxed({**GOOD, "more": 1})).serial == 1_000


@pytest.mark.parametrize(
    "recipient", [bytes(32), b"short", b"\x01" + bytes(31)], ids=["zero", "short", "low order"]
)
def test_nothing_is_sealed_for_what_is_no_key(recipient: bytes):
    with pytest.raises(InvalidKey):
        seal_bundle(BUNDLE, recipient, SERVICE)


def test_two_boxes_of_one_bundle_differ():
    assert seal_bundle(BUNDLE, APP.public_key, SERVICE) != BOX


def test_neither_repr_nor_an_error_shows_a_key():
    secrets = [key.secret for key in BUNDLE.keyring.keys]
    words = repr(BUNDLE)
    with pytest.raises(RejectedDelivery) as refused:
        opened(BOX, now=NOW + DAY)
    for secret in secrets:
        assert secret.hex() not in words
        assert repr(secret)[2:-1] not in words + str(refused.value)
