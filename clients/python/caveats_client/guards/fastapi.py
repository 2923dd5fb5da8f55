"""A guard as a FastAPI dependency. Imports FastAPI; opens nothing.

    guard = TokenGuard(verifier, audience="photos")
    guard.install(app)

    @app.get("/photos/{photo_id:int}")
    def photo(photo_id: int, grant: Annotated[Grant, Depends(guard.requires("photos/{photo_id}:read"))]) -> str:
        return f"photo {photo_id} for {grant.user}"

/openapi.json then says that a token is needed, and shows the two ways to send it.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial, update_wrapper
from types import FunctionType, SimpleNamespace
from typing import Annotated, Any, Unpack, get_type_hints

from caveats import Grant
from caveats.errors import reduce_error
from caveats.extras import needs
from caveats.http import IncomingRequest, Problem
from caveats_client.guards.asgi import hide_token
from caveats_client.guards.guard import Extra, Guard, GuardOptions, Verifies, no_facts
from caveats_client.guards.rules import RouteRule

with needs("fastapi"):
    import anyio
    import anyio.from_thread
    from fastapi import FastAPI, HTTPException, Request, Security, WebSocketException
    from fastapi.exception_handlers import request_validation_exception_handler
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import Response
    from fastapi.security import APIKeyHeader, HTTPBearer
    from starlette.requests import HTTPConnection

_POLICY_VIOLATION = 1008
_GRANTED = "caveats_client.granted"
"""The key of an ASGI scope for the requirements that this request has met."""


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
        """Make the app answer refused requests as the service does: application/problem+json.

        A request whose body cannot be read is asked for its token before it is told so (422). When the app starts, it
        raises `RuntimeError` for a route whose endpoint asks for a token and is not asked by FastAPI.
        """
        app.add_exception_handler(TokenRefused, _answer)
        next_handler = app.exception_handlers.get(
            RequestValidationError, request_validation_exception_handler
        )

        async def ask_first(request: Request, error: Exception) -> Response:
            try:
                for requirement in _requirements(request.scope.get("route")):
                    asked = requirement in request.scope.get(_GRANTED, ())
                    if not asked and requirement not in app.dependency_overrides:
                        await requirement(request)
            except TokenRefused as refused:
                return refused.response()
            answer: Any = next_handler(request, error)
            return await answer if inspect.isawaitable(answer) else answer  # type: ignore[no-any-return]

        app.add_exception_handler(RequestValidationError, ask_first)
        build = app.build_middleware_stack

        def checked() -> Any:
            _check_endpoints(app)
            return build()

        app.build_middleware_stack = checked  # type: ignore[method-assign]

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
            request.scope.setdefault(_GRANTED, []).append(requirement)
            return grant

        def requirement(*args: Any, **kwargs: Any) -> Any:
            connection = args[0] if args else kwargs.get("connection")
            if not isinstance(connection, HTTPConnection):
                raise TypeError(
                    f"guard.requires(...) is no decorator, and {connection!r} no request: "
                    "write Depends(guard.requires(...)), or dependencies=[Depends(guard.requires(...))] in the route"
                )
            try:
                anyio.get_current_task()
            except RuntimeError:  # a thread: FastAPI before 0.124 takes this function for a synchronous one
                return anyio.from_thread.run(partial(grant_of_request, *args, **kwargs))
            return grant_of_request(*args, **kwargs)

        update_wrapper(requirement, grant_of_request)
        _REQUIREMENTS.add(requirement)
        return requirement


async def _answer(request: Any, error: Exception) -> Response:
    if not isinstance(error, TokenRefused):
        raise error
    return error.response()


# Where a requirement stands


_REQUIREMENTS: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()
"""What `requires` has returned, of all guards."""
_HANDLERS = (
    "get",
    "head",
    "post",
    "put",
    "patch",
    "delete",
    "options",
    "dispatch",
    "on_connect",
    "on_receive",
)


def _is_requirement(value: object) -> bool:
    return isinstance(value, FunctionType) and value in _REQUIREMENTS


def _requirements(route: Any) -> list[Callable[..., Any]]:
    """The requirements among the dependencies of a route, and among theirs."""
    return [call for call in _calls(getattr(route, "dependant", None)) if _is_requirement(call)]


def _calls(dependant: Any) -> Iterator[Callable[..., Any]]:
    if dependant is not None:
        yield dependant.call
        for below in dependant.dependencies:
            yield from _calls(below)


def _check_endpoints(app: Any) -> None:
    """Raises `RuntimeError` for a route whose endpoint names a requirement that nobody asks."""
    for route in getattr(app, "routes", ()):
        if hasattr(route, "effective_route_contexts"):  # a router that was included
            _check_endpoints(SimpleNamespace(routes=tuple(route.effective_route_contexts())))
            continue
        _check_endpoints(route)
        dependant, endpoint = getattr(route, "dependant", None), getattr(route, "endpoint", None)
        views = [endpoint, *_calls(dependant)]
        if inspect.isclass(endpoint):
            views = [getattr(endpoint, name, None) for name in _HANDLERS]
        for view in views:
            for mark in _marks(view):
                if _is_requirement(mark):
                    raise RuntimeError(
                        f"{view} names guard.requires(...) without Depends: nothing asks for a token"
                    )
                if dependant is None and _is_requirement(getattr(mark, "dependency", None)):
                    raise RuntimeError(
                        f"the route {getattr(route, 'path', '')} of {view} is one of Starlette's, which knows no "
                        "Depends: register it with app.get(...), app.post(...) or app.add_api_route(...)"
                    )


def _marks(view: Any) -> Iterator[object]:
    """The defaults of a function's parameters, and what their annotations are annotated with."""
    try:
        parameters = inspect.signature(view).parameters.values()
    except (TypeError, ValueError):
        return
    for parameter in parameters:
        yield parameter.default
    with suppress(NameError, TypeError):  # a name that FastAPI does not find either
        for hint in get_type_hints(inspect.unwrap(view), include_extras=True).values():
            yield from getattr(hint, "__metadata__", ())
