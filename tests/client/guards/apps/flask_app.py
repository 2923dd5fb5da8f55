"""A Flask app: with decorated views, or (`protect`) guarded as a whole."""

from __future__ import annotations

import sys

from flask import Flask, g, request

from caveats_client.guards.flask import TokenGuard
from tests.support.guard import AUDIENCE, PUBLIC, TRUSTED, extra, needed, now, seen, serve_wsgi, verifier

app = Flask(__name__, static_folder=None)
app.url_map.merge_slashes = False
guard = TokenGuard(
    verifier(),
    audience=AUDIENCE,
    trusted_proxies=TRUSTED,
    extra=lambda request: extra({name.lower(): value for name, value in request.headers}),
    decoded_paths="decoded" in sys.argv,
    now=now,
)
if "protect" in sys.argv:
    guard.protect(app, scopes=lambda request: needed(request.method, request.path), public=PUBLIC)

    def requires(*scopes):
        return lambda view: view

else:
    requires = guard.requires


@app.get("/healthz")
@app.get("/static/<path:rest>")
def public(rest=""):
    return {"public": True}


@app.get("/albums/<path:album>")
@requires("albums/{album}:read")
def one_album(album):
    return seen(g.grant, request.path)


@app.get("/<path:rest>")
@requires("photos:read")
def read(rest):
    return seen(g.grant, request.path)


@app.post("/<path:rest>")
@requires("photos:write")
async def write(rest):
    return seen(g.grant, request.path)


if __name__ == "__main__":
    serve_wsgi(app)
