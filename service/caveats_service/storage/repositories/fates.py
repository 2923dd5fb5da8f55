"""What became of tokens since they were issued: what has ended each, and when. A page of a list, in one snapshot.

Knows revocations and keys, as they are for every node. Must not know tokens. The question whether one credential is
good now is that of `credentials`; this one also tells how and when it ended, for many at once.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import and_, func, or_, select

from caveats import BranchRevocation, KeyState, TokenRevocation, UserRevocation
from caveats.token import issue_time
from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.records import RevokedBy, TokenFate
from caveats_service.storage.tables import master_keys, revocations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from caveats import Parent
    from caveats_service.storage.records import LabelledToken

_Target = TypeVar("_Target", str, tuple[str, bytes])
_TOGETHER = 500
"""Tokens, or branches, in one query: SQLite takes an expression of some 1000 parts."""
_MOST_OF_A_USER = 1000
"""Revocations of all that a user has whose times are read. Beyond them a token is revoked, at a time that is not told."""


class FateRepository(Repository):
    """The question about labelled tokens."""

    @operation
    async def of(self, username: str, tokens: Sequence[LabelledToken]) -> tuple[TokenFate, ...]:
        """The fate of each of these tokens of one user, in their order."""
        ids = {token.token_id for token in tokens}
        ids |= {each.token_id for token in tokens for each in token.lineage}
        branches = {(e.token_id, b) for token in tokens for e in token.lineage for b in e.branches}
        async with self._database.read() as connection:
            copies = await _revoked_copies(connection, ids)
            ends = _Ends(
                await _revoked_whole(connection, ids),
                copies,
                await _revoked_branches(connection, {one for one in branches if one[0] in copies}),
                await _UserEnds.read(connection, username, min(map(_oldest, tokens), default=None)),
                await _KeyEnds.read(connection),
            )
        return tuple(map(ends.fate, tokens))


@dataclass(frozen=True, slots=True)
class _Ends:
    """All that has ended one of some tokens, or one that they came of."""

    whole: Mapping[str, datetime]
    """When a token was revoked by its id."""
    copies: Mapping[str, int]
    """How many copies of a token are revoked."""
    branches: Mapping[tuple[str, bytes], datetime]
    """When a branch of a token was revoked."""
    user: _UserEnds
    keys: _KeyEnds

    def fate(self, token: LabelledToken) -> TokenFate:
        """The first thing that ended this token; of several at the same time, what is nearest to it."""
        own, *parents = token.lineage or (None,)
        copies = [] if own is None else self._copies(own)
        key_id = self.keys.active_at(token.issued_at) if own is None else own.key_id
        ends: list[tuple[RevokedBy, datetime | None]] = [
            *((RevokedBy.ID, at) for at in self._whole(token.token_id)),
            *((RevokedBy.COPY, at) for at in copies),
            *((RevokedBy.USER, at) for at in self.user.ended(token.issued_at)),
            *((RevokedBy.KEY, at) for at in self.keys.ended(key_id)),
        ]
        for parent in parents:
            ends += [(RevokedBy.PARENT, at) for at in self._parent(parent)]
        narrower = self.copies.get(token.token_id, 0) - len(copies)
        if not ends:
            return TokenFate(revoked_copies=narrower)
        by, at = min(ends, key=lambda end: (end[1] is None, end[1].timestamp() if end[1] else 0.0))
        return TokenFate(by, at, narrower)

    def _parent(self, parent: Parent) -> list[datetime | None]:
        return [
            *self._whole(parent.token_id),
            *self._copies(parent),
            *self.user.ended(issue_time(parent.token_id)),
            *self.keys.ended(parent.key_id),
        ]

    def _whole(self, token_id: str) -> list[datetime]:
        return [self.whole[token_id]] if token_id in self.whole else []

    def _copies(self, token: Parent) -> list[datetime]:
        """When each branch was revoked that this token lies on."""
        keys = [(token.token_id, branch) for branch in token.branches]
        return [self.branches[key] for key in keys if key in self.branches]


def _oldest(token: LabelledToken) -> datetime:
    """When the first token of its lineage was issued: a revocation from then on ends it."""
    return min([token.issued_at, *(issue_time(parent.token_id) for parent in token.lineage[1:])])


async def _revoked_whole(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, datetime]:
    """When each of these tokens was revoked by its id, if it was."""
    found: dict[str, datetime] = {}
    for some in _parts(ids):
        query = select(revocations.c.token_id, func.min(revocations.c.created_at)).where(
            revocations.c.kind == TokenRevocation.kind, revocations.c.token_id.in_(some)
        )
        found.update(tuple(row) for row in await connection.execute(query.group_by(revocations.c.token_id)))
    return found


async def _revoked_copies(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, int]:
    """How many copies of each of these tokens are revoked, if any is."""
    found: dict[str, int] = {}
    for some in _parts(ids):
        query = select(revocations.c.token_id, func.count(func.distinct(revocations.c.branch_id))).where(
            revocations.c.kind == BranchRevocation.kind, revocations.c.token_id.in_(some)
        )
        found.update(tuple(row) for row in await connection.execute(query.group_by(revocations.c.token_id)))
    return found


async def _revoked_branches(
    connection: AsyncConnection, branches: Iterable[tuple[str, bytes]]
) -> dict[tuple[str, bytes], datetime]:
    """When each of these branches, of the tokens of these ids, was revoked, if it was."""
    found: dict[tuple[str, bytes], datetime] = {}
    for some in _parts(branches):
        by_token: dict[str, list[bytes]] = {}
        for token_id, branch_id in some:
            by_token.setdefault(token_id, []).append(branch_id)
        # Each token with its own branches: SQLite looks up every pair of two lists.
        targets = [
            and_(revocations.c.token_id == token_id, revocations.c.branch_id.in_(own))
            for token_id, own in by_token.items()
        ]
        query = select(
            revocations.c.token_id, revocations.c.branch_id, func.min(revocations.c.created_at)
        ).where(revocations.c.kind == BranchRevocation.kind, or_(*targets))
        grouped = query.group_by(revocations.c.token_id, revocations.c.branch_id)
        for token_id, branch_id, at in await connection.execute(grouped):
            found[token_id, bytes(branch_id)] = at
    return found


def _parts(targets: Iterable[_Target]) -> Iterator[list[_Target]]:
    every = sorted(targets)
    return (every[at : at + _TOGETHER] for at in range(0, len(every), _TOGETHER))


class _UserEnds:
    """When everything that a user had was revoked, each time up to when."""

    def __init__(self, rows: Sequence[tuple[datetime, datetime]], last: datetime | None) -> None:
        """`rows`: up to when, and when, oldest first. `last`: up to when, of all there are."""
        self._up_to = list(accumulate((up_to for up_to, _ in rows), max))
        self._at = [at for _, at in rows]
        self._last = last

    @classmethod
    async def read(cls, connection: AsyncConnection, username: str, since: datetime | None) -> _UserEnds:
        """Those that hit what was issued from `since` on."""
        if since is None:
            return cls((), None)
        reaches = revocations.c.issued_up_to
        of_user = (
            revocations.c.kind == UserRevocation.kind,
            revocations.c.username == username,
            reaches >= since,
        )
        query = select(reaches, revocations.c.created_at).where(*of_user).order_by(revocations.c.sequence)
        rows = (await connection.execute(query.limit(_MOST_OF_A_USER))).all()
        last = await connection.scalar(select(func.max(reaches)).where(*of_user))
        return cls([(up_to, at) for up_to, at in rows], last)

    def ended(self, issued_at: datetime) -> list[datetime | None]:
        """When a token that was issued then was revoked with the rest: nothing, or one time, None if it is not known."""
        first = bisect_left(self._up_to, issued_at)
        if first < len(self._at):
            return [self._at[first]]
        return [None] if self._last is not None and self._last >= issued_at else []


class _KeyEnds:
    """The master keys, the retired ones among them."""

    def __init__(
        self, known: set[str], retired: Mapping[str, datetime | None], activated: Mapping[str, datetime]
    ) -> None:
        self._known = known
        self._retired = retired
        self._activated = activated

    @classmethod
    async def read(cls, connection: AsyncConnection) -> _KeyEnds:
        """The keys of the database."""
        table = master_keys.c
        rows = (
            await connection.execute(select(table.key_id, table.state, table.activated_at, table.retired_at))
        ).all()
        return cls(
            {row.key_id for row in rows},
            {row.key_id: row.retired_at for row in rows if row.state is KeyState.RETIRED},
            {row.key_id: row.activated_at for row in rows if row.activated_at is not None},
        )

    def active_at(self, at: datetime) -> str | None:
        """The key under which tokens were issued then, as far as the times of activation say."""
        before = [(since, key_id) for key_id, since in self._activated.items() if since <= at]
        return max(before)[1] if before else None

    def ended(self, key_id: str | None) -> list[datetime | None]:
        """When this key was retired: nothing, or one time, None if it is not known, as of a key that is not there."""
        if key_id is None:
            return []
        if key_id in self._retired:
            return [self._retired[key_id]]
        return [] if key_id in self._known else [None]
