"""The classic encodings (v1 binary, v1 JSON, v2 JSON) and pymacaroons objects, to and from fields.

pymacaroons reads, and one guard stands around it: a size cap before, any exception mapped, and what it
read must encode back to what came in, since on its own it forgives much. Knows no keys and no cav1 text.
"""

from __future__ import annotations

import json
from binascii import hexlify
from typing import TYPE_CHECKING, Any

import pymacaroons
from pymacaroons.caveat import Caveat as _Caveat
from pymacaroons.serializers import BinarySerializer, JsonSerializer

from caveats.errors import LimitExceeded, MalformedToken
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.token import wire
from caveats.token.chain import SIGNATURE_SIZE, VID_SIZE
from caveats.token.wire import ThirdPartyCaveat, WireMacaroon, decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable

_HEX_DIGITS = frozenset(b"0123456789abcdef")
_JSON_NAMES = {  # what each member is called: version 2, version 1
    "location": ("l", "location"),
    "identifier": ("i", "identifier"),
    "signature": ("s", "signature"),
    "caveats": ("c", "caveats"),
    "ticket": ("i", "cid"),
    "vid": ("v", "vid"),
    "caveat location": ("l", "cl"),
}
_ASKED = frozenset(("identifier", "signature", "ticket"))
_LEFT_OUT = frozenset(("vid", "caveat location"))


def is_legacy(text: str) -> bool:
    """Whether `text` looks like JSON or like base64 of the v1 binary form."""
    return text.startswith(("{", "MD"))


def decode_text(text: str, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The fields of a token's text in any encoding."""
    return decode_legacy(text, limits) if is_legacy(text) else wire.decode_text(text, limits)


def decode_legacy(text: str, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The fields of a v1 JSON, v2 JSON, or base64url v1 binary token."""
    if len(text) > limits.token_text:
        raise LimitExceeded(f"a token text has at most {limits.token_text} characters")
    if text.startswith("{"):
        return _within(limits, _decode_members(read_json(text)))
    return decode_v1(decode_base64(text), limits)


def decode_v1(data: bytes, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The fields of the v1 binary form."""
    if len(data) > limits.token_text:
        raise LimitExceeded(f"a token has at most {limits.token_text} bytes")
    if not data or data[0] not in _HEX_DIGITS:
        raise MalformedToken("not a version 1 macaroon")
    fields = _guard(BinarySerializer().deserialize_raw, data)
    if encode_v1(fields) != data:
        raise MalformedToken("not a canonical version 1 macaroon")
    return _within(limits, fields)


def find_end(data: bytes, at: int = 0) -> int:
    """Where the v1 binary ends that begins at `at`: for binaries one after the other, each to be decoded then."""
    while at < len(data):
        size = data[at : at + 4]
        if len(size) < 4 or not _HEX_DIGITS.issuperset(size):
            break
        end = at + max(int(size, 16), 5)
        if data[at + 4 : end].startswith(b"signature "):
            return end
        at = end
    raise MalformedToken("not a version 1 macaroon, or one that is cut off")


def encode_v1(fields: WireMacaroon) -> bytes:
    """The v1 binary form. Raises `LimitExceeded` for a part of over 64 KiB, which it cannot hold."""
    parts = [_packet(b"location", fields.location.encode("utf-8")), _packet(b"identifier", fields.identifier)]
    for caveat in fields.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            parts.append(_packet(b"cid", caveat.ticket))
            parts.append(_packet(b"vid", caveat.vid))
            parts.append(_packet(b"cl", caveat.location.encode("utf-8")))
        else:
            parts.append(_packet(b"cid", caveat))
    parts.append(_packet(b"signature", fields.signature))
    return b"".join(parts)


def _packet(key: bytes, data: bytes) -> bytes:
    size = 4 + len(key) + 1 + len(data) + 1
    if size > 0xFFFF:
        raise LimitExceeded("a version 1 packet has at most 65535 bytes")
    return b"%04x%b %b\n" % (size, key, data)


def from_pymacaroons(macaroon: pymacaroons.Macaroon, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The fields of a pymacaroons object."""
    return _within(limits, _guard(lambda same: same, macaroon))


def to_pymacaroons(fields: WireMacaroon) -> pymacaroons.Macaroon:
    """A pymacaroons object (version 2) with the same parts: narrow it there, come back, still the same chain."""
    caveats = []
    for caveat in fields.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            caveats.append(_Caveat(caveat.ticket, caveat.vid, caveat.location, pymacaroons.MACAROON_V2))
        else:
            caveats.append(_Caveat(caveat, None, None, pymacaroons.MACAROON_V2))
    return pymacaroons.Macaroon(
        location=fields.location,
        identifier=fields.identifier,
        caveats=caveats,
        signature=hexlify(fields.signature),
        version=pymacaroons.MACAROON_V2,
    )


def _guard(read: Callable[[Any], pymacaroons.Macaroon], source: object) -> WireMacaroon:
    """What pymacaroons reads from `source`, or `MalformedToken` whatever goes wrong in there."""
    try:
        macaroon = read(source)
        caveats: list[bytes | ThirdPartyCaveat] = []
        for caveat in macaroon.caveats:
            vid = caveat.verification_key_id
            if vid is None:
                if caveat.location is not None:
                    raise MalformedToken("a first-party caveat has no location")
                caveats.append(bytes(caveat.caveat_id_bytes))
            else:
                caveats.append(
                    ThirdPartyCaveat(caveat.location or "", bytes(vid), bytes(caveat.caveat_id_bytes))
                )
        signature = bytes.fromhex(macaroon.signature)
        identifier = bytes(macaroon.identifier_bytes)
        location = str(macaroon.location)
    except Exception:  # noqa: BLE001  # the guard: whatever pymacaroons answers bad input with, tokens in it
        raise MalformedToken("not a macaroon in a classic encoding") from None
    if len(signature) != SIGNATURE_SIZE:
        raise MalformedToken(f"a signature has {SIGNATURE_SIZE} bytes")
    if any(isinstance(caveat, ThirdPartyCaveat) and len(caveat.vid) != VID_SIZE for caveat in caveats):
        raise MalformedToken(f"a vid has {VID_SIZE} bytes")
    return WireMacaroon(location, identifier, tuple(caveats), signature)


def _within(limits: Limits, fields: WireMacaroon) -> WireMacaroon:
    if len(fields.caveats) > limits.caveats:
        raise LimitExceeded(f"a macaroon has at most {limits.caveats} caveats")
    for caveat in fields.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            if len(caveat.ticket) > limits.ticket:
                raise LimitExceeded(f"a ticket has at most {limits.ticket} bytes")
        elif len(caveat) > limits.predicate:
            raise LimitExceeded(f"a predicate has at most {limits.predicate} bytes")
    return fields


# JSON: parsed strictly once, handed to pymacaroons, and compared member by member with what it read.


def read_json(text: str) -> Any:
    """What `text` holds: no member twice, no number of more than one digit. Raises `MalformedToken`."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_small)
    except (ValueError, RecursionError):  # which may hold the whole text: not chained
        raise MalformedToken("not JSON of a macaroon") from None


def decode_members(members: Any, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The fields of a v1 or v2 JSON token that has been read already, with `read_json` or as strictly."""
    if type(members) is not dict:
        raise MalformedToken("a JSON macaroon is an object")
    return _within(limits, _decode_members(dict(members)))


def encode_members(fields: WireMacaroon, version: int = 2) -> dict[str, Any]:
    """The members of the v2 or v1 JSON form. Raises `MalformedToken` for bytes that v1 cannot hold: it is all text."""
    index = 0 if version == 2 else 1
    members = {
        **_put_member("location", fields.location.encode(), index),
        **_put_member("identifier", fields.identifier, index),
        **_put_member("signature", fields.signature, index),
    }
    caveats: list[dict[str, Any]] = []
    for caveat in fields.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            caveats.append(
                {
                    **_put_member("ticket", caveat.ticket, index),
                    **_put_member("vid", caveat.vid, index),
                    **_put_member("caveat location", caveat.location.encode(), index),
                }
            )
        else:
            caveats.append(_put_member("ticket", caveat, index))
    if caveats:
        members[_JSON_NAMES["caveats"][index]] = caveats
    return members


def _put_member(name: str, data: bytes, index: int) -> dict[str, Any]:
    key = _JSON_NAMES[name][index]
    if not data and name not in _ASKED:
        return {}
    if index == 1 and name == "signature":
        return {key: data.hex()}
    if index == 1 and name == "vid":
        return {key: encode_base64(data)}
    try:
        return {key: data.decode("utf-8")}
    except UnicodeDecodeError:
        if index == 1:
            raise MalformedToken("version 1 JSON holds text only") from None
        return {key + "64": encode_base64(data)}


def _decode_members(members: dict[str, Any]) -> WireMacaroon:
    version = 1 if "identifier" in members else 0  # index into _JSON_NAMES
    if "v" in members:
        stated = members.pop("v")
        if version == 1 or type(stated) is not int or stated != 2:
            raise MalformedToken("a JSON macaroon is version 2 or, without saying so, 1")
    fields = _guard(lambda read: JsonSerializer().deserialize(json.dumps(read)), members)
    if _read_members(members, version) != _expected_members(fields):
        raise MalformedToken("a JSON macaroon has unknown, repeated or ill-formed members")
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _small(digits: str) -> int:
    """The one number that a macaroon may hold is its version; anything longer is refused unread."""
    return int(digits) if len(digits) == 1 else -1


def _expected_members(fields: WireMacaroon) -> dict[str, Any]:
    caveats = [
        {"ticket": c.ticket, "vid": c.vid, "caveat location": c.location.encode()}
        if isinstance(c, ThirdPartyCaveat)
        else {"ticket": c, "vid": b"", "caveat location": b""}
        for c in fields.caveats
    ]
    return {
        "location": fields.location.encode(),
        "identifier": fields.identifier,
        "signature": fields.signature,
        "caveats": caveats,
    }


def _read_members(members: Any, version: int) -> dict[str, Any]:
    """The same shape as `_expected_members`, from the JSON itself."""
    try:
        read: dict[str, Any] = _take_members(
            members, ("location", "identifier", "signature"), version, ("caveats",)
        )
        caveats = members.get(_JSON_NAMES["caveats"][version], [])
        if type(caveats) is not list:
            raise MalformedToken("the caveats are a list")
        read["caveats"] = [_take_members(c, ("ticket", "vid", "caveat location"), version) for c in caveats]
    except (ValueError, TypeError, AttributeError):
        raise MalformedToken("a JSON macaroon has members of a wrong type") from None
    return read


def _take_members(
    members: Any, names: tuple[str, ...], version: int, also: tuple[str, ...] = ()
) -> dict[str, bytes]:
    unread = set(members) - {_JSON_NAMES[name][version] for name in also}
    taken: dict[str, bytes] = {}
    for name in names:
        key = _JSON_NAMES[name][version]
        plain, encoded = key in members, version == 0 and key != "l" and key + "64" in members
        if plain and encoded:
            raise MalformedToken("a JSON macaroon gives one field twice")
        if plain:
            taken[name] = _plain(name, members[key], version)
        else:
            taken[name] = decode_any_base64(members[key + "64"]) if encoded else b""
        unread -= {key} if plain else {key + "64"} if encoded else set()
        if name in _ASKED and not (plain or encoded):
            raise MalformedToken("a JSON macaroon lacks a member")
        if name in _LEFT_OUT and (plain or encoded) and not taken[name]:
            raise MalformedToken("an empty member is left out of a JSON macaroon")
    if unread:
        raise MalformedToken("a JSON macaroon has unknown members")
    return taken


def _plain(name: str, value: Any, version: int) -> bytes:
    if version == 1 and name == "signature":
        signature = bytes.fromhex(value)
        return signature if signature.hex() == value else b""
    if version == 1 and name == "vid":
        return decode_any_base64(value)
    data: bytes = value.encode("utf-8")
    return data


def decode_any_base64(text: str) -> bytes:
    """base64 of either alphabet, padded or not (as Go and Python bakeries write it); not both alphabets at once.

    Raises `MalformedToken`.
    """
    bare = text.rstrip("=")
    if len(text) - len(bare) not in (0, -len(bare) % 4):
        raise MalformedToken("wrong base64 padding")
    if "+" in bare or "/" in bare:
        if "-" in bare or "_" in bare:
            raise MalformedToken("two base64 alphabets in one value")
        bare = bare.replace("+", "-").replace("/", "_")
    return decode_base64(bare)
