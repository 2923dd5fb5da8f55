"""Labelled tokens: those that their users want to find again, each with the time of its last use.

Knows ids, notes and times. Must not know tokens or signatures, nor any token without a label.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from caveats_service.storage.engines.transactions import Repository, in_batches, operation
from caveats_service.storage.errors import LabelExists, LabelsFull
from caveats_service.storage.records import Idempotency, LabelledToken
from caveats_service.storage.repositories import audit, idempotency
from caveats_service.storage.repositories.rows import all_records, delete_expired, find_record
from caveats_service.storage.repositories.users import existing_user
from caveats_service.storage.tables import labelled_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

_BATCH = 5000


class LabelRepository(Repository):
    """The operations on labelled tokens."""

    @operation
    async def add(
        self,
        token: LabelledToken,
        *,
        most: int | None = None,
        now: datetime,
        actor: str,
        once: Idempotency | None = None,
        result: object = None,
    ) -> None:
        """Add a labelled token, and keep the reply that `once` makes of `result`.

        `most`: of the user's labelled tokens that have not expired; None for any number. Raises `UnknownUser`, `LabelsFull`,
        `LabelExists` for an id that is there already, and `AlreadyDone` or `IdempotencyConflict`
        if the key of `once` has been used.
        """
        async with self._database.write() as connection:
            await idempotency.check(connection, once, now=now)
            await existing_user(connection, token.username, until_end=True)
            if most is not None and await _count(connection, token.username, now) >= most:
                raise LabelsFull(
                    f"the account has {most} labelled tokens, as many as it may: ask without a note, or let some expire"
                )
            values = {each.name: getattr(token, each.name) for each in fields(token)}
            try:
                await connection.execute(insert(labelled_tokens).values(values))
            except IntegrityError as error:
                raise LabelExists(f"there is a labelled token {token.token_id} already") from error
            await audit.record(
                connection,
                at=now,
                actor=actor,
                action="token.label",
                subject=token.token_id,
                user=token.username,
                scope=token.scope,
                audience=token.audience,
            )
            await idempotency.keep(connection, once, result, now=now)

    @operation
    async def get(self, token_id: str) -> LabelledToken | None:
        """The labelled token with this id, or None."""
        query = select(labelled_tokens).where(labelled_tokens.c.token_id == token_id)
        async with self._database.read() as connection:
            return await find_record(connection, LabelledToken, query)

    @operation
    async def list(
        self, username: str, *, after: str | None = None, limit: int = 100
    ) -> tuple[LabelledToken, ...]:
        """At most `limit` labelled tokens of a user, newest first. `after`: the last id of the previous page."""
        ids = labelled_tokens.c.token_id
        query = select(labelled_tokens).where(labelled_tokens.c.username == username)
        if after is not None:
            query = query.where(ids < after)
        query = query.order_by(ids.desc()).limit(limit)
        async with self._database.read() as connection:
            return await all_records(connection, LabelledToken, query)

    @operation
    async def mark_used(self, uses: Mapping[tuple[str, str], datetime]) -> None:
        """Write the times of last use, by audience and token id. A later time stays, and unknown ids are ignored.

        An app can put any id into a token of its audience: that is no use of the token of another audience that has
        this id. Not audited, because nobody decides it.
        """
        if not uses:
            return
        last = labelled_tokens.c.last_used_at
        statement = (
            update(labelled_tokens)
            .where(
                labelled_tokens.c.token_id == bindparam("used_id"),
                labelled_tokens.c.audience == bindparam("used_for"),
                or_(last.is_(None), last < bindparam("used_at", type_=last.type)),
            )
            .values(last_used_at=bindparam("used_at", type_=last.type))
        )
        rows = [
            {"used_id": token_id, "used_for": audience, "used_at": at}
            for (audience, token_id), at in sorted(uses.items(), key=lambda use: use[0][1])
        ]
        async with self._database.write() as connection:
            await connection.execute(statement, rows)

    @operation
    async def extend(self, token_id: str, *, audience: str, username: str, expires_at: datetime) -> None:
        """Note that a token was renewed until then. An earlier time is ignored, and so is a token without a label.

        An app can put any id into a token of its audience: that is no renewal of another audience's or another user's.
        Not audited, because nobody decides it.
        """
        table = labelled_tokens.c
        is_extended = (
            table.token_id == token_id,
            table.audience == audience,
            table.username == username,
            table.expires_at < expires_at,
        )
        async with self._database.read() as connection:
            if (await connection.execute(select(table.token_id).where(*is_extended))).first() is None:
                return
        async with self._database.write() as connection:
            await connection.execute(
                update(labelled_tokens).where(*is_extended).values(expires_at=expires_at)
            )

    async def prune(self, *, now: datetime, actor: str) -> int:
        """Delete the expired labelled tokens; returns how many."""
        return await in_batches(lambda: self._prune(now, actor), _BATCH)

    @operation
    async def _prune(self, now: datetime, actor: str) -> int:
        async with self._database.write() as connection:
            count = await delete_expired(connection, labelled_tokens, now=now, limit=_BATCH)
            if count:
                await audit.record(
                    connection, at=now, actor=actor, action="token.prune", subject="", count=count
                )
            return count


async def _count(connection: AsyncConnection, username: str, now: datetime) -> int:
    """How many labelled tokens of this user have not expired."""
    query = (
        select(func.count())
        .select_from(labelled_tokens)
        .where(labelled_tokens.c.username == username, labelled_tokens.c.expires_at > now)
    )
    return int((await connection.execute(query)).scalar_one())
