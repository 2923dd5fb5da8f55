"""Several worker processes on one port, each with an accept queue of its own. Knows processes, sockets and signals.

With one queue for all, the worker that wakes first takes all the connections that stand in it, and a proxy keeps them:
one worker works, and the others wait. With `SO_REUSEPORT` Linux deals new connections out to the queues, by chance. This
process keeps every queue open, so that the connections in the queue of a worker that has ended wait for the next one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Process

from caveats_service.core import log
from caveats_service.server.draining import STOP_WITHIN, ServiceServer
from caveats_service.server.listening import bound
from caveats_service.settings import SettingsError
from caveats_service.storage import StoreError
from caveats_service.storage.encryption import SealKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    import uvicorn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WITHOUT_MEANING = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
"""Signals with which other supervisors reload or change the number of workers. Workers end with this process."""
_ROUND = 0.5
"""Seconds between two questions to every worker whether it is alive."""
_SILENT_ROUNDS, _SILENT_ROUNDS_AT_START = 20, 240
"""Rounds without an answer after which a worker is taken to hang."""
_ATTEMPTS = 3
"""Attempts to start the first worker, after which the service ends."""
_LONGEST_PAUSE = 30.0
"""Seconds, at most, before a lost worker is started again."""
_LIVED = 60.0
"""Seconds; a worker that was ready for so long is started again at once."""
_KILL_AFTER = STOP_WITHIN + 0.5
"""Seconds after which a worker that was told to stop is killed."""


def bind_shared(host: str, port: int, workers: int) -> list[socket.socket]:
    """A socket for each worker, all on one port, which none listens on yet; 0 takes a free one. Raises `OSError` if it is taken.

    Elsewhere than on Linux, where such queues do not share the load, it is the same socket for all.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if sys.platform != "linux":
        return [bound(family, host, port)] * workers
    # Without SO_REUSEPORT a port is refused on which another service listens, with or without it.
    with contextlib.closing(bound(family, host, port)) as probe:
        port = probe.getsockname()[1]
    return [bound(family, host, port, shared=True) for _ in range(workers)]


def listen(host: str, port: int, workers: int, backlog: int) -> list[socket.socket]:
    """As `bind_shared`, and listening."""
    sockets = bind_shared(host, port, workers)
    for one in sockets:
        one.listen(backlog)
    return sockets


class Worker(Process):
    """A worker process. It makes no database, says in one line why it cannot start, and ends with its parent."""

    @property
    def server(self) -> uvicorn.Server:
        """The server of this process."""
        if self._server is None:
            self._server = ServiceServer(self.config, create=False)
        return self._server

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve: the whole life of the process."""
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


@dataclass
class _Place:
    """The place of one worker: its queue, the process if there is one, and how it has fared so far."""

    queue: socket.socket
    process: Worker | None = None
    ready_at: float | None = None
    """When its process first said that it serves; None: not yet."""
    silent: int = 0
    """Rounds in which it has not answered."""
    losses: int = 0
    """Processes lost in a row."""
    start_at: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether a process is running here."""
        return self.process is not None and self.process.exitcode is None


class Workers:
    """Starts a worker for each of `sockets`, and another one wherever one has ended.

    `ready`: called once, when the first of them serves.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: Sequence[socket.socket],
        *,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._ready = ready
        self._places = [_Place(one) for one in sockets]
        self._was_ready = False
        """Whether any worker has ever served."""
        self._signals: list[int] = []
        self._round_at = 0.0

    def run(self) -> bool:
        """Supervise until told to stop, by SIGTERM, SIGINT or SIGHUP: True. False: no worker could be started."""
        with _woken_by_signals(self._told) as woken:
            try:
                while not self._signals and not self._given_up:
                    for place in self._places:
                        self._tend(place)
                    self._ask_all()
                    self._wait(woken, _ROUND)
            finally:
                self._end_all(woken)
        if self._given_up:
            log.error(
                "workers_given_up", attempts=_ATTEMPTS, do="mend what worker_cannot_start names, start again"
            )
        return not self._given_up

    @property
    def _given_up(self) -> bool:
        return not self._was_ready and any(place.losses >= _ATTEMPTS for place in self._places)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _wait(self, woken: socket.socket, seconds: float) -> None:
        """Return at a signal, when a worker ends, or after some time."""
        ends = [place.process.process.sentinel for place in self._places if place.process and place.alive]
        connection.wait([woken, *ends], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)

    def _tend(self, place: _Place) -> None:
        """Start a worker where there is none, when it is time; take note of one that has ended."""
        process = place.process
        if process is None:
            if time.monotonic() >= place.start_at:
                self._start(place)
        elif not place.alive:
            process.join()
            process.kill()  # closes its pipe
            self._lose(place, pid=process.pid, exit_code=process.exitcode)

    def _lose(self, place: _Place, **process: int | None) -> None:
        """Note that there is no process here, and when another one is started."""
        now = time.monotonic()
        lived = place.ready_at is not None and now - place.ready_at >= _LIVED
        place.losses = 1 if lived else place.losses + 1
        pause = 0.0 if place.losses == 1 else min(_LONGEST_PAUSE, _ROUND * 2 ** min(place.losses - 2, 10))
        place.process, place.start_at = None, now + pause
        if not self._given_up:
            log.warning("worker_lost", **process, starts_in=pause)

    def _start(self, place: _Place) -> None:
        place.ready_at, place.silent = None, 0
        try:
            process = Worker(self._config, [place.queue])
            process.start()
        except OSError as error:  # no memory, too many processes or open files: the others go on
            log.error("worker_cannot_start", reason=f"the system starts no process: {error.strerror}")
            self._lose(place)
        else:
            place.process = process

    def _ask_all(self) -> None:
        """Ask every worker whether it is alive, once a round, and kill those that have not answered for long.

        Rounds are counted, not seconds: if all stood still together, the worker is not late.
        """
        now = time.monotonic()
        if now - self._round_at < _ROUND:
            return
        self._round_at = now
        for place in self._places:
            if place.process is None or not place.alive:
                continue
            pipe = place.process.parent_conn
            with contextlib.suppress(OSError, EOFError):
                if place.silent == 0:
                    pipe.send(b"ping")
                place.silent += 1
                while pipe.poll():
                    if pipe.recv():
                        place.ready_at = place.ready_at or now
                        if not self._was_ready:
                            self._was_ready = True
                            self._ready()
                    place.silent = 0
            most = _SILENT_ROUNDS_AT_START if place.ready_at is None else _SILENT_ROUNDS
            if place.silent > most:
                log.error("worker_hangs", pid=place.process.pid)
                place.process.process.kill()

    def _end_all(self, woken: socket.socket) -> None:
        """Tell all workers to stop, and kill what is left after a while, or at a second SIGINT.

        This process's copies of the queues are closed first, so that the kernel accepts no connection for nobody.
        """
        for place in self._places:
            place.queue.close()
            if place.process is not None and place.alive:
                place.process.terminate()
        deadline = time.monotonic() + _KILL_AFTER
        while (left := deadline - time.monotonic()) > 0 and self._signals.count(signal.SIGINT) < 2:
            if not any(place.alive for place in self._places):
                break
            self._wait(woken, min(left, _ROUND))
        for place in self._places:
            if place.process is None:
                continue
            if place.alive:
                log.error("worker_killed", pid=place.process.pid)
                place.process.kill()
            place.process.join()


@contextlib.contextmanager
def _woken_by_signals(handle: Callable[[int, FrameType | None], None]) -> Iterator[socket.socket]:
    """A socket that can be read after a signal. `handle` is given those that end the service; others do nothing."""
    woken, waker = socket.socketpair()
    with woken, waker:
        woken.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, handle)
        for number in _WITHOUT_MEANING:
            signal.signal(number, lambda _number, _frame: None)
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(-1)
