"""The application: routes, the edge around them, the node's life. Assembly only."""

import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from caveats.http import Problem, check_url
from caveats_service.core.passwords import INTERACTIVE, PasswordProfile
from caveats_service.core.runtime import ServiceRuntime, utc_now
from caveats_service.discharge.routes import agents as agent_logins
from caveats_service.discharge.routes import discharge, forms, pages, waiting
from caveats_service.http.errors import problem_response
from caveats_service.http.request import Handler, endpoint
from caveats_service.http.routes import (
    agents,
    feed,
    groups,
    keys,
    ops,
    revocations,
    sessions,
    tokens,
    users,
    verifiers,
    verify,
)
from caveats_service.http.routes.authorize import Authorize
from caveats_service.settings import Settings

AUTHORIZE: Final = "/v1/authorize"

_ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("POST", "/v1/users", users.register),
    ("GET", "/v1/users", users.listing),
    ("PUT", "/v1/users/{username}/password", users.change_password),
    ("POST", "/v1/users/{username}/disable", users.disable),
    ("POST", "/v1/users/{username}/enable", users.enable),
    ("GET", "/v1/groups", groups.listing),
    ("GET", "/v1/groups/{group}", groups.one),
    ("PUT", "/v1/groups/{group}", groups.put),
    ("DELETE", "/v1/groups/{group}", groups.delete),
    ("PUT", "/v1/groups/{group}/members/{username}", groups.add_member),
    ("DELETE", "/v1/groups/{group}/members/{username}", groups.remove_member),
    ("POST", "/v1/agents", agents.register),
    ("GET", "/v1/agents", agents.listing),
    ("DELETE", "/v1/agents/{agent_id}", agents.remove),
    ("GET", "/discharge/info", discharge.info),
    ("GET", "/publickey", discharge.public_key),
    ("POST", "/discharge", discharge.discharge),
    ("GET", "/discharge/visit/{visit}", pages.visit),
    ("POST", "/discharge/visit/{visit}", pages.decide),
    ("GET", "/discharge/approve/{approve}", pages.visit_to_approve),
    ("POST", "/discharge/approve/{approve}", pages.approve),
    ("GET", "/discharge/wait-token/{wait}", waiting.wait_token),
    ("GET", "/discharge/wait/{wait}", waiting.wait),
    ("GET", "/discharge/form/{wait}", forms.form),
    ("POST", "/discharge/form/{wait}", forms.fill_in),
    ("GET", "/discharge/agent/{ticket}", agent_logins.agent),
    ("POST", "/discharge/agent-login/{visit}", agent_logins.agent_login),
    ("POST", "/v1/tokens", tokens.issue),
    ("GET", "/v1/tokens", tokens.listing),
    ("POST", "/v1/tokens/renew", tokens.renew),
    ("GET", "/v1/tokens/{token_id}", tokens.one),
    ("DELETE", "/v1/tokens/{token_id}", tokens.delete),
    ("POST", "/v1/verify", verify.verify),
    ("POST", "/v1/session", sessions.sign_in),
    ("GET", "/v1/session", sessions.who),
    ("DELETE", "/v1/session", sessions.sign_out),
    ("POST", "/v1/revocations", revocations.create),
    ("GET", "/v1/revocations", revocations.listing),
    ("GET", "/v1/revocations/feed", feed.feed),
    ("POST", "/v1/verifiers", verifiers.register),
    ("GET", "/v1/verifiers", verifiers.listing),
    ("DELETE", "/v1/verifiers/{verifier_id}", verifiers.revoke),
    ("GET", "/v1/verifiers/{verifier_id}/keys", verifiers.keys),
    ("GET", "/v1/keys", keys.listing),
    ("POST", "/v1/keys/rotate", keys.rotate),
    ("POST", "/v1/keys/{key_id}/retire", keys.retire),
    ("GET", "/", ops.index),
    ("GET", "/healthz", ops.healthz),
    ("GET", "/readyz", ops.readyz),
)


def create_app(
    settings: Settings,
    *,
    now: Callable[[], datetime] = utc_now,
    password_profile: PasswordProfile = INTERACTIVE,
    on_start: Callable[[ServiceRuntime], None] | None = None,
) -> Starlette:
    """The service as an ASGI application. `on_start` is called with the node once it is ready."""
    runtime = ServiceRuntime(settings, now=now, password_profile=password_profile)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        gc.collect()
        gc.freeze()  # what stands now stands until the end: the collector need not walk it with every full round
        try:
            if on_start is not None:
                on_start(runtime)
            yield
        finally:
            await runtime.stop()

    app = Starlette(
        routes=_routes(),
        lifespan=lifespan,
        exception_handlers={HTTPException: _problem, Exception: _problem},
    )
    app.state.runtime = runtime
    app.router.redirect_slashes = (
        False  # a redirect would carry a credential to wherever the Host header says
    )
    app.add_middleware(Edge, authorize=Authorize(runtime), settings=settings)
    return app


def _routes() -> list[Route]:
    """One route per path, so that a wrong method is a 405 that names the right ones."""
    by_path: dict[str, dict[str, Handler]] = {}
    for method, path, handler in _ROUTES:
        by_path.setdefault(path, {})[method] = handler
    return [
        Route(path, _Methods({method: endpoint(handler) for method, handler in methods.items()}))
        for path, methods in by_path.items()
    ]


class _Methods:
    """The endpoints of one path, by method."""

    def __init__(self, handlers: dict[str, Callable[[Request], object]]) -> None:
        self._handlers = handlers
        self._allow = ", ".join(sorted({*handlers, *(["HEAD"] if "GET" in handlers else [])}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        handler = self._handlers.get(method)
        if handler is None:
            response = problem_response(Problem(405, "method_not_allowed", headers={"Allow": self._allow}))
        else:
            response = await handler(Request(scope, receive, send))  # type: ignore[misc]
        await response(scope, receive, send)


class Edge:
    """Around everything: limits on headers, no credentials where logs would keep them, and the fast way in."""

    def __init__(self, app: ASGIApp, *, authorize: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._authorize = authorize
        self._most = settings.max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        if scope["path"] == AUTHORIZE:
            await self._authorize(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raises `Problem`: 431, or 400 for a credential in a URL."""
        referers: list[bytes] = []
        path, query = scope["raw_path"], scope["query_string"]
        size = len(path) + len(query)
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"referer":
                referers.append(value)
        if size > self._most:
            raise Problem(431, "headers_too_large", f"the request's head has at most {self._most} bytes")
        check_url(path, query, referers)


async def _problem(request: Request, error: Exception) -> Response:
    return problem_response(error)
