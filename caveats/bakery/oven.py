"""The identifiers of a bakery's own macaroons: which root key, and what for. Knows bytes only.

Byte 3, then the protobuf of {nonce 1, storage id 2, ops 3 {entity 1, actions 2}}; as base64url in macaroons of version 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from caveats.bakery.tickets import put_varint
from caveats.errors import MalformedToken
from caveats.token.wire import decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = 3
_LENGTH_DELIMITED = 2
_NONCE, _STORAGE_ID, _OPS = 1, 2, 3
_ENTITY, _ACTION = 1, 2


@dataclass(frozen=True, slots=True)
class OvenIdentifier:
    """What an Oven calls a macaroon."""

    nonce: bytes
    storage_id: bytes
    """Under which it keeps the root key."""
    operations: tuple[tuple[str, tuple[str, ...]], ...]
    """Each entity with the actions on it."""

    def encode(self, version: int = 3) -> bytes:
        """The identifier in a macaroon of this version of the protocol."""
        out = bytearray((_VERSION,))
        for number, data in ((_NONCE, self.nonce), (_STORAGE_ID, self.storage_id)):
            if data:
                _put(out, number, data)
        for entity, actions in self.operations:
            inner = bytearray()
            if entity:
                _put(inner, _ENTITY, entity.encode())
            for action in actions:
                _put(inner, _ACTION, action.encode())
            _put(out, _OPS, bytes(inner))
        return encode_base64(bytes(out)).encode() if version == 1 else bytes(out)

    @classmethod
    def parse(cls, identifier: bytes) -> Self:
        """The identifier in these bytes. Raises `MalformedToken`."""
        text = identifier[:1] == b"A"
        try:
            data = decode_base64(identifier.decode("ascii")) if text else identifier
            read = cls._read(data)
        except (UnicodeDecodeError, IndexError):
            raise MalformedToken("not the identifier of an Oven's macaroon") from None
        if data[:1] != bytes((_VERSION,)) or read.encode() != data:
            raise MalformedToken("not the identifier of an Oven's macaroon, in its one form")
        return read

    @classmethod
    def _read(cls, data: bytes) -> Self:
        nonce = storage_id = b""
        operations = []
        for number, value in _fields(data, 1):
            if number == _NONCE:
                nonce = value
            elif number == _STORAGE_ID:
                storage_id = value
            else:
                inner = list(_fields(value, 0))
                entity = next((text for number, text in inner if number == _ENTITY), b"").decode()
                actions = tuple(text.decode() for number, text in inner if number == _ACTION)
                operations.append((entity, actions))
        return cls(nonce, storage_id, tuple(operations))


def _put(out: bytearray, number: int, data: bytes) -> None:
    out.append(number << 3 | _LENGTH_DELIMITED)
    put_varint(out, len(data))
    out += data


def _fields(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Each field's number and bytes. What is read wrongly here does not encode back to what it was."""
    while at < len(data):
        number, size, shift = data[at] >> 3, 0, 0
        at += 1
        while data[at] > 127 and shift < 14:
            size |= (data[at] & 127) << shift
            shift += 7
            at += 1
        size |= data[at] << shift
        yield number, data[at + 1 : at + 1 + size]
        at += 1 + size
