"""Both sides of a bakery's discharge: mint one, collect those that are needed, and whom to believe. No HTTP, no clock."""

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
"""The location of a caveat that its holder discharges with a key of their own, as agents do to sign in."""
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
    """The discharge, if the condition holds for the asker, of whom `context` tells.

    `declared`: what to say of the asker, such as a username. Names that the ticket needs and that are not among
    them are declared empty, so that no holder can fill them in. Raises `DischargeRefused`, `MalformedTicket`.
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
    """The discharge of a caveat at `local`, which shows that one has the key. Raises `MalformedTicket`, `DischargeRefused`."""
    ticket = _opened(identifier, payload, key, limits)
    if ticket.written != LOCAL_CONDITION:
        raise DischargeRefused(f"the holder of a key is asked for nothing but {LOCAL_CONDITION!r}")
    return _answer(ticket, ())


def _opened(identifier: bytes, payload: bytes | None, key: PrivateKey, limits: Limits) -> BakeryTicket:
    return open_ticket(identifier if payload is None else payload, key, identifier=identifier, limits=limits)


def _answer(ticket: BakeryTicket, caveats: Iterable[Caveat | bytes]) -> BakeryMacaroon:
    macaroon = Macaroon.mint(ticket.caveat_key, ticket.identifier, caveats=caveats)
    prefix = b"" if ticket.identifier == ticket.payload else ticket.identifier
    return BakeryMacaroon(macaroon, ticket.version, ticket.namespace, prefix=prefix)


@dataclass(frozen=True, slots=True)
class Needed:
    """A discharge to ask for: of whom, by which name, and the ticket if it travels apart from that name."""

    caveat: ThirdPartyCaveat
    payload: bytes | None

    @property
    def location(self) -> str:
        """Whom to ask. A hint, like every location: ask only whom the user would."""
        return self.caveat.location

    @property
    def identifier(self) -> bytes:
        """`id` in the question."""
        return self.caveat.ticket


Collecting = Generator[Needed, "BakeryMacaroon | None", "Unbound"]


def collect(
    macaroon: BakeryMacaroon, key: PrivateKey | None = None, limits: Limits = DEFAULT_LIMITS
) -> Collecting:
    """As `caveats.collect`, with the tickets that travel apart. With `key`, caveats at `local` are answered here."""
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
            payloads = {**answer.payloads, **payloads}  # nobody replaces a ticket that came before theirs


def declared_by(
    authenticated: Authenticated, party: ThirdParty, root_key: bytes, names: Sequence[str]
) -> Mapping[str, str]:
    """What `party` declares of the user, of `names`; without those that it declares as nothing or in two ways.

    Believed is only a discharge that was required with this macaroon's `root_key` and for exactly these names, so
    that it has a declaration of each, and what a holder appends contradicts it. Nothing is judged here.
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
