"""Collecting discharges: whom to ask, in which order, and when to stop. Knows no HTTP: its caller asks.

    collecting, answer = collect(macaroon), None
    while True:
        try:
            needed = collecting.send(answer)
        except StopIteration as done:
            return done.value                     # an Unbound: narrow it, bind it, send it
        answer = ...                              # what `needed.location` says to `needed.ticket`

One generator serves callers that wait and callers that await.
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
    """Asks for one discharge after the other, depth first, those that discharges themselves need included.

    A third party may answer with a macaroon that needs further discharges, for ever: the generator raises
    `LimitExceeded` beyond `limits.discharges` questions or `limits.depth` levels, and `UnusedDischarge` for a ticket that
    is asked twice or an answer to another ticket.
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
            raise UnusedDischarge("what came is not the discharge that was asked for")
        found.append(answer)
        waiting += _needed(answer, depth + 1)
    return Unbound(macaroon, tuple(found))


def _needed(macaroon: Macaroon, depth: int) -> list[tuple[ThirdPartyCaveat, int]]:
    """The third-party caveats, the first one last, as a stack wants them."""
    caveats = reversed(macaroon.wire.caveats)
    return [(caveat, depth) for caveat in caveats if isinstance(caveat, ThirdPartyCaveat)]
