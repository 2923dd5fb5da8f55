"""Where programs wait for a decision, and what they get.

Proxies close connections on which nothing is sent for a while, and most programs do not ask again. So after
`poll_keepalive` the answer begins, as a 200, with spaces, which JSON allows before an object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection

from starlette.responses import Response, StreamingResponse

from caveats import CaveatsError
from caveats.http import Problem
from caveats_service.core.errors import ServiceError
from caveats_service.discharge.decisions import require_decided
from caveats_service.discharge.protocol import token_answer
from caveats_service.discharge.routes.discharge import discharge_response
from caveats_service.discharge.routes.endpoint import bakery_endpoint, bakery_response, host
from caveats_service.discharge.secrets import wait_token as token_of
from caveats_service.http.request import NO_STORE, RequestContext
from caveats_service.storage import Decision, Interaction, StoreError

_STREAM_HEADERS = {**NO_STORE, "X-Accel-Buffering": "no"}
_Answer = Callable[[RequestContext, Interaction], Awaitable[Response]]


@bakery_endpoint
async def wait_token(request: RequestContext) -> Response:
    """The token to ask again with, once there is a decision."""
    return await _when_decided(request, _token, late={Decision.GRANTED, Decision.DENIED})


@bakery_endpoint
async def wait(request: RequestContext) -> Response:
    """The discharge itself, once there is a decision: the older way."""
    return await _when_decided(request, _discharge, late={Decision.GRANTED})


async def _token(request: RequestContext, interaction: Interaction) -> Response:
    return bakery_response(token_answer(token_of(request.param("wait"))))


async def _discharge(request: RequestContext, interaction: Interaction) -> Response:
    return discharge_response(await request.runtime.decisions.discharge(interaction, host=host(request)))


async def _when_decided(request: RequestContext, answer: _Answer, *, late: Collection[Decision]) -> Response:
    """The answer once there is a decision. `late`: the decisions that can be answered after the spaces."""
    interaction = await _waited_for(request)
    if interaction.decision is Decision.OPEN:
        keepalives = request.runtime.waiters.keepalives(
            interaction.wait_hash,
            request.throttle_key,
            request.http.is_disconnected,
            request.runtime.settings.poll_keepalive.total_seconds(),
        )
        async for _ in keepalives:
            stream = _spaces_and_answer(request, keepalives, answer, late)
            return StreamingResponse(stream, 200, _STREAM_HEADERS, "application/json")
        interaction = await _waited_for(request)
    require_decided(interaction)
    return await answer(request, interaction)


async def _spaces_and_answer(
    request: RequestContext, keepalives: AsyncIterator[None], answer: _Answer, late: Collection[Decision]
) -> AsyncIterator[bytes]:
    """Spaces, and in the end the answer's body. After an error only the spaces: the client asks again and gets it."""
    yield b" "
    try:
        async for _ in keepalives:
            yield b" "
        interaction = await _waited_for(request)
        if interaction.decision in late:
            yield bytes((await answer(request, interaction)).body)
    except (Problem, ServiceError, CaveatsError, StoreError):
        return


async def _waited_for(request: RequestContext) -> Interaction:
    """Raises `UnknownInteraction`."""
    return await request.runtime.decisions.of_wait(request.param("wait"))
