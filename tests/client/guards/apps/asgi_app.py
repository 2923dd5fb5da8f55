"""A bare ASGI app behind TokenMiddleware."""

from __future__ import annotations

import json

from caveats_client.guards.asgi import TokenMiddleware, grant_of
from tests.support.guard import AUDIENCE, PUBLIC, TRUSTED, extra, needed, now, seen, serve_asgi, verifier


async def app(scope, receive, send):
    try:
        answer = seen(grant_of(scope), scope["path"])
    except LookupError:
        answer = {"public": True}
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def headers_of(scope):
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


if __name__ == "__main__":
    serve_asgi(
        TokenMiddleware(
            app,
            verifier(),
            audience=AUDIENCE,
            scopes=lambda scope: needed(scope["method"], scope["path"]),
            public=PUBLIC,
            trusted_proxies=TRUSTED,
            extra=lambda scope: extra(headers_of(scope)),
            now=now,
        )
    )
