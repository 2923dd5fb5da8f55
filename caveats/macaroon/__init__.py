"""The macaroon as a value: mint, narrow, read, bind. Knows the chain and the kinds, judges nothing.

Reading order: `macaroon` (one macaroon), `bundle` (a macaroon with its discharges).
"""

from __future__ import annotations

from caveats.macaroon.bundle import Bundle, Unbound
from caveats.macaroon.macaroon import Macaroon

__all__ = [
    "Bundle",
    "Macaroon",
    "Unbound",
]
