"""The third party's side: open a ticket, judge its conditions, answer with a discharge. Knows no HTTP, no clock.

The first caveat of a discharge is the third party's: the user that it asserts, or else the expiry of the discharge. So
no caveat that a holder appends can be the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from caveats.errors import DischargeRefused, Failure
from caveats.kinds import Checkers, Expires, User, unsatisfied
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.macaroon import Macaroon
from caveats.third_party.ticket import open_ticket

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from caveats.context import Context
    from caveats.keys.boxes import PrivateKey
    from caveats.kinds import Caveat
    from caveats.third_party.ticket import Ticket

LIFE = timedelta(minutes=5)


def discharge(
    ticket: Ticket,
    caveats: Iterable[Caveat | bytes] = (),
    *,
    now: datetime,
    user: str | None = None,
    life: timedelta = LIFE,
) -> Macaroon:
    """The discharge macaroon of `ticket`. Judges nothing: the caller must have judged the ticket's conditions.

    `user`: who the third party says the asker is. `life`: how long after `now` the discharge expires. Raises
    `DischargeRefused` if the ticket has expired, `MalformedCaveat` and `LimitExceeded` for caveats.
    """
    if ticket.expires_at is not None and now >= ticket.expires_at:
        raise DischargeRefused("the ticket has expired")
    asserted = () if user is None else (User(user),)
    expires = Expires.after(life, now=now)
    return Macaroon.mint(
        ticket.caveat_key, ticket.raw, location=ticket.location, caveats=(*asserted, expires, *caveats)
    )


@dataclass(frozen=True, slots=True)
class Discharger:
    """A third party: its location, its private keys, and the checkers of the conditions that it knows.

    A condition is a predicate: `checkers` judge it against the facts of the asker.
    """

    location: str
    keys: tuple[PrivateKey, ...]
    """The newest first. Every one of them opens tickets."""
    checkers: Checkers
    audiences: Collection[str] | None = None
    """The audiences whose tickets it answers; None for all."""
    life: timedelta = LIFE
    limits: Limits = field(default=DEFAULT_LIMITS)

    def open(self, ticket: bytes) -> Ticket:
        """The contents of a ticket. Raises `MalformedTicket`, or `DischargeRefused` for another location or audience."""
        opened = open_ticket(ticket, *self.keys, limits=self.limits)
        if opened.location.rstrip("/") != self.location.rstrip("/"):
            raise DischargeRefused("the ticket is for another location")
        if self.audiences is not None and opened.audience not in self.audiences:
            raise DischargeRefused(
                f"the ticket is for audience {opened.audience!r}, which is not served here"
            )
        return opened

    def failures(self, ticket: Ticket, context: Context) -> tuple[Failure, ...]:
        """Every condition of the ticket that does not hold for this asker, explained."""
        return failed_conditions(ticket.conditions, self.checkers, context)

    def discharge(
        self,
        ticket: Ticket,
        context: Context,
        *,
        user: str | None = None,
        caveats: Iterable[Caveat | bytes] = (),
    ) -> Macaroon:
        """The discharge, if every condition holds for the asker, whose facts `context` has.

        `user`: who the third party says the asker is. Raises `DischargeRefused` with every condition that does not
        hold.
        """
        failures = self.failures(ticket, context)
        if failures:
            raise DischargeRefused("; ".join(map(str, failures)), failures)
        return discharge(ticket, caveats, now=context.now, user=user, life=self.life)


def failed_conditions(conditions: Iterable[str], checkers: Checkers, context: Context) -> tuple[Failure, ...]:
    """Every condition that does not hold, explained. A condition of an unknown kind does not hold."""
    return unsatisfied([checkers.parse(condition.encode()) for condition in conditions], checkers, context)
