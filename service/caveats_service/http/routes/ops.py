"""Operations: what this service is, whether it runs, whether it is ready."""

from __future__ import annotations

from importlib.metadata import version

from starlette.responses import JSONResponse, Response

from caveats.http import unavailable
from caveats_service.core import log
from caveats_service.http.request import NO_STORE, RequestContext
from caveats_service.storage import StoreBroken


async def index(request: RequestContext) -> Response:
    """What this service is, for a browser."""
    about = {
        "service": "Caveats",
        "version": version("caveats"),
        "what": "issues, verifies and revokes capability tokens",
        "try": {"sign in": "POST /v1/tokens", "verify": "POST /v1/verify", "is it ready": "GET /readyz"},
    }
    return JSONResponse(about, headers=NO_STORE)


async def healthz(request: RequestContext) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


async def readyz(request: RequestContext) -> Response:
    """The service can issue and revoke: its work goes on, the store can be read and written, clock and key are right.

    `damaged` names rows that cannot be used; the service is ready without them.
    """
    ended = request.runtime.ended_work
    if ended is not None:
        raise unavailable(detail=f"the background work {ended} has ended, and the process is about to")
    try:
        await request.runtime.store.ping()
        await request.runtime.store.check_writable()
    except StoreBroken as error:
        log.error("store_broken", detail=str(error))
        raise unavailable(detail=f"the database refuses for good what the service needs: {error}") from None
    if request.runtime.unreadable_revocations:
        raise unavailable(
            detail=f"damaged revocations: {', '.join(request.runtime.unreadable_revocations)}; "
            "what they have revoked is not known"
        )
    clock_is_off = await request.runtime.clock_check.trouble()
    if clock_is_off is not None:
        raise unavailable(detail=clock_is_off)
    key_id = request.runtime.master_keys.keyring.active.key_id
    damaged = {"damaged": list(request.runtime.damaged)} if request.runtime.damaged else {}
    return JSONResponse({"status": "ready", "active_key": key_id, **damaged}, headers=NO_STORE)
