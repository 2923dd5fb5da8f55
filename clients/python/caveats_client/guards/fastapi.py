"""Tokens as a FastAPI dependency. Imports FastAPI, opens nothing.

    guard = TokenGuard(verifier, audience="photos")
    guard.install(app)

    @app.get("/photos/{photo_id:int}")
    def photo(photo_id: int, grant: Annotated[Grant, Depends(guard.requires("photos/{photo_id}:read"))]) -> ...

/openapi.json then says that a token is needed, and both ways to send it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, HTTPException, Request, Security
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer

from caveats import Grant
from caveats_client.guards.asgi import incoming_of
from caveats_client.guards.guard import (
    Answer,
    Denied,
    Extra,
    Guard,
    Verifies,
    checked_scopes,
    filled_scopes,
    utc_now,
)

BEARER: Final = HTTPBearer(
    scheme_name="bearerAuth",
    bearerFormat="macaroon",
    description="A token, or a bundle of a token and its discharges.",
    auto_error=False,
)
HEADER: Final = APIKeyHeader(
    name="X-Auth-Token",
    scheme_name="tokenHeader",
    description="The same, where something on the way keeps `Authorization` for itself.",
    auto_error=False,
)


class TokenRefused(HTTPException):
    """FastAPI's exception around a refusal. Without `install`, the problem arrives inside of `detail`."""

    def __init__(self, refusal: Denied) -> None:
        super().__init__(refusal.status, refusal.problem, refusal.headers)
        self.refusal = refusal

    def response(self) -> Response:
        """The refusal as a response."""
        return Response(self.refusal.body, self.refusal.status, self.refusal.headers)


class TokenGuard:
    """Makes dependencies that grant or refuse."""

    def __init__(
        self,
        verifier: Verifies,
        *,
        audience: str | None = None,
        trusted_proxies: Iterable[str] = (),
        extra: Callable[[Request], Extra] | None = None,
        answers: Mapping[type[Exception], Answer] | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`extra`: facts for plug-in kinds. The rest is as for `Guard`."""
        self._gate = Guard(
            verifier, audience=audience, trusted_proxies=trusted_proxies, answers=answers, now=now
        )
        self._extra = extra

    def install(self, app: FastAPI) -> None:
        """Have the app answer refusals as the service does: application/problem+json."""
        app.add_exception_handler(TokenRefused, _answer)

    def requires(
        self, *scopes: str, when: Callable[[Request], Iterable[str]] | None = None
    ) -> Callable[..., Awaitable[Grant]]:
        """A dependency: the grant of a token that covers these scopes, and what `when` says that this request needs.

        `{name}` in a scope is filled from the path. Raises `caveats.MalformedCaveat` for what is no scope.
        """
        needed = checked_scopes(scopes)

        async def grant_of_request(
            request: Request,
            bearer: Annotated[object, Security(BEARER)] = None,
            header: Annotated[object, Security(HEADER)] = None,
        ) -> Grant:
            extra = self._extra(request) if self._extra else {}
            filled = filled_scopes(needed, request.path_params)
            if when is not None:
                filled += tuple(when(request))
            try:
                return await self._gate.judge_async(incoming_of(request.scope), filled, extra)
            except Denied as refusal:
                raise TokenRefused(refusal) from refusal

        return grant_of_request


async def _answer(request: Any, error: Exception) -> Response:
    if not isinstance(error, TokenRefused):
        raise error
    return error.response()
