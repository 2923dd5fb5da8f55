"""The audit trail: one row per change, in the change's own transaction. No row, no change.

Knows only its table. `record` is called by every other part of the store that changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.records import AuditEntry
from caveats_service.storage.repositories.rows import all_records
from caveats_service.storage.tables import audit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


async def record(
    connection: AsyncConnection,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    **detail: str | int | bool,
) -> None:
    """Write down, within the caller's transaction, what it does."""
    await record_all(connection, [entry(at=at, actor=actor, action=action, subject=subject, **detail)])


def entry(
    *, at: datetime, actor: str, action: str, subject: str, **detail: str | int | bool
) -> dict[str, object]:
    """What `record` writes down, for `record_all`."""
    return {
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail,
    }


async def record_all(connection: AsyncConnection, deeds: Sequence[dict[str, object]]) -> None:
    """As `record`, of several deeds of one transaction."""
    if deeds:
        await connection.execute(insert(audit), deeds)


class AuditRepository(Repository):
    """Reading the trail."""

    @operation
    async def list(self, *, before: int | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """The newest entries first; `before` is the id of the last one of the previous page."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        async with self._database.read() as connection:
            return await all_records(connection, AuditEntry, query)
