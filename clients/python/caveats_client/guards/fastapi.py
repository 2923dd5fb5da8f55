"""A guard as a FastAPI dependency. Imports FastAPI; opens nothing.

    guard = TokenGuard(verifier, audience="photos")
    guard.install(app)

    @app.get("/photos/{photo_id:int}")
    def photo(photo_id: int, grant: Annotated[Grant, Depends(guard.requires("photos/{photo_id}:read"))]) -> str:
        return f"photo {photo_id} for {grant.user}"

/openapi.json then says that a token is needed, and shows the two ways to send it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Unpack

from fastapi import FastAPI, HTTPException, Request, Security, WebSocketException
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.requests import HTTPConnection

from caveats import Grant
from caveats.errors import reduce_error
from caveats.http import IncomingRequest, Problem
from caveats_client.guards.asgi import hide_token
from caveats_client.guards.guard import Extra, Guard, GuardOptions, Verifies, no_facts
from caveats_client.guards.rules import RouteRule

_POLICY_VIOLATION = 1008


class _Bearer(HTTPBearer):
    """Only a line in /openapi.json: the guard reads the header itself. FastAPI's own fails for a WebSocket."""

    async def __call__(self, connection: HTTPConnection) -> None:
        return None


class _Header(APIKeyHeader):
    """As `_Bearer`."""

    async def __call__(self, connection: HTTPConnection) -> None:
        return None


BEARER = _Bearer(
    scheme_name="bearerAuth",
    bearerFormat="macaroon",
    description="A token, or a bundle of a token and its discharges.",
    auto_error=False,
)
HEADER = _Header(
    name="X-Auth-Token",
    scheme_name="tokenHeader",
    description="The same, where something on the way keeps `Authorization` for itself.",
    auto_error=False,
)


class TokenRefused(HTTPException):
    """FastAPI's exception around a problem. Without `install`, the body is `{"detail": ...}` around the problem's."""

    __reduce__ = reduce_error

    def __init__(self, problem: Problem) -> None:
        headers = {
            "Cache-Control": "no-store",
            **problem.extra_headers,
        }  # the body is another, and so is its length
        super().__init__(problem.status, problem.document, headers)
        self.problem = problem

    def response(self) -> Response:
        """The problem as a response."""
        return Response(self.problem.body, self.problem.status, self.problem.headers)


class TokenGuard:
    """Makes dependencies that give the grant of a request, or refuse it."""

    def __init__(
        self,
        verifier: Verifies,
        *,
        extra: Callable[[Request], Extra] | None = None,
        **options: Unpack[GuardOptions],
    ) -> None:
        """`extra`: facts for plug-in kinds. `options`: see `GuardOptions`."""
        self._guard = Guard(verifier, **options)
        self._extra = extra or no_facts

    def install(self, app: FastAPI) -> None:
        """Make the app answer refused requests as the service does: application/problem+json."""
        app.add_exception_handler(TokenRefused, _answer)

    def requires(
        self, *scopes: str, when: Callable[[Request], Iterable[str]] | None = None
    ) -> Callable[..., Awaitable[Grant]]:
        """A dependency: the grant of a token that covers these scopes and those of `when`.

        `{name}` in a scope is filled from the path. Raises `caveats.MalformedCaveat` for a malformed scope.
        In the route of a WebSocket, `when` and `extra` are given the `WebSocket`, and a refused handshake is closed with
        1008, which servers answer with 403.
        """
        rule = RouteRule(scopes, when)

        async def grant_of_request(
            connection: HTTPConnection,
            bearer: Annotated[object, Security(BEARER)] = None,
            header: Annotated[object, Security(HEADER)] = None,
        ) -> Grant:
            request: Any = connection  # a `Request`, or a `WebSocket` in its handshake
            extra = self._extra(request)
            needed = rule.scopes(request, request.path_params)
            try:
                grant = await self._guard.judge_async(IncomingRequest.from_asgi(request.scope), needed, extra)
            except Problem as problem:
                if request.scope["type"] == "websocket":
                    raise WebSocketException(_POLICY_VIOLATION, problem.code) from problem
                raise TokenRefused(problem) from problem
            if request.scope["type"] == "websocket" and self._guard.subprotocol:
                hide_token(request.scope)
            return grant

        return grant_of_request


async def _answer(request: Any, error: Exception) -> Response:
    if not isinstance(error, TokenRefused):
        raise error
    return error.response()
