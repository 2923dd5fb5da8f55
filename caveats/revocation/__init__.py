"""Revocation: entries, the set that answers in constant time, and the feed that carries them. Knows no storage.

Reading order: `entries` (what is revoked), `revocation_set` (all of it, in memory), `feed` (pages on their way to verifiers).
"""

from __future__ import annotations

from caveats.revocation.entries import (
    LAST_SECOND,
    BranchRevocation,
    Revocation,
    Row,
    TokenRevocation,
    UserRevocation,
    entry_of,
    row_of,
)
from caveats.revocation.feed import (
    Page,
    UnknownSeal,
    check_reader,
    open_rows,
    page_text,
    prove_reader,
    rows_text,
    seal_text,
)
from caveats.revocation.revocation_set import RevocationSet

__all__ = [
    "LAST_SECOND",
    "BranchRevocation",
    "Page",
    "Revocation",
    "RevocationSet",
    "Row",
    "TokenRevocation",
    "UnknownSeal",
    "UserRevocation",
    "check_reader",
    "entry_of",
    "open_rows",
    "page_text",
    "prove_reader",
    "row_of",
    "rows_text",
    "seal_text",
]
