"""Renewal: the same token with a later expiry, and the way back to the branch that it came from.

A renewal keeps key, token id and every caveat but the issuer's expiry; the issuer adds `renewed`, which says
when the first one would have expired. With that and the root key the first chain can be computed again, so
that a copy, revoked, takes with it whatever it was renewed into. Knows the chain and the layout of issued tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats.errors import LimitExceeded, MalformedCaveat
from caveats.kinds import STANDARD_KINDS, Expires, Renewed, parse_predicate
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.macaroon import Macaroon
from caveats.token import chain
from caveats.token.identifier import Identifier, parse_identifier
from caveats.token.wire import ThirdPartyCaveat, WireMacaroon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from caveats.verification.authenticate import Authenticated

EXPIRES_AT = 1
"""The place of the issuer's expiry: issued tokens begin with user, expires, scope."""


def renew(
    authenticated: Authenticated,
    expires_at: datetime,
    derived_key: Callable[[Identifier], bytes],
    limits: Limits = DEFAULT_LIMITS,
) -> Macaroon:
    """The same token, expiring at `expires_at`; what holders added is replayed byte for byte.

    Of a third-party caveat the key is sealed anew, as it must be under a new chain; location and ticket stay.
    `derived_key` answers with the derived root key of an identifier. Raises `MalformedCaveat` for a macaroon
    that is not laid out as issued tokens are, and `LimitExceeded`.
    """
    fields = authenticated.wire
    identifier, issued = _issued(fields)
    first = parse_predicate(issued[EXPIRES_AT], STANDARD_KINDS)
    if not isinstance(first, Expires):
        raise MalformedCaveat("an issued token's second caveat is its expiry")
    renewed = [issued[0], Expires(expires_at).predicate, *issued[EXPIRES_AT + 1 :]]
    if _renewed(issued) is None:
        renewed.append(Renewed(first.at).predicate)
    same_token = identifier._replace(issuer_caveats=len(renewed))
    return _rebuild(authenticated, same_token, renewed, derived_key(same_token), limits)[0]


def first_branches(
    authenticated: Authenticated, derived_key: Callable[[Identifier], bytes]
) -> tuple[bytes, ...]:
    """The branch ids that stay with a token through its renewals: of the chain as first issued, then narrowed.

    For a token that is no renewal they are simply those of its own chain.
    """
    try:
        identifier, issued = _issued(authenticated.wire)
    except MalformedCaveat:
        return authenticated.branches()
    renewed = _renewed(issued)
    if renewed is None:
        return authenticated.branches()
    first = [issued[0], Expires(renewed.first_expiry).predicate, *issued[EXPIRES_AT + 1 : -1]]
    first_identifier = identifier._replace(issuer_caveats=len(first))
    signatures = _rebuild(authenticated, first_identifier, first, derived_key(first_identifier), None)[1]
    return tuple(map(chain.branch_id, signatures))


def _issued(fields: WireMacaroon) -> tuple[Identifier, list[bytes]]:
    """The identifier and the predicates that the issuer added."""
    identifier = parse_identifier(fields.identifier)
    if identifier is None:
        raise MalformedCaveat("not a token that this service issues")
    issued = [c for c in fields.caveats[: identifier.issuer_caveats] if not isinstance(c, ThirdPartyCaveat)]
    if len(issued) != identifier.issuer_caveats or len(issued) <= EXPIRES_AT:
        raise MalformedCaveat("not laid out as issued tokens are")
    return identifier, issued


def _renewed(issued: Sequence[bytes]) -> Renewed | None:
    last = parse_predicate(issued[-1], STANDARD_KINDS)
    return last if isinstance(last, Renewed) else None


def _rebuild(
    authenticated: Authenticated,
    identifier: Identifier,
    issued: Sequence[bytes],
    derived_key: bytes,
    limits: Limits | None,
) -> tuple[Macaroon, list[bytes]]:
    """The chain of `identifier` and `issued`, with what holders added to `authenticated` replayed on it."""
    fields = authenticated.wire
    at = len(_issued(fields)[1])
    name = identifier.encode()
    signatures = chain.extend_all(derived_key, (name, *issued))
    caveats: list[bytes | ThirdPartyCaveat] = list(issued)
    for caveat, before in zip(fields.caveats[at:], authenticated.signatures[at:], strict=False):
        signature = signatures[-1]
        if isinstance(caveat, ThirdPartyCaveat):
            nonce = caveat.vid[: chain.NONCE_SIZE]
            vid = chain.seal(signature, chain.unseal(before, caveat.vid), nonce)
            caveats.append(caveat._replace(vid=vid))
            signatures.append(chain.extend_sealed(signature, vid, caveat.ticket))
        else:
            caveats.append(caveat)
            signatures.append(chain.extend(signature, caveat))
    if limits is not None and len(caveats) > limits.caveats:
        raise LimitExceeded(f"a renewal has at most {limits.caveats} caveats")
    return Macaroon(WireMacaroon(fields.location, name, tuple(caveats), signatures[-1])), signatures
