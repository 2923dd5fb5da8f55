"""How far this app's clock is from the service's, measured where an authentic answer states the service's time.

Knows times given as arguments; reads no clock. `local` and `remote` name the difference in their refusals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

_WORTH_NAMING = 5.0
"""Seconds. Clocks that NTP keeps differ by less."""


def seconds_ahead(stated: datetime, now: datetime, took: float) -> float:
    """Seconds that this clock is ahead of the service's, at least; negative if it is behind.

    `stated`: the service's time in its answer, which arrived at `now`, `took` seconds after it was asked for.
    """
    late = (now - stated).total_seconds()
    return max(0.0, late - took) if late > 0 else late


def wrong_clock(ahead: float) -> str:
    """The difference in words; empty if it is not worth naming. `ahead`: from `seconds_ahead`."""
    if abs(ahead) < _WORTH_NAMING:
        return ""
    return f"this app's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the service"
