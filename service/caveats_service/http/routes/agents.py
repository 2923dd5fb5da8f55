"""Agents: programs that sign in with a key when a discharge is asked for. Administrators say who speaks for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from caveats import InvalidKey
from caveats.http import bad_request
from caveats.token import encode_base64, is_token_id
from caveats_service.core.usernames import check_username
from caveats_service.discharge.agents import read_agent_key
from caveats_service.http import schemas
from caveats_service.http.credentials import require_admin
from caveats_service.http.errors import not_found
from caveats_service.http.request import NO_STORE, RequestContext, reply

if TYPE_CHECKING:
    from caveats_service.storage import Agent


async def register(request: RequestContext) -> Response:
    """Register a key: the program that has it speaks for the user from now on."""
    body = await request.read(schemas.RegisterAgentRequest)
    caller = await require_admin(request)
    try:
        public_key = read_agent_key(body.public_key)
    except InvalidKey as error:
        raise bad_request(f"public_key: {error}") from None
    agent = await request.runtime.store.agents.add(
        username=check_username(body.username),
        public_key=public_key,
        name=body.name,
        now=request.now,
        actor=caller.in_audit,
    )
    return reply(agent_response(agent), 201)


async def listing(request: RequestContext) -> Response:
    """The agents, oldest first."""
    await require_admin(request)
    after, limit = request.page()
    found = await request.runtime.store.agents.list(after=after, limit=limit)
    rows = [agent_response(agent) for agent in found]
    return reply(schemas.AgentsResponse(agents=rows, next=rows[-1].agent_id if len(rows) == limit else None))


async def remove(request: RequestContext) -> Response:
    """Remove an agent: its key speaks for nobody any more."""
    caller = await require_admin(request)
    agent_id = request.param("agent_id")
    if not is_token_id(agent_id):
        raise not_found("there is no such agent")
    await request.runtime.store.agents.remove(agent_id, now=request.now, actor=caller.in_audit)
    return Response(status_code=204, headers=NO_STORE)


def agent_response(agent: Agent) -> schemas.AgentResponse:
    """An agent as administrators see it."""
    return schemas.AgentResponse(
        agent_id=agent.agent_id,
        username=agent.username,
        public_key=encode_base64(agent.public_key),
        name=agent.name,
        created_at=agent.created_at,
    )
