"""The encodings of a bakery's macaroons: the JSON envelope with its payloads, header values, joined binaries.

Version 3 wraps a v2 JSON macaroon with its namespace and, under `cdata`, the tickets that its caveats only name.
Versions 2 and 1 are the macaroon's v2 or v1 JSON without an envelope. Knows encodings, judges nothing.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from caveats.bakery import tickets
from caveats.bakery.namespace import STANDARD, Namespace
from caveats.bakery.tickets import V1, V2, V3, BakeryParty, put_varint
from caveats.errors import LimitExceeded, MalformedCaveat, MalformedToken
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.bundle import Bundle
from caveats.macaroon.macaroon import Macaroon
from caveats.token import legacy, wire
from caveats.token.chain import NONCE_SIZE
from caveats.token.legacy import decode_any_base64
from caveats.token.wire import ThirdPartyCaveat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from caveats.keys.boxes import PrivateKey
    from caveats.kinds import Caveat
    from caveats.third_party.ticket import ThirdParty

_NO_PAYLOADS: Mapping[bytes, bytes] = MappingProxyType({})
_MEMBERS = {"m", "v", "ns", "cdata"}


@dataclass(frozen=True, slots=True, repr=False)
class BakeryMacaroon:
    """A macaroon with the rest of a bakery's envelope: version, namespace, and the tickets that its caveats only name."""

    macaroon: Macaroon
    version: int = V3
    namespace: Namespace = STANDARD
    payloads: Mapping[bytes, bytes] = field(default_factory=lambda: _NO_PAYLOADS)
    """Tickets by their names in the caveats. Version 3 only."""
    prefix: bytes = b""
    """The start of the names of further tickets. A discharge's own name, so that no two names in a tree are equal."""

    @classmethod
    def decode(cls, text: str, limits: Limits = DEFAULT_LIMITS) -> Self:
        """The macaroon in this JSON. Raises `MalformedToken` or `LimitExceeded`."""
        if type(text) is not str:
            raise MalformedToken("JSON is text")
        if len(text) > limits.bundle_text:
            raise LimitExceeded(f"an envelope has at most {limits.bundle_text} characters")
        return cls.from_members(legacy.read_json(text), limits)

    @classmethod
    def from_members(cls, members: Any, limits: Limits = DEFAULT_LIMITS) -> Self:
        """The macaroon in the members of this JSON. Raises `MalformedToken` or `LimitExceeded`."""
        if type(members) is not dict:
            raise MalformedToken("a bakery's macaroon is an object")
        if "m" not in members:
            macaroon = Macaroon(legacy.decode_members(members, limits))
            return cls(macaroon, V1 if "identifier" in members else V2)
        inner, version = members["m"], members.get("v")
        if not members.keys() <= _MEMBERS or type(version) is not int or version != V3:
            raise MalformedToken("an envelope is version 3 and holds m, v, ns and cdata")
        if type(inner) is not dict or "identifier" in inner:
            raise MalformedToken("an envelope of version 3 must hold a macaroon in v2 JSON")
        text = members.get("ns", "")
        if type(text) is not str:
            raise MalformedToken("a namespace is text")
        macaroon = Macaroon(legacy.decode_members(inner, limits))
        payloads = _read_payloads(members.get("cdata", {}), limits)
        return cls(macaroon, V3, Namespace.parse(text), payloads)

    def to_members(self) -> dict[str, Any]:
        """The members of the JSON. Raises `MalformedToken` for bytes that version 1 cannot hold."""
        inner = legacy.encode_members(self.macaroon.wire, V1 if self.version == V1 else V2)
        if self.version != V3:
            return inner
        members: dict[str, Any] = {"m": inner, "v": V3, "ns": str(self.namespace)}
        if self.payloads:
            members["cdata"] = {
                wire.encode_base64(name): wire.encode_base64(payload)
                for name, payload in self.payloads.items()
            }
        return members

    def encode(self) -> str:
        """The JSON. Raises `MalformedToken` for bytes that version 1 cannot hold."""
        return json.dumps(self.to_members(), separators=(",", ":"))

    def attenuate(self, *caveats: Caveat | bytes, limits: Limits = DEFAULT_LIMITS) -> Self:
        """This macaroon with more caveats; a bakery's conditions get the prefix of its namespace.

        Raises as `Macaroon.attenuate`.
        """
        written = [in_namespace(caveat, self.namespace) for caveat in caveats]
        return replace(self, macaroon=self.macaroon.attenuate(*written, limits=limits))

    def require_discharge(
        self,
        party: BakeryParty,
        condition: str,
        *,
        declared: Sequence[str] = (),
        root_key: bytes | None = None,
        first_party: PrivateKey | None = None,
        random: Callable[[int], bytes] = os.urandom,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Self:
        """This macaroon with a third-party caveat: it verifies only with a discharge by `party`.

        `condition`: what the party judges before it discharges. `declared`: names that the discharge must declare.
        `root_key`: the root key of this macaroon, which no holder has; with it a verifier believes the declarations
        (`declared_by`). `first_party`: the key that makes the ticket. The ticket has the lower of the versions of
        macaroon and party. Raises `MalformedCaveat`, `InvalidKey`, `LimitExceeded`.
        """
        version, nonce = min(self.version, party.version), random(NONCE_SIZE)
        asked = tickets.need_declared(condition, declared)
        if root_key is None:
            caveat_key = random(tickets.CAVEAT_KEY_SIZE)
        elif not declared:
            raise MalformedCaveat("with root_key, declared must name what the discharge declares")
        else:
            caveat_key = declaring_key(root_key, party, self.macaroon.identifier, nonce, declared)
        payload = tickets.seal_ticket(
            replace(party, version=version),
            asked,
            caveat_key,
            namespace=self.namespace,
            first_party=first_party,
            random=random,
        )
        if len(payload) > limits.ticket:
            raise LimitExceeded(f"a ticket has at most {limits.ticket} bytes")
        name, payloads = payload, self.payloads
        if version == V3:
            name = self._new_name()
            payloads = MappingProxyType({**payloads, name: payload})
        macaroon = self.macaroon.with_third_party(
            party.location, caveat_key, name, nonce=nonce, limits=limits
        )
        return replace(self, macaroon=macaroon, payloads=payloads)

    def _new_name(self) -> bytes:
        taken = {
            caveat.ticket for caveat in self.macaroon.wire.caveats if isinstance(caveat, ThirdPartyCaveat)
        }
        number = len(self.payloads)
        while True:
            name = bytearray(self.prefix or bytes((V3,)))
            put_varint(name, number)
            if bytes(name) not in taken:
                return bytes(name)
            number += 1

    def __repr__(self) -> str:
        return f"BakeryMacaroon({self.macaroon!r}, version={self.version})"


def declaring_key(
    root_key: bytes, party: ThirdParty, identifier: bytes, nonce: bytes, names: Sequence[str]
) -> bytes:
    """The caveat root key (24 bytes) with which a verifier believes a party on `names`; see `ThirdParty.asserting_key`."""
    what = "declared " + ",".join(names)
    return party.asserting_key(root_key, identifier, nonce, what)[: tickets.CAVEAT_KEY_SIZE]


def in_namespace(caveat: Caveat | bytes, namespace: Namespace) -> Caveat | bytes:
    """`caveat`, with the prefix that `namespace` has for standard conditions, if it has one."""
    if namespace.prefix and not isinstance(caveat, bytes) and caveat.spaced and ":" not in caveat.kind:
        return f"{namespace.prefix}:{caveat}".encode()
    return caveat


def _read_payloads(cdata: Any, limits: Limits) -> Mapping[bytes, bytes]:
    if type(cdata) is not dict or not all(type(value) is str for value in cdata.values()):
        raise MalformedToken("cdata is an object of texts")
    if len(cdata) > limits.caveats:
        raise LimitExceeded(f"a macaroon has at most {limits.caveats} caveats")
    payloads = {decode_any_base64(name): decode_any_base64(payload) for name, payload in cdata.items()}
    if len(payloads) != len(cdata):
        raise MalformedToken("two tickets have the same name")
    if any(len(part) > limits.ticket for pair in payloads.items() for part in pair):
        raise LimitExceeded(f"a ticket has at most {limits.ticket} bytes")
    return MappingProxyType(payloads)


# What a client sends: the value of a cookie `macaroon-...` or of a header `Macaroons`


def encode_header(bundle: Bundle, version: int = V2) -> str:
    """The bundle as a cookie or header value: base64 of a JSON list. `version`: 1 for v1 JSON, else v2 JSON."""
    macaroons = (bundle.macaroon, *bundle.discharges)
    members = [legacy.encode_members(macaroon.wire, min(version, V2)) for macaroon in macaroons]
    return b64encode(json.dumps(members, separators=(",", ":")).encode()).decode("ascii")


def decode_header(value: str, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """The bundle in one cookie or header value, in base64 or base64url. Raises `MalformedToken` or `LimitExceeded`."""
    if type(value) is not str:
        raise MalformedToken("a header value is text")
    if len(value) > limits.bundle_text:
        raise LimitExceeded(f"a bundle has at most {limits.bundle_text} characters")
    try:
        members = legacy.read_json(decode_any_base64(value).decode())
    except UnicodeDecodeError:
        raise MalformedToken("JSON is UTF-8") from None
    if type(members) is not list or not members:
        raise MalformedToken("a header value must hold a JSON list of macaroons")
    if len(members) > limits.discharges + 1:
        raise LimitExceeded(f"a bundle has at most {limits.discharges} discharges")
    root, *discharges = (Macaroon(legacy.decode_members(one, limits)) for one in members)
    return Bundle(root, discharges, limits)


def encode_binaries(bundle: Bundle) -> bytes:
    """The bundle as joined v2 binaries, as in an agent's token."""
    return b"".join(macaroon.to_bytes() for macaroon in (bundle.macaroon, *bundle.discharges))


def decode_binaries(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """The bundle in joined v1 or v2 binaries. Raises `MalformedToken` or `LimitExceeded`."""
    if type(data) is not bytes:
        raise MalformedToken("binaries are bytes")
    if len(data) > limits.bundle_text:
        raise LimitExceeded(f"a bundle has at most {limits.bundle_text} bytes")
    found: list[Macaroon] = []
    at = 0
    while at < len(data) or not found:
        if len(found) > limits.discharges:
            raise LimitExceeded(f"a bundle has at most {limits.discharges} discharges")
        end = wire.find_end(data, at) if data[at : at + 1] == b"\x02" else legacy.find_end(data, at)
        found.append(Macaroon.from_bytes(data[at:end], limits))
        at = end
    return Bundle(found[0], found[1:], limits)
