"""Authentication: is the whole HMAC tree good? Knows keys and bytes, judges no caveat.

Everything is checked before anything is believed: the root's chain, then each discharge that its
third-party caveats ask for, each used exactly once, with an explicit stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from caveats.errors import (
    BadSignature,
    BindingMismatch,
    LimitExceeded,
    MissingDischarge,
    UnusedDischarge,
)
from caveats.kinds import DISCHARGER, HOLDER, ISSUER, STANDARD_KINDS, Caveat, User, parse_predicate
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.bundle import Bundle
from caveats.macaroon.macaroon import Macaroon
from caveats.pickling import secret_tuple
from caveats.token import chain
from caveats.token.chain import NONCE_SIZE
from caveats.token.identifier import parse_identifier
from caveats.token.wire import ThirdPartyCaveat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caveats.third_party.ticket import ThirdParty
    from caveats.token.identifier import Identifier
    from caveats.token.wire import WireMacaroon


@secret_tuple
class Discharged(NamedTuple):
    """An authentic discharge of a token, with the key that its caveat holds, which tells who required it."""

    wire: WireMacaroon
    key: bytes
    """The derived caveat key, a live credential: never log, return or store it."""
    nonce: bytes
    """The one in the `vid` of the caveat that asked for it."""

    @property
    def predicates(self) -> list[bytes]:
        """Its first-party caveats: the third party's, then what a holder appended."""
        return first_party(self.wire)

    def was_required_with(self, caveat_key: bytes) -> bool:
        """Whether this is the root key that its caveat was made with."""
        return chain.same(self.key, chain.derive(caveat_key))

    def __repr__(self) -> str:
        return f"Discharged(location={self.wire.location!r}, {len(self.wire.caveats)} caveats)"


@secret_tuple
class Authenticated(NamedTuple):
    """A macaroon, authentic to the last byte, with its authentic discharges. Only this can be judged."""

    wire: WireMacaroon
    identified: Identifier | None
    """The identifier, read; None for a macaroon of another issuer's making."""
    caveats: tuple[Caveat, ...]
    """The first-party caveats, typed: the macaroon's in chain order, then its discharges'."""
    signatures: list[bytes]
    """The chain's signatures, live credentials: never log, return or store them."""
    discharges: tuple[Discharged, ...] = ()
    """The discharges that came along, in the order in which the caveats ask for them."""

    @property
    def third_parties(self) -> tuple[str, ...]:
        """The locations that the discharges name. Hints, like every location."""
        return tuple(discharge.wire.location for discharge in self.discharges)

    @property
    def macaroon(self) -> Macaroon:
        """The macaroon, without its discharges."""
        return Macaroon(self.wire)

    @property
    def added_by(self) -> tuple[str, ...]:
        """For each of `caveats` who added it: `issuer`, `holder` or `discharger`."""
        issued = self.identified.issuer_caveats if self.identified else 0
        return added_by(self.wire, issued, len(self.caveats))

    def branches(self) -> tuple[bytes, ...]:
        """The branch id (16 bytes) of each link of the chain, the identifier's first. They are no secrets."""
        return tuple(map(chain.branch_id, self.signatures))

    def user_asserted_by(self, party: ThirdParty, root_key: bytes) -> str | None:
        """Who the user is, by the word of `party`; None if it says nothing.

        Only the first caveat of a discharge counts that was required with this macaroon's `root_key`
        (`require_discharge`): no holder has that key, and none can put a caveat before the first. Judges nothing.
        """
        for discharge in self.discharges:
            caveat_key = party.asserting_key(root_key, self.wire.identifier, discharge.nonce)
            if not discharge.was_required_with(caveat_key):
                continue
            first = discharge.wire.caveats[0] if discharge.wire.caveats else None
            if isinstance(first, bytes):
                caveat = parse_predicate(first, {User.kind: User})
                if isinstance(caveat, User):
                    return caveat.user
        return None

    def __repr__(self) -> str:
        return f"Authenticated(identifier={self.wire.identifier!r}, caveats={self.caveats!r})"


def authenticate(
    bundle: Bundle | Macaroon,
    root_key: bytes,
    *,
    kinds: Mapping[str, type[Caveat]] = STANDARD_KINDS,
    limits: Limits = DEFAULT_LIMITS,
) -> Authenticated:
    """The authentic macaroon under `root_key` (bytes of any length, not empty), of any issuer's making.

    Knows no other key and no revocation. A `Parent` among `Authenticated.caveats` names a token that this one was issued
    against: whether that token's key is still valid (`Keyring.has_key`), and the token not revoked, is the caller's to
    ask, as `Verifier.authenticate` does.

    Raises `InvalidKey`, `LimitExceeded`, `BadSignature`, `MissingDischarge`, `UnusedDischarge`.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle(bundle)
    wire = bundle.macaroon.wire
    signatures, predicates, discharges = authenticate_wire(
        wire,
        [discharge.wire for discharge in bundle.discharges],
        chain.derive(chain.check_root_key(root_key)),
        limits,
    )
    typed = tuple(parse_predicate(predicate, kinds) for predicate in predicates)
    return Authenticated(wire, parse_identifier(wire.identifier), typed, signatures, discharges)


def authenticate_wire(
    wire: WireMacaroon, discharges: Sequence[WireMacaroon], derived_key: bytes, limits: Limits
) -> tuple[list[bytes], Sequence[bytes], tuple[Discharged, ...]]:
    """The chain's signatures, all first-party predicates, and the discharges in the order in which they are asked for.

    `derived_key`: 32 bytes, of the root key. Raises as `authenticate`, `InvalidKey` excepted.
    """
    signatures, needed = walk(wire, derived_key)
    if not chain.same(signatures[-1], wire.signature):
        raise BadSignature("the token is not authentic")
    if not needed and not discharges:
        return signatures, wire.caveats, ()  # type: ignore[return-value]  # no third-party caveat among them
    found = _discharged(discharges, signatures, needed, limits)
    predicates = first_party(wire)
    for discharge in found:
        predicates += discharge.predicates
    return signatures, predicates, tuple(found)


def authenticate_root(wire: WireMacaroon, derived_key: bytes) -> tuple[list[bytes], Sequence[bytes]]:
    """The chain's signatures and the macaroon's own first-party predicates; its discharges are not looked at.

    Enough to revoke it, and for nothing else: no third party has agreed. `derived_key`: 32 bytes. Raises `BadSignature`.
    """
    signatures, _ = walk(wire, derived_key)
    if not chain.same(signatures[-1], wire.signature):
        raise BadSignature("the token is not authentic")
    return signatures, first_party(wire)


def walk(wire: WireMacaroon, derived_key: bytes) -> tuple[list[bytes], list[tuple[ThirdPartyCaveat, bytes]]]:
    """The chain's signatures, and each third-party caveat with the signature that its key is sealed under."""
    caveats = wire.caveats
    if ThirdPartyCaveat not in map(type, caveats):
        return chain.extend_all(derived_key, (wire.identifier, *caveats)), []  # type: ignore[arg-type]
    signatures = chain.extend_links(derived_key, (wire.identifier, *caveats))
    needed = [pair for pair in zip(caveats, signatures, strict=False) if type(pair[0]) is not bytes]
    return signatures, needed  # type: ignore[return-value]


def first_party(wire: WireMacaroon) -> list[bytes]:
    """The predicates of the first-party caveats."""
    return [caveat for caveat in wire.caveats if type(caveat) is bytes]


def added_by(wire: WireMacaroon, issued: int, count: int) -> tuple[str, ...]:
    """Who added each of `count` first-party caveats.

    The issuer those among the first `issued` links of the chain, holders the macaroon's others, third parties the rest.
    """
    own = [
        ISSUER if place < issued else HOLDER
        for place, caveat in enumerate(wire.caveats)
        if type(caveat) is bytes
    ]
    return (*own, *[DISCHARGER] * (count - len(own)))


def _discharged(
    discharges: Sequence[WireMacaroon],
    root_signatures: list[bytes],
    needed: list[tuple[ThirdPartyCaveat, bytes]],
    limits: Limits,
) -> list[Discharged]:
    """Every discharge, authenticated, in the order in which the caveats ask for them."""
    unused = {discharge.identifier: discharge for discharge in discharges}
    if len(unused) != len(discharges):
        raise UnusedDischarge("two discharges answer the same ticket")
    binding = chain.binding(root_signatures[-1])
    found: list[Discharged] = []
    levels = [iter(needed)]
    while levels:
        for caveat, sealed_under in levels[-1]:
            discharge = unused.pop(caveat.ticket, None)
            if discharge is None:
                if any(used.wire.identifier == caveat.ticket for used in found):
                    raise UnusedDischarge("two caveats ask for the same discharge")
                raise MissingDischarge(caveat.location, caveat.ticket)
            key = chain.unseal(sealed_under, caveat.vid)
            signatures, deeper = walk(discharge, key)
            signature = signatures[-1]
            if not chain.same(chain.bind_to(binding, signature), discharge.signature):
                raise _unbound(root_signatures, signature, discharge.signature)
            found.append(Discharged(discharge, key, caveat.vid[:NONCE_SIZE]))
            if deeper:
                if len(levels) >= limits.depth:
                    raise LimitExceeded(f"discharges nest at most {limits.depth} deep")
                levels.append(iter(deeper))
                break
        else:
            levels.pop()
    if unused:
        raise UnusedDischarge("a discharge that no caveat asks for")
    return found


def _unbound(root_signatures: list[bytes], signature: bytes, presented: bytes) -> BadSignature:
    """Why a discharge does not fit: told apart only for discharges that are otherwise authentic."""
    if chain.same(signature, presented):
        return BindingMismatch("a discharge is not bound to the token")
    for earlier in root_signatures[:-1]:
        if chain.same(chain.bind(earlier, signature), presented):
            return BindingMismatch(
                "a discharge was bound before the token was narrowed: bind the original again"
            )
    return BadSignature("a discharge is not authentic, or bound to another token")
