"""Groups of users, for administrators. What a third party says of membership follows from here at once."""

from starlette.responses import Response

from caveats_service.core.usernames import check_group, check_username
from caveats_service.http import schemas
from caveats_service.http.errors import not_found
from caveats_service.http.request import NO_STORE, Call, reply
from caveats_service.storage import Group


async def listing(call: Call) -> Response:
    """The groups, by name."""
    await call.admin()
    limit = max(1, call.number("limit", 100, 1000))
    found = await call.node.store.list_groups(after=call.request.query_params.get("after", ""), limit=limit)
    rows = [shape(group) for group in found]
    return reply(schemas.Groups(groups=rows, next=rows[-1].name if len(rows) == limit else None))


async def one(call: Call) -> Response:
    """One group."""
    await call.admin()
    group = await call.node.store.get_group(check_group(call.param("group")))
    if group is None:
        raise not_found("there is no such group")
    return reply(shape(group))


async def put(call: Call) -> Response:
    """A group with these members and no others, whether it was there or not."""
    body = await call.read(schemas.SetGroup)
    caller = await call.admin()
    name = check_group(call.param("group"))
    members = [check_username(member) for member in body.members]
    return reply(shape(await call.node.store.put_group(name, members, now=call.now, actor=caller.username)))


async def delete(call: Call) -> Response:
    """Nobody belongs to it any more."""
    caller = await call.admin()
    name = check_group(call.param("group"))
    await call.node.store.delete_group(name, now=call.now, actor=caller.username)
    return Response(status_code=204, headers=NO_STORE)


async def add_member(call: Call) -> Response:
    """One more belongs to it."""
    caller = await call.admin()
    name, username = check_group(call.param("group")), check_username(call.param("username"))
    group = await call.node.store.add_member(name, username, now=call.now, actor=caller.username)
    return reply(shape(group))


async def remove_member(call: Call) -> Response:
    """One fewer belongs to it."""
    caller = await call.admin()
    name, username = check_group(call.param("group")), check_username(call.param("username"))
    group = await call.node.store.remove_member(name, username, now=call.now, actor=caller.username)
    return reply(shape(group))


def shape(group: Group) -> schemas.GroupShape:
    """A group as administrators see it."""
    return schemas.GroupShape(name=group.name, members=list(group.members), created_at=group.created_at)
