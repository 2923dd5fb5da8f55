"""What was answered under an idempotency key, so that a retry after a lost reply gets the same answer.

Knows digests and sealed replies, and cannot open them. A key belongs to its caller. What is kept is written in
the transaction of the deed itself: no deed without its answer, and no answer without its deed.
"""

import hmac
from datetime import datetime
from typing import Final

from sqlalchemy import delete, insert, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database, in_batches, whole
from .errors import AlreadyDone, IdempotencyConflict, Undone
from .records import Idempotency, Revocation
from .schema import idempotency

_BATCH: Final = 5000


class Replies(Database):
    """The operations on remembered replies."""

    @whole
    async def recall(self, caller: str, key: str, digest: bytes, *, now: datetime) -> bytes | None:
        """The sealed reply under this key, None if it is free; `IdempotencyConflict` if another request has it."""
        async with self.read() as connection:
            return await _recall(connection, caller, key, digest, now)

    @whole
    async def remember(self, once: Idempotency, *, now: datetime) -> None:
        """Keep the reply of an operation that writes nothing else; `AlreadyDone` if another was faster."""
        async with self.write() as connection:
            await check(connection, once, now=now)
            await keep(connection, once, None, now=now)

    async def prune_replies(self, *, now: datetime) -> int:
        """Forget the expired ones; returns how many. Not audited: no decision."""
        return await in_batches(lambda: self._prune_replies(now), _BATCH)

    @whole
    async def _prune_replies(self, now: datetime) -> int:
        ids = (idempotency.c.caller, idempotency.c.key)
        expiry = idempotency.c.expires_at
        some = select(*ids).where(expiry <= now).order_by(expiry, *ids).limit(_BATCH)
        async with self.write() as connection:
            gone = await connection.execute(delete(idempotency).where(tuple_(*ids).in_(some)))
            return gone.rowcount


async def check(connection: AsyncConnection, once: Idempotency | None, *, now: datetime) -> None:
    """Begin an operation: `AlreadyDone` with its reply, or `IdempotencyConflict`, if the key has been used."""
    if once is None:
        return
    sealed_reply = await _recall(connection, once.caller, once.key, once.digest, now)
    if sealed_reply is not None:
        raise AlreadyDone(sealed_reply)


async def keep(
    connection: AsyncConnection, once: Idempotency | None, result: Revocation | None, *, now: datetime
) -> None:
    """End an operation: its reply is remembered if it is done, and it is not done if another was faster."""
    if once is None:
        return
    columns = idempotency.c
    await connection.execute(
        delete(idempotency).where(
            columns.caller == once.caller, columns.key == once.key, columns.expires_at <= now
        )
    )
    try:
        await connection.execute(
            insert(idempotency).values(
                caller=once.caller,
                key=once.key,
                digest=once.digest,
                sealed_reply=once.seal_reply(result),
                created_at=now,
                expires_at=once.expires_at,
            )
        )
    except IntegrityError as error:
        raise Undone("another request under the same idempotency key was faster") from error


async def _recall(
    connection: AsyncConnection, caller: str, key: str, digest: bytes, now: datetime
) -> bytes | None:
    columns = idempotency.c
    query = select(columns.digest, columns.sealed_reply).where(
        columns.caller == caller, columns.key == key, columns.expires_at > now
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    if not hmac.compare_digest(row.digest, digest):
        raise IdempotencyConflict("this idempotency key belongs to another request")
    return bytes(row.sealed_reply)
