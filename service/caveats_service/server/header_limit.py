"""The limit on a request's head that is not whole yet. The application sees a head only when it is whole.

Knows the protocol over httptools, which keeps all that is sent until a blank line comes.
"""

from __future__ import annotations

from http import HTTPStatus

from caveats.http import Problem
from caveats_service.server.protocol import ServiceProtocol


class HeadLimitedProtocol(ServiceProtocol):
    """The service's protocol, which answers 431 and closes when a head is longer than `h11_max_incomplete_event_size` bytes."""

    _grown = 0

    def data_received(self, data: bytes) -> None:
        """Parse `data`, then check the size of a head that is not whole."""
        super().data_received(data)
        scope = self.scope
        if scope is None or "method" in scope:
            self._grown = 0
            return
        self._grown += len(data)
        most = self.config.h11_max_incomplete_event_size
        if most is not None and self._grown > most and not self.transport.is_closing():
            self.transport.write(_refusal(most))
            self.transport.close()


def _refusal(most: int) -> bytes:
    problem = Problem(431, "headers_too_large", f"the request's head has at most {most} bytes")
    lines = [f"HTTP/1.1 431 {HTTPStatus(431).phrase}", "connection: close"]
    lines += [f"{name.lower()}: {value}" for name, value in problem.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + problem.body
