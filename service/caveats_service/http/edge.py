"""What every request has to pass before it is routed: a head of limited size, and no credential in its URL.

And what every answer has to say: that the connection is closed, if it comes before the request's body was read. What
follows on that connection could be the rest of the body, or the next request, which would be read as this one's body.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import Response

from caveats.http import Problem, check_url
from caveats_service.http.errors import problem_response
from caveats_service.http.request import announced_size

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_DOCUMENT = re.compile(r".*/console/([a-z]+)", re.ASCII)
"""The path of a document of the console, and its name."""


class InStep:
    """A middleware around `app`, whoever in there answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on. An answer that starts before the last of the request's body was read closes the connection."""
        if scope["type"] == "http" and announced_size(scope["headers"]) != 0:
            receive, send = _in_step(receive, send)
        await self._app(scope, receive, send)


class Edge:
    """A middleware. Requests go on to `endpoints`; what is no HTTP request goes on to `app`.

    `public_path`: the path below which a proxy serves the service. Proxies take it away or leave it: both are routed.
    """

    def __init__(
        self, app: ASGIApp, *, endpoints: ASGIApp, max_header_bytes: int, public_path: str = ""
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._max_header_bytes = max_header_bytes
        self._public_path = public_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the head; then pass on, or answer 400 or 431."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Problem as problem:
            answer = _page_that_says_so(scope) if problem.status == HTTPStatus.BAD_REQUEST else None
            await (answer or problem_response(problem))(scope, receive, send)
            return
        path = scope["path"]
        if self._public_path and f"{path}/".startswith(f"{self._public_path}/"):
            path = f"{path}/" if path == self._public_path else path
            scope = {**scope, "path": path, "root_path": self._public_path}
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


def _page_that_says_so(scope: Scope) -> Response | None:
    """For a browser that opens a document of the console with a token in its query: the same document without, told of it.

    None for any other request, also for one that is refused for its `Referer`: a browser would send the same again without end.
    The token is no part of the answer, and the browser's history keeps the new address.
    """
    found = _DOCUMENT.fullmatch(scope["path"])
    if found is None or scope["method"] != "GET" or not scope["query_string"]:
        return None
    if not any(name == b"accept" and b"text/html" in value for name, value in scope["headers"]):
        return None
    return Response(
        status_code=303, headers={"Location": f"{found[1]}#in-query", "Cache-Control": "no-store"}
    )


def _in_step(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """The same, where an answer that starts before the last of the body was read closes the connection."""
    unread = True

    async def receive_noting() -> Message:
        nonlocal unread
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            unread = False
        return message

    async def send_closing(message: Message) -> None:
        if unread and message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return receive_noting, send_closing
