"""The clock. Nothing else in the service reads the time of day; tests hand in a clock of their own."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)
