"""Is it up, is it ready."""

from starlette.responses import JSONResponse, Response

from caveats_service.call import NO_STORE, Call


async def healthz(call: Call) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


async def readyz(call: Call) -> Response:
    """It can issue and revoke: the store answers, a key is active."""
    await call.node.store.ping()
    key_id = call.node.masters.keyring.active.key_id
    return JSONResponse({"status": "ready", "active_key": key_id}, headers=NO_STORE)
