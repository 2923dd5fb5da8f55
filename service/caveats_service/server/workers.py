"""Several worker processes on one port, each with an accept queue of its own. Knows uvicorn's supervisor and sockets.

With one queue for all, the worker that wakes first takes all the connections that stand in it, and a proxy keeps them:
one worker works, and the others wait. With `SO_REUSEPORT` Linux deals new connections out to the queues, by chance. This
process keeps every queue open, so that the connections in the queue of a worker that has ended wait for the next one.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from typing import TYPE_CHECKING

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from caveats_service.server.draining import DrainingServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import uvicorn

_log = logging.getLogger("uvicorn.error")


def listen(host: str, port: int, workers: int, backlog: int) -> list[socket.socket]:
    """One listening socket for each worker, all on one port; 0 takes a free one. Raises `OSError` if it is taken.

    Elsewhere than on Linux, where such queues do not share the load, it is the same socket for all.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if sys.platform != "linux":
        alone = _bound(family, host, port)
        alone.listen(backlog)
        return [alone] * workers
    # Without SO_REUSEPORT a port is refused on which another service listens, with or without it.
    with contextlib.closing(_bound(family, host, port)) as probe:
        port = probe.getsockname()[1]
    sockets = [_bound(family, host, port, shared=True) for _ in range(workers)]
    for one in sockets:
        one.listen(backlog)
    return sockets


def _bound(family: int, host: str, port: int, *, shared: bool = False) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, port))
    except OSError:
        one.close()
        raise
    one.set_inheritable(True)
    return one


class _Worker(Process):
    """A worker, whose server takes its leave of connections before it closes."""

    @property
    def server(self) -> uvicorn.Server:
        """The server of this process."""
        if self._server is None:
            self._server = DrainingServer(self.config)
        return self._server


class Workers(Multiprocess):
    """Starts a worker for each of `sockets`, and another one wherever one has ended. SIGHUP ends them as SIGTERM does."""

    def __init__(self, config: uvicorn.Config, sockets: Sequence[socket.socket]) -> None:
        super().__init__(config, list(sockets))

    def _start(self, index: int) -> Process:
        process = _Worker(self.config, [self.sockets[index]])
        process.start()
        return process

    def init_processes(self) -> None:
        """Start them."""
        self.processes = [self._start(index) for index in range(len(self.sockets))]

    def keep_subprocess_alive(self) -> None:
        """Start another worker where one has ended or does not answer; end if it failed to start."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                continue
            process.kill()
            process.join()
            if process.exitcode == STARTUP_FAILURE:
                _log.error("worker %s failed to start: the service ends", process.pid)
                self.should_exit.set()
                return
            _log.warning("worker %s has ended: another one starts", process.pid)
            self.processes[index] = self._start(index)

    def terminate_all(self) -> None:
        """Close this process's copy of the sockets first, so that the kernel accepts no connection for nobody."""
        for one in self.sockets:
            one.close()
        super().terminate_all()

    def handle_hup(self) -> None:
        """End."""
        self.handle_term()

    def handle_ttin(self) -> None:
        """The number of workers stays what it is."""

    def handle_ttou(self) -> None:
        """The number of workers stays what it is."""
