"""The audit trail: one row per change, in the change's own transaction. No row, no change.

Knows only its table. `record` is called by every other part of the store that changes anything.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.records import AuditEntry
from caveats_service.storage.tables import audit


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
        "detail": json.dumps(detail, sort_keys=True),
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
            return tuple(_entry(row) for row in await connection.execute(query))


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(row.id, row.at, row.actor, row.action, row.subject, json.loads(row.detail))
