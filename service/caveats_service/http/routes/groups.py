"""Groups of users, for administrators. Discharges of `member-of` follow a change at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from caveats.http import bad_request
from caveats_service.core.usernames import check_group, check_username
from caveats_service.http import schemas
from caveats_service.http.credentials import require_admin
from caveats_service.http.errors import not_found
from caveats_service.http.request import NO_STORE, RequestContext, reply

if TYPE_CHECKING:
    from caveats_service.storage import Group


async def listing(request: RequestContext) -> Response:
    """The groups, by name."""
    await require_admin(request)
    after, limit = request.page()
    found = await request.runtime.store.groups.list(after=after, limit=limit)
    rows = [group_response(group) for group in found]
    return reply(schemas.GroupsResponse(groups=rows, next=rows[-1].name if len(rows) == limit else None))


async def one(request: RequestContext) -> Response:
    """One group."""
    await require_admin(request)
    group = await request.runtime.store.groups.get(check_group(request.param("group")))
    if group is None:
        raise not_found("there is no such group")
    return reply(group_response(group))


async def put(request: RequestContext) -> Response:
    """Make a group, or give it other members: these and no others."""
    body = await request.read(schemas.SetGroupRequest)
    caller = await require_admin(request)
    name = check_group(request.param("group"))
    if body.members is None:  # perhaps it was lost: not a wish to remove them all
        raise bad_request("say who the members are: a list of usernames, [] for nobody")
    members = [check_username(member) for member in body.members]
    return reply(
        group_response(
            await request.runtime.store.groups.put(name, members, now=request.now, actor=caller.in_audit)
        )
    )


async def delete(request: RequestContext) -> Response:
    """Delete a group."""
    caller = await require_admin(request)
    name = check_group(request.param("group"))
    await request.runtime.store.groups.delete(name, now=request.now, actor=caller.in_audit)
    return Response(status_code=204, headers=NO_STORE)


async def add_member(request: RequestContext) -> Response:
    """Add a member."""
    caller = await require_admin(request)
    name, username = check_group(request.param("group")), check_username(request.param("username"))
    group = await request.runtime.store.groups.add_member(
        name, username, now=request.now, actor=caller.in_audit
    )
    return reply(group_response(group))


async def remove_member(request: RequestContext) -> Response:
    """Remove a member."""
    caller = await require_admin(request)
    name, username = check_group(request.param("group")), check_username(request.param("username"))
    group = await request.runtime.store.groups.remove_member(
        name, username, now=request.now, actor=caller.in_audit
    )
    return reply(group_response(group))


def group_response(group: Group) -> schemas.GroupResponse:
    """A group as administrators see it."""
    return schemas.GroupResponse(name=group.name, members=list(group.members), created_at=group.created_at)
