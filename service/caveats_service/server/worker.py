"""A worker process: it serves the connections that its parent has accepted. Knows uvicorn and its parent, and no other worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Process

from caveats_service.core import log
from caveats_service.server.draining import ServiceServer
from caveats_service.server.handover import ConnectionReceiver
from caveats_service.settings import SettingsError
from caveats_service.storage import StoreError
from caveats_service.storage.encryption import SealKeyError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import uvicorn


class Worker(Process):
    """A worker process. It makes no database, says in one line why it cannot start, and ends with its parent."""

    @property
    def server(self) -> uvicorn.Server:
        """The server of this process."""
        if self._server is None:
            self._server = WorkerServer(self.config)
        return self._server

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve: the whole life of the process. `sockets`: the worker's end of the way from its parent."""
        threading.Thread(target=_end_with_parent, daemon=True).start()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal tells the parent, which tells this
        assert self.server
        try:
            super().target(sockets)
        except (SealKeyError, StoreError, SettingsError) as error:
            log.error("worker_cannot_start", reason=str(error))
            sys.exit(STARTUP_FAILURE)


def _end_with_parent() -> None:
    """Stop this process once its parent has ended, however that was. The parent's death closes a pipe."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


class WorkerServer(ServiceServer):
    """Listens on nothing: serves the connections that come through the one socket that it is given."""

    _receiver: ConnectionReceiver
    _answered = -1
    """Requests that had been answered when `may_be_asked` was last called."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config, create=False)
        self.server_state.connections = _Connections(self._left)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the service, then ask for connections."""
        assert sockets
        await super().startup([])
        if self.started:
            (channel,) = sockets
            self._receiver = ConnectionReceiver(channel, self._protocol, self.server_state.connections)
            self.servers.append(self._receiver)  # type: ignore[arg-type]  # it is closed and awaited as they are

    def leave(self) -> None:
        """Let connections go to other workers, and end the answers that go on by themselves."""
        self._receiver.leave()
        super().leave()

    def may_be_asked(self) -> bool:
        """Also where connections have come lately: with the service all workers end, and the parent still gives them some."""
        before, self._answered = self._answered, self.server_state.total_requests
        return super().may_be_asked() or before != self._answered

    def _left(self) -> None:
        self._receiver.changed()

    def _protocol(self) -> Any:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


class _Connections(set[Any]):
    """The set in which uvicorn's protocols enter themselves; it tells when one has left."""

    def __init__(self, left: Callable[[], None]) -> None:
        super().__init__()
        self._left = left

    def discard(self, one: Any) -> None:
        """Take a connection out."""
        super().discard(one)
        self._left()
