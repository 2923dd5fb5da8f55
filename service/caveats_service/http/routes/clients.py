"""Issuing clients, for administrators: which sites hand tokens to which users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from caveats.durations import parse_duration
from caveats_service.http import schemas
from caveats_service.http.credentials import require_admin
from caveats_service.http.request import NO_STORE, RequestContext, reply

if TYPE_CHECKING:
    from caveats_service.storage import IssuingClient


async def add(request: RequestContext) -> Response:
    """Add a client; its secret is in the answer, and nowhere else."""
    body = await request.read(schemas.AddClientRequest)
    actor = await require_admin(request)
    life = request.runtime.lives.default if body.longest_life is None else parse_duration(body.longest_life)
    made = await request.runtime.clients.add(
        body.name,
        users=body.users,
        groups=body.groups,
        audiences=body.audiences,
        scope=body.scope,
        longest_life=life,
        actor=actor,
    )
    return reply(schemas.NewClientResponse(client_secret=made.secret, **_members(made.client)), 201)


async def listing(request: RequestContext) -> Response:
    """The clients, oldest first."""
    await require_admin(request)
    after, limit = request.page()
    found = await request.runtime.store.clients.list(after=after, limit=limit)
    rows = [schemas.ClientResponse(**_members(client)) for client in found]
    return reply(
        schemas.ClientsResponse(clients=rows, next=rows[-1].client_id if len(rows) == limit else None)
    )


async def remove(request: RequestContext) -> Response:
    """Remove a client, and revoke everything that it has issued."""
    actor = await require_admin(request)
    await request.runtime.clients.remove(request.param("client_id"), actor=actor)
    return Response(status_code=204, headers=NO_STORE)


def _members(client: IssuingClient) -> dict[str, Any]:
    """A client as administrators see it: without its secret's hash and its lineage."""
    return {
        "client_id": client.client_id,
        "name": client.name,
        "users": list(client.users),
        "groups": list(client.groups),
        "audiences": list(client.audiences),
        "scope": client.scope,
        "longest_life": client.longest_life,
        "created_at": client.created_at,
    }
