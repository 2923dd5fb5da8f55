"""What was answered under an idempotency key, so that a retry after a lost reply gets the same answer.

Knows digests and sealed replies, and cannot open them. A key belongs to its caller. What is kept is written in
the transaction of the deed itself: no deed without its answer, and no answer without its deed.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.exc import IntegrityError

from caveats_service.storage.engines.transactions import Repository, in_batches, operation
from caveats_service.storage.errors import AlreadyDone, IdempotencyConflict, TransactionAborted
from caveats_service.storage.tables import idempotency

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from caveats_service.storage.records import Idempotency

_BATCH = 5000
_ANOTHER = "this idempotency key belongs to another request"


class ReplyRepository(Repository):
    """The operations on remembered replies."""

    @operation
    async def remember(self, once: Idempotency, result: object = None, *, now: datetime) -> None:
        """Keep the reply, made of `result`, of an operation that writes nothing else; `AlreadyDone` if another was faster."""
        async with self._database.write() as connection:
            await check(connection, once, now=now)
            await keep(connection, once, result, now=now)

    async def prune(self, *, now: datetime) -> int:
        """Forget the expired ones; returns how many. Not audited: no decision."""
        return await in_batches(lambda: self._prune(now), _BATCH)

    @operation
    async def _prune(self, now: datetime) -> int:
        ids = (idempotency.c.caller, idempotency.c.key)
        expiry = idempotency.c.expires_at
        some = select(*ids).where(expiry <= now).order_by(expiry, *ids).limit(_BATCH)
        async with self._database.write() as connection:
            gone = await connection.execute(delete(idempotency).where(tuple_(*ids).in_(some)))
            return gone.rowcount


async def check(connection: AsyncConnection, once: Idempotency | None, *, now: datetime) -> None:
    """Begin an operation: `AlreadyDone` with its reply, or `IdempotencyConflict`, if the key has been used."""
    if once is not None:
        for refusal in (await used(connection, [once], now=now)).values():
            raise refusal


async def used(
    connection: AsyncConnection, onces: Sequence[Idempotency], *, now: datetime
) -> dict[tuple[str, str], AlreadyDone | IdempotencyConflict]:
    """As `check`, of many: what to answer under each key that has been used."""
    if not onces:
        return {}
    columns = idempotency.c
    query = select(columns.caller, columns.key, columns.digest, columns.sealed_reply).where(
        columns.caller.in_({once.caller for once in onces}),
        columns.key.in_({once.key for once in onces}),
        columns.expires_at > now,
    )
    asked = {(once.caller, once.key): once.digest for once in onces}
    answers: dict[tuple[str, str], AlreadyDone | IdempotencyConflict] = {}
    for row in await connection.execute(query):
        digest = asked.get((row.caller, row.key))
        if digest is not None:
            same = hmac.compare_digest(row.digest, digest)
            answers[row.caller, row.key] = (
                AlreadyDone(bytes(row.sealed_reply)) if same else IdempotencyConflict(_ANOTHER)
            )
    return answers


async def keep(
    connection: AsyncConnection, once: Idempotency | None, result: object, *, now: datetime
) -> None:
    """End an operation: its reply is remembered if it is done, and it is not done if another was faster."""
    if once is not None:
        await keep_all(connection, [(once, result)], now=now)


async def keep_all(
    connection: AsyncConnection, done: Sequence[tuple[Idempotency, object]], *, now: datetime
) -> None:
    """As `keep`, of many under as many keys."""
    if not done:
        return
    columns = idempotency.c
    await connection.execute(
        delete(idempotency).where(
            columns.caller.in_({once.caller for once, _ in done}),
            columns.key.in_({once.key for once, _ in done}),
            columns.expires_at <= now,
        )
    )
    replies = [
        {
            "caller": once.caller,
            "key": once.key,
            "digest": once.digest,
            "sealed_reply": once.seal_reply(result),
            "created_at": now,
            "expires_at": once.expires_at,
        }
        for once, result in done
    ]
    try:
        await connection.execute(insert(idempotency), replies)
    except IntegrityError as error:
        raise TransactionAborted("another request under the same idempotency key was faster") from error
