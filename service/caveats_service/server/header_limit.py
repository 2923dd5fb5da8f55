"""The limit on a request's head that is not whole yet, and on the fields after its body. The application sees neither.

Knows the protocol over httptools, which keeps all that is sent until a line ends.
"""

from __future__ import annotations

from caveats.http import Problem
from caveats_service.server.protocol import ServiceProtocol


class HeadLimitedProtocol(ServiceProtocol):
    """The service's protocol, which answers 431 and closes when a head is longer than `h11_max_incomplete_event_size` bytes.

    What comes between or after the chunks of a body counts as a head does.
    """

    _grown = 0
    _moved = False
    """Whether the last data completed a head or held some of a body."""

    def on_headers_complete(self) -> None:
        """As uvicorn does."""
        super().on_headers_complete()
        self._moved = True

    def on_body(self, body: bytes) -> None:
        """As uvicorn does."""
        super().on_body(body)
        self._moved = True

    def data_received(self, data: bytes) -> None:
        """Parse `data`, then check the size of what is not whole."""
        self._moved = False
        super().data_received(data)
        if self._moved or not self.still_sending:
            self._grown = 0
            return
        self._grown += len(data)
        most = self.config.h11_max_incomplete_event_size
        if most is not None and self._grown > most:
            self.refuse(
                Problem(
                    431,
                    "headers_too_large",
                    f"the request's head, or what follows its body, has at most {most} bytes",
                )
            )
