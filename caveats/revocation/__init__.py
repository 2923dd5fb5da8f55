"""Revocation: entries, the set that answers in constant time, and the feed that carries them. Knows no storage.

Reading order: `revocation_set`, `feed`.
"""

from caveats.revocation.feed import (
    Page,
    UnknownSeal,
    check_reader,
    open_page,
    open_rows,
    page_text,
    prove_reader,
    rows_text,
    seal_page,
    seal_text,
)
from caveats.revocation.revocation_set import (
    LAST_SECOND,
    BranchRevocation,
    Revocation,
    RevocationSet,
    Row,
    TokenRevocation,
    UserRevocation,
    entry_of,
    row_of,
)

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
    "open_page",
    "open_rows",
    "page_text",
    "prove_reader",
    "row_of",
    "rows_text",
    "seal_page",
    "seal_text",
]
