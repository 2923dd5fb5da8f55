"""X25519 public keys of low order: with them everybody computes the same secret, so nobody takes one."""

from __future__ import annotations

import pytest
from nacl.bindings import crypto_box
from nacl.exceptions import CryptoError

from caveats import InvalidKey, PrivateKey, ThirdParty
from caveats.bakery import BakeryParty
from caveats.keys import check_box_key, is_box_key, open_box, seal_box

P = 2**255 - 19
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = tuple(number.to_bytes(32, "little") for number in (0, 1, P - 1, P, P + 1, *ORDER_8))
"""Every 32 bytes, the top bit apart, that stand for a point of order 1, 2, 4 or 8."""
WITH_TOP_BIT = tuple(key[:-1] + bytes((key[-1] | 0x80,)) for key in LOW_ORDER)


@pytest.mark.parametrize("key", [*LOW_ORDER, *WITH_TOP_BIT], ids=lambda key: key.hex()[:4] + key.hex()[-4:])
def test_a_public_key_of_low_order_is_refused_wherever_one_is_given(key: bytes) -> None:
    assert not is_box_key(key)
    for take in (
        check_box_key,
        lambda key: ThirdParty("https://a", key),
        lambda key: BakeryParty("https://a", key),
    ):
        with pytest.raises(InvalidKey):
            take(key)
    with pytest.raises(InvalidKey):
        seal_box(b"plain", key)
    mine = PrivateKey.generate()
    assert open_box(bytes(48), bytes(24), key, [mine]) is None
    with pytest.raises(CryptoError):  # libsodium says so too
        crypto_box(b"plain", bytes(24), key, mine.secret)


def test_every_other_public_key_is_taken() -> None:
    for _ in range(100):
        check_box_key(PrivateKey.generate().public_key)
    for number in (2, 9, P - 2, P + 2, P + 18):
        check_box_key(number.to_bytes(32, "little"))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes([9]) * 33, "9" * 32, bytearray([9]) * 32, None])
def test_what_is_not_32_bytes_is_no_key(key: object) -> None:
    with pytest.raises(InvalidKey):
        check_box_key(key)
