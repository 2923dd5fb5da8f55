"""The audit trail: one row for each change, in the transaction of the change. If it cannot be written, nothing changes.

Knows only its table. Every repository that changes something calls `record`.
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
    """Write an audit row in the caller's transaction.

    `action`: such as `user.create`. `subject`: the name or id of what is changed. `detail`: what else should be known.
    """
    await record_all(connection, [entry(at=at, actor=actor, action=action, subject=subject, **detail)])


def entry(
    *, at: datetime, actor: str, action: str, subject: str, **detail: str | int | bool
) -> dict[str, object]:
    """An audit row, for `record_all`."""
    return {
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail,
    }


async def record_all(connection: AsyncConnection, entries: Sequence[dict[str, object]]) -> None:
    """As `record`, for several changes in one transaction."""
    if entries:
        await connection.execute(insert(audit), entries)


class AuditRepository(Repository):
    """Reads the audit trail, and writes of what changes nothing: an attempt that failed."""

    @operation
    async def add(
        self, /, *, at: datetime, actor: str, action: str, subject: str, **detail: str | int | bool
    ) -> None:
        """Write a row by itself. The caller sees to it that strangers cannot make the table grow."""
        async with self._database.write() as connection:
            await record(connection, at=at, actor=actor, action=action, subject=subject, **detail)

    @operation
    async def list(self, *, before: int | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """At most `limit` entries, newest first. `before`: the last id of the previous page."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        async with self._database.read() as connection:
            return await all_records(connection, AuditEntry, query)
