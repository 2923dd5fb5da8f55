"""A bakery's tickets, versions 1 to 3, to bytes and back: strict and bounded. Knows NaCl boxes, judges nothing.

Version 1 is base64 of JSON: both public keys, the nonce, and a box with JSON {RootKey, Condition}. Versions 2 and 3
are bytes: version, the first four of the third party's public key, the first party's public key, nonce, box; and
in the box version, root key, in version 3 a namespace, and the condition. Lengths are varints in their shortest form.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caveats.bakery.namespace import STANDARD, Namespace
from caveats.errors import MalformedCaveat, MalformedTicket, MalformedToken
from caveats.keys.boxes import BOX_KEY_SIZE, BOX_NONCE_SIZE, open_box, seal_box
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.pickling import Secret
from caveats.third_party.ticket import ThirdParty
from caveats.token.legacy import decode_any_base64, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caveats.keys.boxes import PrivateKey

V1, V2, V3 = 1, 2, 3
CAVEAT_KEY_SIZE = 24
"""Bytes of the root key of a caveat that a bakery makes. Bakeries read keys of other sizes."""

_PREFIX_SIZE = 4
_FIRST_PARTY_AT = 1 + _PREFIX_SIZE
_NONCE_AT = _FIRST_PARTY_AT + BOX_KEY_SIZE
_BOX_AT = _NONCE_AT + BOX_NONCE_SIZE
_BOX_OVERHEAD = 16
_OUTER = ("ThirdPartyPublicKey", "FirstPartyPublicKey", "Nonce", "Id")
_INNER = ("RootKey", "Condition")
_NEED_DECLARED = "need-declared"
_MOST_DECLARED, _LONGEST_NAME = 32, 256
"""At most 32 names of 256 characters: a discharge that declares them all keeps its limits."""


@dataclass(frozen=True, slots=True)
class BakeryParty(ThirdParty):
    """A third party that speaks the bakery's protocol up to `version`. Raises `MalformedCaveat`, `InvalidKey`."""

    version: int = V3

    def __post_init__(self) -> None:
        ThirdParty.__post_init__(self)
        if self.version not in (V1, V2, V3):
            raise MalformedCaveat("the version of a bakery is 1, 2 or 3")


@dataclass(frozen=True, slots=True)
class BakeryTicket(Secret):
    """The contents of a bakery's ticket, as the third party that it was made for reads them."""

    identifier: bytes
    """The identifier of the discharge: the ticket itself or, if it was sent beside the macaroon, its name in the caveat."""
    payload: bytes
    version: int
    written: str
    """The condition as written: perhaps with `need-declared` or `<` before it. See `condition`."""
    caveat_key: bytes
    namespace: Namespace
    first_party: bytes
    """The public key of the party that made the ticket, 32 bytes."""

    @property
    def declared(self) -> tuple[str, ...]:
        """The names that the discharge must declare, at least as empty. Raises `MalformedTicket`."""
        return self._unwrapped()[0]

    @property
    def condition(self) -> str:
        """The condition to judge. Raises `MalformedTicket`."""
        return self._unwrapped()[1].removeprefix("<")

    @property
    def legacy(self) -> bool:
        """Whether the condition has `<` before it, which asks for the oldest kind of interaction. Raises `MalformedTicket`."""
        return self._unwrapped()[1].startswith("<")

    def _unwrapped(self) -> tuple[tuple[str, ...], str]:
        word, _, rest = self.written.partition(" ")
        if word != _NEED_DECLARED:
            return (), self.written
        names, space, condition = rest.partition(" ")
        listed = tuple(names.split(","))
        if not space or not condition or not all(map(_is_name, listed)):
            raise MalformedTicket("need-declared reads: names with commas between, a space, a condition")
        if len(listed) > _MOST_DECLARED:
            raise MalformedTicket(f"a discharge declares at most {_MOST_DECLARED} names")
        return listed, condition

    def __repr__(self) -> str:
        return f"BakeryTicket(version={self.version}, condition={self.written!r})"


def need_declared(condition: str, names: Sequence[str]) -> str:
    """`condition` as a ticket has it if the discharge must declare `names`. Raises `MalformedCaveat`."""
    if not names:
        return condition
    if len(names) > _MOST_DECLARED or not all(map(_is_name, names)):
        raise MalformedCaveat(f"declared must list at most {_MOST_DECLARED} names, without spaces and commas")
    return f"{_NEED_DECLARED} {','.join(names)} {condition}"


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and not {" ", ","} & set(name)


def seal_ticket(
    party: BakeryParty,
    condition: str,
    caveat_key: bytes,
    *,
    namespace: Namespace = STANDARD,
    first_party: PrivateKey | None = None,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """A ticket in the version of `party`. `caveat_key`: the root key of the discharge, `CAVEAT_KEY_SIZE` bytes.

    `first_party`: the key that makes the ticket; a fresh one unless given. Raises `MalformedCaveat`, `InvalidKey`.
    """
    try:
        asked = condition.encode()
    except UnicodeEncodeError:
        raise MalformedCaveat("a condition must be text that UTF-8 can encode") from None
    if party.version == V1:
        plain = _write_json(_INNER, (_base64(caveat_key), condition))
        public, nonce, box = seal_box(plain, party.public_key, first_party, random=random)
        outer = _write_json(_OUTER, map(_base64, (party.public_key, public, nonce, box)))
        return b64encode(outer)
    inner = bytearray((party.version,))
    _put(inner, caveat_key)
    if party.version == V3:
        _put(inner, str(namespace).encode())
    inner += asked
    public, nonce, box = seal_box(bytes(inner), party.public_key, first_party, random=random)
    return bytes((party.version,)) + party.public_key[:_PREFIX_SIZE] + public + nonce + box


def open_ticket(
    payload: bytes,
    *private_keys: PrivateKey,
    identifier: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> BakeryTicket:
    """The contents of the ticket, opened with the key that it names.

    `identifier`: the name in the caveat, if the ticket was sent beside the macaroon. Raises `MalformedTicket` for a
    ticket that is malformed, cut off, longer than `limits.ticket` bytes or for another party, and for a mere name.
    """
    if len(payload) > limits.ticket or (identifier is not None and len(identifier) > limits.ticket):
        raise MalformedTicket(f"a ticket has at most {limits.ticket} bytes")
    identifier = payload if identifier is None else identifier
    match payload[:1]:
        case b"e":
            return _open_v1(payload, private_keys, identifier)
        case b"\x02" | b"\x03":
            return _open_v2_v3(payload, private_keys, identifier)
        case _:
            raise MalformedTicket("not a bakery's ticket")


def _open_v1(payload: bytes, private_keys: Sequence[PrivateKey], identifier: bytes) -> BakeryTicket:
    try:
        identifier.decode()  # JSON of version 1 holds text only
        outer = decode_any_base64(payload.decode("ascii"))
        third, first, nonce, box = map(decode_any_base64, _read_json(outer, _OUTER))
    except (MalformedToken, UnicodeDecodeError):
        raise MalformedTicket("not a bakery's ticket of version 1") from None
    keys = [key for key in private_keys if key.public_key == third]
    if not keys or len(first) != BOX_KEY_SIZE or len(nonce) != BOX_NONCE_SIZE:
        raise MalformedTicket("a ticket for another third party, or damaged")
    plain = _opened(box, nonce, first, keys)
    try:
        root_key, condition = _read_json(plain, _INNER)
        caveat_key = decode_any_base64(root_key)
        return _checked(BakeryTicket(identifier, payload, V1, condition, caveat_key, STANDARD, first))
    except MalformedToken:
        raise MalformedTicket("the contents of the ticket are malformed") from None


def _open_v2_v3(payload: bytes, private_keys: Sequence[PrivateKey], identifier: bytes) -> BakeryTicket:
    version = payload[0]
    if len(payload) <= _BOX_AT + _BOX_OVERHEAD:
        raise MalformedTicket("the ticket is cut off, or is only a name whose payload was not sent")
    keys = [key for key in private_keys if key.public_key[:_PREFIX_SIZE] == payload[1:_FIRST_PARTY_AT]]
    first = payload[_FIRST_PARTY_AT:_NONCE_AT]
    plain = _opened(payload[_BOX_AT:], payload[_NONCE_AT:_BOX_AT], first, keys)
    namespace = STANDARD
    try:
        if plain[:1] != payload[:1]:
            raise MalformedTicket("a ticket of one version in one of another")
        caveat_key, at = _take(plain, 1)
        if version == V3:
            text, at = _take(plain, at)
            namespace = Namespace.parse(text.decode())
        condition = plain[at:].decode()
        return _checked(BakeryTicket(identifier, payload, version, condition, caveat_key, namespace, first))
    except (MalformedToken, UnicodeDecodeError):
        raise MalformedTicket("the contents of the ticket are malformed") from None


def _opened(box: bytes, nonce: bytes, public_key: bytes, private_keys: Sequence[PrivateKey]) -> bytes:
    plain = open_box(box, nonce, public_key, private_keys)
    if plain is None:
        raise MalformedTicket("not a ticket for this third party, or damaged")
    return plain


def _checked(ticket: BakeryTicket) -> BakeryTicket:
    if not any(ticket.caveat_key):
        raise MalformedTicket("the ticket holds no key")
    if any("\ud800" <= character <= "\udfff" for character in ticket.written):
        raise MalformedTicket("a condition must be text that UTF-8 can encode")
    return ticket


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _write_json(names: tuple[str, ...], values: Any) -> bytes:
    return json.dumps(dict(zip(names, values, strict=True)), separators=(",", ":")).encode()


def _read_json(data: bytes, names: tuple[str, ...]) -> list[str]:
    """The values of exactly these members, all of them text. Raises `MalformedTicket`."""
    try:
        members = read_json(data.decode())
    except UnicodeDecodeError:
        raise MalformedTicket("JSON is UTF-8") from None
    if type(members) is not dict or members.keys() != set(names):
        raise MalformedTicket("other members than a ticket's")
    values = [members[name] for name in names]
    if any(type(value) is not str for value in values):
        raise MalformedTicket("a member that is no text")
    return values


def put_varint(out: bytearray, number: int) -> None:
    """Append `number` as a varint: seven bits in each byte, the lowest first."""
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _put(out: bytearray, data: bytes) -> None:
    put_varint(out, len(data))
    out += data


def _take(data: bytes, at: int) -> tuple[bytes, int]:
    """The bytes whose length is at index `at`, and the index after them. Raises `MalformedTicket`."""
    size = shift = 0
    while True:
        if at >= len(data) or shift > 14:
            raise MalformedTicket("a length that is cut off or too large")
        byte = data[at]
        at += 1
        size |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    if (shift and not byte) or at + size > len(data):
        raise MalformedTicket("a length that is not in its shortest form, or reaches past the end")
    return data[at : at + size], at + size
