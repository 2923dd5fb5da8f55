"""Third-party caveats, both sides: tickets that only the third party reads, and the discharges that answer them.

Knows no HTTP. Reading order: `ticket`, `discharge` (the third party's side), `collect` (the holder's side).
"""

from __future__ import annotations

from caveats.third_party.collect import collect
from caveats.third_party.discharge import Discharger, discharge
from caveats.third_party.ticket import ThirdParty, Ticket, is_ticket, open_ticket

__all__ = [
    "Discharger",
    "ThirdParty",
    "Ticket",
    "collect",
    "discharge",
    "is_ticket",
    "open_ticket",
]
