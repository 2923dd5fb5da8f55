"""Guards verify the token of every request before an app's endpoint runs.

Each integration imports only its own framework, and no module imports an integration by default. An integration reads
the framework's request; the rules are in `guard`, `rules` and `caveats.http`, which know no framework.

Reading order: `guard` (judge one request), `rules` (what a request needs), then one integration:

    asgi             TokenMiddleware around any ASGI app
    starlette        TokenBackend for Starlette's AuthenticationMiddleware
    fastapi          TokenGuard: Depends(guard.requires("photos:read"))
    wsgi             the request in a WSGI environ, for the next two
    flask            TokenGuard: @guard.requires("photos:read"), then flask.g.grant
    django           TokenGuard: the same decorator, and a middleware; then request.grant
    discharge_guard  DischargeMiddleware: a third party has to agree first
"""
