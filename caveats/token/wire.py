"""Bytes and text to fields and back: strict and canonical. Knows the encodings, knows no keys.

Binary is the libmacaroons v2 format; the profile on top asks for minimal varints, fields in order,
a 32-byte signature, a 72-byte vid, and nothing left over, so that a macaroon has exactly one encoding.
Text is `cav1_`, base64url without padding, and six base62 characters of a CRC-32. Bare base64url is
read too, with one tolerance: the empty location field that pymacaroons writes.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import crc32
from typing import NamedTuple

from pybase64 import b64decode, b64encode

from caveats.errors import DamagedToken, LimitExceeded, MalformedToken
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.token.chain import SIGNATURE_SIZE, VID_SIZE
from caveats.token.tuples import new_tuple

PREFIX = "cav1_"
CHECKSUM_SIZE = 6
SEPARATOR = "."

_PREFIX_SIZE = len(PREFIX)
_CRC_OF_PREFIX = crc32(PREFIX.encode())
_VERSION = 2
_EOS, _LOCATION, _IDENTIFIER, _VID, _SIGNATURE = 0, 1, 2, 4, 6
_TAIL = SIGNATURE_SIZE + 2
_BEFORE_SIGNATURE = bytes((_EOS, _SIGNATURE, SIGNATURE_SIZE))

_DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [bytes((high, low)) for high in _DIGITS for low in _DIGITS]
_DECODE = bytes.maketrans(b"-_+/=", b"+/\0\0\0")
_ENCODE = bytes.maketrans(b"+/", b"-_")
_ALPHABET = frozenset(
    bytes((c,)) for c in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)
_ENDS = (  # by length modulo 4: the padding left out, and which characters leave no spare bits
    (b"", _ALPHABET),
    (b"", frozenset[bytes]()),
    (b"==", frozenset(bytes((c,)) for c in b"AQgw")),
    (b"=", frozenset(bytes((c,)) for c in b"AEIMQUYcgkosw048")),
)


class ThirdPartyCaveat(NamedTuple):
    """A third-party caveat: the party's location, the sealed key (`vid`, 72 bytes), and the ticket to show to it."""

    location: str
    vid: bytes
    ticket: bytes

    def __repr__(self) -> str:
        return f"ThirdPartyCaveat(location={self.location!r})"


class WireMacaroon(NamedTuple):
    """The parts of a macaroon. A first-party caveat is the bytes of its predicate; the signature has 32 bytes."""

    location: str
    identifier: bytes
    caveats: tuple[bytes | ThirdPartyCaveat, ...]
    signature: bytes

    def __repr__(self) -> str:
        return f"WireMacaroon(identifier={self.identifier!r}, {len(self.caveats)} caveats)"


def encode_text(fields: WireMacaroon) -> str:
    """The canonical text of a macaroon: `cav1_`, base64url, checksum."""
    body = PREFIX + encode_base64(encode_binary(fields))
    return body + checksum(body.encode("ascii")).decode("ascii")


def decode_text(text: str, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The fields of a `cav1_` text, or of base64url of the v2 binary.

    Raises `MalformedToken` (`DamagedToken` for a wrong checksum), `LimitExceeded`.
    """
    if len(text) > limits.token_text:
        raise LimitExceeded(f"a token text has at most {limits.token_text} characters")
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError:
        raise MalformedToken("a token text is ASCII") from None
    if text[:_PREFIX_SIZE] != PREFIX:
        try:
            data = _decode_base64(raw)
        except MalformedToken:  # most likely no token at all
            raise MalformedToken(
                "not a token: one begins with cav1_, or is base64url without padding"
            ) from None
        return decode_binary(data, limits, lenient_location=True)
    body = raw[_PREFIX_SIZE:-CHECKSUM_SIZE]
    if raw[-CHECKSUM_SIZE:] != checksum(body, _CRC_OF_PREFIX):
        raise DamagedToken("the token's checksum does not match: it was cut off or mistyped")
    return decode_binary(_decode_base64(body), limits)


def checksum(data: bytes, before: int = 0) -> bytes:
    """Six base62 characters (0-9A-Za-z, most significant first) of the CRC-32 of `data`.

    `before`: the CRC-32 of the bytes before `data`.
    """
    crc = crc32(data, before)
    return _PAIRS[crc // 14776336] + _PAIRS[crc // 3844 % 3844] + _PAIRS[crc % 3844]


def encode_base64(data: bytes) -> str:
    """base64url without padding (RFC 4648, section 5)."""
    return b64encode(data).rstrip(b"=").translate(_ENCODE).decode("ascii")


def decode_base64(text: str) -> bytes:
    """The inverse of `encode_base64`. Raises `MalformedToken` for padding, white space, spare bits and an empty text."""
    try:
        return _decode_base64(text.encode("ascii"))
    except UnicodeEncodeError:
        raise MalformedToken("base64url is ASCII") from None


def _decode_base64(raw: bytes) -> bytes:
    padding, last = _ENDS[len(raw) & 3]
    if raw[-1:] not in last:  # spare bits, an impossible length, or an empty text
        raise MalformedToken("not base64url without padding")
    try:
        return b64decode(raw.translate(_DECODE) + padding, validate=True)
    except Base64Error:
        raise MalformedToken("not base64url without padding") from None


def check_location(location: str) -> None:
    """Raises `MalformedToken` for text that UTF-8 cannot encode: half a surrogate pair."""
    try:
        location.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedToken("a location must be text that UTF-8 can encode") from None


def encode_binary(fields: WireMacaroon) -> bytes:
    """The v2 binary form (libmacaroons), the one encoding of these fields."""
    out = bytearray((_VERSION,))
    if fields.location:
        _put(out, _LOCATION, fields.location.encode("utf-8"))
    _put(out, _IDENTIFIER, fields.identifier)
    out.append(_EOS)
    for caveat in fields.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            if caveat.location:
                _put(out, _LOCATION, caveat.location.encode("utf-8"))
            _put(out, _IDENTIFIER, caveat.ticket)
            _put(out, _VID, caveat.vid)
        else:
            _put(out, _IDENTIFIER, caveat)
        out.append(_EOS)
    out.append(_EOS)
    _put(out, _SIGNATURE, fields.signature)
    return bytes(out)


def _put(out: bytearray, field: int, data: bytes) -> None:
    out.append(field)
    size = len(data)
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    out += data


def decode_binary(
    data: bytes, limits: Limits = DEFAULT_LIMITS, *, lenient_location: bool = False
) -> WireMacaroon:
    """The fields of the v2 binary form. `lenient_location` accepts the empty location that pymacaroons writes.

    Raises `MalformedToken`, `LimitExceeded`.
    """
    end = len(data) - _TAIL
    if end < 4 or data[0] != _VERSION:
        raise MalformedToken("not a version 2 macaroon")
    if data[end - 1 : end + 2] != _BEFORE_SIGNATURE:
        raise MalformedToken("a macaroon ends in a signature of 32 bytes")
    at, location = 1, ""
    if data[1] == _LOCATION:
        location, at = _take_location(data, at, end, lenient=lenient_location)
    if data[at] != _IDENTIFIER:
        raise MalformedToken("the identifier is missing or out of place")
    identifier, at = _take(data, at, end)
    if at >= end or data[at] != _EOS:
        raise MalformedToken("the header holds more than location and identifier")
    at += 1
    caveats: list[bytes | ThirdPartyCaveat] = []
    short = min(127, limits.predicate)
    while True:
        if at >= end:
            raise MalformedToken("the token is cut off among the caveats")
        field = data[at]
        if (
            field == _IDENTIFIER
        ):  # a short predicate and no vid, as nearly always: not calling saves 3 % of a verification
            size = data[at + 1]
            stop = at + 2 + size
            if size <= short and stop < end and not data[stop]:
                caveats.append(data[at + 2 : stop])
                at = stop + 1
                continue
        elif field == _EOS:
            break
        caveat, at = _take_caveat(data, at, end, limits, lenient=lenient_location)
        caveats.append(caveat)
        if len(caveats) > limits.caveats:
            break
    if len(caveats) > limits.caveats:
        raise LimitExceeded(f"a macaroon has at most {limits.caveats} caveats")
    if at + 1 != end:
        raise MalformedToken("bytes between the caveats and the signature")
    return new_tuple(WireMacaroon, (location, identifier, tuple(caveats), data[end + 2 :]))


def find_end(data: bytes, at: int = 0) -> int:
    """The index after the v2 binary that begins at `at`, for joined binaries. Raises `MalformedToken`."""
    end = len(data) - 2  # the last two bytes are a field's, never a field's type
    at += 1
    while at < end and data[at] != _SIGNATURE:
        if data[at] == _EOS:
            at += 1
        else:
            _, at = _take(data, at, end)
    if at >= end:
        raise MalformedToken("the binary token is cut off")
    return at + _TAIL


def _take_caveat(
    data: bytes, at: int, end: int, limits: Limits, *, lenient: bool
) -> tuple[bytes | ThirdPartyCaveat, int]:
    located = data[at] == _LOCATION
    location = ""
    if located:
        location, at = _take_location(data, at, end, lenient=lenient)
    if at >= end or data[at] != _IDENTIFIER:
        raise MalformedToken("a caveat has no identifier, or it is out of place")
    identifier, at = _take(data, at, end)
    vid = None
    if at < end and data[at] == _VID:
        stop = at + 2 + VID_SIZE
        if (
            stop < end and data[at + 1] == VID_SIZE
        ):  # as it must be; not calling saves 2 % of a token with a discharge
            vid, at = data[at + 2 : stop], stop
        else:
            vid, at = _take(data, at, end)
        if len(vid) != VID_SIZE:
            raise MalformedToken(f"a vid has {VID_SIZE} bytes")
    if at >= end or data[at] != _EOS:
        raise MalformedToken("a caveat holds an unknown, repeated or misplaced field, or is cut off")
    if vid is None:
        if located:
            raise MalformedToken("a first-party caveat has no location")
        if len(identifier) > limits.predicate:
            raise LimitExceeded(f"a predicate has at most {limits.predicate} bytes")
        return identifier, at + 1
    if len(identifier) > limits.ticket:
        raise LimitExceeded(f"a ticket has at most {limits.ticket} bytes")
    return ThirdPartyCaveat(location, vid, identifier), at + 1


def _take_location(data: bytes, at: int, end: int, *, lenient: bool) -> tuple[str, int]:
    size = data[at + 1]
    stop = at + 2 + size
    if size < 128 and stop <= end:  # as nearly all are; not calling saves 2 % of a token with a discharge
        location = data[at + 2 : stop]
    else:
        location, stop = _take(data, at, end)
    if not location and not lenient:
        raise MalformedToken("an empty location is left out")
    try:
        return location.decode("utf-8"), stop
    except UnicodeDecodeError:
        raise MalformedToken("a location is UTF-8") from None


def _take(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """The bytes of the field whose type byte is at `at`, and the index after the field."""
    size = data[at + 1]  # the signature comes after `end`, so that two more bytes exist
    at += 2
    if size > 127:
        more = data[at]
        at += 1
        if 0 < more < 128:
            size = size & 127 | more << 7
        else:
            size, at = _take_size(data, at - 2, end)
    stop = at + size
    if stop > end:
        raise MalformedToken("a field reaches past the end")
    return data[at:stop], stop


def _take_size(data: bytes, at: int, end: int) -> tuple[int, int]:
    size = shift = 0
    while True:
        if at >= end or shift > 14:  # three bytes count to two million, which no limit allows
            raise MalformedToken("a field's length is cut off or too large")
        byte = data[at]
        at += 1
        size |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    if not byte:
        raise MalformedToken("a field's length is not in its shortest form")
    return size, at
