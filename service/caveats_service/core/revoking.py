"""Revocation: written to the store first, then known on this node at once; other nodes follow the store.

Knows ids, names and times; knows no HTTP, no keys and no text of a token. Whether the caller may revoke is decided
before: in `accounts` for all that a user has, in the routes for one token or one copy of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from caveats import BranchRevocation, Introspection, Parent, Revocation, TokenRevocation, UserRevocation
from caveats.kinds import ISSUER
from caveats.token import issue_time
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import TooManyBranches
from caveats_service.core.forgetting import LATE
from caveats_service.core.issuing import DEFAULT_AUDIENCE, actor_of, final_expiry
from caveats_service.storage import TOLERATED_SKEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from caveats_service.core.rate_limit import RateLimiter
    from caveats_service.settings import Settings
    from caveats_service.storage import Idempotency, RevocationRecord, Store

_BEGINNING_OF_TIME = datetime.min.replace(tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC, microsecond=0)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class AlreadyDead:
    """Nothing was written, since what was to be revoked had died before."""

    entry: Revocation
    """What it was revoked by; of an expired copy, what would have been written."""
    why: str
    """`revoked` or `expired`."""
    sequence: int = 0
    """Of the entry; 0 if it was not written."""


class Revoker:
    """Writes revocations down. `known` is called with each of them: this node heeds it from then on."""

    def __init__(
        self,
        store: Store,
        rate_limiter: RateLimiter,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        forgetting_time: Callable[[], datetime] = utc_now,
        may_destroy: Callable[[], bool] = lambda: True,
        known: Callable[[RevocationRecord], None] = lambda _: None,
        branch_count: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """`may_destroy`: see `ForgettingTime`. `branch_count`: how many branches of a token are revoked, as this node knows it."""
        self._store = store
        self._rate_limiter = rate_limiter
        self._longest_life = settings.longest_life
        self._most_branches = settings.max_revoked_branches
        self._now = now
        self._forgetting_time = forgetting_time
        self._may_destroy = may_destroy
        self._known = known
        self._branch_count = branch_count

    async def outlives(self, token_id: str) -> datetime:
        """When the last renewal of this token has ended, and a revocation of it can be forgotten.

        Also if lives were longer in the settings of then, or the clock was set back since. An app with its audience's
        keys can write any time into an id. One that no living token of this service can have is not believed: the
        revocation is kept as if the token had been issued by the end of today, which is the same however often it is
        repeated today. Raises `StoreUnavailable`.
        """
        issued, issued_at = await self._store.instance.issued(), issue_time(token_id)
        now = max(self._now(), issued.reach() or _BEGINNING_OF_TIME)
        life = issued.longest_life(issued_at, self._longest_life)
        if not now - life < issued_at <= now:
            issued_at = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
        return issued_at + life

    async def outlives_copy(self, token: Introspection) -> datetime:
        """As `outlives`, for a copy whose caveats are known: the copies made from it and their renewals included.

        An app can have given its token a longer life than the service does, and a holder a copy a shorter one.
        """
        expires_at = max(await self.outlives(token.token_id), token.expires_at or _END_OF_TIME)
        return min(expires_at, final_expiry(token) or _END_OF_TIME)

    async def revoke_token(self, token_id: str, *, actor: str) -> RevocationRecord:
        """Revoke a whole token. Repeating it changes nothing."""
        return await self._revoke(TokenRevocation(token_id, await self.outlives(token_id)), actor)

    async def revoke_branch(
        self, token_id: str, branch_id: bytes, *, actor: str, counted_at: str | None
    ) -> RevocationRecord | AlreadyDead:
        """Revoke one copy and all that descends from it. `branch_id`: 16 bytes. Repeating it changes nothing.

        `counted_at`: the caller's address; None for an administrator, whose revocations are not counted. Raises
        `TooManyBranches`, `TooManyRevocations`.
        """
        entry = BranchRevocation(token_id, branch_id, await self.outlives(token_id))
        found = await self._find(entry, [TokenRevocation(token_id, entry.expires_at)])
        if found is not None:
            return found
        if counted_at is not None:
            self._count(token_id, [token_id], counted_at)
        return await self._revoke(entry, actor)

    async def revoke_presented(
        self, token: Introspection, *, counted_at: str
    ) -> RevocationRecord | AlreadyDead:
        """Revoke this copy and what descends from it: the whole token, renewals included, if no holder narrowed it.

        It is revoked by the last of its branch ids, never by its token id: an app that has its audience's keys can put
        any id into a token. Copies are counted, and so is what may be made without end as copies may: what was issued
        against another token, and tokens for apps. What was issued for a password is not counted.

        `counted_at`: the caller's address. Raises `TooManyBranches`, `TooManyRevocations`.
        """
        entry = BranchRevocation(token.token_id, token.branches[-1], await self.outlives_copy(token))
        if await self._is_over(entry.expires_at):
            return AlreadyDead(entry, "expired")
        found = await self._find(entry, reasons(token, entry.expires_at))
        if found is not None:
            return found
        parents = [
            caveat.token_id
            for caveat, who in zip(token.caveats, token.added_by, strict=True)
            if isinstance(caveat, Parent) and who == ISSUER  # a holder can name anybody's token
        ]
        for_app = token.audience != DEFAULT_AUDIENCE
        if parents or not token.whole or for_app:
            came_of = dict.fromkeys((token.token_id, *parents))
            self._count(token.token_id, came_of, counted_at, for_app=for_app)
        return await self._revoke(entry, actor_of(token))

    async def revoke_user(
        self, username: str, *, actor: str, once: Idempotency | None = None
    ) -> RevocationRecord:
        """Revoke everything that was issued to this user until now."""
        record = await self._store.revocations.revoke_user(
            username, kept_for=self._longest_life, now=self._now(), actor=actor, once=once
        )
        return await self.settle(record)

    @property
    def longest_life(self) -> timedelta:
        """How long a token can live that is issued now; for so long a revocation of all that a user has is kept."""
        return self._longest_life

    async def settle(self, record: RevocationRecord) -> RevocationRecord:
        """Heed a revocation of all that a user has, which was written together with a change of the account.

        Its time is ahead of every node's clock: a sign-in that read the account before the change issues nothing that
        lives on. Where the commit took longer than is allowed for there, the entry is written a second time.
        """
        self._heed(record)
        entry = record.entry
        assert isinstance(entry, UserRevocation)
        late = await self._store.instance.server_time() or self._now()
        if late + TOLERATED_SKEW <= entry.issued_up_to:
            return record
        again = await self._store.revocations.revoke_user(
            entry.user,
            kept_for=self._longest_life,
            now=self._now(),
            actor=record.revoked_by,
            reason=record.reason,
        )
        return self._heed(again)

    async def _is_over(self, at: datetime) -> bool:
        """Whether this is so long ago that it is over by every verifier's clock, and by the database's if it has its own."""
        if at > self._forgetting_time() - LATE or not self._may_destroy():
            return False
        there = await self._store.instance.server_time()
        return there is None or at <= there - LATE

    async def _find(
        self, entry: BranchRevocation, reasons: Sequence[Revocation]
    ) -> RevocationRecord | AlreadyDead | None:
        """The record of this very entry, or of one of the `reasons` for which its copy is dead already."""
        record = await self._store.revocations.find([entry, *reasons])
        if record is None:
            return None
        self._heed(record)
        if isinstance(record.entry, BranchRevocation) and record.entry.branch_id == entry.branch_id:
            return record
        return AlreadyDead(record.entry, "revoked", record.sequence)

    def _count(self, token_id: str, came_of: Iterable[str], address: str, *, for_app: bool = False) -> None:
        """Raises `TooManyBranches` or `TooManyRevocations` if no further copy may be revoked by itself.

        `for_app`: the ids stand in a token for an app, which can write any. Those have half of the room and a count of
        their own, so that none keeps the copies of an account's token from being revoked.
        """
        most = (self._most_branches + 1) // 2 if for_app else self._most_branches
        if self._branch_count(token_id) >= most:
            raise TooManyBranches(
                f"{most} copies of this token are revoked, as many as may be:"
                " revoke the copy that these were made from, or the whole token"
            )
        self._rate_limiter.revoke([f"app {one}" for one in came_of] if for_app else came_of, address)

    async def _revoke(self, entry: Revocation, actor: str) -> RevocationRecord:
        return self._heed(await self._store.revocations.revoke(entry, now=self._now(), actor=actor))

    def _heed(self, record: RevocationRecord) -> RevocationRecord:
        self._known(record)
        return record


def reasons(token: Introspection, until: datetime) -> list[Revocation]:
    """The revocations that would kill this token as well, as long as until then."""
    found: list[Revocation] = [
        TokenRevocation(token.token_id, until),
        *(BranchRevocation(token.token_id, branch, until) for branch in token.branches),
        UserRevocation(token.user, token.issued_at, until),
    ]
    for parent in _parents(token):
        found.append(TokenRevocation(parent.token_id, until))
        found += [BranchRevocation(parent.token_id, branch, until) for branch in parent.branches]
        found.append(UserRevocation(token.user, issue_time(parent.token_id), until))
    return found


def _parents(token: Introspection) -> list[Parent]:
    """What the token came of. A third party's word does not count: with another discharge the token lives."""
    return [
        caveat
        for caveat, who in zip(token.caveats, token.added_by, strict=True)
        if isinstance(caveat, Parent) and who != "discharger"
    ]
