"""Starts the worker processes, and another one wherever one has ended. Knows processes and signals, knows no HTTP.

This process accepts all connections and gives them to its workers (`dispatcher`): a proxy keeps its connections, and
workers that accept for themselves divide them by chance.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats_service.core import log
from caveats_service.server.dispatcher import Dispatcher
from caveats_service.server.draining import STOP_WITHIN
from caveats_service.server.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    import uvicorn

    from caveats_service.server.handover import ConnectionSender

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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


@dataclass
class _Place:
    """The place of one worker: the process if there is one, and how it has fared so far."""

    process: Worker | None = None
    sender: ConnectionSender | None = None
    """The way of connections to the process."""
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
    """Starts `config.workers` workers, and another one wherever one has ended; gives them what comes to `listeners`.

    `ready`: called once, when the first of them serves. `signals`: what has told the service to end already. The
    listeners listen, and are closed at the end.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Iterable[socket.socket],
        *,
        ready: Callable[[], None] = lambda: None,
        signals: list[int] | None = None,
    ) -> None:
        self._config = config
        self._ready = ready
        self._dispatcher = Dispatcher(listeners)
        self._places = [_Place() for _ in range(config.workers)]
        self._was_ready = False
        """Whether any worker has ever served."""
        self._signals = [] if signals is None else signals
        self._round_at = 0.0

    def run(self) -> bool:
        """Supervise until told to stop, by SIGTERM, SIGINT or SIGHUP: True. False: no worker could be started."""
        with _woken_by_signals(self._told) as woken:
            self._dispatcher.watch(woken)
            try:
                while not self._signals and not self._given_up:
                    for place in self._places:
                        self._tend(place)
                    self._ask_all()
                    self._wait(woken, _ROUND)
            finally:
                self._end_all(woken)
                self._dispatcher.close()
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
        """Hand out connections. Returns at a signal, when a worker ends, or after some time."""
        self._dispatcher.run(seconds)
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
            self._part(place)
            process.kill()  # closes its pipe
            self._lose(place, pid=process.pid, exit_code=process.exitcode)

    def _part(self, place: _Place) -> None:
        """Give no more connections to the process here, which has ended."""
        if place.process is not None and place.sender is not None:
            self._dispatcher.unwatch(place.process.process.sentinel)
            self._dispatcher.remove(place.sender)
            place.sender = None

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
        sender = None
        try:
            sender = self._dispatcher.add()
            process = Worker(self._config, [sender.worker_end])
            process.start()
        except OSError as error:  # no memory, too many processes or open files: the others go on
            log.error("worker_cannot_start", reason=f"the system starts no process: {error.strerror}")
            if sender is not None:
                self._dispatcher.remove(sender)
            self._lose(place)
        else:
            place.process, place.sender = process, sender
            self._dispatcher.watch(process.process.sentinel)

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

        Connections are accepted for as long as a worker takes them, so that the kernel accepts none for nobody.
        """
        self._dispatcher.end()
        for place in self._places:
            if place.process is not None and place.alive:
                place.process.terminate()
        deadline = time.monotonic() + _KILL_AFTER
        while (left := deadline - time.monotonic()) > 0 and self._signals.count(signal.SIGINT) < 2:
            for place in self._places:
                if not place.alive:
                    self._part(place)
            if not any(place.alive for place in self._places):
                break
            if not self._dispatcher.has_takers:
                self._dispatcher.close_listeners()
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
        for number in ENDING:
            signal.signal(number, handle)
        for number in _WITHOUT_MEANING:
            signal.signal(number, lambda _number, _frame: None)
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(-1)
