"""How many requests this process has answered, minute by minute. For administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_service.http import schemas
from caveats_service.http.credentials import require_admin
from caveats_service.http.request import RequestContext, reply

if TYPE_CHECKING:
    from starlette.responses import Response


async def last_hour(request: RequestContext) -> Response:
    """The counts of the last hour."""
    await require_admin(request)
    counts = request.runtime.request_counts
    minutes = [
        schemas.MinuteResponse(
            at=minute.at, requests=minute.requests, refused=minute.refused, failed=minute.failed
        )
        for minute in counts.last_hour(request.now)
    ]
    return reply(schemas.CountsResponse(since=counts.since, minutes=minutes))
