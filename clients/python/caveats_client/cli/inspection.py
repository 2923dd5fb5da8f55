"""The content of a token: who added which caveat, and what all of them allow together. Pure, and offline.

Knows tokens and kinds, knows no keys: nothing here is verified, and commands that show it must say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from caveats import (
    Authority,
    Bundle,
    Caveat,
    Identifier,
    Macaroon,
    ThirdPartyCaveat,
    UnknownCaveat,
    effective,
    repeated,
)

if TYPE_CHECKING:
    from datetime import datetime

ISSUER, HOLDER, DISCHARGER, UNKNOWN = "issuer", "holder", "discharger", "unknown"


@dataclass(frozen=True, slots=True)
class Link:
    """A first-party caveat, and its position."""

    index: int
    """Its position among all caveats that a verifier judges, from 0: the same as in a refusal."""
    caveat: Caveat
    added_by: str
    """`issuer`, `holder` or `discharger`; `unknown` if the identifier does not say."""
    redundant: str | None
    """Why it changes nothing; None if it narrows the token."""

    @property
    def unknown(self) -> str | None:
        """Why no known kind can read it; None if one can."""
        return self.caveat.why if isinstance(self.caveat, UnknownCaveat) else None


@dataclass(frozen=True, slots=True)
class ThirdPartyLink:
    """A third-party caveat, and its discharge if the bundle has it."""

    location: str
    added_by: str
    discharge: Chain | None
    ticket: bytes
    """The ticket, which only the third party can read. It is also the identifier of the discharge."""
    number: int | None
    """The position of the discharge in the bundle, from 1."""

    @property
    def format(self) -> str:
        """The format of the ticket: `caveats`, `bakery 1` to `bakery 3`, or `unknown`."""
        from caveats.third_party import is_ticket  # noqa: PLC0415  # most tokens have no third party

        if is_ticket(self.ticket):
            return "caveats"
        return {b"e": "bakery 1", b"\2": "bakery 2", b"\3": "bakery 3"}.get(self.ticket[:1], "unknown")

    @property
    def expires_at(self) -> datetime | None:
        """The expiry of its discharge, without the discharges that this one needs itself."""
        if self.discharge is None:
            return None
        from caveats.bakery import expiry_of  # noqa: PLC0415  # most tokens have no discharge

        own = (link.caveat for link in self.discharge.links if isinstance(link, Link))
        return expiry_of(caveat.predicate for caveat in own)


@dataclass(frozen=True, slots=True)
class Chain:
    """A macaroon's caveats in order."""

    location: str
    links: tuple[Link | ThirdPartyLink, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """The content of a token."""

    identifier: Identifier | None
    raw_identifier: bytes
    chain: Chain
    authority: Authority
    stray_discharges: int
    """The number of discharges that no caveat needs. With one of them, every verifier refuses."""

    @property
    def links(self) -> tuple[Link, ...]:
        """Every first-party caveat, in the order in which a verifier judges them."""
        return tuple(sorted(_links(self.chain), key=lambda link: link.index))

    @property
    def third_parties(self) -> tuple[ThirdPartyLink, ...]:
        """Every third-party caveat, those of the discharges included."""
        return tuple(_third_parties(self.chain))

    @property
    def audiences(self) -> tuple[str, ...] | None:
        """The apps that can accept it: its audience, if no caveat excludes that. None: the token does not say."""
        if self.identifier is None:
            return self.authority.audiences
        audience = self.identifier.audience
        allowed = self.authority.audiences
        return (audience,) if allowed is None or audience in allowed else ()

    def is_expired(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.authority.expires_at is not None and now >= self.authority.expires_at


def inspection_of(token: Bundle | Macaroon) -> Inspection:
    """The content of a token and its discharges."""
    bundle = token if isinstance(token, Bundle) else Bundle(token)
    root = bundle.macaroon
    identifier = root.unverified_identifier
    order = _order(bundle)
    caveats = [caveat for macaroon in order for caveat in _first_party(macaroon)]
    because = {one.index: one.because for one in repeated(caveats)}
    counts = accumulate((len(_first_party(macaroon)) for macaroon in order), initial=0)
    first_index = {id(macaroon): count for macaroon, count in zip(order, counts, strict=False)}
    discharges = {macaroon.identifier: macaroon for macaroon in order[1:]}
    numbers = {id(macaroon): number for number, macaroon in enumerate(bundle.discharges, 1)}

    def chain_of(macaroon: Macaroon, issued: int | None, later: str) -> Chain:
        links: list[Link | ThirdPartyLink] = []
        index = first_index[id(macaroon)]
        for place, caveat in enumerate(macaroon.unverified_caveats):
            added_by = ISSUER if issued is not None and place < issued else later
            if isinstance(caveat, ThirdPartyCaveat):
                discharge = discharges.pop(caveat.ticket, None)
                inner = None if discharge is None else chain_of(discharge, None, DISCHARGER)
                number = numbers.get(id(discharge))
                links.append(ThirdPartyLink(caveat.location, added_by, inner, caveat.ticket, number))
            else:
                links.append(Link(index, caveat, added_by, because.get(index)))
                index += 1
        return Chain(macaroon.location, tuple(links))

    chain = chain_of(
        root, identifier.issuer_caveats if identifier else None, HOLDER if identifier else UNKNOWN
    )
    return Inspection(
        identifier, root.identifier, chain, effective(caveats), len(bundle.discharges) - (len(order) - 1)
    )


def _order(bundle: Bundle) -> list[Macaroon]:
    """The root, then its discharges in the order in which their caveats ask for them."""
    waiting = {discharge.identifier: discharge for discharge in bundle.discharges}
    order = [bundle.macaroon]
    asked = list(reversed(_tickets(bundle.macaroon)))
    while asked:
        discharge = waiting.pop(asked.pop(), None)
        if discharge is not None:
            order.append(discharge)
            asked += reversed(_tickets(discharge))
    return order


def _tickets(macaroon: Macaroon) -> list[bytes]:
    return [caveat.ticket for caveat in macaroon.unverified_caveats if isinstance(caveat, ThirdPartyCaveat)]


def _first_party(macaroon: Macaroon) -> list[Caveat]:
    return [caveat for caveat in macaroon.unverified_caveats if not isinstance(caveat, ThirdPartyCaveat)]


def _links(chain: Chain) -> list[Link]:
    links: list[Link] = []
    for link in chain.links:
        if isinstance(link, Link):
            links.append(link)
        elif link.discharge is not None:
            links += _links(link.discharge)
    return links


def _third_parties(chain: Chain) -> list[ThirdPartyLink]:
    found = []
    for link in chain.links:
        if isinstance(link, ThirdPartyLink):
            found.append(link)
            if link.discharge is not None:
                found += _third_parties(link.discharge)
    return found
