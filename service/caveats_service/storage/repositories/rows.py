"""What repositories share: rows read as records, and expired rows deleted.

The fields of a record have the names of its table's columns. Knows no particular table or record; the types of the
columns (`tables`) convert what a driver cannot keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import delete, select, tuple_

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

_Record = TypeVar("_Record")


async def find_record(connection: AsyncConnection, kind: type[_Record], query: Select[Any]) -> _Record | None:
    """The record of the only row of a query for whole rows of one table; None if there is no row."""
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else kind(**row._asdict())


async def all_records(
    connection: AsyncConnection, kind: type[_Record], query: Select[Any]
) -> tuple[_Record, ...]:
    """The records of all rows of such a query, in its order."""
    return tuple(kind(**row._asdict()) for row in await connection.execute(query))


async def delete_expired(connection: AsyncConnection, table: Table, *, now: datetime, limit: int) -> int:
    """Delete at most `limit` rows whose `expires_at` is not after `now`, oldest first. Returns how many."""
    ids, expiry = tuple(table.primary_key), table.c.expires_at
    some = select(*ids).where(expiry <= now).order_by(expiry, *ids).limit(limit)
    return (await connection.execute(delete(table).where(tuple_(*ids).in_(some)))).rowcount
