"""The classic encodings of libmacaroons: v1 binary, v1 JSON, v2 JSON; and the bridge to pymacaroons objects.

Decoding is strict: a text has one meaning, and only base64 may differ, in padding and alphabet. A v1 binary that was
decoded encodes to the same bytes. Knows no keys and no `cav1_` text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from caveats.errors import LimitExceeded, MalformedToken
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.token import wire
from caveats.token.chain import SIGNATURE_SIZE, VID_SIZE
from caveats.token.wire import ThirdPartyCaveat, WireMacaroon, decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pymacaroons

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
    """The fields of a token's text in any encoding. Raises `MalformedToken`, `LimitExceeded`."""
    return decode_legacy(text, limits) if is_legacy(text) else wire.decode_text(text, limits)


def decode_legacy(text: str, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The fields of a token in v1 JSON, v2 JSON, or base64url of v1 binary. Raises `MalformedToken`, `LimitExceeded`."""
    if len(text) > limits.token_text:
        raise LimitExceeded(f"a token text has at most {limits.token_text} characters")
    if text.startswith("{"):
        return decode_members(read_json(text), limits)
    return decode_v1(decode_base64(text), limits)


def decode_v1(data: bytes, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The macaroon in the v1 binary form: packets of location, identifier, caveats, signature, in this order.

    A caveat is a `cid`; a third-party caveat is `cid`, `vid`, `cl`. Raises `MalformedToken`, `LimitExceeded`.
    """
    if len(data) > limits.token_text:
        raise LimitExceeded(f"a token has at most {limits.token_text} bytes")
    keys, values = [], []
    for key, value in _packets(data):
        keys.append(key)
        values.append(value)
    if len(keys) < 3 or keys[:2] != [b"location", b"identifier"] or keys[-1] != b"signature":
        raise MalformedToken("a version 1 macaroon has a location, an identifier, caveats and a signature")
    caveats: list[bytes | ThirdPartyCaveat] = []
    at, end = 2, len(keys) - 1
    while at < end:
        if keys[at : at + 3] == [b"cid", b"vid", b"cl"]:
            caveats.append(ThirdPartyCaveat(_location(values[at + 2]), values[at + 1], values[at]))
            at += 3
        elif keys[at] == b"cid":
            caveats.append(values[at])
            at += 1
        else:
            raise MalformedToken("a version 1 caveat is a cid, or a cid, a vid and a cl")
    return _checked(WireMacaroon(_location(values[0]), values[1], tuple(caveats), values[-1]), limits)


def _packets(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each packet: its size in four lower-case hex digits, the key, a space, the value, a line feed."""
    at = 0
    while at < len(data):
        digits = data[at : at + 4]
        if len(digits) < 4 or not _HEX_DIGITS.issuperset(digits):
            raise MalformedToken("not a version 1 macaroon")
        end = at + int(digits, 16)
        key, space, value = data[at + 4 : end].partition(b" ")
        if end > len(data) or not space or value[-1:] != b"\n":
            raise MalformedToken(
                "a version 1 packet is cut off, or reads otherwise than key, space, value, line feed"
            )
        yield key, value[:-1]
        at = end


def find_end(data: bytes, at: int = 0) -> int:
    """The index after the v1 binary that begins at `at`, for joined binaries. Raises `MalformedToken`."""
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
    """The v1 binary form. Raises `LimitExceeded` for a packet of more than 65535 bytes."""
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
    """The parts of a pymacaroons object. Raises `MalformedToken`, `LimitExceeded`."""
    try:
        caveats: list[bytes | ThirdPartyCaveat] = []
        for caveat in macaroon.caveats:
            ticket, vid, location = caveat.caveat_id_bytes, caveat.verification_key_id, caveat.location
            if vid is not None:
                caveats.append(ThirdPartyCaveat(str(location or ""), bytes(vid), bytes(ticket)))
            elif location is None:
                caveats.append(bytes(ticket))
            else:
                raise MalformedToken("a first-party caveat has no location")
        signature, identifier = bytes.fromhex(macaroon.signature), bytes(macaroon.identifier_bytes)
        read = WireMacaroon(str(macaroon.location), identifier, tuple(caveats), signature)
    except (AttributeError, TypeError, ValueError) as error:  # an object of another kind, or not filled
        if isinstance(error, MalformedToken):
            raise
        raise MalformedToken("not a pymacaroons macaroon") from None
    return _checked(read, limits)


def to_pymacaroons(fields: WireMacaroon) -> pymacaroons.Macaroon:
    """A pymacaroons object (version 2) with the same parts. pymacaroons can narrow it, and `from_pymacaroons` read it."""
    # Imported when called: pymacaroons takes as long to import as the rest of the library.
    import pymacaroons  # noqa: PLC0415
    from pymacaroons.caveat import Caveat  # noqa: PLC0415

    caveats = []
    for caveat in fields.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            caveats.append(Caveat(caveat.ticket, caveat.vid, caveat.location, pymacaroons.MACAROON_V2))
        else:
            caveats.append(Caveat(caveat, None, None, pymacaroons.MACAROON_V2))
    return pymacaroons.Macaroon(
        location=fields.location,
        identifier=fields.identifier,
        caveats=caveats,
        signature=fields.signature.hex().encode(),
        version=pymacaroons.MACAROON_V2,
    )


def _location(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedToken("a location is UTF-8") from None


def _checked(fields: WireMacaroon, limits: Limits) -> WireMacaroon:
    """`fields` itself, if its sizes are right. Raises `MalformedToken`, `LimitExceeded`."""
    if len(fields.signature) != SIGNATURE_SIZE:
        raise MalformedToken(f"a signature has {SIGNATURE_SIZE} bytes")
    if any(isinstance(caveat, ThirdPartyCaveat) and len(caveat.vid) != VID_SIZE for caveat in fields.caveats):
        raise MalformedToken(f"a vid has {VID_SIZE} bytes")
    if len(fields.caveats) > limits.caveats:
        raise LimitExceeded(f"a macaroon has at most {limits.caveats} caveats")
    for caveat in fields.caveats:
        if isinstance(caveat, ThirdPartyCaveat):
            if len(caveat.ticket) > limits.ticket:
                raise LimitExceeded(f"a ticket has at most {limits.ticket} bytes")
        elif len(caveat) > limits.predicate:
            raise LimitExceeded(f"a predicate has at most {limits.predicate} bytes")
    return fields


# JSON: version 1 has names in words and all values as text, version 2 one letter and bytes where need be ("i", "i64").


def read_json(text: str) -> Any:
    """The JSON value in `text`; an integer of several digits reads as -1. Raises `MalformedToken`."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_small)
    except (ValueError, RecursionError):  # not chained: the error may hold the whole text
        raise MalformedToken("not JSON of a macaroon") from None


def decode_members(members: Any, limits: Limits = DEFAULT_LIMITS) -> WireMacaroon:
    """The macaroon in the members of v1 or v2 JSON, which `read_json` or a parser as strict has read.

    Raises `MalformedToken`, `LimitExceeded`.
    """
    if type(members) is not dict:
        raise MalformedToken("a JSON macaroon is an object")
    version = 1 if "identifier" in members else 0  # index into _JSON_NAMES
    if "v" in members:
        stated = members["v"]
        if version == 1 or type(stated) is not int or stated != 2:
            raise MalformedToken("the member v of a JSON macaroon must be 2; version 1 has no member v")
        members = {name: member for name, member in members.items() if name != "v"}
    try:
        head = _take_members(members, ("location", "identifier", "signature"), version, ("caveats",))
        listed = members.get(_JSON_NAMES["caveats"][version], [])
        if type(listed) is not list:
            raise MalformedToken("the caveats are a list")
        caveats = [_take_members(each, ("ticket", "vid", "caveat location"), version) for each in listed]
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, MalformedToken):
            raise
        raise MalformedToken("a JSON macaroon has members of a wrong type") from None
    read = WireMacaroon(
        _location(head["location"]), head["identifier"], tuple(map(_caveat, caveats)), head["signature"]
    )
    return _checked(read, limits)


def _caveat(taken: Mapping[str, bytes]) -> bytes | ThirdPartyCaveat:
    if taken["vid"]:
        return ThirdPartyCaveat(_location(taken["caveat location"]), taken["vid"], taken["ticket"])
    if taken["caveat location"]:
        raise MalformedToken("a first-party caveat has no location")
    return taken["ticket"]


def encode_members(fields: WireMacaroon, version: int = 2) -> dict[str, Any]:
    """The members of the v2 or v1 JSON form. Raises `MalformedToken` if v1, which holds text only, cannot hold them."""
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


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _small(digits: str) -> int:
    """The number, if it has one digit; else -1. The only number in a macaroon is its version, 2."""
    return int(digits) if len(digits) == 1 else -1


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
            raise MalformedToken("a JSON macaroon must leave out an empty member")
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
    """The bytes of base64 or base64url, padded or not: Go and Python bakeries write both. Raises `MalformedToken`."""
    bare = text.rstrip("=")
    if len(text) - len(bare) not in (0, -len(bare) % 4):
        raise MalformedToken("wrong base64 padding")
    if "+" in bare or "/" in bare:
        if "-" in bare or "_" in bare:
            raise MalformedToken("two base64 alphabets in one value")
        bare = bare.replace("+", "-").replace("/", "_")
    return decode_base64(bare)
