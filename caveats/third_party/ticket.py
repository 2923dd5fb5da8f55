"""Third parties: a ticket that only they can read, and the discharge that answers it. Knows NaCl boxes.

A ticket in this format is `0x43 0x01`, an ephemeral X25519 public key, a nonce, and a NaCl box. In the box are
the caveat's root key (32 bytes), an id (16), when the ticket expires (5: seconds, the highest byte first; 0 for
never), and texts, each after its length in two bytes: the location asked, the audience it is for, and any number
of conditions. Whoever holds the third party's private key opens it and may answer with a discharge macaroon.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nacl.bindings import (
    crypto_box,
    crypto_box_NONCEBYTES,
    crypto_box_open,
    crypto_box_seed_keypair,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError

from caveats.errors import InvalidKey, LimitExceeded, MalformedCaveat, MalformedTicket
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.token import chain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAGIC = b"\x43\x01"
KEY_SIZE = chain.KEY_SIZE
NONCE_SIZE = crypto_box_NONCEBYTES
_BOX_AT = len(_MAGIC) + KEY_SIZE + NONCE_SIZE
_ID_SIZE, _EXPIRES_SIZE, _LENGTH_SIZE = 16, 5, 2
_ID_AT = KEY_SIZE
_EXPIRES_AT = _ID_AT + _ID_SIZE
_TEXTS_AT = _EXPIRES_AT + _EXPIRES_SIZE
_END_OF_TIME = 2**37
"""A good deal before the calendars of `datetime` end."""


@dataclass(frozen=True, slots=True)
class ThirdParty:
    """A service that discharges: where it is, and its X25519 public key (32 bytes)."""

    location: str
    public_key: bytes

    def __post_init__(self) -> None:
        _check_key(self.public_key)
        if not self.location:
            raise MalformedCaveat("a third party has a location: whom would the holder ask?")


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A third party's X25519 private key."""

    secret: bytes

    def __post_init__(self) -> None:
        _check_key(self.secret)

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> PrivateKey:
        """A fresh key."""
        return cls(crypto_box_seed_keypair(random(KEY_SIZE))[1])

    @property
    def public_key(self) -> bytes:
        """The public key to hand out, 32 bytes."""
        public: bytes = crypto_scalarmult_base(self.secret)
        return public

    def __repr__(self) -> str:
        return "PrivateKey(...)"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a third party reads in a ticket that was made for it."""

    raw: bytes
    location: str
    audience: str
    expires_at: datetime | None
    ticket_id: str
    conditions: tuple[str, ...]
    caveat_key: bytes

    def __repr__(self) -> str:
        return f"Ticket(location={self.location!r}, ticket_id={self.ticket_id!r}, conditions={self.conditions!r})"


def _check_key(key: object) -> None:
    if type(key) is not bytes or len(key) != KEY_SIZE or not any(key):
        raise InvalidKey(f"an X25519 key is {KEY_SIZE} bytes, not all zero")


def seal_ticket(
    party: ThirdParty,
    conditions: tuple[str, ...],
    *,
    audience: str = "",
    expires_at: datetime | None = None,
    caveat_key: bytes | None = None,
    random: Callable[[int], bytes] = os.urandom,
) -> tuple[bytes, bytes]:
    """A ticket for `party`, and the caveat root key inside it. Needs only the party's public key."""
    if expires_at is not None and expires_at.utcoffset() is None:
        raise MalformedCaveat("a time is a datetime with a time zone")
    if caveat_key is None:
        caveat_key = random(KEY_SIZE)
    expires = 0 if expires_at is None else int(expires_at.timestamp())
    if expires_at is not None and not 0 < expires < _END_OF_TIME:
        raise MalformedCaveat("a ticket does not expire at such a time")
    plain = bytearray(caveat_key + random(_ID_SIZE) + expires.to_bytes(_EXPIRES_SIZE, "big"))
    for text in (party.location, audience, *conditions):
        plain += _written(text)
    public, nonce, box = seal_box(bytes(plain), party.public_key, random=random)
    return _MAGIC + public + nonce + box, caveat_key


def asserting_key(
    root_key: bytes, party: ThirdParty, identifier: bytes, nonce: bytes, what: str = "user"
) -> bytes:
    """The caveat root key of a party whose word on `what` the verifier believes: whoever chose it had `root_key`.

    `nonce`: the one in the caveat's `vid`. It makes the key that caveat's alone, so that the answer to one question
    can never stand in for the answer to another.
    """
    root_key = chain.check_root_key(root_key)
    return chain.caveat_key(root_key, what.encode() + b"\0" + party.public_key + nonce + identifier)


def is_ticket(data: bytes) -> bool:
    """Whether `data` looks like a ticket in this format, for this party or another."""
    return data.startswith(_MAGIC)


def open_ticket(ticket: bytes, *private_keys: PrivateKey, limits: Limits = DEFAULT_LIMITS) -> Ticket:
    """What the ticket asks, opened with the first of the keys that fits.

    Raises `MalformedTicket` for garbage, a cut ticket, one that is too long, or one made for another party.
    """
    if len(ticket) <= _BOX_AT or not is_ticket(ticket):
        raise MalformedTicket("not a ticket")
    if len(ticket) > limits.ticket:
        raise MalformedTicket(f"a ticket has at most {limits.ticket} bytes")
    public = ticket[len(_MAGIC) : len(_MAGIC) + KEY_SIZE]
    nonce = ticket[len(_MAGIC) + KEY_SIZE : _BOX_AT]
    plain = open_box(ticket[_BOX_AT:], nonce, public, private_keys)
    caveat_key, expires = plain[:_ID_AT], int.from_bytes(plain[_EXPIRES_AT:_TEXTS_AT], "big")
    if len(plain) < _TEXTS_AT or not any(caveat_key) or expires >= _END_OF_TIME:
        raise MalformedTicket("a ticket that holds something else")
    texts = _read_texts(plain[_TEXTS_AT:])
    if len(texts) < 2:
        raise MalformedTicket("a ticket that lacks its location or audience")
    return Ticket(
        raw=ticket,
        location=texts[0],
        audience=texts[1],
        expires_at=datetime.fromtimestamp(expires, UTC) if expires else None,
        ticket_id=plain[_ID_AT:_EXPIRES_AT].hex(),
        conditions=tuple(texts[2:]),
        caveat_key=caveat_key,
    )


def seal_box(
    plain: bytes,
    public_key: bytes,
    private_key: PrivateKey | None = None,
    *,
    random: Callable[[int], bytes] = os.urandom,
) -> tuple[bytes, bytes, bytes]:
    """A public key, a nonce and a NaCl box for `public_key`; from a fresh key unless one is given."""
    if private_key is None:
        private_key = PrivateKey.generate(random)
    nonce = random(NONCE_SIZE)
    try:
        return private_key.public_key, nonce, crypto_box(plain, nonce, public_key, private_key.secret)
    except CryptoError:
        raise InvalidKey("that public key is not a point that a box can be made for") from None


def open_box(box: bytes, nonce: bytes, public_key: bytes, private_keys: Sequence[PrivateKey]) -> bytes:
    """What is in a NaCl box for one of `private_keys`. Raises `MalformedTicket`."""
    for private_key in private_keys:
        try:
            plain: bytes = crypto_box_open(box, nonce, public_key, private_key.secret)
        except (CryptoError, ValueError):
            continue
        return plain
    raise MalformedTicket("not a ticket for this third party, or damaged")


def _written(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise MalformedCaveat("what a ticket says can be written as UTF-8") from None
    if len(data) >= 1 << 8 * _LENGTH_SIZE:
        raise LimitExceeded("a text in a ticket has less than 64 KiB")
    return len(data).to_bytes(_LENGTH_SIZE, "big") + data


def _read_texts(data: bytes) -> list[str]:
    """The texts in a box. Anyone can make a box, so it is read like any hostile input."""
    texts, at = [], 0
    while at < len(data):
        end = at + _LENGTH_SIZE + int.from_bytes(data[at : at + _LENGTH_SIZE], "big")
        if at + _LENGTH_SIZE > len(data) or end > len(data):
            raise MalformedTicket("a ticket that holds something else")
        try:
            texts.append(data[at + _LENGTH_SIZE : end].decode())
        except UnicodeDecodeError:
            raise MalformedTicket("a ticket that holds something else") from None
        at = end
    return texts
