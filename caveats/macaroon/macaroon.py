"""The macaroon: mint, attenuate, require a discharge, encode, decode. Knows the chain, judges nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from caveats.errors import LimitExceeded, MalformedCaveat, MalformedToken
from caveats.kinds.base import Caveat, UnknownCaveat, check_caveat, parse_predicate
from caveats.kinds.standard import STANDARD_KINDS
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.token import chain, legacy, wire
from caveats.token.identifier import Identifier, parse_identifier
from caveats.token.wire import ThirdPartyCaveat, WireMacaroon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    import pymacaroons


class TicketMaker(Protocol):
    """What `Macaroon.require_discharge` needs of a third party; `ThirdParty` has it."""

    @property
    def location(self) -> str:
        """Where holders ask for the discharge."""

    def seal_ticket(
        self,
        conditions: tuple[str, ...],
        *,
        audience: str,
        expires_at: datetime | None,
        caveat_key: bytes | None,
        random: Callable[[int], bytes],
    ) -> tuple[bytes, bytes]:
        """A ticket that only the party can open, and the caveat root key (32 bytes) in it."""

    def asserting_key(self, root_key: bytes, identifier: bytes, nonce: bytes) -> bytes:
        """The caveat root key (32 bytes) of a discharge in which the party says who the user is. `nonce`: 24 bytes."""


@dataclass(frozen=True, slots=True, repr=False)
class Macaroon:
    """A chained-HMAC token. Frozen: a method that narrows it returns a new one.

    Its fields are claims: they are true only after `authenticate`.
    """

    wire: WireMacaroon
    """The parts. The signature among them is a live credential: never log or show it."""

    @classmethod
    def mint(
        cls,
        root_key: bytes,
        identifier: bytes | Identifier,
        *,
        location: str = "",
        caveats: Iterable[Caveat | bytes] = (),
    ) -> Macaroon:
        """A new macaroon under `root_key` (bytes of any length, not empty, not all zero).

        `identifier`: bytes, not empty. `location`: a hint, not authenticated. Raises `InvalidKey`, `MalformedToken`,
        `MalformedCaveat`, `LimitExceeded`.
        """
        if isinstance(identifier, Identifier):
            identifier = identifier.encode()
        if type(identifier) is not bytes or not identifier:
            raise MalformedToken("a macaroon has an identifier, of bytes")
        wire.check_location(location)
        signature = chain.start(chain.derive(chain.check_root_key(root_key)), identifier)
        return cls(WireMacaroon(location, identifier, (), signature)).attenuate(*caveats)

    @classmethod
    def decode(cls, text: str, limits: Limits = DEFAULT_LIMITS) -> Macaroon:
        """The macaroon in `text`: `cav1_`, bare base64url of v2 or v1, v1 or v2 JSON.

        Raises `MalformedToken` (`DamagedToken` for a failed checksum) or `LimitExceeded`.
        """
        if type(text) is not str:
            raise MalformedToken("a token is text")
        return cls(legacy.decode_text(text, limits))

    @classmethod
    def from_bytes(cls, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Macaroon:
        """The macaroon in a v2 or v1 binary. Raises `MalformedToken` or `LimitExceeded`."""
        if type(data) is not bytes:
            raise MalformedToken("a binary token is bytes")
        if len(data) > limits.token_text:
            raise LimitExceeded(f"a token has at most {limits.token_text} bytes")
        if data[:1] == b"\x02":
            return cls(wire.decode_binary(data, limits, lenient_location=True))
        return cls(legacy.decode_v1(data, limits))

    @classmethod
    def from_pymacaroons(cls, macaroon: pymacaroons.Macaroon, limits: Limits = DEFAULT_LIMITS) -> Macaroon:
        """The same macaroon, from a pymacaroons object. Raises `MalformedToken` or `LimitExceeded`."""
        return cls(legacy.from_pymacaroons(macaroon, limits))

    def to_pymacaroons(self) -> pymacaroons.Macaroon:
        """The same macaroon as a pymacaroons object, version 2."""
        return legacy.to_pymacaroons(self.wire)

    def encode(self) -> str:
        """The canonical text: `cav1_...`."""
        return wire.encode_text(self.wire)

    def to_bytes(self) -> bytes:
        """The libmacaroons v2 binary."""
        return wire.encode_binary(self.wire)

    @property
    def location(self) -> str:
        """A hint: where the macaroon came from. It is never authenticated."""
        return self.wire.location

    @property
    def identifier(self) -> bytes:
        """The bytes from which the issuer derives or finds the root key."""
        return self.wire.identifier

    @property
    def unverified_identifier(self) -> Identifier | None:
        """The identifier in this project's grammar, not authenticated. None for an identifier in another grammar."""
        return parse_identifier(self.wire.identifier)

    @property
    def unverified_caveats(self) -> tuple[Caveat | ThirdPartyCaveat, ...]:
        """The caveats in chain order, typed, not authenticated."""
        return tuple(
            caveat if isinstance(caveat, ThirdPartyCaveat) else parse_predicate(caveat, STANDARD_KINDS)
            for caveat in self.wire.caveats
        )

    def attenuate(self, *caveats: Caveat | bytes, limits: Limits = DEFAULT_LIMITS) -> Macaroon:
        """This macaroon with more caveats. Needs no key and no network; nobody can remove a caveat.

        A caveat of an unknown kind can be given as the bytes of its predicate. Raises `LimitExceeded`, and
        `MalformedCaveat` for a value that no verifier would read.
        """
        predicates = tuple(map(_predicate, caveats))
        for predicate in predicates:
            if len(predicate) > limits.predicate:
                raise LimitExceeded(f"a predicate has at most {limits.predicate} bytes")
        signature = self.wire.signature
        if predicates:
            signature = chain.extend_all(signature, predicates)[-1]
        return self._with(predicates, signature, limits)

    def require_discharge(
        self,
        party: TicketMaker,
        *conditions: str,
        audience: str = "",
        expires_at: datetime | None = None,
        root_key: bytes | None = None,
        random: Callable[[int], bytes] = os.urandom,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Macaroon:
        """This macaroon with a third-party caveat: it verifies only with a discharge by `party`.

        `conditions`: predicates that the party judges before it discharges. `audience`, `expires_at`: for the party
        to judge. `root_key`: the root key of this macaroon, which no holder has; with it the verifier believes the
        party's word on who the user is (`user_asserted_by`). `random(n)` returns n random bytes. Raises
        `LimitExceeded`, and as `party.seal_ticket`.
        """
        caveat_key, nonce = None, random(chain.NONCE_SIZE)
        if root_key is not None:
            caveat_key = party.asserting_key(root_key, self.identifier, nonce)
        ticket, caveat_key = party.seal_ticket(
            conditions,
            audience=audience,
            expires_at=expires_at,
            caveat_key=caveat_key,
            random=random,
        )
        return self.with_third_party(party.location, caveat_key, ticket, nonce=nonce, limits=limits)

    def with_third_party(
        self,
        location: str,
        caveat_key: bytes,
        ticket: bytes,
        *,
        nonce: bytes,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Macaroon:
        """This macaroon with a third-party caveat of this key and ticket (libmacaroons).

        `caveat_key`: the root key of the discharge, of any length, not all zero. `nonce`: 24 bytes, never used twice
        with one macaroon. Raises `InvalidKey`, `MalformedToken`, `LimitExceeded`.
        """
        wire.check_location(location)
        if len(ticket) > limits.ticket:
            raise LimitExceeded(f"a ticket has at most {limits.ticket} bytes")
        signature = self.wire.signature
        vid = chain.seal(signature, chain.derive(chain.check_root_key(caveat_key)), nonce)
        caveat = ThirdPartyCaveat(location, vid, ticket)
        return self._with((caveat,), chain.extend_sealed(signature, vid, ticket), limits)

    def bind(self, discharge: Macaroon) -> Macaroon:
        """`discharge` bound to this macaroon, to be sent with it. Bind last: a narrower macaroon needs a new binding."""
        bound = chain.bind(self.wire.signature, discharge.wire.signature)
        return Macaroon(discharge.wire._replace(signature=bound))

    def _with(
        self, caveats: tuple[bytes | ThirdPartyCaveat, ...], signature: bytes, limits: Limits
    ) -> Macaroon:
        all_caveats = self.wire.caveats + caveats
        if len(all_caveats) > limits.caveats:
            raise LimitExceeded(f"a macaroon has at most {limits.caveats} caveats")
        return Macaroon(WireMacaroon(self.wire.location, self.wire.identifier, all_caveats, signature))

    def __repr__(self) -> str:
        count = len(self.wire.caveats)
        return f"Macaroon(identifier={self.identifier!r}, {count} caveat{'' if count == 1 else 's'})"


def _predicate(caveat: Caveat | bytes) -> bytes:
    """The bytes to sign. Checks the grammar first: a caveat that no verifier can read makes a token useless."""
    if isinstance(caveat, bytes):
        return caveat
    if not isinstance(caveat, Caveat):
        raise MalformedCaveat("a caveat is a Caveat, or the bytes of a predicate")
    if not isinstance(caveat, UnknownCaveat):
        check_caveat(caveat)
    return caveat.predicate
