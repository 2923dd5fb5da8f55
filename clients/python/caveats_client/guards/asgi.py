"""A guard around an ASGI app, HTTP and WebSocket. Knows ASGI; imports no framework.

    app = TokenMiddleware(app, verifier, audience="photos", scopes=("photos:read",), public=("/healthz",))

The app finds its `Grant` with `grant_of(scope)`; in Starlette and FastAPI it is `request.state.grant`. Put a CORS
middleware around it: a preflight request has no token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias, Unpack

from caveats import Grant
from caveats.http import WEBSOCKET_PROTOCOL, IncomingRequest, Problem, without_token
from caveats_client.guards.guard import Extra, Guard, GuardOptions, Verifies, no_facts
from caveats_client.guards.rules import Route, SiteRule

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_GUARDED = ("http", "websocket")
_POLICY_VIOLATION = 1008


def grant_of(scope: Mapping[str, Any]) -> Grant:
    """The grant of this request. Raises `LookupError` for a request that needed no token."""
    grant = scope.get("state", {}).get("grant")
    if isinstance(grant, Grant):
        return grant
    raise LookupError("no token was asked for: this path is public, or no TokenMiddleware is around the app")


class TokenMiddleware:
    """Calls the app for requests that their token allows; answers the others with a problem."""

    def __init__(
        self,
        app: App,
        verifier: Verifies,
        *,
        scopes: str | Iterable[str] | Callable[[Scope], Iterable[str]] = (),
        public: Iterable[str] | Callable[[Scope], bool] = (),
        extra: Callable[[Scope], Extra] | None = None,
        **options: Unpack[GuardOptions],
    ) -> None:
        """`scopes`: what every request needs, or a function that returns what a request needs from its ASGI scope.

        `public`: paths (`/healthz`, `/static/*`) that need no token, or a function that says whether a request
        needs none. `extra`: facts for plug-in kinds. `options`: see `GuardOptions`.
        """
        self.app = app
        self._guard = Guard(verifier, **options)
        self._rule = SiteRule(scopes, public)
        self._extra = extra or no_facts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the request, then call the app or answer."""
        self._rule.check_routes(lambda: routes_behind(self.app, scope), scope.get("root_path", ""))
        if scope["type"] not in _GUARDED:
            await self.app(scope, receive, send)
            return
        request = IncomingRequest.from_asgi(scope)
        if not self._rule.is_public(scope, request):
            try:
                extra = self._extra(scope)
                grant = await self._guard.judge_async(request, self._rule.scopes(scope), extra)
            except Problem as problem:
                await send_problem(problem, scope, send)
                return
            scope = {**scope, "state": {**scope.get("state", {}), "grant": grant}}
        if self._guard.subprotocol and scope["type"] == "websocket":
            scope = {**scope}
            hide_token(scope)
            send = _choosing(scope["subprotocols"], send)
        await self.app(scope, receive, send)


def routes_behind(app: Any, scope: Mapping[str, Any]) -> Iterator[Route]:
    """The routes of `app`, or of the app that the scope names, as Starlette and FastAPI have them. None of another app."""
    return _routes_of(app if hasattr(app, "routes") else scope.get("app"), "", open_ended=False)


def _routes_of(app: Any, prefix: str, *, open_ended: bool) -> Iterator[Route]:
    for route in getattr(app, "routes", ()):
        if hasattr(route, "effective_route_contexts"):  # a router that was included in a FastAPI app
            included = SimpleNamespace(routes=tuple(route.effective_route_contexts()))
            yield from _routes_of(included, prefix, open_ended=open_ended)
            continue
        path, below = getattr(route, "path", None), getattr(route, "routes", None)
        start, parameter, _ = (path or "").partition("{")
        start, is_open = (prefix, True) if open_ended else (prefix + start, bool(parameter))
        if below:
            yield from _routes_of(route, start, open_ended=is_open)
        elif path is None:
            yield Route(prefix, open_ended=True)
        else:
            yield Route(start if below is None else f"{start}/", open_ended=is_open or below is not None)


def hide_token(scope: Scope) -> None:
    """Take the token out of the subprotocols that an app is offered, so that it does not choose it."""
    scope["subprotocols"] = without_token(scope.get("subprotocols", ()))


def _choosing(offered: Sequence[str], send: Send) -> Send:
    """`send` for an app that chooses none of the subprotocols that it is offered: then `caveats`, if the client offers it.

    A browser closes a connection whose server chooses none of those that it offered.
    """

    async def choose(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") not in offered:
            chosen = WEBSOCKET_PROTOCOL if WEBSOCKET_PROTOCOL in offered else None
            message = {**message, "subprotocol": chosen}
        await send(message)

    return choose


async def send_problem(problem: Problem, scope: Mapping[str, Any], send: Send) -> None:
    """Send the problem as the response, also to a WebSocket's handshake if the server supports it."""
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        kind = "websocket.http.response"
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in problem.headers.items()
    ]
    await send({"type": f"{kind}.start", "status": problem.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": problem.body})
