"""Accounts: who may sign in, with what hash, up to which scope.

Knows names and stored hashes. Must not know passwords, and does not judge names: the edge does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from caveats import UserRevocation
from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import UnknownUser, UserExists
from caveats_service.storage.records import User, UserChange
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.groups import is_group
from caveats_service.storage.repositories.revocations import revoke_within
from caveats_service.storage.repositories.rows import all_records, find_record
from caveats_service.storage.tables import users

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


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
        """A new account; `UserExists` if the name is taken."""
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
                raise UserExists(f"the name {username} is a group's")
            try:
                await connection.execute(insert(users).values(values))
            except IntegrityError as error:
                raise UserExists(f"the name {username} is taken") from error
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
        """The account of that name, enabled or not."""
        async with self._database.read() as connection:
            return await _find(connection, username)

    @operation
    async def list(self, *, after: str = "", limit: int = 100) -> tuple[User, ...]:
        """Accounts by name; `after` is the last name of the previous page."""
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
        self, username: str, new_hash: str, *, now: datetime, actor: str, revoke_until: datetime | None = None
    ) -> UserChange:
        """A new password. With `revoke_until`, all tokens issued up to now die in the same transaction."""
        return await self._change(
            username,
            {"password_hash": new_hash, "password_changed_at": now},
            "user.set_password",
            now=now,
            actor=actor,
            revoke_until=revoke_until,
        )

    @operation
    async def replace_hash(
        self, username: str, old_hash: str, new_hash: str, *, now: datetime, actor: str
    ) -> bool:
        """The same password under a new cost, unless the stored hash is no longer `old_hash`."""
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
        self, username: str, *, now: datetime, actor: str, revoke_until: datetime | None = None
    ) -> UserChange:
        """Nobody signs in as this user. With `revoke_until`, all tokens issued up to now die as well."""
        return await self._change(
            username, {"disabled_at": now}, "user.disable", now=now, actor=actor, revoke_until=revoke_until
        )

    @operation
    async def enable(self, username: str, *, now: datetime, actor: str) -> User:
        """The user may sign in again; what was revoked stays revoked."""
        return (await self._change(username, {"disabled_at": None}, "user.enable", now=now, actor=actor)).user

    @operation
    async def set_admin(self, username: str, *, is_admin: bool, now: datetime, actor: str) -> User:
        """Make an administrator, or an ordinary user."""
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
        revoke_until: datetime | None = None,
    ) -> UserChange:
        async with self._database.exclusive_write() as connection:
            before = await existing_user(connection, username)
            if "disabled_at" in values and not before.is_enabled and values["disabled_at"] is not None:
                values = {}  # disabled already: the first time stands
            if values:
                await connection.execute(update(users).where(users.c.username == username).values(values))
            await audit.record(connection, at=now, actor=actor, action=action, subject=username)
            revocation = None
            if revoke_until is not None:
                entry = UserRevocation(username, now, revoke_until)
                revocation = await revoke_within(connection, entry, now=now, actor=actor, reason=action)
            return UserChange(await existing_user(connection, username), revocation)


async def _find(connection: AsyncConnection, username: str) -> User | None:
    return await find_record(connection, User, select(users).where(users.c.username == username))


async def existing_user(connection: AsyncConnection, username: str) -> User:
    """The account of that name. Raises `UnknownUser`."""
    user = await _find(connection, username)
    if user is None:
        raise UnknownUser(f"there is no user {username}")
    return user
