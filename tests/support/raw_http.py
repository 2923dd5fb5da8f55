"""One HTTP request, byte for byte as a test wrote it. Libraries would tidy it up first."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The one header of this name."""
        values = [value for given, value in self.headers if given.lower() == name]
        assert len(values) == 1, (name, self.headers)
        return values[0]


def ask(
    port: int,
    target: bytes | str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    method: str = "GET",
    source: str = "127.0.0.1",
    body: bytes = b"",
    host: bytes = b"app.example",
) -> Reply:
    """The answer to this request. The whole connection is one request."""
    if isinstance(target, str):
        target = target.encode()
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: " + host]
    lines += [name + b": " + value for name, value in headers]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    return send(port, b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body, source=source)


def send(port: int, request: bytes, *, source: str = "127.0.0.1") -> Reply:
    """The answer to these bytes; status 0 if the server hung up without a word."""
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
        received = b""
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass
    if not received:
        return Reply(0, [], b"")
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    pairs = [line.decode("latin-1").partition(":") for line in lines]
    headers = [(name, value.strip()) for name, _, value in pairs]
    if any(n.lower() == "transfer-encoding" and v.lower() == "chunked" for n, v in headers):
        body = _dechunked(body)
    return Reply(int(status_line.split(b" ")[1]), headers, body)


def _dechunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        whole += rest[:length]
        body = rest[length + 2 :]
        if length == 0:
            break
    return whole
