"""The end of a server process, as its connections see it. Knows uvicorn's server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket

_STEP = 0.05


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which says `Connection: close` in every answer for a second before it closes anything.

    A proxy that is told so asks nothing more on that connection. One that finds its connection closed has often just sent
    a request into it, which is a 502 for whoever asked.
    """

    farewell: float = 1.0
    """Seconds, at most, in which connections that are kept alive may still ask."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so, wait until no connection is left, a second at most, and then end as uvicorn does."""
        state = self.server_state
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.farewell
        while state.connections and loop.time() < deadline and not self.force_exit:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(_STEP)
        await super().shutdown(sockets)
