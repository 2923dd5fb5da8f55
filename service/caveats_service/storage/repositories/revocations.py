"""Revocations, as a feed. A reader can tell whether it has missed an entry.

Knows ids, branch ids and times. Must not know tokens. Sequences have no gaps: they come from a counter in `meta` that
moves in the transaction of the entry. Pruning deletes entries for tokens that have all expired, and keeps the highest
deleted sequence as `floor`; a reader below it loads all live entries.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    and_,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from caveats import BranchRevocation, Revocation, TokenRevocation, UserRevocation
from caveats.revocation import LAST_SECOND
from caveats.revocation import Row as FeedRow
from caveats_service.storage.engines.engine import KEYS_OF_A_HISTORY
from caveats_service.storage.engines.transactions import Database, Repository, in_batches, operation
from caveats_service.storage.errors import StoreError, StoreUnavailable, TransactionAborted
from caveats_service.storage.records import Idempotency, RevocationPage, RevocationRecord
from caveats_service.storage.repositories import audit, idempotency
from caveats_service.storage.repositories.instance import issued_until_now
from caveats_service.storage.tables import meta, milliseconds, moment, revocations

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

# Entries are kept so long after they expire, for readers whose clock is behind or who were disconnected.
GRACE = timedelta(minutes=10)

TOLERATED_SKEW = timedelta(seconds=1)
"""How far a node's clock may be from the database's: `docs/cluster.md`. A node that is further off is not ready."""
_COMMIT = timedelta(seconds=1)
"""How long after its time was read the transaction may take that revokes all of a user's tokens."""
_BATCH = 5000
_TOGETHER = 500
_LIVE = (
    "SELECT sequence, kind, token_id, branch_id, username, issued_up_to, expires_at FROM revocations"
    " WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence LIMIT $3"
)


class RevocationRepository(Repository):
    """The operations on revocations. Those that wait for their turn are written together in one transaction."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._pending: dict[_Pending, None] = {}
        self._landed = asyncio.Event()
        self._landed.set()

    @operation
    async def revoke(
        self,
        entry: Revocation,
        *,
        now: datetime,
        actor: str,
        reason: str = "",
        once: Idempotency | None = None,
    ) -> RevocationRecord:
        """Write an entry. Returns its record, or that of an earlier entry that revokes as much for as long.

        To let a repetition find the earlier one, `entry.expires_at` should follow from the token and not from now.
        Raises `AlreadyDone` or `IdempotencyConflict` if the key of `once` has been used.
        """
        pending = _Pending(_as_kept(entry), now, actor, reason, once)
        self._pending[pending] = None
        try:
            async with self._database.exclusive_turn():
                if pending.outcome is None:
                    await self._write_together(pending)
        except StoreUnavailable:
            await self._landed.wait()  # another operation may be writing this entry now
            if pending.outcome is None:
                raise
        finally:
            del self._pending[pending]
        assert pending.outcome is not None
        if isinstance(pending.outcome, RevocationRecord):
            return pending.outcome
        raise pending.outcome

    @operation
    async def find(self, entries: Sequence[Revocation]) -> RevocationRecord | None:
        """The record that revokes what one of these entries would, for as long; None if there is none."""
        asked = list(map(_as_kept, entries))
        async with self._database.read() as connection:
            known = await _may_cover(connection, asked)
        covering = (
            record
            for entry in asked
            for record in known.get(_about(entry), ())
            if _covers(record.entry, entry)
        )
        return next(covering, None)

    @operation
    async def revoke_user(
        self,
        username: str,
        *,
        kept_for: timedelta,
        now: datetime,
        actor: str,
        reason: str = "",
        once: Idempotency | None = None,
    ) -> RevocationRecord:
        """Revoke all that was issued to a user until now. `kept_for`: how long the newest of it can live.

        Raises `AlreadyDone` or `IdempotencyConflict` if the key of `once` has been used.
        """
        async with self._database.exclusive_write() as connection:
            await idempotency.check(connection, once, now=now)
            record = await revoke_user_within(
                self._database, connection, username, kept_for=kept_for, now=now, actor=actor, reason=reason
            )
            await idempotency.keep(connection, once, record, now=now)
            return record

    @operation
    async def page(self, after_sequence: int, *, limit: int = 1000) -> RevocationPage:
        """At most `limit` entries after a sequence. The page's `must_resync` says whether some may be missing.

        Another history than before, as after a failover, begins another epoch first. Raises `StoreUnavailable` at a
        standby, which may be behind without knowing it.
        """
        page = await self._page(after_sequence, limit)
        if page is None:
            async with self._database.exclusive_write():
                pass  # which names the history
            page = await self._page(after_sequence, limit)
        if page is None:
            raise StoreUnavailable(
                "the database changes its history over and over: is a pooler before two servers?"
            )
        return page

    async def _page(self, after_sequence: int, limit: int) -> RevocationPage | None:
        """The page; None if the history has no epoch yet."""
        sequence = revocations.c.sequence
        query = select(revocations).where(sequence > after_sequence).order_by(sequence).limit(limit)
        async with self._database.read() as connection:
            head = await self._head(connection)
            if head is None:
                return None
            records = tuple(map(_record, await connection.execute(query)))
            return RevocationPage(
                head.epoch, head.revocation_sequence, head.revocation_floor, records, head.read_at
            )

    async def _head(self, connection: AsyncConnection) -> Row[Any] | None:
        """The row of `meta`; None if its epoch is that of another history."""
        named: Any = literal_column(self._database.history)
        read_at: Any = literal_column(self._database.snapshot_time)
        head = (await connection.execute(select(meta, named.label("named"), read_at.label("read_at")))).one()
        if head.named == "":
            raise StoreUnavailable(
                "the database's server is a standby: point the service at the one that takes writes"
            )
        return head if head.named == head.history else None

    @operation
    async def live_rows(
        self, after_sequence: int, upto: int, *, epoch: int | None = None, limit: int = 5000
    ) -> list[FeedRow] | None:
        """The entries after a sequence, up to another, as rows of the feed. What has expired, `prune` removes.

        No process leaves out entries by a clock of its own, which may be ahead. Fewer than `limit` are all there are.
        A node reads a million of them when it starts, so none becomes a record. `epoch`: of these sequences; None is
        returned if the database is in another one.
        """
        values = (after_sequence, upto, limit)
        async with self._database.read() as connection:
            rows = list(map(_feed_row, await self._database.rows(connection, _LIVE, *values)))
            head = await self._head(connection)  # read last: no server goes back to an earlier epoch
            return rows if head is not None and epoch in (None, head.epoch) else None

    async def prune(self, *, now: datetime, actor: str, grace: timedelta = GRACE) -> int:
        """Delete the entries that expired more than `grace` ago; returns how many."""
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
    async def bump_epoch(self, *, now: datetime, actor: str, above: int | None = None) -> int:
        """Increase the epoch, so that every follower of the feed loads all entries again. Returns the new epoch.

        It becomes at least the seconds of `now`: followers notice also that the same backup is restored twice.
        `above`: only unless it is greater than this already; then nothing changes. New keys get ids that none had.
        """
        async with self._database.exclusive_write() as connection:
            head = (await connection.execute(select(meta.c.epoch, meta.c.key_floor))).one()
            if above is not None and head.epoch > above:
                return int(head.epoch)
            epoch = max(int(head.epoch) + 1, int(now.timestamp()), 0 if above is None else above + 1)
            floor = head.key_floor + KEYS_OF_A_HISTORY * (1 + secrets.randbelow(100))
            await connection.execute(update(meta).values(epoch=epoch, key_floor=floor))
            await audit.record(
                connection, at=now, actor=actor, action="revocation.bump_epoch", subject="", epoch=epoch
            )
            return epoch

    async def _write_together(self, mine: _Pending) -> None:
        """Write `mine` and others that are pending. If that fails, write each alone: only the faulty one fails."""
        several = _together(mine, self._pending)
        begun = False
        self._landed.clear()
        try:
            async with self._database.exclusive_write() as connection:
                begun = True
                outcomes = await _write(connection, several)
        except TransactionAborted:
            raise
        except Exception:
            if not begun or len(several) == 1:
                raise
            for pending in several:
                pending.alone = True
            await self._write_together(mine)
        else:
            for pending, outcome in zip(several, outcomes, strict=True):
                pending.outcome = outcome
        finally:
            self._landed.set()


async def revoke_user_within(
    database: Database,
    connection: AsyncConnection,
    username: str,
    *,
    kept_for: timedelta,
    now: datetime,
    actor: str,
    reason: str,
) -> RevocationRecord:
    """As `RevocationRepository.revoke_user`, within a larger transaction, which must be an `exclusive_write`.

    No id that a node has given out carries a later time: the time is the database's, read after all waiting, ahead by
    what a clock may be off and by what the commit may take; it is no earlier than any token was issued, by whatever
    clock; and it is later than that of the entry before, since what is issued after that has a later time than its clock
    says. The entry is kept until the last token has ended, also where the lives in the settings were longer before.
    """
    here = await database.server_time(connection)
    latest = (max(now, here) if here is not None else now) + TOLERATED_SKEW + _COMMIT
    before: datetime | None = await connection.scalar(select(revoked_up_to(username)))
    if before is not None:
        latest = max(latest, before + timedelta(milliseconds=1))
    issued = await issued_until_now(connection)
    latest = max(latest, issued.reach() or latest)
    entry = UserRevocation(username, latest, issued.last_end(latest, kept_for))
    (record,) = await _write(connection, [_Pending(_as_kept(entry), now, actor, reason)])
    assert isinstance(record, RevocationRecord)
    return record


def revoked_up_to(username: str) -> ScalarSelect[datetime | None]:
    """Up to when all that was issued to a user is revoked; NULL for nothing."""
    return (
        select(func.max(revocations.c.issued_up_to))
        .where(revocations.c.username == username)
        .scalar_subquery()
    )


@dataclass(eq=False, slots=True)
class _Pending:
    """A revocation that a caller waits for. The times in `entry` are whole milliseconds."""

    entry: Revocation
    now: datetime
    actor: str
    reason: str
    once: Idempotency | None = None
    alone: bool = False
    """Whether writing it together with others has failed."""
    outcome: RevocationRecord | StoreError | None = None

    @property
    def key(self) -> tuple[str, str] | None:
        """The idempotency key, with its caller."""
        return None if self.once is None else (self.once.caller, self.once.key)

    def record(self, sequence: int) -> RevocationRecord:
        """The record that is written."""
        return RevocationRecord(sequence, self.entry, _kept(self.now), self.actor, self.reason)


def _together(mine: _Pending, all_pending: Iterable[_Pending]) -> list[_Pending]:
    """The pending entries that one transaction writes, `mine` first, no two under one idempotency key."""
    if mine.alone:
        return [mine]
    several, keys = [mine], {mine.key} - {None}
    for pending in all_pending:
        if pending is mine or pending.alone or pending.outcome is not None or pending.key in keys:
            continue
        several.append(pending)
        keys |= {pending.key} - {None}
        if len(several) == _TOGETHER:
            break
    return several


async def _write(
    connection: AsyncConnection, several: Sequence[_Pending]
) -> list[RevocationRecord | StoreError]:
    """Write several entries in a few statements. Returns the outcome of each."""
    now = max(pending.now for pending in several)
    used = await idempotency.used(connection, [pending.once for pending in several if pending.once], now=now)
    known = await _may_cover(connection, [pending.entry for pending in several if pending.key not in used])
    query = select(meta.c.revocation_sequence)
    last: int = (await connection.execute(query)).scalar_one()
    made: list[RevocationRecord] = []
    outcomes: list[RevocationRecord | StoreError] = []
    for pending in several:
        refusal = None if pending.key is None else used.get(pending.key)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        records = known.setdefault(_about(pending.entry), [])
        record = next((one for one in records if _covers(one.entry, pending.entry)), None)
        if record is None:
            record = pending.record(last + len(made) + 1)
            made.append(record)
            records.append(record)
        outcomes.append(record)
    if made:
        await connection.execute(update(meta).values(revocation_sequence=last + len(made)))
        await connection.execute(insert(revocations), [_columns(record) for record in made])
        await audit.record_all(connection, [_audit_entry(record) for record in made])
    replies = [
        (pending.once, outcome)
        for pending, outcome in zip(several, outcomes, strict=True)
        if pending.once is not None and isinstance(outcome, RevocationRecord)
    ]
    await idempotency.keep_all(connection, replies, now=now)
    return outcomes


async def _may_cover(
    connection: AsyncConnection, entries: Iterable[Revocation]
) -> dict[tuple[str, str, bytes], list[RevocationRecord]]:
    """The records that may cover these entries, oldest first, by what they are about."""
    found: dict[tuple[str, str, bytes], list[RevocationRecord]] = {}
    for query in may_cover(entries):
        for record in map(_record, await connection.execute(query)):
            found.setdefault(_about(record.entry), []).append(record)
    return found


def may_cover(entries: Iterable[Revocation]) -> list[Select[Any]]:
    """Queries for the records that may cover these entries, one for each kind. They use the indexes."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        by_kind.setdefault(entry.kind, []).append(_target(entry))
    queries = []
    for kind, targets in by_kind.items():
        query = select(revocations).where(revocations.c.kind == kind).order_by(revocations.c.sequence)
        for name in _REACHES & targets[0].keys():
            query = query.where(revocations.c[name] >= min(target[name] for target in targets))
        queries.append(query.where(_is_one_of(targets)))
    return queries


def _is_one_of(targets: Sequence[dict[str, Any]]) -> ColumnElement[bool]:
    """Whether a record is about one of these targets, all of one kind."""
    first = targets[0]
    if "branch_id" not in first:
        (name,) = {"token_id", "username"} & first.keys()
        return revocations.c[name].in_({target[name] for target in targets})
    branches: dict[str, set[bytes]] = {}
    for target in targets:
        branches.setdefault(target["token_id"], set()).add(target["branch_id"])
    # Each token with its own branches: SQLite looks up every pair of two lists, and reads the table for a list of pairs.
    token_id, branch_id = revocations.c.token_id, revocations.c.branch_id
    return or_(*(and_(token_id == token, branch_id.in_(some)) for token, some in branches.items()))


def _covers(there: Revocation, asked: Revocation) -> bool:
    """Whether the entry that is there hits all that the other would, for as long."""
    if there.expires_at < asked.expires_at:
        return False
    if isinstance(there, UserRevocation) and isinstance(asked, UserRevocation):
        return there.user == asked.user and there.issued_up_to >= asked.issued_up_to
    return replace(there, expires_at=asked.expires_at) == asked


def _about(entry: Revocation) -> tuple[str, str, bytes]:
    """What an entry revokes, whenever it ends. One that covers it is about the same."""
    if isinstance(entry, UserRevocation):
        return entry.kind, entry.user, b""
    return entry.kind, entry.token_id, entry.branch_id if isinstance(entry, BranchRevocation) else b""


def _kept(at: datetime) -> datetime:
    """A time as the store keeps it: in whole milliseconds."""
    return moment(milliseconds(at))


def _as_kept(entry: Revocation) -> Revocation:
    """The entry as it will be read."""
    entry = replace(entry, expires_at=_kept(entry.expires_at))
    if isinstance(entry, UserRevocation):
        return replace(entry, issued_up_to=_kept(entry.issued_up_to))
    return entry


# A row of the table, and of the feed


_REACHES = {"expires_at", "issued_up_to"}
"""Columns in which a covering entry may have a later time."""


def _target(entry: Revocation) -> dict[str, Any]:
    """The columns that say what an entry revokes, and until when."""
    target: dict[str, Any]
    if isinstance(entry, UserRevocation):
        target = {"username": entry.user, "issued_up_to": entry.issued_up_to}
    elif isinstance(entry, BranchRevocation):
        target = {"token_id": entry.token_id, "branch_id": entry.branch_id}
    else:
        target = {"token_id": entry.token_id}
    return {"kind": entry.kind, "expires_at": entry.expires_at, **target}


def _columns(record: RevocationRecord) -> dict[str, Any]:
    nothing = dict.fromkeys(("token_id", "branch_id", "username", "issued_up_to"))
    return {
        "sequence": record.sequence,
        **nothing,
        **_target(record.entry),
        "created_at": record.created_at,
        "revoked_by": record.revoked_by,
        "reason": record.reason,
    }


def _record(row: Row[Any]) -> RevocationRecord:
    entry: Revocation
    if row.kind == UserRevocation.kind:
        entry = UserRevocation(row.username, row.issued_up_to, row.expires_at)
    elif row.kind == BranchRevocation.kind:
        entry = BranchRevocation(row.token_id, bytes(row.branch_id), row.expires_at)
    else:
        entry = TokenRevocation(row.token_id, row.expires_at)
    return RevocationRecord(row.sequence, entry, row.created_at, row.revoked_by, row.reason)


def _feed_row(columns: Sequence[Any]) -> FeedRow:
    """As `caveats.revocation.row_of` of the entry, without making the entry: 1 us instead of 10."""
    sequence, kind, token_id, branch_id, username, issued_up_to, expires_at = columns
    expires = min(-(-expires_at // 1000), LAST_SECOND)
    if kind == TokenRevocation.kind:
        return [sequence, "t", expires, token_id]
    if kind == BranchRevocation.kind:
        return [sequence, "b", expires, token_id, branch_id.hex()]
    return [sequence, "u", expires, username, issued_up_to]


def _audit_entry(record: RevocationRecord) -> dict[str, object]:
    entry = record.entry
    detail = {"branch": entry.branch_id.hex()} if isinstance(entry, BranchRevocation) else {}
    return audit.entry(
        at=record.created_at,
        actor=record.revoked_by,
        action=f"revocation.{entry.kind}",
        subject=entry.user if isinstance(entry, UserRevocation) else entry.token_id,
        sequence=record.sequence,
        reason=record.reason,
        **detail,
    )
