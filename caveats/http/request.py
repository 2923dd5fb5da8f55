"""The head of a request as it came in. Decodes nothing, judges nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
"""A request's headers, one pair a line; names in lower case."""

WHITE_SPACE = " \t"
"""What may stand before and after a field's value (RFC 9110, section 5.5)."""


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """The head of a request as it came in, nothing of it decoded."""

    method: str | None
    """The HTTP method as in the request line; None if it is not known."""
    path: str | None
    """The path as in the request line, without the query, made by `path_text`; None if it is not known."""
    query: bytes
    """The query as in the request line: the bytes after the `?`, of any length."""
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    """Name and value of each line; names in lower case."""
    peer: str | None
    """The address at the other end of the connection; None on a Unix socket."""
    mount: str = ""
    """The prefix of `path` under which the app is mounted: `root_path` of ASGI, `SCRIPT_NAME` of WSGI, both decoded."""

    @property
    def path_in_app(self) -> str | None:
        """The path below the mount, as the app's own routes see it. The whole path if it does not begin with the mount."""
        mount = self.mount.rstrip("/")
        if self.path is None or not self.path.startswith(f"{mount}/"):
            return self.path
        return self.path[len(mount) :]

    @classmethod
    def from_asgi(cls, scope: Mapping[str, Any]) -> IncomingRequest:
        """The request of an ASGI scope, HTTP or WebSocket. A server that gives no `raw_path` gives no path."""
        raw_path, client = scope.get("raw_path"), scope.get("client")
        return cls(
            scope.get("method", "GET"),  # the handshake of a WebSocket, which is a GET, has none
            None if raw_path is None else path_text(raw_path),
            scope.get("query_string", b""),
            [(name.lower(), value) for name, value in scope["headers"]],
            client[0] if client else None,
            scope.get("root_path", ""),
        )


def path_text(raw: bytes) -> str:
    """The bytes of a path as text. A byte beyond ASCII becomes a backslash, `x` and two hex digits: no plain path."""
    return raw.decode("ascii", "backslashreplace")
