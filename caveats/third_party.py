"""Third parties: a ticket that only they can read, and the discharge that answers it. Knows NaCl boxes.

A ticket in this format is `0x43 0x01`, an ephemeral X25519 public key, a nonce, and a NaCl box that holds the
caveat's root key, the location asked, the audience it is for, when the ticket expires, an id, and the
conditions, as JSON in one spelling. Whoever holds the third party's private key opens it and may answer
with a discharge macaroon.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nacl.bindings import (
    crypto_box,
    crypto_box_NONCEBYTES,
    crypto_box_open,
    crypto_box_seed_keypair,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError

from caveats import chain
from caveats.errors import InvalidKey, MalformedCaveat, MalformedTicket, MalformedToken
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.wire import decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAGIC = b"\x43\x01"
KEY_SIZE = chain.KEY_SIZE
NONCE_SIZE = crypto_box_NONCEBYTES
_BOX_AT = len(_MAGIC) + KEY_SIZE + NONCE_SIZE
_MEMBERS = {"key": str, "location": str, "audience": str, "expires": int, "id": str, "conditions": list}


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
    plain = {
        "key": encode_base64(caveat_key),
        "location": party.location,
        "audience": audience,
        "expires": int(expires_at.timestamp()) if expires_at else 0,
        "id": random(16).hex(),
        "conditions": list(conditions),
    }
    if not all(map(_is_text, (party.location, audience, *conditions))):
        raise MalformedCaveat("what a ticket says can be written as UTF-8")
    public, nonce, box = seal_box(_write(plain), party.public_key, random=random)
    return _MAGIC + public + nonce + box, caveat_key


def asserting_key(root_key: bytes, party: ThirdParty, identifier: bytes, what: str = "user") -> bytes:
    """The caveat root key of a party whose word on `what` the verifier believes: whoever chose it had `root_key`."""
    root_key = chain.check_root_key(root_key)
    return chain.caveat_key(root_key, what.encode() + b"\0" + party.public_key + identifier)


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
    members = _read_plain(open_box(ticket[_BOX_AT:], nonce, public, private_keys))
    return Ticket(
        raw=ticket,
        location=members["location"],
        audience=members["audience"],
        expires_at=datetime.fromtimestamp(members["expires"], UTC) if members["expires"] else None,
        ticket_id=members["id"],
        conditions=tuple(members["conditions"]),
        caveat_key=_caveat_key(members["key"]),
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


def _write(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode()


def _read_plain(plain: bytes) -> dict[str, Any]:
    """The members of the box. Anyone can make a box, so it is read like any hostile input."""
    try:
        members = json.loads(plain)
        well_formed = (
            type(members) is dict
            and members.keys() == _MEMBERS.keys()
            and all(type(members[name]) is kind for name, kind in _MEMBERS.items())
            and all(type(condition) is str for condition in members["conditions"])
            and 0 <= members["expires"] < 2**37
            and all(
                map(
                    _is_text,
                    (members["location"], members["audience"], members["id"], *members["conditions"]),
                )
            )
            and _write({name: members[name] for name in _MEMBERS}) == plain
        )
    except (ValueError, RecursionError):
        raise MalformedTicket("a ticket that holds something else") from None
    if not well_formed:
        raise MalformedTicket("a ticket that holds something else")
    return dict(members)


def _is_text(text: str) -> bool:
    """Whether `text` can be written: JSON may hold halves of characters."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _caveat_key(text: str) -> bytes:
    try:
        key = decode_base64(text)
    except MalformedToken:
        raise MalformedTicket("a ticket that holds no key") from None
    if len(key) != KEY_SIZE or not any(key):
        raise MalformedTicket("a ticket that holds no key")
    return key
