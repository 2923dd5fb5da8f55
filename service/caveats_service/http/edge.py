"""What every request has to pass before it is routed: a head of limited size, and no credential in its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats.http import Problem, check_url
from caveats_service.http.errors import problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class Edge:
    """A middleware. Requests go on to `endpoints`; what is no HTTP request goes on to `app`."""

    def __init__(self, app: ASGIApp, *, endpoints: ASGIApp, max_header_bytes: int) -> None:
        self._app = app
        self._endpoints = endpoints
        self._max_header_bytes = max_header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the head; then pass on, or answer 400 or 431."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        await self._endpoints(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        path = scope.get("raw_path") or scope["path"].encode()  # not every server keeps the path as it came
        query = scope["query_string"]
        size = len(path) + len(query)
        referers: list[bytes] = []
        for name, value in scope["headers"]:
            size += len(name) + len(value)
            if name == b"referer":
                referers.append(value)
        if size > self._max_header_bytes:
            raise Problem(
                431, "headers_too_large", f"the request's head has at most {self._max_header_bytes} bytes"
            )
        check_url(path, query, referers)
