"""How much of anything a token may hold. Knows only numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are checked before any HMAC is computed. Sizes in characters or bytes."""

    token_text: int = 16 * 1024
    """Characters of one token's text."""
    bundle_text: int = 64 * 1024
    """Characters of a bundle's text: the token and all its discharges."""
    caveats: int = 64
    """Caveats in one macaroon."""
    predicate: int = 1024
    """Bytes of one first-party predicate."""
    ticket: int = 4096
    """Bytes of one third-party ticket."""
    discharges: int = 16
    """Discharges in one bundle."""
    depth: int = 8
    """How deep discharges may nest."""


DEFAULT_LIMITS = Limits()
