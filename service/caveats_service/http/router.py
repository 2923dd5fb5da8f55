"""From the path and method of a request to its endpoint. Knows paths and methods; knows no endpoint.

A path without parameters is found in one step, in a dict: 45 routes tried in a row took a quarter of a
`/v1/verify`. Paths with parameters are tried after that, in the order of the list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from caveats.http import Problem
from caveats_service.http.errors import problem_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


class Router:
    """An ASGI app over others, for HTTP: one for each method and path. Answers 404 and 405 itself."""

    def __init__(self, routes: Iterable[tuple[str, str, ASGIApp]]) -> None:
        """`routes`: method, path and endpoint. `{name}` in a path is one segment, and `{name:path}` one or more; it goes into `path_params`.

        GET answers HEAD as well; the server leaves the body out.
        """
        by_path: dict[str, dict[str, ASGIApp]] = {}
        for method, path, endpoint in routes:
            by_path.setdefault(path, {})[method] = endpoint
            if method == "GET":
                by_path[path]["HEAD"] = endpoint
        self._exact = {path: methods for path, methods in by_path.items() if "{" not in path}
        self._patterns = [
            (re.compile(_PARAMETER.sub(_pattern, path)), methods)
            for path, methods in by_path.items()
            if "{" in path
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the endpoint, or answer that there is none."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        methods = self._exact.get(path)
        if methods is None:
            methods = self._match(path, scope)
        endpoint = methods.get(scope["method"])
        if endpoint is None:
            endpoint = problem_response(_no_such_method(methods) if methods else Problem(404, "not_found"))
        await endpoint(scope, receive, send)

    def _match(self, path: str, scope: Scope) -> dict[str, ASGIApp]:
        """The endpoints of a path with parameters, which go into the scope. Empty: there is no such path.

        A slash that came as `%2F` belongs to its parameter: a mail address may hold one.
        """
        raw: bytes = scope.get("raw_path") or b""
        escaped = b"%2F" in raw.upper()
        if escaped:
            path = raw.decode("latin-1").removeprefix(scope.get("root_path", ""))
        for pattern, methods in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                found_params = found.groupdict()
                scope["path_params"] = (
                    {name: unquote(text) for name, text in found_params.items()} if escaped else found_params
                )
                return methods
        return {}


def _pattern(parameter: re.Match[str]) -> str:
    name, whole_path = parameter.groups()
    return f"(?P<{name}>.+)" if whole_path else f"(?P<{name}>[^/]+)"


def _no_such_method(methods: Iterable[str]) -> Problem:
    return Problem(405, "method_not_allowed", headers={"Allow": ", ".join(sorted(methods))})
