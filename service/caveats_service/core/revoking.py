"""Revocation: written to the store first, then known on this node at once; other nodes follow the store.

Knows ids, names and times; knows no HTTP, no keys and no text of a token. Whether the caller may revoke is decided
before: in `accounts` for all that a user has, in the routes for one token or one copy of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from caveats import BranchRevocation, Introspection, Revocation, TokenRevocation, UserRevocation
from caveats.token import issue_time
from caveats_service.core.clock import utc_now
from caveats_service.core.issuing import actor_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats_service.settings import Settings
    from caveats_service.storage import Idempotency, RevocationRecord, Store

RACE = timedelta(milliseconds=250)
"""How far ahead of now all of a user's tokens are revoked: see `Revoker.settle`."""
_END_OF_TIME = datetime.max.replace(tzinfo=UTC, microsecond=0)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class UntilNow:
    """Up to when all of a user's tokens are revoked, and until when the entry is kept."""

    issued_up_to: datetime
    expires_at: datetime


class Revoker:
    """Writes revocations down. `known` is called with each of them: this node heeds it from then on."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        known: Callable[[RevocationRecord], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._longest_life = settings.longest_life
        self._now = now
        self._known = known

    def outlives(self, token_id: str) -> datetime:
        """When the last renewal of this token has ended, and a revocation of it can be forgotten.

        An app with its audience's keys can write any time into an id. One that no living token of this service can
        have is not believed: the revocation is kept as if the token had been issued by the end of today, which is the
        same however often it is repeated today.
        """
        now, issued_at = self._now(), issue_time(token_id)
        if not now - self._longest_life < issued_at <= now:
            issued_at = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
        return issued_at + self._longest_life

    def outlives_copy(self, token: Introspection) -> datetime:
        """As `outlives`, for a token whose caveats are known: an app can have given it a longer life than the service does."""
        return max(self.outlives(token.token_id), token.expires_at or _END_OF_TIME)

    async def revoke_token(self, token_id: str, *, actor: str) -> RevocationRecord:
        """Revoke a whole token. Repeating it changes nothing."""
        return await self._revoke(TokenRevocation(token_id, self.outlives(token_id)), actor)

    async def revoke_branch(self, token_id: str, branch_id: bytes, *, actor: str) -> RevocationRecord:
        """Revoke one copy and all that descends from it. `branch_id`: 16 bytes. Repeating it changes nothing."""
        return await self._revoke(BranchRevocation(token_id, branch_id, self.outlives(token_id)), actor)

    async def revoke_presented(self, token: Introspection) -> RevocationRecord:
        """Revoke this copy and what descends from it: the whole token, renewals included, if no holder narrowed it.

        It is revoked by the last of its branch ids, never by its token id: an app that has its audience's keys can put
        any id into a token.
        """
        entry = BranchRevocation(token.token_id, token.branches[-1], self.outlives_copy(token))
        return await self._revoke(entry, actor_of(token))

    async def revoke_user(
        self, username: str, *, actor: str, once: Idempotency | None = None
    ) -> RevocationRecord:
        """Revoke everything that was issued to this user until now."""
        moment = self.until_now()
        entry = UserRevocation(username, moment.issued_up_to, moment.expires_at)
        record = await self._store.revocations.revoke(entry, now=moment.issued_up_to, actor=actor, once=once)
        return await self.settle(record)

    def until_now(self) -> UntilNow:
        """What to write down where everything issued to a user until now is revoked; then `settle` it."""
        issued_up_to = self._now() + RACE
        return UntilNow(issued_up_to, issued_up_to + self._longest_life)

    async def settle(self, record: RevocationRecord) -> RevocationRecord:
        """Heed a revocation of all that a user has, and return when the moment is over up to which it counts.

        That moment lies `RACE` ahead of the change, so that a sign-in that read the account just before issues
        nothing that lives on; what is issued after this returns is issued later than that. A change that waited for
        other writers until the moment was over is written down a second time, up to the present.
        """
        self._heed(record)
        entry = record.entry
        assert isinstance(entry, UserRevocation)
        late = self._now()
        if late <= entry.issued_up_to:
            await asyncio.sleep(RACE.total_seconds())
            return record
        again = await self._store.revocations.revoke(
            UserRevocation(entry.user, late, late + self._longest_life),
            now=late,
            actor=record.revoked_by,
            reason=record.reason,
        )
        return self._heed(again)

    async def _revoke(self, entry: Revocation, actor: str) -> RevocationRecord:
        return self._heed(await self._store.revocations.revoke(entry, now=self._now(), actor=actor))

    def _heed(self, record: RevocationRecord) -> RevocationRecord:
        self._known(record)
        return record
