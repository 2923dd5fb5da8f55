"""Replies kept under idempotency keys: a request that is sent again gets the reply of the first time.

Knows digests and sealed replies; cannot open them. Each caller has their own keys. A reply is written in the
transaction of its operation, so that both are kept or neither.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from caveats_service.storage.engines.transactions import Repository, in_batches, operation
from caveats_service.storage.errors import AlreadyDone, IdempotencyConflict, TransactionAborted
from caveats_service.storage.repositories.rows import delete_expired
from caveats_service.storage.tables import idempotency

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from caveats_service.storage.records import Idempotency

_BATCH = 5000
_ANOTHER = "this idempotency key has been used for another request"


class ReplyRepository(Repository):
    """The operations on remembered replies."""

    @operation
    async def remember(self, once: Idempotency, result: object = None, *, now: datetime) -> None:
        """Keep the reply of an operation that writes nothing else. `result`: `once.seal_reply` makes the reply of it.

        Raises `AlreadyDone` or `IdempotencyConflict` if the key has been used.
        """
        async with self._database.write() as connection:
            await check(connection, once, now=now)
            await keep(connection, once, result, now=now)

    async def prune(self, *, now: datetime) -> int:
        """Delete the expired replies; returns how many. Not audited, because nobody decides it."""
        return await in_batches(lambda: self._prune(now), _BATCH)

    @operation
    async def _prune(self, now: datetime) -> int:
        async with self._database.write() as connection:
            return await delete_expired(connection, idempotency, now=now, limit=_BATCH)


async def check(connection: AsyncConnection, once: Idempotency | None, *, now: datetime) -> None:
    """The beginning of an operation. Raises `AlreadyDone` or `IdempotencyConflict` if its key has been used."""
    if once is not None:
        for refusal in (await used(connection, [once], now=now)).values():
            raise refusal


async def used(
    connection: AsyncConnection, onces: Sequence[Idempotency], *, now: datetime
) -> dict[tuple[str, str], AlreadyDone | IdempotencyConflict]:
    """As `check`, for several operations: the error for each key that has been used, by caller and key."""
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
    """The end of an operation: keep its reply. Raises `TransactionAborted` if another one has used the key meanwhile."""
    if once is not None:
        await keep_all(connection, [(once, result)], now=now)


async def keep_all(
    connection: AsyncConnection, done: Sequence[tuple[Idempotency, object]], *, now: datetime
) -> None:
    """As `keep`, for several operations with their results, each under another key."""
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
        raise TransactionAborted("another request has used the same idempotency key meanwhile") from error
