"""X25519 key pairs, and the NaCl boxes that are made with them. Knows bytes, knows no ticket and no token.

PyNaCl is imported when a box or a key is made: reading or narrowing a token does not need it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats.errors import InvalidKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BOX_KEY_SIZE = 32
"""Bytes of an X25519 key, public or private."""
BOX_NONCE_SIZE = 24
"""Bytes of a box's nonce."""


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An X25519 private key (RFC 7748), 32 bytes, not all zero. Raises `InvalidKey`."""

    secret: bytes

    def __post_init__(self) -> None:
        check_box_key(self.secret)

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
    """Raises `InvalidKey` unless `key` is 32 bytes, not all zero."""
    if type(key) is not bytes or len(key) != BOX_KEY_SIZE or not any(key):
        raise InvalidKey(f"an X25519 key is {BOX_KEY_SIZE} bytes, not all zero")


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
