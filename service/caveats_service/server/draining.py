"""The start and the end of a server process. Knows uvicorn's server and how the service's runtime starts and stops.

A stop has bounds, one within the other: connections are told for `farewell` seconds, requests that run have ten more, the
service then has two to close its database, and after `STOP_WITHIN` the kernel ends the process, whatever hangs in it.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

import uvicorn

from caveats_service.server.listening import listen
from caveats_service.server.open_files import OpenFiles

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from caveats_service.runtime import ServiceRuntime

STOP_WITHIN = 13.5
"""Seconds from the signal to the end of the process."""
_CUT_OFF_BEFORE = 0.5
"""Seconds by which requests are ended before uvicorn would do it, with a traceback for each."""
_LAST_ANSWER = 0.2
"""Seconds in which the answers to requests that were cut off are sent."""
_STEP = 0.05


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which says `Connection: close` in every answer for a second before it closes anything.

    A proxy that is told so asks nothing more on that connection. One that finds its connection closed has often just sent
    a request into it, which is a 502 for whoever asked.
    """

    farewell: float = 1.0
    """Seconds, at most, in which connections that are kept alive may still ask."""
    _loop: asyncio.AbstractEventLoop | None = None
    """The event loop, from the beginning of a shutdown."""
    _hurried = False
    """Whether a second SIGINT has come."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn does. A second SIGINT ends requests that run at once; the service is still closed, as ever."""
        super().handle_exit(sig, frame)
        if self.force_exit:
            self.force_exit, self._hurried = False, True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut_off)

    def leave(self) -> None:
        """Called at the beginning of a shutdown."""

    def may_be_asked(self) -> bool:
        """Whether a connection is open, on which there may be one more request."""
        return bool(self.server_state.connections)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say so, wait until no connection is left, a second at most, and then end as uvicorn does."""
        self.leave()
        state = self.server_state
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        loop = self._loop = asyncio.get_running_loop()
        deadline = loop.time() + self.farewell
        while self.may_be_asked() and loop.time() < deadline and not self._hurried:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(_STEP)
        grace = 0 if self._hurried else self.config.timeout_graceful_shutdown or 0
        cut_off = loop.call_later(max(0.0, grace - _CUT_OFF_BEFORE), self._cut_off)
        await super().shutdown(sockets)
        cut_off.cancel()

    def _cut_off(self) -> None:
        """End the requests that still run, and a moment later their connections."""
        for task in list(self.server_state.tasks):
            task.cancel()
        asyncio.get_running_loop().call_later(_LAST_ANSWER, self._abort)

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class ServiceServer(DrainingServer):
    """Starts the service before it listens, so that an error reaches the caller, and ends with it. For the main thread.

    `create`: whether a first start may make the database. `ready`: called once requests are accepted.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        create: bool = True,
        ready: Callable[[ServiceServer], None] = lambda _server: None,
    ) -> None:
        super().__init__(config)
        self._create = create
        self._ready = ready
        self._files = OpenFiles()

    @property
    def runtime(self) -> ServiceRuntime:
        """The service in this process."""
        runtime: ServiceRuntime = self.config.loaded_app.state.runtime
        return runtime

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come: the end is near, however it goes."""
        super().handle_exit(sig, frame)
        _end_within(STOP_WITHIN)

    def _fail(self) -> None:
        self.should_exit = True
        _end_within(STOP_WITHIN)

    def leave(self) -> None:
        """End the answers that go on by themselves (feed, long polls), which uvicorn would wait for."""
        self.runtime.take_leave()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the service, then accept requests; neither if told to stop meanwhile.

        `sockets` are bound. They listen before a first start makes the administrator, whose password is shown only once:
        what could fail until then has not.
        """
        self.runtime.on_failure = self._fail

        starting = asyncio.create_task(
            self.runtime.start(
                create=self._create, before_admin=lambda: listen(sockets or (), self.config.backlog)
            )
        )
        while not starting.done() and not self.should_exit:
            await asyncio.wait({starting}, timeout=_STEP)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return
        await starting
        await super().startup(sockets)
        if self.started:
            self._ready(self)

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn does, ten times a second; now and then look at the open files."""
        if counter % 100 == 0:
            self._files.look()
        return await super().on_tick(counter)


def _end_within(seconds: float) -> None:
    """The kernel ends this process after so long (SIGALRM), also if nothing runs in it any more."""
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, seconds)
