"""All cryptography of the token: derive, extend, seal, unseal, bind, branch. Knows bytes, knows no caveats.

The chain is the one of libmacaroons (Birgisson et al., "Macaroons", NDSS 2014): every step keys
HMAC-SHA256 with the signature before it. HMAC (RFC 2104) is spelled out over `hashlib.sha256`, with
the key pads made by table look-up, because that costs two thirds of `hmac.digest`; the Wycheproof and
RFC 4231 vectors hold it to the standard.

PyNaCl is imported when a third-party caveat's key is sealed or opened: other tokens do without, and the import takes
longer than all of this library's own.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

from caveats.errors import BadSignature, InvalidKey
from caveats.pickling import secret_tuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KEY_SIZE = 32
SIGNATURE_SIZE = 32
NONCE_SIZE = 24
VID_SIZE = NONCE_SIZE + 16 + KEY_SIZE
BRANCH_ID_SIZE = 16

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_BLOCK = 64
_INNER_REST = b"\x36" * (_BLOCK - KEY_SIZE)
_OUTER_REST = b"\x5c" * (_BLOCK - KEY_SIZE)


@secret_tuple
class Pads(NamedTuple):
    """A key as the two padded blocks (64 bytes each) of RFC 2104, for many HMACs."""

    inner: bytes
    outer: bytes

    def __repr__(self) -> str:
        return "Pads(...)"


def pads(key: bytes) -> Pads:
    """The two padded blocks of `key` (any length), as RFC 2104 defines them."""
    block = (sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return Pads(block.translate(_INNER), block.translate(_OUTER))


def mac(key: Pads, message: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104, FIPS 198-1) of `message` (any length): 32 bytes."""
    return sha256(key.outer + sha256(key.inner + message).digest()).digest()


_GENERATOR = pads(b"macaroons-key-generator")
_ZERO = pads(bytes(KEY_SIZE))


def derive_from(key: Pads, message: bytes) -> bytes:
    """The derived root key (32 bytes) of an identifier: `derive` of its HMAC under `key`."""
    return derive(mac(key, message))


def check_root_key(key: object) -> bytes:
    """`key` itself, if it can be a root key: bytes, not empty, not all zero. Raises `InvalidKey`."""
    if type(key) is not bytes or not key or not any(key):
        raise InvalidKey("a root key is bytes, not empty and not all zero")
    return key


def derive(root_key: bytes) -> bytes:
    """The key (32 bytes) that signs an identifier, from a root key of any length (libmacaroons)."""
    return mac(_GENERATOR, root_key)


def start(derived_key: bytes, identifier: bytes) -> bytes:
    """Signature 0 (32 bytes): the HMAC of the identifier under `derived_key` (32 bytes)."""
    return extend(derived_key, identifier)


def extend(signature: bytes, predicate: bytes) -> bytes:
    """The signature (32 bytes) after one more first-party caveat: the HMAC of `predicate` under `signature` (32 bytes)."""
    inner = sha256(signature.translate(_INNER) + _INNER_REST + predicate).digest()
    return sha256(signature.translate(_OUTER) + _OUTER_REST + inner).digest()


def extend_sealed(signature: bytes, vid: bytes, ticket: bytes) -> bytes:
    """The signature (32 bytes) after one more third-party caveat: the HMAC of the HMACs of `vid` (72 bytes) and `ticket`.

    Three HMACs under one key, written out: with `bind_to` a tenth of the cost of verifying a token with a discharge.
    """
    inner = signature.translate(_INNER) + _INNER_REST
    outer = signature.translate(_OUTER) + _OUTER_REST
    of_vid = sha256(outer + sha256(inner + vid).digest()).digest()
    of_ticket = sha256(outer + sha256(inner + ticket).digest()).digest()
    return sha256(outer + sha256(inner + of_vid + of_ticket).digest()).digest()


def extend_all(key: bytes, messages: Iterable[bytes]) -> list[bytes]:
    """The signature (32 bytes) after each of `messages`, beginning with `key` (32 bytes).

    `extend` in a loop, written out: a third of the cost of a verification, to which calls would add a tenth.
    """
    inner, outer, hash_, inner_rest, outer_rest = _INNER, _OUTER, sha256, _INNER_REST, _OUTER_REST
    signatures = []
    for message in messages:
        digest = hash_(key.translate(inner) + inner_rest + message).digest()
        key = hash_(key.translate(outer) + outer_rest + digest).digest()
        signatures.append(key)
    return signatures


def extend_links(key: bytes, links: Iterable[bytes | tuple[str, bytes, bytes]]) -> list[bytes]:
    """As `extend_all`, for caveats of both parties: a third-party caveat is location, vid (72 bytes) and ticket."""
    signatures = []
    for link in links:
        key = extend(key, link) if type(link) is bytes else extend_sealed(key, link[1], link[2])  # type: ignore[arg-type]
        signatures.append(key)
    return signatures


same = compare_digest
"""Whether two signatures are equal. The time it takes does not depend on where they differ."""


@cache
def _secretbox() -> tuple[Callable[..., bytes], Callable[..., bytes], type[Exception]]:
    """PyNaCl's functions to seal and to open, and the error of opening."""
    from nacl.bindings import crypto_secretbox, crypto_secretbox_open  # noqa: PLC0415  # see above
    from nacl.exceptions import CryptoError  # noqa: PLC0415

    return crypto_secretbox, crypto_secretbox_open, CryptoError


def seal(signature: bytes, derived_key: bytes, nonce: bytes) -> bytes:
    """The `vid` (72 bytes) of a third-party caveat: its derived key (32 bytes) in a secretbox under the signature so far.

    `nonce`: 24 bytes, never used twice with one macaroon.
    """
    return nonce + _secretbox()[0](derived_key, nonce, signature)


def unseal(signature: bytes, vid: bytes) -> bytes:
    """The derived caveat key (32 bytes) in a `vid` (72 bytes). Raises `BadSignature` if `signature` did not seal it."""
    _, open_secretbox, crypto_error = _secretbox()
    try:
        return open_secretbox(vid[NONCE_SIZE:], vid[:NONCE_SIZE], signature)
    except (crypto_error, ValueError):
        raise BadSignature("a third-party caveat's key does not open under this chain") from None


def caveat_key(root_key: bytes, info: bytes) -> bytes:
    """A third-party caveat's root key (32 bytes) that only a holder of `root_key` can compute."""
    return mac(pads(root_key), b"caveats/v1/third-party/" + info)


def bind(root_signature: bytes, discharge_signature: bytes) -> bytes:
    """The signature (32 bytes) of a discharge that is bound to the macaroon with `root_signature` (libmacaroons)."""
    return bind_to(binding(root_signature), discharge_signature)


def binding(root_signature: bytes) -> bytes:
    """The part of `bind` that is the same for all discharges of one macaroon: 32 bytes."""
    return mac(_ZERO, root_signature)


def bind_to(binding: bytes, discharge_signature: bytes) -> bytes:
    """As `bind`, with the result of `binding` in place of the root's signature."""
    inner, outer = _ZERO
    of_discharge = sha256(outer + sha256(inner + discharge_signature).digest()).digest()
    return sha256(outer + sha256(inner + binding + of_discharge).digest()).digest()


def branch_id(signature: bytes) -> bytes:
    """The public name of a branch, 16 bytes. The signature, a live credential, cannot be computed from it."""
    return extend(signature, b"caveats/v1/branch")[:BRANCH_ID_SIZE]
