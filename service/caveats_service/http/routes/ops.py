"""What is this, is it up, is it ready."""

from importlib.metadata import version

from starlette.responses import JSONResponse, Response

from caveats_service.http.request import NO_STORE, Call


async def index(call: Call) -> Response:
    """For whoever opens the address in a browser."""
    about = {
        "service": "Caveats",
        "version": version("caveats"),
        "what": "issues, verifies and revokes capability tokens",
        "try": {"sign in": "POST /v1/tokens", "verify": "POST /v1/verify", "is it ready": "GET /readyz"},
    }
    return JSONResponse(about, headers=NO_STORE)


async def healthz(call: Call) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"}, headers=NO_STORE)


async def readyz(call: Call) -> Response:
    """It can issue and revoke: the store answers, a key is active."""
    await call.node.store.ping()
    key_id = call.node.masters.keyring.active.key_id
    return JSONResponse({"status": "ready", "active_key": key_id}, headers=NO_STORE)
