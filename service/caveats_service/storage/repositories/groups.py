"""Groups of users. No group has the name of a user, nor of one that was deleted, and no user that of a group.

Knows names only; does not decide what a member may do. A disabled user stays a member, but `of` leaves them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, delete, insert, select

from caveats_service.storage.engines.transactions import Repository, operation
from caveats_service.storage.errors import GroupExists, UnknownGroup, UnknownUser
from caveats_service.storage.records import Group
from caveats_service.storage.repositories import audit
from caveats_service.storage.tables import deleted_users, group_members, groups, users

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection


class GroupRepository(Repository):
    """The operations on groups."""

    @operation
    async def put(self, name: str, members: Collection[str], *, now: datetime, actor: str) -> Group:
        """Make a group with these members, or replace the members of the group.

        Raises `GroupExists` if a user has or had the name, and `UnknownUser` for a member that is no user.
        """
        async with self._database.exclusive_write() as connection:
            await _all_users(connection, members)
            if await _find(connection, name) is None:
                await _new(connection, name, now)
            await connection.execute(delete(group_members).where(group_members.c.group_name == name))
            if members:
                rows = [{"group_name": name, "username": member} for member in sorted(set(members))]
                await connection.execute(insert(group_members), rows)
            listed = " ".join(sorted(set(members)))
            await audit.record(
                connection, at=now, actor=actor, action="group.put", subject=name, members=listed
            )
            return await _existing(connection, name)

    @operation
    async def get(self, name: str) -> Group | None:
        """The group of that name, or None."""
        async with self._database.read() as connection:
            return await _find(connection, name)

    @operation
    async def list(self, *, after: str = "", limit: int = 100) -> tuple[Group, ...]:
        """At most `limit` groups, by name. `after`: the last name of the previous page."""
        query = select(groups).where(groups.c.name > after).order_by(groups.c.name).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
            return tuple([await _group(connection, row) for row in rows])

    @operation
    async def delete(self, name: str, *, now: datetime, actor: str) -> None:
        """Delete a group. Raises `UnknownGroup`."""
        async with self._database.exclusive_write() as connection:
            await _existing(connection, name)
            await connection.execute(delete(group_members).where(group_members.c.group_name == name))
            await connection.execute(delete(groups).where(groups.c.name == name))
            await audit.record(connection, at=now, actor=actor, action="group.delete", subject=name)

    @operation
    async def add_member(self, name: str, username: str, *, now: datetime, actor: str) -> Group:
        """Add a member; nothing changes if they are one. Raises `UnknownGroup`, `UnknownUser`."""
        async with self._database.exclusive_write() as connection:
            group = await _existing(connection, name)
            await _all_users(connection, (username,))
            if username in group.members:
                return group
            await connection.execute(insert(group_members).values(group_name=name, username=username))
            await audit.record(
                connection, at=now, actor=actor, action="group.add_member", subject=name, user=username
            )
            return await _existing(connection, name)

    @operation
    async def remove_member(self, name: str, username: str, *, now: datetime, actor: str) -> Group:
        """Remove a member; nothing changes if they are none. Raises `UnknownGroup`."""
        async with self._database.exclusive_write() as connection:
            group = await _existing(connection, name)
            if username not in group.members:
                return group
            await connection.execute(
                delete(group_members).where(
                    group_members.c.group_name == name, group_members.c.username == username
                )
            )
            await audit.record(
                connection, at=now, actor=actor, action="group.remove_member", subject=name, user=username
            )
            return await _existing(connection, name)

    @operation
    async def of(self, *usernames: str) -> Mapping[str, frozenset[str]]:
        """The names of the groups of each of these users. Unknown and disabled users are left out."""
        known = select(users.c.username).where(users.c.username.in_(usernames), users.c.disabled_at.is_(None))
        members = select(group_members).where(group_members.c.username.in_(usernames))
        async with self._database.read() as connection:
            found: dict[str, set[str]] = {row.username: set() for row in await connection.execute(known)}
            for row in await connection.execute(members):
                if row.username in found:
                    found[row.username].add(row.group_name)
            return {username: frozenset(names) for username, names in found.items()}


async def is_group(connection: AsyncConnection, name: str) -> bool:
    """Whether a group has this name."""
    query = select(groups.c.name).where(groups.c.name == name)
    return (await connection.execute(query)).one_or_none() is not None


async def was_user(connection: AsyncConnection, name: str) -> bool:
    """Whether an account of this name was deleted."""
    query = select(deleted_users.c.username).where(deleted_users.c.username == name)
    return (await connection.execute(query)).one_or_none() is not None


async def _new(connection: AsyncConnection, name: str, now: datetime) -> None:
    taken = select(users.c.username).where(users.c.username == name)
    if (await connection.execute(taken)).one_or_none() is not None:
        raise GroupExists(f"a user has the name {name}")
    if await was_user(connection, name):
        raise GroupExists(f"a user had the name {name} and was deleted: it is not given again")
    await connection.execute(insert(groups).values(name=name, created_at=now))


async def _all_users(connection: AsyncConnection, names: Collection[str]) -> None:
    query = select(users.c.username).where(users.c.username.in_(names))
    known = {row.username for row in await connection.execute(query)}
    for name in sorted(names):
        if name not in known:
            raise UnknownUser(f"there is no user {name}")


async def _find(connection: AsyncConnection, name: str) -> Group | None:
    row = (await connection.execute(select(groups).where(groups.c.name == name))).one_or_none()
    return None if row is None else await _group(connection, row)


async def _existing(connection: AsyncConnection, name: str) -> Group:
    group = await _find(connection, name)
    if group is None:
        raise UnknownGroup(f"there is no group {name}")
    return group


async def _group(connection: AsyncConnection, row: Row[Any]) -> Group:
    query = (
        select(group_members.c.username)
        .where(group_members.c.group_name == row.name)
        .order_by(group_members.c.username)
    )
    members = tuple(member.username for member in await connection.execute(query))
    return Group(name=row.name, members=members, created_at=row.created_at)
