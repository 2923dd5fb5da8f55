"""What repositories share: rows read as records, and expired rows deleted.

The fields of a record have the names of its table's columns. Knows no particular table or record; the types of the
columns (`tables`) convert what a driver cannot keep. A row that they cannot convert is damaged, and stops no other.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import delete, func, select, tuple_

from caveats_service.storage.errors import RowDamaged

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Select, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

_Record = TypeVar("_Record")
UNREADABLE = (TypeError, ValueError, KeyError, AttributeError, OverflowError)
"""What the types of columns raise for a value that they cannot convert."""
_log = logging.getLogger(__name__)


async def find_record(connection: AsyncConnection, kind: type[_Record], query: Select[Any]) -> _Record | None:
    """The record of the only row of a query for whole rows of one table; None if there is no row. Raises `RowDamaged`."""
    try:
        row = (await connection.execute(query)).one_or_none()
    except UNREADABLE:
        raise RowDamaged(_table(query)) from None
    return None if row is None else kind(**row._asdict())


async def all_records(
    connection: AsyncConnection, kind: type[_Record], query: Select[Any]
) -> tuple[_Record, ...]:
    """The records of all rows of such a query, in its order. Damaged rows are left out, and logged."""
    try:
        return tuple(kind(**row._asdict()) for row in await connection.execute(query))
    except UNREADABLE:
        return await _all_whole(connection, kind, query)


async def _all_whole(
    connection: AsyncConnection, kind: type[_Record], query: Select[Any]
) -> tuple[_Record, ...]:
    """As `all_records`, row by row: the first damaged row ends the reading of a result."""
    count = (await connection.execute(select(func.count()).select_from(query.subquery()))).scalar_one()
    found = []
    for number in range(count):
        try:
            record = await find_record(connection, kind, query.limit(1).offset(number))
        except RowDamaged as error:
            _log.error("%s", error)
        else:
            if record is not None:
                found.append(record)
    return tuple(found)


def _table(query: Select[Any]) -> str:
    return ", ".join(str(getattr(source, "name", source)) for source in query.get_final_froms())


async def delete_expired(connection: AsyncConnection, table: Table, *, now: datetime, limit: int) -> int:
    """Delete at most `limit` rows whose `expires_at` is not after `now`, oldest first. Returns how many."""
    ids, expiry = tuple(table.primary_key), table.c.expires_at
    some = select(*ids).where(expiry <= now).order_by(expiry, *ids).limit(limit)
    return (await connection.execute(delete(table).where(tuple_(*ids).in_(some)))).rowcount
