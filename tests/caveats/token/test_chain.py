"""All cryptography of the token, held to the published vectors and to `hmac`."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats import BadSignature, InvalidKey
from caveats.token import chain
from tests.support.law import outcome, vectors

HMAC = [
    pytest.param(group, test, id=f"tc{test['tcId']}")
    for group in vectors("wycheproof/hmac_sha256_test.json")["testGroups"]
    for test in group["tests"]
]


def test_there_are_174_hmac_vectors():
    assert len(HMAC) == 174


@pytest.mark.parametrize(("group", "test"), HMAC)
def test_hmac_vector(group, test):
    key, message, tag = (bytes.fromhex(test[name]) for name in ("key", "msg", "tag"))
    size = group["tagSize"] // 8
    valid = test["result"] == "valid"
    assert chain.same(chain.mac(chain.pads(key), message)[:size], tag) is valid
    if len(key) == chain.KEY_SIZE:
        assert chain.same(chain.extend(key, message)[:size], tag) is valid
        assert chain.same(chain.start(key, message)[:size], tag) is valid
        assert chain.same(chain.extend_all(key, [message])[0][:size], tag) is valid


RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
]


@pytest.mark.parametrize(("key", "message", "tag"), RFC_4231)
def test_rfc_4231_case(key, message, tag):
    assert chain.mac(chain.pads(key), message).hex() == tag


@given(key=st.binary(max_size=200), message=st.binary(max_size=300))
def test_mac_is_hmac_sha256(key, message):
    assert chain.mac(chain.pads(key), message) == hmac.digest(key, message, "sha256")


@given(key=st.binary(min_size=32, max_size=32), messages=st.lists(st.binary(max_size=100), max_size=6))
def test_extend_all_is_extend_in_a_loop(key, messages):
    expected = [key]
    for message in messages:
        expected.append(hmac.digest(expected[-1], message, "sha256"))
    assert chain.extend_all(key, messages) == expected[1:]
    assert all(
        chain.extend(before, m) == after
        for before, m, after in zip(expected, messages, expected[1:], strict=False)
    )


def test_derive_is_keyed_by_the_generator_string():
    assert chain.derive(b"key") == hmac.digest(b"macaroons-key-generator", b"key", "sha256")
    pads = chain.pads(b"k" * 32)
    assert chain.derive_from(pads, b"m") == chain.derive(chain.mac(pads, b"m"))


def test_bind_is_keyed_by_zeros():
    zero = bytes(32)
    parts = [hmac.digest(zero, part, "sha256") for part in (b"r" * 32, b"d" * 32)]
    assert chain.bind(b"r" * 32, b"d" * 32) == hmac.digest(zero, b"".join(parts), "sha256")


def test_a_branch_id_is_a_labelled_mac_and_not_the_signature():
    signature = b"s" * 32
    assert chain.branch_id(signature) == hmac.digest(signature, b"caveats/v1/branch", "sha256")[:16]


def test_what_is_sealed_opens_under_the_same_signature_only():
    vid = chain.seal(b"s" * 32, b"k" * 32, b"n" * 24)
    assert len(vid) == chain.VID_SIZE == 72
    assert chain.unseal(b"s" * 32, vid) == b"k" * 32
    assert outcome(chain.unseal, b"t" * 32, vid) is BadSignature
    assert outcome(chain.unseal, b"s" * 32, bytes(72)) is BadSignature
    for at in range(72):
        assert (
            outcome(chain.unseal, b"s" * 32, vid[:at] + bytes([vid[at] ^ 1]) + vid[at + 1 :]) is BadSignature
        )


@pytest.mark.parametrize(
    "key", [b"", bytes(1), bytes(32), bytes(64), None, "k" * 32, bytearray(b"k" * 32), 7, memoryview(b"k")]
)
def test_what_cannot_be_a_root_key_never_comes_near_an_hmac(key):
    assert outcome(chain.check_root_key, key) is InvalidKey


@pytest.mark.parametrize("key", [b"k", b"k" * 31, b"k" * 32, b"k" * 33, b"k" * 200])
def test_a_root_key_of_another_issuer_has_any_length(key):
    assert chain.check_root_key(key) is key


def test_pads_do_not_show_the_key():
    assert repr(chain.pads(b"secret")) == "Pads(...)"


def sha(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=72, max_size=72), st.binary(max_size=80))
def test_a_third_party_caveat_is_signed_by_the_macs_of_its_two_halves(signature, vid, ticket):
    expected = sha(signature, sha(signature, vid) + sha(signature, ticket))
    assert chain.extend_sealed(signature, vid, ticket) == expected


def test_links_of_both_parties_are_signed_in_turn_each_its_own_way():
    key, vid = b"k" * 32, b"v" * 72
    first = sha(key, b"one")
    second = sha(first, sha(first, vid) + sha(first, b"ticket"))
    links = [b"one", ("https://third.example", vid, b"ticket"), b"two"]
    assert chain.extend_links(key, links) == [first, second, sha(second, b"two")]


def test_a_caveat_key_is_a_labelled_mac_of_what_it_is_for():
    assert chain.caveat_key(b"k" * 32, b"about") == sha(b"k" * 32, b"caveats/v1/third-party/about")


@pytest.mark.parametrize("size", [63, 64, 65])
def test_a_key_is_hashed_only_beyond_a_block(size):
    key = bytes(range(size))
    assert chain.mac(chain.pads(key), b"message") == sha(key, b"message")
