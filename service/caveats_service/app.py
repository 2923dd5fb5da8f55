"""The application: routes, the edge around them, the node's life. Assembly only."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

from caveats.extras import needs

with needs("service"):
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

from caveats_service.core.clock import utc_now
from caveats_service.core.forgetting import uptime
from caveats_service.core.passwords import INTERACTIVE, PasswordProfile
from caveats_service.discharge.routes import agents as agent_logins
from caveats_service.discharge.routes import discharge, forms, pages, waiting
from caveats_service.http.cors import CrossOrigin
from caveats_service.http.edge import Edge, InStep
from caveats_service.http.errors import problem_response
from caveats_service.http.request import Handler, endpoint
from caveats_service.http.router import Router
from caveats_service.http.routes import (
    agents,
    authorize,
    clients,
    console,
    counts,
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
from caveats_service.runtime import ServiceRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from caveats_service.settings import Settings

ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/v1/users", users.register),
    ("GET", "/v1/users", users.listing),
    ("PUT", "/v1/users/{username}/password", users.change_password),
    ("POST", "/v1/users/{username}/disable", users.disable),
    ("POST", "/v1/users/{username}/enable", users.enable),
    ("GET", "/v1/users/{username}/tokens", tokens.listing_of_user),
    ("DELETE", "/v1/users/{username}/tokens/{token_id}", tokens.delete_of_user),
    ("DELETE", "/v1/users/{username}", users.delete),
    ("GET", "/v1/groups", groups.listing),
    ("GET", "/v1/groups/{group}", groups.one),
    ("PUT", "/v1/groups/{group}", groups.put),
    ("DELETE", "/v1/groups/{group}", groups.delete),
    ("PUT", "/v1/groups/{group}/members/{username}", groups.add_member),
    ("DELETE", "/v1/groups/{group}/members/{username}", groups.remove_member),
    ("POST", "/v1/agents", agents.register),
    ("GET", "/v1/agents", agents.listing),
    ("DELETE", "/v1/agents/{agent_id}", agents.remove),
    ("POST", "/v1/clients", clients.add),
    ("GET", "/v1/clients", clients.listing),
    ("DELETE", "/v1/clients/{client_id}", clients.remove),
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
    ("GET", "/v1/authorize", authorize.authorize),
    ("POST", "/v1/verify", verify.verify),
    ("POST", "/v1/session", sessions.sign_in),
    ("GET", "/v1/session", sessions.who),
    ("DELETE", "/v1/session", sessions.sign_out),
    ("POST", "/v1/revocations", revocations.create),
    ("GET", "/v1/revocations", revocations.listing),
    ("GET", "/v1/revocations/feed", feed.read),
    ("POST", "/v1/verifiers", verifiers.register),
    ("GET", "/v1/verifiers", verifiers.listing),
    ("DELETE", "/v1/verifiers/{verifier_id}", verifiers.revoke),
    ("GET", "/v1/verifiers/{verifier_id}/keys", verifiers.keys),
    ("GET", "/v1/keys", keys.listing),
    ("POST", "/v1/keys/rotate", keys.rotate),
    ("POST", "/v1/keys/{key_id}/retire", keys.retire),
    ("GET", "/v1/counts", counts.last_hour),
    ("GET", "/", console.index),
    ("GET", "/console/{file:path}", console.file),
    ("GET", "/healthz", ops.healthz),
    ("GET", "/readyz", ops.readyz),
)
UNCOUNTED = frozenset({"/", "/console/{file:path}", "/healthz", "/readyz"})
"""What browsers load and what watches over the service asks is not the work that it does."""


def create_app(
    settings: Settings,
    *,
    now: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = uptime,
    password_profile: PasswordProfile = INTERACTIVE,
    on_start: Callable[[ServiceRuntime], None] | None = None,
) -> Starlette:
    """The service as an ASGI application. `on_start` is called with the node once it is ready."""
    runtime = ServiceRuntime(settings, now=now, monotonic=monotonic, password_profile=password_profile)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await runtime.start()
        gc.collect()
        gc.freeze()  # what stands now stands until the end: the collector need not walk it with every full round
        # What a verifier remembers is walked less often: 8 % of a token that was never seen.
        gc.set_threshold(20_000, 10, 10)
        try:
            if on_start is not None:
                on_start(runtime)
            yield
        finally:
            await runtime.stop()

    endpoints = Router(
        (method, path, endpoint(handler, runtime, counted=path not in UNCOUNTED))
        for method, path, handler in ROUTES
    )
    app = Starlette(
        lifespan=lifespan,
        exception_handlers={Exception: _problem},
        middleware=_middleware(settings, endpoints),
    )
    app.state.runtime = runtime
    return app


def _middleware(settings: Settings, endpoints: Router) -> list[Middleware]:
    """What a request passes before `endpoints`, from the outside in."""
    edge = Middleware(
        Edge,
        endpoints=endpoints,
        max_header_bytes=settings.max_header_bytes,
        public_path=settings.public_path,
    )
    in_step = Middleware(InStep)
    if not settings.allowed_origins and not settings.bearer_from_any_origin:
        return [in_step, edge]
    cross_origin = Middleware(
        CrossOrigin,
        allowed_origins=settings.allowed_origins,
        bearer_from_anywhere=settings.bearer_from_any_origin,
    )
    return [in_step, cross_origin, edge]


async def _problem(request: Request, error: Exception) -> Response:
    return problem_response(error)
