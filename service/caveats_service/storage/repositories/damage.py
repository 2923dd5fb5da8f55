"""Damaged rows: values that their columns cannot hold. SQLite keeps any value in any column; PostgreSQL does not.

Knows the types of all columns, and nothing of what the rows mean, but that an account goes with all that is issued to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table, delete

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import UnknownRow
from caveats_service.storage.records import DamagedRow
from caveats_service.storage.repositories import audit as audit_rows
from caveats_service.storage.repositories.revocations import revoke_user_within
from caveats_service.storage.tables import (
    Credentials,
    IssuedTimes,
    Json,
    Lineage,
    Moment,
    agents,
    attempts,
    audit,
    clients,
    group_members,
    groups,
    idempotency,
    interactions,
    labelled_tokens,
    metadata,
    revocations,
    users,
    verifiers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncConnection

_MOST = 100
"""Damaged rows that are looked for in a table: one is reason enough to look at the whole."""
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, in milliseconds since 1970."""
_REMOVABLE = (
    *(users, groups, group_members, agents, clients, verifiers, labelled_tokens),
    *(revocations, audit, idempotency, interactions, attempts),
)


class DamageRepository(Repository):
    """The operations on damaged rows."""

    @operation
    async def find(self) -> tuple[DamagedRow, ...]:
        """The damaged rows, at most 100 of each table."""
        found: list[DamagedRow] = []
        async with self._database.read() as connection:
            if connection.dialect.name == "sqlite":
                for table in metadata.sorted_tables:
                    found += await _damaged(connection, table)
        return tuple(found)

    @operation
    async def remove(
        self, table_name: str, row: int, *, now: datetime, actor: str, longest_life: timedelta
    ) -> DamagedRow:
        """Delete a damaged row. Of a group or an account, also what refers to it; everything that was issued to the account is revoked.

        `longest_life`: of a token that was issued to an account. Raises `UnknownRow` if no such row is damaged.
        """
        async with self._database.exclusive_write() as connection:
            table = next((one for one in _REMOVABLE if one.name == table_name), None)
            there = await _damaged(connection, table, row) if table is not None else ()
            if table is None or not there:
                raise UnknownRow(f"no row {row} of {table_name} is damaged and can be removed")
            (damaged,) = there
            if table is groups:
                await connection.execute(
                    delete(group_members).where(group_members.c.group_name == damaged.name)
                )
            if table is users:
                for other in (agents, group_members, labelled_tokens):
                    await connection.execute(delete(other).where(other.c.username == damaged.name))
                await revoke_user_within(
                    self._database,
                    connection,
                    damaged.name,
                    kept_for=longest_life,
                    now=now,
                    actor=actor,
                    reason="damage.remove",
                )
            await connection.exec_driver_sql(f"DELETE FROM {table.name} WHERE rowid = ?", (row,))  # noqa: S608  # from above
            await audit_rows.record(
                connection,
                at=now,
                actor=actor,
                action="damage.remove",
                subject=f"{table.name} {damaged.name}",
                columns=" ".join(damaged.columns),
            )
            return damaged


async def _damaged(connection: AsyncConnection, table: Table, row: int | None = None) -> list[DamagedRow]:
    faults = {column.name: _is_damaged(column) for column in table.columns}
    named = " || ".join(f"CASE WHEN {fault} THEN '{name} ' ELSE '' END" for name, fault in faults.items())
    key = " || ' ' || ".join(
        f"CASE typeof({column.name}) WHEN 'blob' THEN hex({column.name}) ELSE ifnull({column.name}, 'NULL') END"
        for column in table.primary_key
    )
    which = "" if row is None else f" AND rowid = {row:d}"
    query = (
        f"SELECT rowid, {key}, {named} FROM {table.name}"  # noqa: S608  # the schema's own names
        f" WHERE ({' OR '.join(faults.values())}){which} LIMIT {_MOST}"
    )
    rows: Iterable[Any] = (await connection.exec_driver_sql(query)).all()
    return [
        DamagedRow(table.name, int(found[0]), str(found[1]), tuple(str(found[2]).split())) for found in rows
    ]


def _is_damaged(column: Column[Any]) -> str:
    """An expression that is true where the value is none for this column."""
    name, kind = column.name, column.type
    stored = "text"
    if isinstance(kind, LargeBinary):
        stored = "blob"
    elif isinstance(kind, BigInteger | Integer | Boolean | Moment):
        stored = "integer"
    allowed = f"'{stored}', 'null'" if column.nullable else f"'{stored}'"
    fault = f"typeof({name}) NOT IN ({allowed})"
    if isinstance(kind, Moment):
        fault += f" OR {name} NOT BETWEEN {_FIRST} AND {_LAST}"
    elif isinstance(kind, Json | Credentials | IssuedTimes | Lineage):
        fault += f" OR NOT json_valid({name})"
    return f"ifnull({fault}, 0)"
