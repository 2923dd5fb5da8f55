"""A Starlette app whose AuthenticationMiddleware takes tokens."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from caveats_client.guards.starlette import TokenBackend
from tests.support.guard import AUDIENCE, PUBLIC, TRUSTED, extra, needed, now, seen, serve_asgi, verifier


async def public(request):
    assert not request.user.is_authenticated
    return JSONResponse({"public": True})


@requires("authenticated")
async def everything(request):
    return JSONResponse(seen(request.user.grant, request.url.path))


if __name__ == "__main__":
    backend = TokenBackend(
        verifier(),
        audience=AUDIENCE,
        scopes=lambda conn: needed(conn.scope["method"], conn.scope["path"]),
        public=PUBLIC,
        trusted_proxies=TRUSTED,
        extra=lambda conn: extra(conn.headers),
        now=now,
    )
    serve_asgi(
        Starlette(
            routes=[
                Route("/healthz", public),
                Route("/static/{rest:path}", public),
                Route("/{rest:path}", everything, methods=["GET", "POST"]),
            ],
            middleware=[
                Middleware(AuthenticationMiddleware, backend=backend, on_error=TokenBackend.on_error)
            ],
        )
    )
