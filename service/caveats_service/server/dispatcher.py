"""Accepts all connections to the service, and gives each to the worker that has the fewest, within bounds.

Knows sockets; knows no processes and no HTTP. While no worker takes any, connections wait in the kernel's accept queues.

What a worker has is known when it has said so. If a proxy closes 64 connections and opens 64 others, a worker that heard
of the closing before another one has the fewest for a moment, and would be given nearly all. So connections are given in
turns: in each, every worker is given one. The one with the fewest is given a second, but no more than a hundred a second.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from typing import TYPE_CHECKING

from caveats_service.core import log
from caveats_service.server.handover import ConnectionSender, Stage

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

_MOST_IN_TURN = 2
"""Connections, at most, that one worker is given in a turn."""
_SECOND_EVERY = 0.01
"""Seconds between two connections that were the second of a worker in a turn."""
_AT_ONCE = 64
"""Connections, at most, that are accepted before reports are read again."""
_PAUSE = 0.5
"""Seconds without accepting after the system had no open files or memory left for a connection."""
_NO_ROOM = 0.05
"""Seconds until a connection is given again for which there was no room on its way to a worker."""


class Dispatcher:
    """Gives the connections that come to `listeners`, which listen by the time of `run`, to the workers that were added.

    Of several workers with equally few connections, the one that has waited longest is next. `clock`: seconds.
    """

    def __init__(
        self, listeners: Iterable[socket.socket], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._listeners = list(listeners)
        self._workers: dict[ConnectionSender, int] = {}
        """How many each was given in this turn, in the order in which they were last given one."""
        self._returned: deque[socket.socket] = deque()
        """Connections that were accepted, and that no worker has taken. They are next."""
        self._selector = selectors.DefaultSelector()
        self._listening = False
        """Whether `run` waits for connections."""
        self._second_at = 0.0
        """When a worker may be given its second connection in a turn."""
        self._accept_at = 0.0
        self._failing = False
        """Whether the last attempt to accept one failed."""
        self._ending = False
        for one in self._listeners:
            one.setblocking(False)

    def add(self) -> ConnectionSender:
        """The way to a new worker. Raises `OSError`."""
        worker = ConnectionSender()
        self._selector.register(worker, selectors.EVENT_READ, worker)
        self._workers[worker] = 0
        return worker

    def remove(self, worker: ConnectionSender) -> None:
        """Forget a worker that has ended. What it has not taken goes to another one."""
        self._selector.unregister(worker)
        del self._workers[worker]
        self._returned.extendleft(reversed(worker.close()))

    def watch(self, file: socket.socket | int) -> None:
        """Let `run` return when this can be read."""
        self._selector.register(file, selectors.EVENT_READ)

    def unwatch(self, file: socket.socket | int) -> None:
        """Undo `watch`."""
        self._selector.unregister(file)

    def end(self) -> None:
        """Workers that leave are given connections as well, from now on: there will be no others."""
        self._ending = True

    @property
    def has_takers(self) -> bool:
        """Whether any worker takes connections."""
        return self._next_worker(self._clock()) is not None

    def close_listeners(self) -> None:
        """Accept no more, and close what no worker has taken."""
        self._listen(False)
        for one in (*self._listeners, *self._returned):
            one.close()
        self._listeners.clear()
        self._returned.clear()

    def close(self) -> None:
        """Close everything."""
        self.close_listeners()
        for worker in tuple(self._workers):
            self.remove(worker)
        self.close_listeners()
        self._selector.close()

    def run(self, seconds: float) -> None:
        """Give connections to workers, until something that is watched can be read, or for so long."""
        now = self._clock()
        end = now + seconds
        watched = False
        while True:
            again_at = self._give_returned(now)
            self._listen(now >= self._accept_at and not self._returned and self._next_worker(now) is not None)
            ready = self._selector.select(max(0.0, min(end, again_at) - now))
            now = self._clock()
            for key, _ in ready:
                if isinstance(key.data, ConnectionSender):
                    key.data.read_reports()
                elif key.data is not None:
                    self._accept(key.data, now)
                else:
                    watched = True
            if watched or now >= end:
                return

    def _listen(self, wanted: bool) -> None:
        if wanted == self._listening:
            return
        self._listening = wanted
        for one in self._listeners:
            if wanted:
                self._selector.register(one, selectors.EVENT_READ, one)
            else:
                self._selector.unregister(one)

    def _next_worker(self, now: float) -> ConnectionSender | None:
        stages = {Stage.TAKES, Stage.LEAVES} if self._ending else {Stage.TAKES}
        takers = [one for one in self._workers if one.stage in stages and one.has_room(now)]
        if all(self._workers[one] for one in takers):
            self._workers = dict.fromkeys(self._workers, 0)
        most = _MOST_IN_TURN if now >= self._second_at else 1
        return min(
            (one for one in takers if self._workers[one] < most), key=lambda one: one.load, default=None
        )

    def _give(self, connection: socket.socket, worker: ConnectionSender | None, now: float) -> bool:
        if worker is None or not worker.send(connection, now):
            return False
        given = self._workers.pop(worker) + 1
        self._workers[worker] = given  # and last in order
        if given == _MOST_IN_TURN:
            self._second_at = now + _SECOND_EVERY
        return True

    def _give_returned(self, now: float) -> float:
        """Take back what workers have not taken in time, and give it to others. Returns when to look again."""
        for worker in self._workers:
            self._returned.extendleft(reversed(worker.take_back(now)))
        while self._returned:
            if not self._give(self._returned[0], self._next_worker(now), now):
                return now + _NO_ROOM
            self._returned.popleft()
        return min(
            (one.late_at for one in self._workers if one.late_at is not None and one.late_at > now),
            default=now + _PAUSE,
        )

    def _accept(self, listener: socket.socket, now: float) -> None:
        for _ in range(_AT_ONCE):
            worker = self._next_worker(now)
            if worker is None or self._returned:
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._accept_at = now + _PAUSE
                if not self._failing:
                    log.warning("connections_wait", reason=error.strerror)
                self._failing = True
                return
            self._failing = False
            if not self._give(connection, worker, now):
                self._returned.append(connection)
