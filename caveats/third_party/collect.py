"""Collecting discharges: which third party to ask, in which order, and when to stop. Knows no HTTP: its caller asks.

    collecting, answer = collect(macaroon), None
    while True:
        try:
            needed = collecting.send(answer)
        except StopIteration as done:
            return done.value                     # an Unbound: bind it and send it
        answer = ...                              # the discharge of `needed.ticket`, from `needed.location`

One generator serves synchronous and asynchronous callers.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from caveats.errors import LimitExceeded, UnusedDischarge
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.bundle import Unbound
from caveats.token.wire import ThirdPartyCaveat

if TYPE_CHECKING:
    from caveats.macaroon.macaroon import Macaroon

Collecting = Generator[ThirdPartyCaveat, "Macaroon | None", Unbound]


def collect(macaroon: Macaroon, limits: Limits = DEFAULT_LIMITS) -> Collecting:
    """Yields each third-party caveat that needs a discharge, depth first, and returns the `Unbound`.

    A discharge may itself need discharges. Raises `LimitExceeded` for more than `limits.discharges` of them or
    `limits.depth` levels, and `UnusedDischarge` for a ticket that comes twice or an answer to another ticket.
    """
    found: list[Macaroon] = []
    asked: set[bytes] = set()
    waiting = _needed(macaroon, 1)
    while waiting:
        needed, depth = waiting.pop()
        if needed.ticket in asked:
            raise UnusedDischarge("two caveats ask for the same discharge")
        if depth > limits.depth:
            raise LimitExceeded(f"discharges nest at most {limits.depth} deep")
        if len(found) >= limits.discharges:
            raise LimitExceeded(f"at most {limits.discharges} discharges are asked for")
        asked.add(needed.ticket)
        answer = yield needed
        if answer is None or answer.identifier != needed.ticket:
            raise UnusedDischarge("the answer is not the discharge that was asked for")
        found.append(answer)
        waiting += _needed(answer, depth + 1)
    return Unbound(macaroon, tuple(found))


def _needed(macaroon: Macaroon, depth: int) -> list[tuple[ThirdPartyCaveat, int]]:
    """The third-party caveats with their depth, in reverse order: the last one is taken first."""
    caveats = reversed(macaroon.wire.caveats)
    return [(caveat, depth) for caveat in caveats if isinstance(caveat, ThirdPartyCaveat)]
