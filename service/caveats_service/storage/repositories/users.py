"""Accounts: who may sign in, with which password hash, for which scope at most.

Knows names and stored hashes. Must not know passwords. Does not check names: the core does. Of an account that was
deleted its name is left, in a table of its own, so that nothing takes it for an account.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import LastAdministrator, NamesTaken, UnknownUser, UserExists
from caveats_service.storage.records import SET_ONCE, NewUser, RevocationRecord, User, UserChange
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.groups import is_group, was_user
from caveats_service.storage.repositories.revocations import revoke_user_within, revoked_up_to
from caveats_service.storage.repositories.rows import all_records, find_record
from caveats_service.storage.tables import (
    agents,
    deleted_users,
    group_members,
    groups,
    idempotency,
    labelled_tokens,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


_BATCH = 1000
"""Rows of one statement."""
_MILLISECOND = timedelta(milliseconds=1)
_BRANCH = re.compile(r"[0-9a-f]{32}")
"""The id of a copy of a token, as it ends the caller of a kept reply. No name of a user ends so after a slash."""


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
        must_change_password: bool = False,
    ) -> User:
        """Add an account. Raises `UserExists` if a user or a group has the name, or a user had it who was deleted."""
        values = {
            "username": username,
            "password_hash": _marked(password_hash, must_change_password),
            "is_admin": is_admin,
            "scope": scope,
            "created_at": now,
            "password_changed_at": now,
        }
        async with self._database.exclusive_write() as connection:
            if await is_group(connection, username):
                raise UserExists(f"a group has the name {username}")
            if await was_user(connection, username):
                raise UserExists(f"a user had the name {username} and was deleted: it is not given again")
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
    async def taken(self, names: Collection[str]) -> Mapping[str, str]:
        """Those of these names that no new account can have, each with why: `user`, `group` or `deleted`."""
        async with self._database.read() as connection:
            return await _taken(connection, names)

    async def create_all(self, new: Sequence[NewUser], *, now: datetime, actor: str) -> None:
        """Add accounts, all or none, however long it takes. Raises `NamesTaken`."""
        await self._database.run(lambda: self._create_all(new, now, actor), bounded=False)

    async def _create_all(self, new: Sequence[NewUser], now: datetime, actor: str) -> None:
        async with self._database.exclusive_write() as connection:
            taken = await _taken(connection, [user.username for user in new])
            if taken:
                raise NamesTaken(taken)
            for at in range(0, len(new), _BATCH):
                some = new[at : at + _BATCH]
                await connection.execute(insert(users), [_columns(user, now) for user in some])
                entries = [
                    audit.entry(
                        at=now,
                        actor=actor,
                        action="user.create",
                        subject=user.username,
                        is_admin=user.is_admin,
                        scope=user.scope,
                        imported=True,
                    )
                    for user in some
                ]
                await audit.record_all(connection, entries)

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
        """How many accounts were ever added, disabled and deleted ones included."""
        counts = [select(func.count()).select_from(table) for table in (users, deleted_users)]
        async with self._database.read() as connection:
            return sum([(await connection.execute(count)).scalar_one() for count in counts])

    @operation
    async def set_password(
        self,
        username: str,
        new_hash: str,
        *,
        now: datetime,
        actor: str,
        revoke_for: timedelta | None = None,
        must_change: bool = False,
    ) -> UserChange:
        """Store a new password hash. `must_change`: it is good for its own change only. Raises `UnknownUser`.

        `revoke_for`: revoke all tokens issued until now, in the same transaction, and keep that entry for so long.
        """
        return await self._change(
            username,
            {"password_hash": _marked(new_hash, must_change), "password_changed_at": now},
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

    @operation
    async def delete(
        self, username: str, *, now: datetime, actor: str, revoke_for: timedelta
    ) -> RevocationRecord:
        """Delete an account with its labels, agents and places in groups, and keep its name from ever being given again.

        All tokens issued until now are revoked in the same transaction; returned is that entry, kept for `revoke_for`.
        Raises `UnknownUser`, and `LastAdministrator` where no other administrator could sign in.
        """
        async with self._database.exclusive_write() as connection:
            lock = select(users.c.username).where(users.c.username == username).with_for_update()
            await connection.execute(lock)  # a label that is being added is in by now, or its account is gone
            user = await existing_user(connection, username)
            if user.is_admin and not await _other_admins(connection, username):
                raise LastAdministrator(username)
            gone = {}
            for table in (labelled_tokens, agents, group_members):
                deleted = await connection.execute(delete(table).where(table.c.username == username))
                gone[table.name] = deleted.rowcount
            await _forget_replies(connection, username)
            await connection.execute(delete(users).where(users.c.username == username))
            await connection.execute(insert(deleted_users).values(username=username, deleted_at=now))
            revocation = await revoke_user_within(
                self._database,
                connection,
                username,
                kept_for=revoke_for,
                now=now,
                actor=actor,
                reason="user.delete",
            )
            await audit.record(
                connection, at=now, actor=actor, action="user.delete", subject=username, **gone
            )
            return revocation

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


async def _taken(connection: AsyncConnection, names: Collection[str]) -> dict[str, str]:
    """As `UserRepository.taken`."""
    found: dict[str, str] = {}
    asked = sorted(set(names))
    for at in range(0, len(asked), _BATCH):
        some = asked[at : at + _BATCH]
        for column, why in (
            (users.c.username, "user"),
            (groups.c.name, "group"),
            (deleted_users.c.username, "deleted"),
        ):
            found |= dict.fromkeys(await connection.scalars(select(column).where(column.in_(some))), why)
    return found


def _marked(password_hash: str, must_change: bool) -> str:
    return f"{SET_ONCE}{password_hash}" if must_change else password_hash


def _columns(user: NewUser, now: datetime) -> dict[str, object]:
    return {
        "username": user.username,
        "password_hash": _marked(user.password_hash, user.must_change_password),
        "is_admin": user.is_admin,
        "scope": user.scope,
        "created_at": now,
        "disabled_at": now if user.is_disabled else None,
        "password_changed_at": now,
    }


async def _forget_replies(connection: AsyncConnection, username: str) -> None:
    """Delete what was answered to the user, by their password or a token: see `Idempotency.caller`."""
    caller = idempotency.c.caller
    query = select(caller).distinct().where(caller.startswith(f"{username}/", autoescape=True))
    by_token = [
        one for one in await connection.scalars(query) if _BRANCH.fullmatch(one.removeprefix(f"{username}/"))
    ]
    await connection.execute(delete(idempotency).where(caller.in_([username, *by_token])))


async def _other_admins(connection: AsyncConnection, username: str) -> bool:
    """Whether an administrator of another name can sign in."""
    query = (
        select(users.c.username)
        .where(users.c.is_admin, users.c.disabled_at.is_(None), users.c.username != username)
        .limit(1)
    )
    return (await connection.execute(query)).first() is not None


async def _find(connection: AsyncConnection, username: str) -> User | None:
    query = select(users, revoked_up_to(username).label("revoked_up_to")).where(users.c.username == username)
    return await find_record(connection, User, query)


async def existing_user(connection: AsyncConnection, username: str, *, until_end: bool = False) -> User:
    """The account of that name. `until_end`: nobody deletes it before the transaction has ended. Raises `UnknownUser`."""
    if until_end:
        held = select(users.c.username).where(users.c.username == username)
        await connection.execute(held.with_for_update(read=True, key_share=True))
    user = await _find(connection, username)
    if user is None:
        raise UnknownUser(f"there is no user {username}")
    return user
