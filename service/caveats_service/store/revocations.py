"""What has been revoked, as a feed that readers can follow without ever missing an entry unknowingly.

Knows ids, branch ids and times. Must not know tokens. Sequences are gap-free: they come from a counter in
`meta` that moves in the entry's own transaction. Pruning forgets entries that can hit nothing any more and
remembers the highest forgotten sequence as `floor`; a reader that stands below it loads all live entries
instead.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, delete, insert, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from . import audit, idempotency
from .database import Database, in_batches, whole
from .records import Idempotency, Revocation, RevocationKind, RevocationPage
from .schema import Moment, meta, milliseconds, moment, revocations

# Kept beyond their expiry, for readers whose clock is behind, or who were away for a moment.
GRACE: Final = timedelta(minutes=10)

_BATCH: Final = 5000
_new: Final = tuple.__new__
_KINDS: Final = {kind.value: kind for kind in RevocationKind}
# In the order of `Revocation`, and times as they are: a million of them are read when a node starts.
_COLUMNS: Final = [
    type_coerce(column, BigInteger).label(column.name) if isinstance(column.type, Moment) else column
    for column in (revocations.c[name] for name in Revocation._fields)
]


class Revocations(Database):
    """The operations on revocations.

    Revoking the same again returns the entry that is there, if it lasts at least as long as the one asked
    for; so `expires_at` should follow from the target (the token's expiry, or its issue time plus the
    ceiling), not from now. With `once`, a key that has been used raises `AlreadyDone` or `IdempotencyConflict`.
    """

    @whole
    async def revoke_token(
        self,
        token_id: str,
        *,
        expires_at: datetime,
        now: datetime,
        actor: str,
        reason: str = "",
        once: Idempotency | None = None,
    ) -> Revocation:
        """The whole token, every branch of it."""
        target = {"kind": RevocationKind.TOKEN.value, "token_id": token_id}
        return await self._revoke(target, once, expires_at=expires_at, now=now, actor=actor, reason=reason)

    @whole
    async def revoke_branch(
        self,
        token_id: str,
        branch_id: bytes,
        *,
        expires_at: datetime,
        now: datetime,
        actor: str,
        reason: str = "",
        once: Idempotency | None = None,
    ) -> Revocation:
        """One copy and all that descends from it."""
        target = {"kind": RevocationKind.BRANCH.value, "token_id": token_id, "branch_id": branch_id}
        return await self._revoke(target, once, expires_at=expires_at, now=now, actor=actor, reason=reason)

    @whole
    async def revoke_user(
        self,
        username: str,
        issued_up_to: datetime,
        *,
        expires_at: datetime,
        now: datetime,
        actor: str,
        reason: str = "",
        once: Idempotency | None = None,
    ) -> Revocation:
        """All that was issued to this user up to and including that time."""
        target = _user_target(username, issued_up_to)
        return await self._revoke(target, once, expires_at=expires_at, now=now, actor=actor, reason=reason)

    @whole
    async def page_revocations(self, after_sequence: int, *, limit: int = 1000) -> RevocationPage:
        """The entries that follow; the page says whether the reader `must_resync` because some are gone."""
        async with self.read() as connection:
            head = await _head(connection)
            return await _page(connection, head, revocations.c.sequence > after_sequence, limit)

    async def live_revocations(
        self, *, now: datetime, page_size: int = 2000
    ) -> AsyncIterator[RevocationPage]:
        """All entries that can still hit something, page by page, at least one page.

        Each page carries the same head, read before the first: a reader that has taken them all stands at
        `last_sequence` and follows `page_revocations` from there. No transaction is held between pages.
        """
        head = await self.page_revocations(0, limit=0)
        after = 0
        while True:
            page = await self._live_page(head, after, now, page_size)
            yield page
            if len(page.entries) < page_size:
                return
            after = page.entries[-1].sequence

    async def prune_revocations(self, *, now: datetime, actor: str, grace: timedelta = GRACE) -> int:
        """Forget the entries that expired more than `grace` ago; returns how many."""
        return await in_batches(lambda: self._prune(now - grace, now, actor), _BATCH)

    @whole
    async def _prune(self, dead_since: datetime, now: datetime, actor: str) -> int:
        sequence, expiry = revocations.c.sequence, revocations.c.expires_at
        some = select(sequence).where(expiry <= dead_since).order_by(expiry, sequence).limit(_BATCH)
        async with self.write_alone() as connection:
            gone = (
                await connection.scalars(
                    delete(revocations).where(sequence.in_(some)).returning(revocations.c.sequence)
                )
            ).all()
            if gone:
                highest = max(gone)
                await connection.execute(
                    update(meta).where(meta.c.revocation_floor < highest).values(revocation_floor=highest)
                )
                await audit.record(
                    connection, at=now, actor=actor, action="revocation.prune", subject="", count=len(gone)
                )
            return len(gone)

    async def _revoke(
        self,
        target: dict[str, Any],
        once: Idempotency | None,
        *,
        expires_at: datetime,
        now: datetime,
        actor: str,
        reason: str,
    ) -> Revocation:
        async with self.write_alone() as connection:
            await idempotency.check(connection, once, now=now)
            entry = await _revoke(
                connection, target, expires_at=expires_at, now=now, actor=actor, reason=reason
            )
            await idempotency.keep(connection, once, entry, now=now)
            return entry

    @whole
    async def _live_page(self, head: RevocationPage, after: int, now: datetime, limit: int) -> RevocationPage:
        values = (after, head.last_sequence, milliseconds(now), limit)
        async with self.read() as connection:
            rows = await self._engine.rows(connection, _LIVE, *values)
        return replace(head, entries=tuple(map(_entry, rows)))


_LIVE: Final = (
    f"SELECT {', '.join(Revocation._fields)} FROM {revocations.name}"  # noqa: S608  our own names
    " WHERE sequence > $1 AND sequence <= $2 AND expires_at > $3 ORDER BY sequence LIMIT $4"
)


async def revoke_user_within(
    connection: AsyncConnection,
    username: str,
    issued_up_to: datetime,
    *,
    expires_at: datetime,
    now: datetime,
    actor: str,
    reason: str,
) -> Revocation:
    """`revoke_user` as a part of a larger transaction, which must be one that writes alone."""
    target = _user_target(username, issued_up_to)
    return await _revoke(connection, target, expires_at=expires_at, now=now, actor=actor, reason=reason)


def _user_target(username: str, issued_up_to: datetime) -> dict[str, Any]:
    return {"kind": RevocationKind.USER.value, "username": username, "issued_up_to": issued_up_to}


async def _revoke(
    connection: AsyncConnection,
    target: dict[str, Any],
    *,
    expires_at: datetime,
    now: datetime,
    actor: str,
    reason: str,
) -> Revocation:
    columns = revocations.c
    covering = (
        select(*_COLUMNS)
        .where(
            *(
                columns[name] >= value if name == "issued_up_to" else columns[name] == value
                for name, value in target.items()
            )
        )
        .where(columns.expires_at >= expires_at)
        .order_by(columns.sequence)
        .limit(1)
    )
    row = (await connection.execute(covering)).one_or_none()
    if row is not None:
        return _entry(row)
    counted = await connection.execute(
        update(meta)
        .values(revocation_sequence=meta.c.revocation_sequence + 1)
        .returning(meta.c.revocation_sequence)
    )
    sequence = counted.scalar_one()
    inserted = await connection.execute(
        insert(revocations)
        .values(
            **target,
            sequence=sequence,
            expires_at=expires_at,
            created_at=now,
            revoked_by=actor,
            reason=reason,
        )
        .returning(*_COLUMNS)
    )
    entry = _entry(inserted.one())
    subject = target.get("token_id") or target["username"]
    detail = {"branch": target["branch_id"].hex()} if "branch_id" in target else {}
    await audit.record(
        connection,
        at=now,
        actor=actor,
        action=f"revocation.{target['kind']}",
        subject=subject,
        sequence=sequence,
        reason=reason,
        **detail,
    )
    return entry


async def _head(connection: AsyncConnection) -> RevocationPage:
    row = (await connection.execute(select(meta))).one()
    return RevocationPage(row.epoch, row.revocation_sequence, row.revocation_floor, ())


async def _page(
    connection: AsyncConnection, head: RevocationPage, wanted: ColumnElement[bool], limit: int
) -> RevocationPage:
    query = select(*_COLUMNS).where(wanted).order_by(revocations.c.sequence).limit(limit)
    entries = tuple(_entry(row) for row in await connection.execute(query))
    return RevocationPage(head.epoch, head.last_sequence, head.floor, entries)


def _entry(row: Sequence[Any]) -> Revocation:
    sequence, kind, token_id, branch_id, username, issued_up_to, expires_at, created_at, by, reason = row
    issued_up_to = None if issued_up_to is None else moment(issued_up_to)
    target = (_KINDS[kind], token_id, branch_id, username, issued_up_to)
    return _new(Revocation, (sequence, *target, moment(expires_at), moment(created_at), by, reason))
