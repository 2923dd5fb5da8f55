"""Rows as records: the fields of a record have the names of its table's columns.

Knows neither tables nor records; the types of the columns (`tables`) convert what a driver cannot keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Select
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
