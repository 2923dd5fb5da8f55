"""Gates for web frameworks, each in a module that nobody imports by default and that imports its framework alone.

    asgi       TokenMiddleware around any ASGI app
    starlette  TokenBackend for Starlette's AuthenticationMiddleware
    fastapi    TokenGuard: Depends(guard.requires("photos:read"))
    flask      TokenGuard: @guard.requires("photos:read"), then flask.g.grant
    django     TokenGuard: the same decorator, and a middleware; then request.grant

What they have in common, and the way to build one for another framework, is in `gate`.
"""
