"""Accounts: who may sign in, with which password hash, for which scope at most.

Knows names and stored hashes. Must not know passwords. Does not check names: the core does.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import UnknownUser, UserExists
from caveats_service.storage.records import User, UserChange
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.groups import is_group
from caveats_service.storage.repositories.revocations import revoke_user_within, revoked_up_to
from caveats_service.storage.repositories.rows import all_records, find_record
from caveats_service.storage.tables import users

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


_MILLISECOND = timedelta(milliseconds=1)


class UserRepository(Repository):
    """The operations on accounts."""

    @operation
    async def create(
        self,
        username: str,
        password_hash: str,
        *,
        now: datetime,
        actor: str,
        is_admin: bool = False,
        scope: str = "*",
    ) -> User:
        """Add an account. Raises `UserExists` if a user or a group has the name."""
        values = {
            "username": username,
            "password_hash": password_hash,
            "is_admin": is_admin,
            "scope": scope,
            "created_at": now,
            "password_changed_at": now,
        }
        async with self._database.exclusive_write() as connection:
            if await is_group(connection, username):
                raise UserExists(f"a group has the name {username}")
            try:
                await connection.execute(insert(users).values(values))
            except IntegrityError as error:
                raise UserExists(f"a user has the name {username}") from error
            await audit.record(
                connection,
                at=now,
                actor=actor,
                action="user.create",
                subject=username,
                is_admin=is_admin,
                scope=scope,
            )
            return await existing_user(connection, username)

    @operation
    async def get(self, username: str) -> User | None:
        """The account of that name, enabled or not, or None."""
        async with self._database.read() as connection:
            return await _find(connection, username)

    @operation
    async def list(self, *, after: str = "", limit: int = 100) -> tuple[User, ...]:
        """At most `limit` accounts, by name. `after`: the last name of the previous page."""
        query = select(users).where(users.c.username > after).order_by(users.c.username).limit(limit)
        async with self._database.read() as connection:
            return await all_records(connection, User, query)

    @operation
    async def count(self) -> int:
        """How many accounts there are, disabled ones included."""
        async with self._database.read() as connection:
            return (await connection.execute(select(func.count()).select_from(users))).scalar_one()

    @operation
    async def set_password(
        self, username: str, new_hash: str, *, now: datetime, actor: str, revoke_for: timedelta | None = None
    ) -> UserChange:
        """Store a new password hash. Raises `UnknownUser`.

        `revoke_for`: revoke all tokens issued until now, in the same transaction, and keep that entry for so long.
        """
        return await self._change(
            username,
            {"password_hash": new_hash, "password_changed_at": now},
            "user.set_password",
            now=now,
            actor=actor,
            revoke_for=revoke_for,
        )

    @operation
    async def replace_hash(
        self, username: str, old_hash: str, new_hash: str, *, now: datetime, actor: str
    ) -> bool:
        """Replace the hash of the same password, if it is still `old_hash`. Returns whether it was."""
        async with self._database.write() as connection:
            changed = await connection.execute(
                update(users)
                .where(users.c.username == username, users.c.password_hash == old_hash)
                .values(password_hash=new_hash)
            )
            if changed.rowcount != 1:
                return False
            await audit.record(connection, at=now, actor=actor, action="user.rehash", subject=username)
            return True

    @operation
    async def disable(
        self, username: str, *, now: datetime, actor: str, revoke_for: timedelta | None = None
    ) -> UserChange:
        """Let nobody sign in as this user. `revoke_for`: as for `set_password`. Raises `UnknownUser`."""
        return await self._change(
            username, {"disabled_at": now}, "user.disable", now=now, actor=actor, revoke_for=revoke_for
        )

    @operation
    async def enable(self, username: str, *, now: datetime, actor: str) -> User:
        """Let the user sign in again. What was revoked stays revoked. Raises `UnknownUser`."""
        return (await self._change(username, {"disabled_at": None}, "user.enable", now=now, actor=actor)).user

    @operation
    async def set_admin(self, username: str, *, is_admin: bool, now: datetime, actor: str) -> User:
        """Make the user an administrator, or an ordinary user. Raises `UnknownUser`."""
        action = "user.set_admin" if is_admin else "user.unset_admin"
        return (await self._change(username, {"is_admin": is_admin}, action, now=now, actor=actor)).user

    async def _change(
        self,
        username: str,
        values: dict[str, object],
        action: str,
        *,
        now: datetime,
        actor: str,
        revoke_for: timedelta | None = None,
    ) -> UserChange:
        async with self._database.exclusive_write() as connection:
            before = await existing_user(connection, username)
            if "disabled_at" in values and not before.is_enabled and values["disabled_at"] is not None:
                values = {}  # disabled already: keep the first time
            if "password_changed_at" in values:  # a sign-in with the password before it can tell
                values["password_changed_at"] = max(now, before.password_changed_at + _MILLISECOND)
            if values:
                await connection.execute(update(users).where(users.c.username == username).values(values))
            await audit.record(connection, at=now, actor=actor, action=action, subject=username)
            revocation = None
            if revoke_for is not None:
                revocation = await revoke_user_within(
                    self._database,
                    connection,
                    username,
                    kept_for=revoke_for,
                    now=now,
                    actor=actor,
                    reason=action,
                )
            return UserChange(await existing_user(connection, username), revocation)


async def _find(connection: AsyncConnection, username: str) -> User | None:
    query = select(users, revoked_up_to(username).label("revoked_up_to")).where(users.c.username == username)
    return await find_record(connection, User, query)


async def existing_user(connection: AsyncConnection, username: str) -> User:
    """The account of that name. Raises `UnknownUser`."""
    user = await _find(connection, username)
    if user is None:
        raise UnknownUser(f"there is no user {username}")
    return user
