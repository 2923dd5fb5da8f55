"""Master key -> audience key -> root key: derivation, states, export, and what is no key."""

from __future__ import annotations

import hmac
import json

import pytest

from caveats import (
    AudienceKey,
    AudienceKeyring,
    BadSignature,
    InvalidKey,
    KeyState,
    MasterKey,
    MasterKeyring,
    UnknownKey,
    Verifier,
    WrongAudience,
    authenticate,
    standard_checkers,
    verify,
)
from caveats.keys import hkdf
from tests.support.law import KEYRING, MASTER, REQUEST, identifier, issue, outcome, vectors

HKDF = [
    pytest.param(test, id=f"tc{test['tcId']}")
    for group in vectors("wycheproof/hkdf_sha256_test.json")["testGroups"]
    for test in group["tests"]
]


def test_there_are_86_hkdf_vectors():
    assert len(HKDF) == 86


@pytest.mark.parametrize("test", HKDF)
def test_hkdf_vector(test):
    key, salt, info = (bytes.fromhex(test[name]) for name in ("ikm", "salt", "info"))
    if test["result"] == "valid":
        assert hkdf(key, info, test["size"], salt).hex() == test["okm"]
    else:
        with pytest.raises(ValueError, match="larger"):
            hkdf(key, info, test["size"], salt)


def expand(secret: bytes, info: bytes) -> bytes:
    """HKDF of 32 bytes without salt, written out (RFC 5869)."""
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), info + b"\1", "sha256")


def test_keys_are_derived_as_designed():
    name = identifier()
    audience_key = expand(MASTER.secret, b"caveats/v1/audience/photos")
    root_key = hmac.digest(audience_key, b"caveats/v1/root/" + name.encode(), "sha256")
    assert MASTER.audience_key("photos").secret == audience_key
    assert MASTER.audience_key("photos").root_key(name.encode()) == root_key == KEYRING.root_key(name)
    assert authenticate(issue(), root_key).identified == name


NO_KEYS = [b"", bytes(32), b"k" * 31, b"k" * 33, b"k" * 64, None, "k" * 32, bytearray(b"k" * 32), 32]


@pytest.mark.parametrize("secret", NO_KEYS, ids=repr)
def test_what_is_no_key_is_refused_when_it_is_loaded(secret):
    assert outcome(MasterKey, "k1", secret) is InvalidKey
    assert outcome(AudienceKey, "k1", "photos", secret) is InvalidKey


KEY_IDS = [("k1", None), ("k12", None), ("k999999999", None)] + [
    (bad, InvalidKey)
    for bad in ("", "k", "k0", "k01", "K1", "1", "k1 ", "k-1", "k1\n", "k٣", "k1234567890", None, 1, b"k1")
]


@pytest.mark.parametrize(("key_id", "error"), KEY_IDS, ids=[repr(row[0]) for row in KEY_IDS])
def test_key_ids_read_k1_k2_and_so_on(key_id, error):
    assert outcome(MasterKey, key_id, b"k" * 32) is error
    assert outcome(AudienceKey, key_id, "photos", b"k" * 32) is error


@pytest.mark.parametrize("audience", ["", "Photos", "a" * 33, "pho tos", "1a", "phötos", "a\n", None, b"a"])
def test_what_is_no_audience_has_no_key(audience):
    assert outcome(AudienceKey, "k1", audience, b"k" * 32) is InvalidKey
    assert outcome(AudienceKeyring, audience, []) is InvalidKey
    assert outcome(MASTER.audience_key, audience) is InvalidKey
    assert outcome(KEYRING.export, audience) is InvalidKey


def ring(*states: KeyState) -> MasterKeyring:
    return MasterKeyring(
        MasterKey(f"k{n}", bytes([n]) * 32, state) for n, state in enumerate(states, start=1)
    )


P, A, V, R = KeyState.PUBLISHED, KeyState.ACTIVE, KeyState.VERIFYING, KeyState.RETIRED


def test_the_active_key_issues_and_all_but_the_retired_verify():
    keys = ring(R, V, A, P)
    assert keys.active.key_id == "k3"
    assert keys.key_ids == ("k2", "k3", "k4")
    for key_id, known in (("k1", False), ("k2", True), ("k3", True), ("k4", True), ("k5", False)):
        assert (keys.root_pads(key_id, "photos") is not None) is known
        assert (keys.export("photos").root_pads(key_id, "photos") is not None) is known
        assert outcome(keys.root_key, identifier(key_id=key_id)) is (None if known else InvalidKey)


@pytest.mark.parametrize("state", [P, A, V])
def test_a_token_verifies_under_a_key_in_every_state_but_retired(state):
    token = issue()
    live = MasterKeyring([MasterKey("k1", MASTER.secret, state)])
    assert Verifier(live, audience="photos").verify(token, REQUEST).user == "alice"
    dead = MasterKeyring([MasterKey("k1", MASTER.secret, R)])
    assert outcome(Verifier(dead, audience="photos").verify, token, REQUEST) is UnknownKey


def test_without_an_active_key_nothing_is_issued():
    for keys in (ring(), ring(P, V, R)):
        with pytest.raises(InvalidKey):
            _ = keys.active


def test_two_active_keys_or_two_of_one_id_are_refused():
    assert outcome(ring, A, A) is InvalidKey
    assert outcome(MasterKeyring, [MASTER, MasterKey("k1", b"x" * 32, V)]) is InvalidKey
    one = MASTER.audience_key("photos")
    assert outcome(AudienceKeyring, "photos", [one, one]) is InvalidKey
    assert outcome(AudienceKeyring, "thumbs", [one]) is InvalidKey


def test_what_is_no_audience_has_no_pads():
    assert KEYRING.root_pads("k1", "Photos") is None


def test_a_master_keyring_remembers_a_bounded_number_of_audiences():
    keys = MasterKeyring([MASTER])
    first = keys.root_pads("k1", "a0")
    for number in range(1100):
        keys.root_pads("k1", f"a{number}")
    assert len(keys._ready) <= 1024
    assert keys.root_pads("k1", "a0") == first


def test_an_app_verifies_with_its_own_audience_keys_and_with_no_others():
    exported = KEYRING.export("photos")
    assert Verifier(exported, audience="photos").verify(issue(), REQUEST).audience == "photos"
    thumbs = issue(audience="thumbs")
    assert outcome(Verifier(exported, audience="photos").verify, thumbs, REQUEST) is WrongAudience
    assert outcome(Verifier(exported, audience=None).verify, thumbs, REQUEST) is UnknownKey
    forged = issue(audience="thumbs", keyring=MasterKeyring([MasterKey("k1", b"x" * 32)]))
    root_key = KEYRING.root_key(identifier(audience="thumbs"))
    assert outcome(verify, forged, root_key, standard_checkers(), REQUEST) is BadSignature


def test_an_exported_keyring_survives_json():
    exported = ring(V, A, P, R).export("photos")
    members = json.loads(json.dumps(exported.to_json()))
    again = AudienceKeyring.from_json(members)
    assert again.keys == exported.keys
    assert again.audience == "photos"
    assert again.to_json() == members
    assert [key.state for key in again.keys] == [V, A, P]


KEY = {"id": "k1", "state": "active", "key": "bW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW0"}
NO_EXPORTS = [
    ("nothing", {}),
    ("list", []),
    ("null", None),
    ("text", "x"),
    ("no-keys", {"audience": "photos"}),
    ("keys-null", {"audience": "photos", "keys": None}),
    ("keys-object", {"audience": "photos", "keys": {}}),
    ("keys-of-text", {"audience": "photos", "keys": ["k1"]}),
    ("keys-of-null", {"audience": "photos", "keys": [None]}),
    ("audience-null", {"audience": None, "keys": [KEY]}),
    ("audience-upper", {"audience": "Photos", "keys": []}),
    ("no-id", {"audience": "photos", "keys": [{k: v for k, v in KEY.items() if k != "id"}]}),
    ("id-null", {"audience": "photos", "keys": [{**KEY, "id": None}]}),
    ("state-unknown", {"audience": "photos", "keys": [{**KEY, "state": "happy"}]}),
    ("state-list", {"audience": "photos", "keys": [{**KEY, "state": []}]}),
    ("key-null", {"audience": "photos", "keys": [{**KEY, "key": None}]}),
    ("key-number", {"audience": "photos", "keys": [{**KEY, "key": 7}]}),
    ("key-padded", {"audience": "photos", "keys": [{**KEY, "key": KEY["key"] + "="}]}),
    ("key-short", {"audience": "photos", "keys": [{**KEY, "key": "bW1t"}]}),
    ("key-zero", {"audience": "photos", "keys": [{**KEY, "key": "A" * 43}]}),
    ("twice", {"audience": "photos", "keys": [KEY, KEY]}),
]


@pytest.mark.parametrize("members", [row[1] for row in NO_EXPORTS], ids=[row[0] for row in NO_EXPORTS])
def test_what_is_no_exported_keyring_is_an_invalid_key(members):
    assert outcome(AudienceKeyring.from_json, members) is InvalidKey


def test_an_exported_row_as_it_should_be_is_read():
    assert AudienceKeyring.from_json({"audience": "photos", "keys": [KEY]}).keys[0].secret == b"m" * 32


def test_no_repr_and_no_error_shows_a_key():
    secret = bytes(range(64, 96))
    master = MasterKey("k7", secret)
    audience = master.audience_key("photos")
    ring_ = MasterKeyring([master])
    exported = ring_.export("photos")
    assert repr(master) == "MasterKey('k7', active)"
    assert repr(audience) == "AudienceKey('k7', 'photos', active)"
    assert repr(ring_) == "MasterKeyring(k7)"
    assert repr(exported) == "AudienceKeyring('photos', k7)"
    with pytest.raises(InvalidKey) as caught:
        MasterKey("k7", secret + b"x")
    assert "64" not in str(caught.value)
    assert repr(secret)[2:10] not in repr(caught.value)


def test_a_keyring_knows_which_keys_verify_and_shows_their_ids_alone():
    masters = [
        MasterKey("k1", b"1" * 32, KeyState.RETIRED),
        MasterKey("k2", b"2" * 32, KeyState.VERIFYING),
        MasterKey("k3", b"3" * 32),
    ]
    keyring = MasterKeyring(masters)
    for one in (keyring, keyring.export("photos")):
        assert [one.has_key(key_id) for key_id in ("k1", "k2", "k3", "k4")] == [False, True, True, False]
    assert repr(keyring) == "MasterKeyring(k2, k3)"
    assert repr(keyring.export("photos")) == "AudienceKeyring('photos', k2, k3)"
