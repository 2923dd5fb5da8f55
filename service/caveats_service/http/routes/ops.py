"""Operations: whether the service runs, whether it is ready."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from caveats_service.http.request import NO_STORE, RequestContext


async def healthz(request: RequestContext) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


async def readyz(request: RequestContext) -> Response:
    """The service can issue and revoke: see `Readiness`. Otherwise a 503, whose `reason` is a word for programs.

    `damaged` names rows that cannot be used; the service is ready without them.
    """
    key_id = await request.runtime.readiness.require()
    damaged = {"damaged": list(request.runtime.damaged)} if request.runtime.damaged else {}
    return JSONResponse({"status": "ready", "active_key": key_id, **damaged}, headers=NO_STORE)
