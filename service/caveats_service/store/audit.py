"""The audit trail: one row per change, in the change's own transaction. No row, no change.

Knows only its table. `record` is called by every other part of the store that changes anything.
"""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database, whole
from .records import AuditEntry
from .schema import audit


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
    await connection.execute(
        insert(audit).values(
            at=at, actor=actor, action=action, subject=subject, detail=json.dumps(detail, sort_keys=True)
        )
    )


class Audit(Database):
    """Reading the trail."""

    @whole
    async def list_audit(self, *, before: int | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """The newest entries first; `before` is the id of the last one of the previous page."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        async with self.read() as connection:
            return tuple(_entry(row) for row in await connection.execute(query))


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(row.id, row.at, row.actor, row.action, row.subject, json.loads(row.detail))
