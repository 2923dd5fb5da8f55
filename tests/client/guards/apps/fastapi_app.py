"""A FastAPI app whose endpoints depend on tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Request

from caveats import Grant
from caveats_client.guards.fastapi import TokenGuard
from tests.support.guard import AUDIENCE, TRUSTED, extra, now, seen, serve_asgi, verifier

guard = TokenGuard(
    verifier(),
    audience=AUDIENCE,
    trusted_proxies=TRUSTED,
    extra=lambda request: extra(request.headers),
    now=now,
)
app = FastAPI()
guard.install(app)


@app.get("/healthz")
@app.get("/static/{rest:path}")
def public():
    return {"public": True}


@app.get("/albums/{album:path}")
def one_album(
    album: str, request: Request, grant: Annotated[Grant, Depends(guard.requires("albums/{album}:read"))]
):
    return seen(grant, request.url.path)


@app.api_route("/{rest:path}", methods=["GET", "HEAD"])
async def read(rest: str, request: Request, grant: Annotated[Grant, Depends(guard.requires("photos:read"))]):
    return seen(grant, request.url.path)


@app.post("/{rest:path}")
async def write(
    rest: str, request: Request, grant: Annotated[Grant, Depends(guard.requires("photos:write"))]
):
    return seen(grant, request.url.path)


if __name__ == "__main__":
    serve_asgi(app)
