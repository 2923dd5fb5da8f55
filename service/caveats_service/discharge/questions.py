"""Questions: what a ticket asks, whether it holds for an asker, and the discharge that says so.

Knows tickets (ours and bakeries'), conditions, and the key that opens tickets. Knows no store, no HTTP and no clock.
The same decision gives the same discharge, byte for byte: its times count from the decision, and nothing in it is random.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

import caveats
from caveats import (
    Caveat,
    Checkers,
    Context,
    DischargeRefused,
    Failure,
    MalformedTicket,
    PrivateKey,
    Ticket,
    UnknownCaveat,
    bakery,
)
from caveats.bakery import V2, BakeryMacaroon, BakeryTicket, IsAuthenticatedUserId, IsMemberOf
from caveats.third_party import is_ticket
from caveats_service.discharge.conditions import APPROVALS, GROUPS, ApprovedBy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

_USERNAME = "username"
_USER_ID = "userid"
"""An account is never renamed or deleted, nor its name given to somebody else: the name is the id as well."""


@dataclass(frozen=True, slots=True)
class Question:
    """An opened ticket."""

    ticket: Ticket | BakeryTicket = field(repr=False)
    identifier: bytes = field(repr=False)
    """The identifier of the third-party caveat: the ticket, or its name where the ticket is the payload."""
    payload: bytes | None = field(repr=False)
    """The ticket, where it travels apart from its name (bakery protocol, version 3)."""
    conditions: tuple[Caveat, ...]
    legacy: bool = False
    """Whether the asker's program knows only the oldest way to interact."""

    @property
    def digest(self) -> bytes:
        """32 bytes that name this ticket: SHA-256 over the hashes of identifier and payload."""
        return sha256(sha256(self.identifier).digest() + sha256(self.payload or b"").digest()).digest()

    @property
    def needs_approval(self) -> bool:
        """Whether a second person has to approve."""
        return any(isinstance(condition, ApprovedBy) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class AskerFacts:
    """What is known of the asker: username, groups, and the groups of each person who has approved."""

    user: str | None = None
    groups: frozenset[str] = frozenset()
    approvals: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConditionVerdict:
    """Whether the conditions hold; if not, whether a sign-in or approvals can make them hold."""

    failures: tuple[Failure, ...]
    sign_in: bool = False
    approval: bool = False

    @property
    def granted(self) -> bool:
        """Whether all conditions hold."""
        return not self.failures

    @property
    def open(self) -> bool:
        """Whether people can still make them hold."""
        return self.sign_in or self.approval

    def require(self) -> None:
        """Raises `DischargeRefused` with every condition that does not hold."""
        if not self.granted:
            raise DischargeRefused("; ".join(f"{f.predicate}: {f.reason}" for f in self.failures))


def open_question(
    identifier: bytes,
    payload: bytes | None,
    key: PrivateKey,
    checkers: Checkers,
    *,
    locations: frozenset[str],
    now: datetime,
) -> Question:
    """The question in the ticket of a third-party caveat. `locations`: what this third party is called.

    Raises `MalformedTicket` for a ticket that is garbage, cut off or for another third party, or with a
    condition that is not known here; `DischargeRefused` for a ticket of ours that has expired or names another location.
    """
    if payload is None and is_ticket(identifier):
        ours = caveats.open_ticket(identifier, key)
        if ours.location.rstrip("/") not in locations:
            raise DischargeRefused("the ticket is for another location")
        if ours.expires_at is not None and now >= ours.expires_at:
            raise DischargeRefused("the ticket has expired")
        return Question(ours, identifier, None, _parse(ours.conditions, checkers))
    ticket = bakery.open_ticket(identifier if payload is None else payload, key, identifier=identifier)
    conditions = _parse((ticket.condition,), checkers)
    return Question(ticket, identifier, payload, conditions, legacy=ticket.legacy)


def _parse(conditions: tuple[str, ...], checkers: Checkers) -> tuple[Caveat, ...]:
    parsed = tuple(checkers.parse(condition.encode()) for condition in conditions)
    for condition in parsed:
        if isinstance(condition, UnknownCaveat):
            raise MalformedTicket(f"the condition is not known here: {condition.why}")
    if not parsed:
        raise MalformedTicket("the ticket has no condition")
    return parsed


def judge(
    question: Question, facts: AskerFacts, checkers: Checkers, *, now: datetime, client_ip: str | None
) -> ConditionVerdict:
    """Whether the conditions hold for this asker now."""
    failures = caveats.unsatisfied(question.conditions, checkers, _context(facts, now, client_ip))
    if not failures:
        return ConditionVerdict(())
    if facts.user is None:
        return ConditionVerdict(failures, sign_in=True)
    failed = [question.conditions[failure.index] for failure in failures]
    return ConditionVerdict(failures, approval=all(isinstance(condition, ApprovedBy) for condition in failed))


def discharge(
    question: Question,
    facts: AskerFacts,
    checkers: Checkers,
    *,
    life: timedelta,
    decided_at: datetime,
    client_ip: str | None,
) -> BakeryMacaroon:
    """The discharge, valid for `life` from the decision. Raises `DischargeRefused` where a condition fails."""
    decided_at = decided_at.replace(microsecond=0)
    ticket = question.ticket
    if isinstance(ticket, Ticket):
        macaroon = caveats.discharge(ticket, now=decided_at, user=facts.user, life=life)
        return BakeryMacaroon(macaroon, V2)
    names = {_USERNAME, _USER_ID}.intersection(ticket.declared) | _always_declared(question.conditions[0])
    declared = {} if facts.user is None else dict.fromkeys(sorted(names), facts.user)
    context = _context(facts, decided_at, client_ip)
    return bakery.discharge(ticket, checkers, context, declared=declared, life=life)


def _always_declared(condition: Caveat) -> set[str]:
    """The names that a discharge declares even where the ticket does not ask for them."""
    match condition:
        case IsMemberOf():
            return set()
        case IsAuthenticatedUserId():
            return {_USER_ID}
        case _:
            return {_USERNAME}


def _context(facts: AskerFacts, now: datetime, client_ip: str | None) -> Context:
    extra = {GROUPS: facts.groups, APPROVALS: facts.approvals}
    return Context(now=now, user=facts.user, client_ip=client_ip, extra=extra)
