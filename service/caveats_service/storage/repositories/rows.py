"""A row as a record: the fields of a record have the names of its table's columns.

Knows neither tables nor records; the types of the columns (`tables`) convert what a driver cannot keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Row

_Record = TypeVar("_Record")


def record_of(kind: type[_Record], row: Row[Any]) -> _Record:
    """The record of this class that a whole row of its table makes."""
    return kind(**row._asdict())
