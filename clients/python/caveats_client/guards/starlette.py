"""A guard as a backend of Starlette's own AuthenticationMiddleware. Imports Starlette; opens nothing.

    backend = TokenBackend(verifier, audience="photos", scopes=("photos:read",))
    Middleware(AuthenticationMiddleware, backend=backend, on_error=backend.on_error)

The app finds a `TokenUser` in `request.user`, and its `Grant` in `request.user.grant`. Starlette closes WebSockets
that are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from caveats.errors import reduce_error
from caveats.extras import needs
from caveats.http import IncomingRequest, Problem
from caveats_client.guards.asgi import hide_token, routes_behind
from caveats_client.guards.guard import Extra, Guard, GuardOptions, Verifies, no_facts
from caveats_client.guards.rules import SiteRule

with needs("starlette"):
    from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
    from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.requests import HTTPConnection

    from caveats import Grant


class TokenUser(BaseUser):
    """The user of a token."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant

    @property
    def is_authenticated(self) -> bool:
        """Always: a TokenUser has a grant."""
        return True

    @property
    def display_name(self) -> str:
        """The user's name."""
        return self.grant.user

    @property
    def identity(self) -> str:
        """The user's name."""
        return self.grant.user


class TokenRefused(AuthenticationError):
    """Starlette's error around a problem."""

    __reduce__ = reduce_error

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class TokenBackend(AuthenticationBackend):
    """Authenticates by token. On public paths the user stays unauthenticated; elsewhere a token is needed.

    The credentials are `authenticated` and the scopes that the request needed, for Starlette's `@requires`.
    """

    def __init__(
        self,
        verifier: Verifies,
        *,
        scopes: str | Iterable[str] | Callable[[HTTPConnection], Iterable[str]] = (),
        public: Iterable[str] | Callable[[HTTPConnection], bool] = (),
        extra: Callable[[HTTPConnection], Extra] | None = None,
        **options: Unpack[GuardOptions],
    ) -> None:
        """As for `TokenMiddleware`; the functions are given Starlette's connection."""
        self._guard = Guard(verifier, **options)
        self._rule = SiteRule(scopes, public)
        self._extra = extra or no_facts

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """The credentials and the user. Raises `TokenRefused`."""
        self._rule.check_routes(lambda: routes_behind(None, conn.scope), conn.scope.get("root_path", ""))
        request = IncomingRequest.from_asgi(conn.scope)
        if self._guard.subprotocol and conn.scope["type"] == "websocket":
            hide_token(conn.scope)
        if self._rule.is_public(conn, request):
            return None
        scopes = self._rule.scopes(conn)
        try:
            grant = await self._guard.judge_async(request, scopes, self._extra(conn))
        except Problem as problem:
            raise TokenRefused(problem) from problem
        return AuthCredentials(["authenticated", *scopes]), TokenUser(grant)

    @staticmethod
    def on_error(_: HTTPConnection, error: AuthenticationError) -> Response:
        """The problem as a response: for the middleware's `on_error`."""
        problem = error.problem if isinstance(error, TokenRefused) else Problem(400, "bad_request")
        return Response(problem.body, problem.status, problem.headers)
