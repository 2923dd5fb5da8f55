"""Both sides of a bakery's discharge: mint one, collect the needed ones, read what they declare. No HTTP, no clock."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from caveats.bakery.conditions import Declared, TimeBefore
from caveats.bakery.macaroons import BakeryMacaroon, declaring_key, in_namespace
from caveats.bakery.tickets import BakeryTicket, open_ticket
from caveats.errors import DischargeRefused
from caveats.kinds import parse_predicate
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.macaroon import Macaroon
from caveats.third_party.collect import collect as collect_all
from caveats.third_party.discharge import LIFE, failed_conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from caveats.context import Context
    from caveats.keys.boxes import PrivateKey
    from caveats.kinds import Caveat, Checkers
    from caveats.macaroon.bundle import Unbound
    from caveats.third_party.ticket import ThirdParty
    from caveats.token.wire import ThirdPartyCaveat
    from caveats.verification.authenticate import Authenticated

LOCAL = "local"
"""The location of a caveat that the holder discharges with their own key, as an agent does to sign in."""
LOCAL_CONDITION = "true"
_NOTHING: Mapping[str, str] = MappingProxyType({})


def discharge(
    ticket: BakeryTicket,
    checkers: Checkers,
    context: Context,
    *,
    declared: Mapping[str, str] = _NOTHING,
    caveats: Iterable[Caveat | bytes] = (),
    life: timedelta = LIFE,
) -> BakeryMacaroon:
    """The discharge, if the condition holds for the asker, whose facts `context` has.

    `declared`: facts about the asker by name, such as a username. A name that the ticket needs and `declared` lacks is
    declared empty, so that no holder can declare it. `life`: how long after `context.now` the discharge expires.
    Raises `DischargeRefused`, `MalformedTicket`.
    """
    needed = ticket.declared
    failures = failed_conditions((ticket.condition,), checkers, context)
    if failures:
        raise DischargeRefused("; ".join(map(str, failures)), failures)
    said = {**declared, **{name: "" for name in needed if name not in declared}}
    statements = [Declared(name, fact) for name, fact in said.items()]
    expires = TimeBefore.at((context.now + life).replace(microsecond=0))
    written = [*statements, expires, *caveats]
    return _answer(ticket, [in_namespace(caveat, ticket.namespace) for caveat in written])


def discharge_local(
    identifier: bytes, payload: bytes | None, key: PrivateKey, limits: Limits = DEFAULT_LIMITS
) -> BakeryMacaroon:
    """The discharge of a caveat at `local`: it proves that the holder has `key`.

    `payload`: the ticket, if it was sent beside the macaroon. Raises `MalformedTicket`, `DischargeRefused`.
    """
    ticket = _opened(identifier, payload, key, limits)
    if ticket.written != LOCAL_CONDITION:
        raise DischargeRefused(f"a local discharge answers only the condition {LOCAL_CONDITION!r}")
    return _answer(ticket, ())


def _opened(identifier: bytes, payload: bytes | None, key: PrivateKey, limits: Limits) -> BakeryTicket:
    return open_ticket(identifier if payload is None else payload, key, identifier=identifier, limits=limits)


def _answer(ticket: BakeryTicket, caveats: Iterable[Caveat | bytes]) -> BakeryMacaroon:
    macaroon = Macaroon.mint(ticket.caveat_key, ticket.identifier, caveats=caveats)
    prefix = b"" if ticket.identifier == ticket.payload else ticket.identifier
    return BakeryMacaroon(macaroon, ticket.version, ticket.namespace, prefix=prefix)


@dataclass(frozen=True, slots=True)
class Needed:
    """A discharge to ask for: the third-party caveat, and its ticket (`payload`) if that was sent beside the macaroon."""

    caveat: ThirdPartyCaveat
    payload: bytes | None

    @property
    def location(self) -> str:
        """Where to ask. A hint that anybody can write: ask only a party that the user trusts."""
        return self.caveat.location

    @property
    def identifier(self) -> bytes:
        """The identifier of the discharge: `id` in the question."""
        return self.caveat.ticket


Collecting = Generator[Needed, "BakeryMacaroon | None", "Unbound"]


def collect(
    macaroon: BakeryMacaroon, key: PrivateKey | None = None, limits: Limits = DEFAULT_LIMITS
) -> Collecting:
    """As `caveats.collect`, with the tickets of version 3. `key`: the holder's, which answers caveats at `local`."""
    payloads = dict(macaroon.payloads)
    asking = collect_all(macaroon.macaroon, limits)
    answer: BakeryMacaroon | None = None
    while True:
        try:
            caveat = asking.send(None if answer is None else answer.macaroon)
        except StopIteration as done:
            unbound: Unbound = done.value
            return unbound
        needed = Needed(caveat, payloads.get(caveat.ticket))
        if key is not None and caveat.location == LOCAL:
            answer = discharge_local(caveat.ticket, needed.payload, key, limits)
        else:
            answer = yield needed
        if answer is not None:
            payloads = {**answer.payloads, **payloads}  # a discharge cannot replace an earlier ticket


def declared_by(
    authenticated: Authenticated, party: ThirdParty, root_key: bytes, names: Sequence[str]
) -> Mapping[str, str]:
    """The facts that `party` declares under `names`, without empty ones and without names declared in two ways.

    Reads only a discharge that was required with this macaroon's `root_key` and for exactly these names. Such a
    discharge declares each of them, so that a declaration that a holder appends contradicts it. Judges nothing.
    """
    facts: dict[str, set[str]] = {name: set() for name in names}
    identifier = authenticated.wire.identifier
    for discharge in authenticated.discharges:
        caveat_key = declaring_key(root_key, party, identifier, discharge.nonce, names)
        if discharge.was_required_with(caveat_key):
            for predicate in discharge.predicates:
                caveat = parse_predicate(predicate, {Declared.kind: Declared})
                if isinstance(caveat, Declared):
                    facts.get(caveat.name, set()).add(caveat.fact)
    return {name: fact for name, found in facts.items() if len(found) == 1 for fact in found if fact}
