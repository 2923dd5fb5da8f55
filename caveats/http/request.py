"""The head of a request as it came in, and as the app behind it acts on it. Judges nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from caveats.kinds import encoded_path, plain_path

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
"""A request's headers, one pair a line; names in lower case."""

WHITE_SPACE = " \t"
"""What may stand before and after a field's value (RFC 9110, section 5.5)."""


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """The head of a request as it came in, nothing of it decoded."""

    method: str | None
    """The HTTP method that the app acts on, nearly always that of the request line; None if it is not known."""
    path: str | None
    """The path as in the request line, without the query, made by `path_text` and `served_path`; None if it is not known."""
    query: bytes
    """The query as in the request line: the bytes after the `?`, of any length."""
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    """Name and value of each line; names in lower case."""
    peer: str | None
    """The address at the other end of the connection; None on a Unix socket."""
    mount: str = ""
    """The prefix of `path` under which the app is mounted: `root_path` of ASGI, `SCRIPT_NAME` of WSGI, both decoded."""
    routed: str | None = field(default=None, compare=False)
    """Where `path` is not known: the path that the app's routes are looked up by, encoded again. No caveat is judged by it."""

    @property
    def path_in_app(self) -> str | None:
        """The path below the mount, as the app's own routes see it. The whole path if it does not begin with the mount."""
        mount = self.mount.rstrip("/")
        if mount and self.path == mount:
            return ""
        if self.path is None or not self.path.startswith(f"{mount}/"):
            return self.path
        return self.path[len(mount) :]

    @classmethod
    def from_asgi(cls, scope: Mapping[str, Any]) -> IncomingRequest:
        """The request of an ASGI scope, HTTP or WebSocket. A server that gives no `raw_path` gives no path."""
        raw_path, client, mount = scope.get("raw_path"), scope.get("client"), scope.get("root_path", "")
        query = scope.get("query_string", b"")
        routed = scope.get("path") if raw_path is None else None
        return cls(
            scope.get("method", "GET"),  # the handshake of a WebSocket, which is a GET, has none
            None if raw_path is None else served_path(path_text(raw_path), scope.get("path"), mount),
            query.encode("latin-1") if isinstance(query, str) else query,  # Django's AsyncClient gives text
            [(name.lower(), value) for name, value in scope["headers"]],
            client[0] if client else None,
            mount,
            None if routed is None else encoded_path(with_mount(routed, mount)),
        )


def path_text(raw: bytes) -> str:
    """The bytes of a path as text. A byte beyond ASCII becomes a backslash, `x` and two hex digits: no plain path."""
    return raw.decode("ascii", "backslashreplace")


def opens_websocket(headers: Headers) -> bool:
    """Whether this is the handshake of a WebSocket (RFC 6455). Over HTTP/2 it has a version and no key (RFC 8441)."""
    return any(name.startswith(b"sec-websocket-") for name, _ in headers)


def path_below(sent: str, inside: str, mount: str) -> tuple[str, str]:
    """The path that the app acts on, as `served_path`, and its mount; the mount is empty where `sent` is without it.

    `inside`: the path that the app's routes are looked up by, decoded, always without the mount. It may begin as the mount does.
    """
    if plain_path(sent) == inside:  # a proxy has cut the mount off
        return sent, ""
    return served_path(sent, mount.rstrip("/") + inside, ""), mount


def with_mount(served: str, mount: str) -> str:
    """A decoded path with its mount, which servers put before it or leave out."""
    prefix = mount.rstrip("/")
    return served if f"{served}/".startswith(f"{prefix}/") else prefix + served


def served_path(sent: str, served: str | None, mount: str) -> str:
    """The path that the app acts on: as it was sent or, where something on the way rewrote it, `served`, encoded again.

    `served`: the path that the app's routes are looked up by, decoded, with the `mount` or without. None: not known. A
    path that is not plain stays as it was sent.
    """
    name = plain_path(sent)
    if served is None or name is None or name == served:
        return sent
    whole = with_mount(served, mount)
    return sent if name == whole else encoded_path(whole)
