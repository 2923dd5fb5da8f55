"""Pages of other origins (CORS, as in the Fetch standard): which of them may read the answers.

Knows origins and header names; knows no route and no credential's value. Starlette's middleware writes the headers; what
is decided here is which of two such policies a request falls under, or neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware

from caveats_service.http.idempotency import HEADER as IDEMPOTENCY_KEY

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TOKEN_HEADERS = ("authorization", "x-auth-token")
_WHAT_PAGES_SEND: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PUT", "DELETE"),
    "allow_headers": (
        "Authorization",
        "X-Auth-Token",
        "Content-Type",
        IDEMPOTENCY_KEY,
        "Bakery-Protocol-Version",
    ),
    "expose_headers": ("WWW-Authenticate", "Retry-After"),
}


class CrossOrigin:
    """A middleware around `app`. A request from an origin that may not read the answer gets it without any CORS header.

    `allowed_origins`: exactly these, with the session cookie or any other credential. `bearer_from_anywhere`: every other
    origin as well, if the request carries a token in a header, and never with cookies.
    """

    def __init__(self, app: ASGIApp, *, allowed_origins: Collection[str], bearer_from_anywhere: bool) -> None:
        self._app = app
        self._allowed_origins = frozenset(allowed_origins)
        self._credentialed = CORSMiddleware(
            app, allow_origins=self._allowed_origins, allow_credentials=True, **_WHAT_PAGES_SEND
        )
        self._bearer = CORSMiddleware(app, allow_origins=("*",), **_WHAT_PAGES_SEND)
        self._bearer_from_anywhere = bearer_from_anywhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or answer a preflight, under the policy for the request's origin."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if headers.get("origin") in self._allowed_origins:
            await self._credentialed(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Origin")
            await send(message)

        bearer = (
            self._bearer_from_anywhere and "origin" in headers and _carries_token(scope["method"], headers)
        )
        await (self._bearer if bearer else self._app)(scope, receive, send_varying)


def _carries_token(method: str, headers: Headers) -> bool:
    """Whether the request carries a token in a header or, as a preflight, asks to carry one."""
    asked = headers.get("access-control-request-headers")
    if method == "OPTIONS" and asked is not None:
        return any(name.strip().lower() in _TOKEN_HEADERS for name in asked.split(","))
    return "x-auth-token" in headers or headers.get("authorization", "")[:7].lower() == "bearer "
