"""Tickets: the question to a third party, sealed so that only it can read it. Knows boxes, judges nothing.

A ticket in this format is `0x43 0x01`, an ephemeral X25519 public key (32 bytes), a nonce (24) and a NaCl box. The box
holds the caveat's root key (32 bytes), an id (16), the expiry (5: seconds since 1970, highest byte first; 0 for never),
and texts, each after its length (2): the party's location, the audience that asks, and any number of conditions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from caveats.errors import LimitExceeded, MalformedCaveat, MalformedTicket
from caveats.keys.boxes import BOX_KEY_SIZE, BOX_NONCE_SIZE, check_box_key, open_box, seal_box
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.pickling import Secret
from caveats.token import chain

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats.keys.boxes import PrivateKey

_MAGIC = b"\x43\x01"
_BOX_AT = len(_MAGIC) + BOX_KEY_SIZE + BOX_NONCE_SIZE
_ID_SIZE, _EXPIRES_SIZE, _LENGTH_SIZE = 16, 5, 2
_ID_AT = chain.KEY_SIZE
_EXPIRES_AT = _ID_AT + _ID_SIZE
_TEXTS_AT = _EXPIRES_AT + _EXPIRES_SIZE
_END_OF_TIME = 2**37
"""A second of the year 6325: `datetime` holds it in every time zone."""


@dataclass(frozen=True, slots=True)
class ThirdParty:
    """A service that discharges: its location and its X25519 public key (32 bytes). Raises `InvalidKey`."""

    location: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_box_key(self.public_key)
        if not self.location:
            raise MalformedCaveat("a third party must have a location, where holders ask for discharges")

    def seal_ticket(
        self,
        conditions: tuple[str, ...] = (),
        *,
        audience: str = "",
        expires_at: datetime | None = None,
        caveat_key: bytes | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> tuple[bytes, bytes]:
        """A ticket that only this party can open, and the caveat root key (32 bytes) inside it.

        `audience`: the name of the audience that asks, or empty. `expires_at`: with a time zone, rounded down to
        seconds; None for never. `caveat_key`: 32 bytes, random unless given. Raises `MalformedCaveat` for a time or
        text that a ticket cannot hold, `LimitExceeded` for a text of 64 KiB or more, `InvalidKey` for a public key
        that X25519 cannot use.
        """
        if expires_at is not None and expires_at.utcoffset() is None:
            raise MalformedCaveat("a time is a datetime with a time zone")
        if caveat_key is None:
            caveat_key = random(chain.KEY_SIZE)
        expires = 0 if expires_at is None else int(expires_at.timestamp())
        if expires_at is not None and not 0 < expires < _END_OF_TIME:
            raise MalformedCaveat("a ticket's expiry must be after 1970 and before the year 6325")
        plain = bytearray(caveat_key + random(_ID_SIZE) + expires.to_bytes(_EXPIRES_SIZE, "big"))
        for text in (self.location, audience, *conditions):
            plain += _written(text)
        public, nonce, box = seal_box(bytes(plain), self.public_key, random=random)
        return _MAGIC + public + nonce + box, caveat_key

    def asserting_key(self, root_key: bytes, identifier: bytes, nonce: bytes, what: str = "user") -> bytes:
        """The caveat root key (32 bytes) with which a verifier believes this party's word on `what`.

        `root_key` and `identifier`: the macaroon's; only a holder of `root_key` can compute the key. `nonce`: the 24
        bytes in the caveat's `vid`, different for each caveat, so that the discharge of one caveat is never taken for
        the discharge of another. Raises `InvalidKey`.
        """
        root_key = chain.check_root_key(root_key)
        return chain.caveat_key(root_key, what.encode() + b"\0" + self.public_key + nonce + identifier)


@dataclass(frozen=True, slots=True)
class Ticket(Secret):
    """The contents of a ticket, as the third party that it was made for reads them."""

    raw: bytes
    """The ticket as it came: the identifier of the discharge that answers it."""
    location: str
    """The location of the third party that the ticket was made for."""
    audience: str
    """The audience that asks, or empty."""
    expires_at: datetime | None
    """From when on no discharge is made: UTC, whole seconds. None for never."""
    ticket_id: str
    """16 bytes in hex."""
    conditions: tuple[str, ...]
    """Predicates that the asker must satisfy."""
    caveat_key: bytes
    """The discharge's root key, 32 bytes: never log, return or store it."""

    def __repr__(self) -> str:
        return f"Ticket(location={self.location!r}, ticket_id={self.ticket_id!r}, conditions={self.conditions!r})"


def is_ticket(data: bytes) -> bool:
    """Whether `data` looks like a ticket in this format, for this party or another."""
    return data.startswith(_MAGIC)


def open_ticket(ticket: bytes, *private_keys: PrivateKey, limits: Limits = DEFAULT_LIMITS) -> Ticket:
    """The contents of the ticket, opened with the first key that fits.

    Raises `MalformedTicket` for a ticket that is malformed, cut off, longer than `limits.ticket` bytes, or made for
    another party.
    """
    if len(ticket) <= _BOX_AT or not is_ticket(ticket):
        raise MalformedTicket("not a ticket")
    if len(ticket) > limits.ticket:
        raise MalformedTicket(f"a ticket has at most {limits.ticket} bytes")
    public = ticket[len(_MAGIC) : len(_MAGIC) + BOX_KEY_SIZE]
    nonce = ticket[len(_MAGIC) + BOX_KEY_SIZE : _BOX_AT]
    plain = open_box(ticket[_BOX_AT:], nonce, public, private_keys)
    if plain is None:
        raise MalformedTicket("not a ticket for this third party, or damaged")
    caveat_key, expires = plain[:_ID_AT], int.from_bytes(plain[_EXPIRES_AT:_TEXTS_AT], "big")
    if len(plain) < _TEXTS_AT or not any(caveat_key) or expires >= _END_OF_TIME:
        raise MalformedTicket("the contents of the ticket are malformed")
    texts = _read_texts(plain[_TEXTS_AT:])
    if len(texts) < 2:
        raise MalformedTicket("the ticket lacks its location or its audience")
    return Ticket(
        raw=ticket,
        location=texts[0],
        audience=texts[1],
        expires_at=datetime.fromtimestamp(expires, UTC) if expires else None,
        ticket_id=plain[_ID_AT:_EXPIRES_AT].hex(),
        conditions=tuple(texts[2:]),
        caveat_key=caveat_key,
    )


def _written(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise MalformedCaveat("a text in a ticket must be one that UTF-8 can encode") from None
    if len(data) >= 1 << 8 * _LENGTH_SIZE:
        raise LimitExceeded("a text in a ticket has less than 64 KiB")
    return len(data).to_bytes(_LENGTH_SIZE, "big") + data


def _read_texts(data: bytes) -> list[str]:
    """The texts in a box. Anybody can make a box: a length may be wrong. Raises `MalformedTicket`."""
    texts, at = [], 0
    while at < len(data):
        end = at + _LENGTH_SIZE + int.from_bytes(data[at : at + _LENGTH_SIZE], "big")
        if at + _LENGTH_SIZE > len(data) or end > len(data):
            raise MalformedTicket("the contents of the ticket are malformed")
        try:
            texts.append(data[at + _LENGTH_SIZE : end].decode())
        except UnicodeDecodeError:
            raise MalformedTicket("the contents of the ticket are malformed") from None
        at = end
    return texts
