"""Guards: the token of every request is judged before an app's endpoint runs.

Each integration imports its own framework and no other, and nothing imports them by default. They find the parts of
a framework's request; what is a rule stands in `guard`, `rules` and `caveats.http`, and knows no framework.

Reading order: `guard` (judge one request), `rules` (what a request needs), then one integration:

    asgi             TokenMiddleware around any ASGI app
    starlette        TokenBackend for Starlette's AuthenticationMiddleware
    fastapi          TokenGuard: Depends(guard.requires("photos:read"))
    wsgi             the request in a WSGI environ, for the next two
    flask            TokenGuard: @guard.requires("photos:read"), then flask.g.grant
    django           TokenGuard: the same decorator, and a middleware; then request.grant
    discharge_guard  DischargeMiddleware: a third party has to agree first
"""
