"""Is a credential that somebody has shown still good? All that can end one is read in one snapshot.

Knows accounts, agents, keys and revocations, as they are for every node. Must not know tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, and_, false, func, or_, select

from caveats import KeyState, Parent, TokenRevocation
from caveats.token import issue_time
from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.tables import agents, master_keys, revocations, users

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from caveats_service.storage.records import ShownCredential


class CredentialRepository(Repository):
    """The question about credentials."""

    @operation
    async def still_good(
        self, shown: Collection[ShownCredential], *, now: datetime
    ) -> frozenset[ShownCredential]:
        """Those of these credentials that would be taken now, and whose users have had nothing revoked since."""
        async with self._database.read() as connection:
            return frozenset([one for one in shown if await _is_good(connection, one, now)])


async def _is_good(connection: AsyncConnection, shown: ShownCredential, now: datetime) -> bool:
    if shown.expires_at is not None and now >= shown.expires_at:
        return False
    account = select(users.c.password_changed_at).where(
        users.c.username == shown.username, users.c.disabled_at.is_(None)
    )
    row = (await connection.execute(account)).one_or_none()
    if row is None or shown.password_changed_at not in (None, row.password_changed_at):
        return False
    if shown.agent_key is not None:
        agent = select(agents.c.agent_id).where(
            agents.c.public_key == shown.agent_key, agents.c.username == shown.username
        )
        if (await connection.execute(agent)).one_or_none() is None:
            return False
    lineage = [Parent.parse(value) for value in shown.lineage]
    return not await _is_revoked(connection, shown, lineage) and await _keys_are_there(
        connection, {token.key_id for token in lineage}
    )


async def _is_revoked(connection: AsyncConnection, shown: ShownCredential, lineage: Iterable[Parent]) -> bool:
    """Whether an entry hits a token of its lineage, or all that its user had when it was shown."""
    hits: list[ColumnElement[bool]] = [false()]
    if shown.after_sequence is not None:
        since = revocations.c.sequence > shown.after_sequence
        hits.append(and_(revocations.c.username == shown.username, since))
    for token in lineage:
        issued_at = issue_time(token.token_id)
        hits += [
            and_(revocations.c.username == shown.username, revocations.c.issued_up_to >= issued_at),
            and_(
                revocations.c.token_id == token.token_id,
                or_(revocations.c.kind == TokenRevocation.kind, revocations.c.branch_id.in_(token.branches)),
            ),
        ]
    query = select(revocations.c.sequence).where(or_(*hits)).limit(1)
    return (await connection.execute(query)).first() is not None


async def _keys_are_there(connection: AsyncConnection, key_ids: Collection[str]) -> bool:
    query = (
        select(func.count())
        .select_from(master_keys)
        .where(master_keys.c.key_id.in_(key_ids), master_keys.c.state != KeyState.RETIRED)
    )
    return bool((await connection.execute(query)).scalar_one() == len(key_ids))
