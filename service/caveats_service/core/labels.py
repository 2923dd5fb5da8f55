"""Labelled tokens as their users and administrators see them: what is left of each, its last use, and what ended it.

Knows accounts and the store; knows no HTTP and no text of a token. The routes and the command line call the same
functions, so neither can leave out the check of who may, nor the audit row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats_service.core.clock import utc_now
from caveats_service.core.errors import Forbidden, NotFound
from caveats_service.core.issuing import DEFAULT_AUDIENCE
from caveats_service.core.usernames import check_username

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from caveats_service.core.accounts import Actor
    from caveats_service.core.revoking import Revoker
    from caveats_service.settings import Settings
    from caveats_service.storage import LabelledToken, RevocationRecord, RevokedBy, Store, TokenFate


@dataclass(frozen=True, slots=True)
class ListedToken:
    """A row of the list of a user's labelled tokens."""

    token_id: str
    note: str
    scope: str
    audience: str
    issued_at: datetime
    expires_at: datetime
    """Of its latest renewal."""
    status: str
    """`live`, `expired` or `revoked`."""
    revoked_by: RevokedBy | None
    revoked_at: datetime | None
    """None also where it is not known."""
    revoked_copies: int
    last_used_at: datetime | None
    """The last time that the service verified it."""
    unreported_use: bool
    """Whether apps may verify it by themselves, which nobody reports: then its last use may have been later."""


class LabelledTokens:
    """The operations on labelled tokens. Each raises `Forbidden` where the actor may not, and then nothing has changed."""

    def __init__(
        self,
        store: Store,
        revocations: Revoker,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        recent_use: Callable[[str, str], datetime | None] = lambda _audience, _token_id: None,
    ) -> None:
        """`recent_use`: the last use of the token of this audience and id that is not yet in the store."""
        self._store = store
        self._revocations = revocations
        self._account_keys_shared = settings.unsafe_share_account_keys
        self._now = now
        self._recent_use = recent_use

    async def list(
        self, username: str, *, actor: Actor, after: str = "", limit: int = 100
    ) -> tuple[ListedToken, ...]:
        """At most `limit` labelled tokens of a user, newest first: for the user and for administrators.

        `after`: the last id of the page before, "" at first. Raises `BadName`, and `NotFound` if there is no such user.
        """
        username = await self._require(username, actor)
        found = await self._store.labels.list(username, after=after or None, limit=limit)
        return await self._listed(username, found)

    async def get(self, username: str, token_id: str, *, actor: Actor) -> ListedToken:
        """One labelled token of a user's. Raises `BadName`, `NotFound`."""
        username = await self._require(username, actor)
        (listed,) = await self._listed(username, [await self._of(username, token_id)])
        return listed

    async def revoke(self, username: str, token_id: str, *, actor: Actor) -> RevocationRecord:
        """Revoke a labelled token of a user's, all copies of it. Repeating it changes nothing. Raises as `get`."""
        username = await self._require(username, actor)
        await self._of(username, token_id)
        return await self._revocations.revoke_token(token_id, actor=actor.in_audit)

    async def _require(self, username: str, actor: Actor) -> str:
        """The username, if this actor may act on the account."""
        username = check_username(username)
        if not actor.may_act_for(username):
            raise Forbidden("the tokens of others are for administrators")
        if actor.username != username and await self._store.users.get(username) is None:
            raise NotFound("there is no such user")
        return username

    async def _of(self, username: str, token_id: str) -> LabelledToken:
        token = await self._store.labels.get(token_id)
        if token is None or token.username != username:
            raise NotFound(f"{username} has no labelled token of this id")
        return token

    async def _listed(self, username: str, tokens: Sequence[LabelledToken]) -> tuple[ListedToken, ...]:
        fates = await self._store.fates.of(username, tokens)
        now = self._now()
        return tuple(self._row(token, fate, now) for token, fate in zip(tokens, fates, strict=True))

    def _row(self, token: LabelledToken, fate: TokenFate, now: datetime) -> ListedToken:
        status = "live" if now < token.expires_at else "expired"
        uses = (token.last_used_at, self._recent_use(token.audience, token.token_id))
        return ListedToken(
            token_id=token.token_id,
            note=token.note,
            scope=token.scope,
            audience=token.audience,
            issued_at=token.issued_at,
            expires_at=token.expires_at,
            status=status if fate.revoked_by is None else "revoked",
            revoked_by=fate.revoked_by,
            revoked_at=fate.revoked_at,
            revoked_copies=fate.revoked_copies,
            last_used_at=max((at for at in uses if at is not None), default=None),
            unreported_use=token.audience != DEFAULT_AUDIENCE or self._account_keys_shared,
        )
