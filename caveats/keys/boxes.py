"""X25519 key pairs, and the NaCl boxes that are made with them. Knows bytes, knows no ticket and no token.

PyNaCl is imported when a box or a key is made: reading or narrowing a token does not need it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats.errors import InvalidKey
from caveats.pickling import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BOX_KEY_SIZE = 32
"""Bytes of an X25519 key, public or private."""
BOX_NONCE_SIZE = 24
"""Bytes of a box's nonce."""
_LOW_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",  # 0, of order 4
        "0100000000000000000000000000000000000000000000000000000000000000",  # 1, of order 1
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",  # of order 8
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",  # of order 8
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # p - 1, of order 2
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # p, which is 0
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # p + 1, which is 1
    )
)
"""The points with which X25519 gives zero bytes to everybody (RFC 7748, section 6.1). The top bit does not count."""


@dataclass(frozen=True, slots=True)
class PrivateKey(Secret):
    """An X25519 private key (RFC 7748), 32 bytes, not all zero. Raises `InvalidKey`."""

    secret: bytes

    def __post_init__(self) -> None:
        if type(self.secret) is not bytes or len(self.secret) != BOX_KEY_SIZE or not any(self.secret):
            raise InvalidKey(f"an X25519 private key is {BOX_KEY_SIZE} bytes, not all zero")

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> PrivateKey:
        """A fresh key. `random(n)` returns n random bytes."""
        from nacl.bindings import crypto_box_seed_keypair  # noqa: PLC0415  # see above

        return cls(crypto_box_seed_keypair(random(BOX_KEY_SIZE))[1])

    @property
    def public_key(self) -> bytes:
        """The public key to hand out, 32 bytes."""
        from nacl.bindings import crypto_scalarmult_base  # noqa: PLC0415  # see above

        public: bytes = crypto_scalarmult_base(self.secret)
        return public

    def __repr__(self) -> str:
        return "PrivateKey(...)"


def check_box_key(key: object) -> None:
    """Raises `InvalidKey` unless `key` is an X25519 public key: 32 bytes, and no point of low order."""
    if not is_box_key(key):
        raise InvalidKey(
            f"an X25519 public key is {BOX_KEY_SIZE} bytes, and no point of low order (such as zero)"
        )


def is_box_key(key: object) -> bool:
    """Whether `key` is 32 bytes with which X25519 gives two parties a secret of their own."""
    if type(key) is not bytes or len(key) != BOX_KEY_SIZE:
        return False
    return key[:-1] + bytes((key[-1] & 0x7F,)) not in _LOW_ORDER


def seal_box(
    plain: bytes,
    public_key: bytes,
    private_key: PrivateKey | None = None,
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> tuple[bytes, bytes, bytes]:
    """The sender's public key (32 bytes), a nonce (24 bytes) and a NaCl box of `plain` for `public_key` (32 bytes).

    The sender is `private_key`, or else a fresh key. Raises `InvalidKey` for a `public_key` that X25519 cannot use.
    """
    from nacl.bindings import crypto_box  # noqa: PLC0415  # see above
    from nacl.exceptions import CryptoError  # noqa: PLC0415

    if private_key is None:
        private_key = PrivateKey.generate(random)
    nonce = random(BOX_NONCE_SIZE)
    try:
        return private_key.public_key, nonce, crypto_box(plain, nonce, public_key, private_key.secret)
    except (CryptoError, ValueError):
        raise InvalidKey("the public key is not a usable X25519 key") from None


def open_box(box: bytes, nonce: bytes, public_key: bytes, private_keys: Iterable[PrivateKey]) -> bytes | None:
    """The contents of a NaCl box that `public_key` sealed for one of `private_keys`. None if none of them opens it.

    `nonce`: 24 bytes. `public_key`: 32 bytes, the sender's.
    """
    from nacl.bindings import crypto_box_open  # noqa: PLC0415  # see above
    from nacl.exceptions import CryptoError  # noqa: PLC0415

    for private_key in private_keys:
        try:
            plain: bytes = crypto_box_open(box, nonce, public_key, private_key.secret)
        except (CryptoError, ValueError):
            continue
        return plain
    return None
