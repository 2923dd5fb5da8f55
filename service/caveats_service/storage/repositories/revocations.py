"""What has been revoked, as a feed that readers can follow without ever missing an entry unknowingly.

Knows ids, branch ids and times. Must not know tokens. Sequences are gap-free: they come from a counter in
`meta` that moves in the entry's own transaction. Pruning forgets entries that can hit nothing any more and
remembers the highest forgotten sequence as `floor`; a reader that stands below it loads all live entries
instead.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, delete, insert, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from caveats.revocation import LAST_SECOND, Row
from caveats_service.storage.engines.transactions import Database, Repository, in_batches, operation
from caveats_service.storage.errors import StoreError, StoreUnavailable, TransactionAborted
from caveats_service.storage.records import Idempotency, Revocation, RevocationKind, RevocationPage
from caveats_service.storage.repositories import audit, idempotency
from caveats_service.storage.tables import Moment, meta, milliseconds, moment, revocations

# Kept beyond their expiry, for readers whose clock is behind, or who were away for a moment.
GRACE: Final = timedelta(minutes=10)

_BATCH: Final = 5000
_TOGETHER: Final = 500
_new: Final = tuple.__new__
_KINDS: Final = {kind.value: kind for kind in RevocationKind}
# In the order of `Revocation`, and times as they are: a million of them are read when a node starts.
_COLUMNS: Final = [
    type_coerce(column, BigInteger).label(column.name) if isinstance(column.type, Moment) else column
    for column in (revocations.c[name] for name in Revocation._fields)
]


class RevocationRepository(Repository):
    """The operations on revocations.

    Revoking the same again returns the entry that is there, if it lasts at least as long as the one asked
    for; so `expires_at` should follow from the target (the token's expiry, or its issue time plus the
    ceiling), not from now. With `once`, a key that has been used raises `AlreadyDone` or `IdempotencyConflict`.

    Whoever has to wait is written down together with all others who wait, in one transaction: a burst costs a few.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._wishes: dict[_Wish, None] = {}
        self._landed = asyncio.Event()
        self._landed.set()

    @operation
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
        target = _Target(RevocationKind.TOKEN, token_id)
        return await self._revoke(_Wish(target, expires_at, now, actor, reason, once))

    @operation
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
        target = _Target(RevocationKind.BRANCH, token_id, branch_id)
        return await self._revoke(_Wish(target, expires_at, now, actor, reason, once))

    @operation
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
        target = _Target(RevocationKind.USER, username=username, issued_up_to=issued_up_to)
        return await self._revoke(_Wish(target, expires_at, now, actor, reason, once))

    @operation
    async def page(self, after_sequence: int, *, limit: int = 1000) -> RevocationPage:
        """The entries that follow; the page says whether the reader `must_resync` because some are gone."""
        async with self._database.read() as connection:
            head = await _head(connection)
            return await _page(connection, head, revocations.c.sequence > after_sequence, limit)

    @operation
    async def live_rows(
        self, after_sequence: int, upto: int, *, now: datetime, limit: int = 5000
    ) -> list[Row]:
        """The entries that follow, up to a sequence, that can still hit something, as the feed carries them.

        Fewer than `limit`: these are all. For reading a million of them, so none is made into a `Revocation`.
        """
        values = (after_sequence, upto, milliseconds(now), limit)
        async with self._database.read() as connection:
            return list(map(_row, await self._database.rows(connection, _LIVE, *values)))

    async def prune(self, *, now: datetime, actor: str, grace: timedelta = GRACE) -> int:
        """Forget the entries that expired more than `grace` ago; returns how many."""
        return await in_batches(lambda: self._prune(now - grace, now, actor), _BATCH)

    @operation
    async def _prune(self, dead_since: datetime, now: datetime, actor: str) -> int:
        sequence, expiry = revocations.c.sequence, revocations.c.expires_at
        some = select(sequence).where(expiry <= dead_since).order_by(expiry, sequence).limit(_BATCH)
        async with self._database.exclusive_write() as connection:
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

    @operation
    async def bump_epoch(self, *, now: datetime, actor: str) -> int:
        """Make every follower of the feed load everything anew; returns the new epoch.

        For after a restore: the epoch moves on, and to at least the seconds of `now`, so that followers notice
        also when the same backup is put back twice.
        """
        async with self._database.exclusive_write() as connection:
            before = (await connection.execute(select(meta.c.epoch))).scalar_one()
            epoch = max(int(before) + 1, int(now.timestamp()))
            await connection.execute(update(meta).values(epoch=epoch))
            await audit.record(
                connection, at=now, actor=actor, action="revocation.bump_epoch", subject="", epoch=epoch
            )
            return epoch

    async def _revoke(self, wish: "_Wish") -> Revocation:
        """Write down this wish, together with all that wait when its turn comes: then it may be done already."""
        self._wishes[wish] = None
        try:
            async with self._database.exclusive_turn():
                if wish.outcome is None:
                    await self._write_together(wish)
        except StoreUnavailable:
            await self._landed.wait()  # somebody may be writing this one down at this moment
            if wish.outcome is None:
                raise
        finally:
            del self._wishes[wish]
        assert wish.outcome is not None
        if isinstance(wish.outcome, Revocation):
            return wish.outcome
        raise wish.outcome

    async def _write_together(self, mine: "_Wish") -> None:
        wishes = _together(mine, self._wishes)
        begun = False
        self._landed.clear()
        try:
            async with self._database.exclusive_write() as connection:
                begun = True
                outcomes = await _write(connection, wishes)
        except TransactionAborted:
            raise
        except Exception:  # whoever is at fault is to be told so, and nobody else
            if not begun or len(wishes) == 1:
                raise
            for wish in wishes:
                wish.alone = True
            await self._write_together(mine)
        else:
            for wish, outcome in zip(wishes, outcomes, strict=True):
                wish.outcome = outcome
        finally:
            self._landed.set()


_LIVE: Final = (
    "SELECT sequence, kind, token_id, branch_id, username, issued_up_to, expires_at FROM revocations"
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
    target = _Target(RevocationKind.USER, username=username, issued_up_to=issued_up_to)
    (entry,) = await _write(connection, [_Wish(target, expires_at, now, actor, reason)])
    assert isinstance(entry, Revocation)
    return entry


class _Target(NamedTuple):
    """What a revocation hits; what its kind does not name is None."""

    kind: RevocationKind
    token_id: str | None = None
    branch_id: bytes | None = None
    username: str | None = None
    issued_up_to: datetime | None = None


@dataclass(eq=False, slots=True)
class _Wish:
    """A revocation that somebody waits for."""

    target: _Target
    expires_at: datetime
    now: datetime
    actor: str
    reason: str
    once: Idempotency | None = None
    alone: bool = False
    """Whether it went wrong together with others."""
    outcome: Revocation | StoreError | None = None

    @property
    def key(self) -> tuple[str, str] | None:
        """The idempotency key, with its caller."""
        return None if self.once is None else (self.once.caller, self.once.key)

    def entry(self, sequence: int) -> Revocation:
        """What is written down, as it will be read."""
        kind, token_id, branch_id, username, issued_up_to = self.target
        return Revocation(
            sequence,
            kind,
            token_id,
            branch_id,
            username,
            None if issued_up_to is None else _kept(issued_up_to),
            _kept(self.expires_at),
            _kept(self.now),
            self.actor,
            self.reason,
        )

    def is_covered_by(self, entry: Revocation) -> bool:
        """Whether it needs no entry of its own."""
        *what, up_to = self.target
        return (
            what == [entry.kind, entry.token_id, entry.branch_id, entry.username]
            and (up_to is None or (entry.issued_up_to is not None and entry.issued_up_to >= _kept(up_to)))
            and entry.expires_at >= _kept(self.expires_at)
        )


def _together(mine: _Wish, waiting: Iterable[_Wish]) -> list[_Wish]:
    """Whom one transaction serves, in the order of asking: no two under one idempotency key."""
    if mine.alone:
        return [mine]
    wishes, keys = [mine], {mine.key} - {None}
    for wish in waiting:
        if wish is mine or wish.alone or wish.outcome is not None or wish.key in keys:
            continue
        wishes.append(wish)
        keys |= {wish.key} - {None}
        if len(wishes) == _TOGETHER:
            break
    return wishes


async def _write(connection: AsyncConnection, wishes: Sequence[_Wish]) -> list[Revocation | StoreError]:
    """What becomes of each, in a few statements however many they are."""
    now = max(wish.now for wish in wishes)
    used = await idempotency.used(connection, [wish.once for wish in wishes if wish.once], now=now)
    known = await _covering(connection, [wish for wish in wishes if wish.key not in used])
    query = select(meta.c.revocation_sequence)
    last: int = (await connection.execute(query)).scalar_one()
    made: list[Revocation] = []
    outcomes: list[Revocation | StoreError] = []
    for wish in wishes:
        refusal = None if wish.key is None else used.get(wish.key)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        name = wish.target.token_id or wish.target.username
        entries = known.setdefault(name, [])
        entry = next(filter(wish.is_covered_by, entries), None)
        if entry is None:
            entry = wish.entry(last + len(made) + 1)
            made.append(entry)
            entries.append(entry)
        outcomes.append(entry)
    if made:
        await connection.execute(update(meta).values(revocation_sequence=last + len(made)))
        await connection.execute(insert(revocations), [_columns(entry) for entry in made])
        await audit.record_all(connection, [_deed(entry) for entry in made])
    replies = [
        (wish.once, outcome)
        for wish, outcome in zip(wishes, outcomes, strict=True)
        if wish.once is not None and isinstance(outcome, Revocation)
    ]
    await idempotency.keep_all(connection, replies, now=now)
    return outcomes


async def _covering(
    connection: AsyncConnection, wishes: Sequence[_Wish]
) -> dict[str | None, list[Revocation]]:
    """The entries that may cover these, oldest first, by token id or user."""
    found: dict[str | None, list[Revocation]] = {}
    columns = revocations.c
    for kind in RevocationKind:
        some = [wish for wish in wishes if wish.target.kind is kind]
        if not some:
            continue
        query = select(*_COLUMNS).where(
            columns.kind == kind.value, columns.expires_at >= min(wish.expires_at for wish in some)
        )
        if kind is RevocationKind.USER:
            earliest = min(wish.target.issued_up_to for wish in some if wish.target.issued_up_to is not None)
            query = query.where(
                columns.username.in_({wish.target.username for wish in some}),
                columns.issued_up_to >= earliest,
            )
        else:
            query = query.where(columns.token_id.in_({wish.target.token_id for wish in some}))
        if kind is RevocationKind.BRANCH:
            query = query.where(columns.branch_id.in_({wish.target.branch_id for wish in some}))
        for entry in map(_entry, await connection.execute(query.order_by(columns.sequence))):
            found.setdefault(entry.token_id or entry.username, []).append(entry)
    return found


def _columns(entry: Revocation) -> dict[str, object]:
    return {**entry._asdict(), "kind": entry.kind.value}


def _deed(entry: Revocation) -> dict[str, object]:
    detail = {} if entry.branch_id is None else {"branch": entry.branch_id.hex()}
    return audit.entry(
        at=entry.created_at,
        actor=entry.revoked_by,
        action=f"revocation.{entry.kind.value}",
        subject=entry.token_id or entry.username or "",
        sequence=entry.sequence,
        reason=entry.reason,
        **detail,
    )


def _kept(at: datetime) -> datetime:
    """A time as the store keeps it: to the millisecond."""
    return moment(milliseconds(at))


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


def _row(columns: Sequence[Any]) -> Row:
    """As `caveats.revocation.row_of` of the entry."""
    sequence, kind, token_id, branch_id, username, issued_up_to, expires_at = columns
    expires = min(-(-expires_at // 1000), LAST_SECOND)
    if kind == "token":
        return [sequence, "t", expires, token_id]
    if kind == "branch":
        return [sequence, "b", expires, token_id, branch_id.hex()]
    return [sequence, "u", expires, username, issued_up_to]
