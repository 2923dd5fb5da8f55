"""The way of a connection from the process that accepts it to the worker that serves it: both ends.

Knows sockets; knows no HTTP, and not which worker is given which connection (`dispatcher`).

Messages go one way, each with a number and one connection, or none, which asks for a sign of life. Reports go the other,
a few milliseconds late: the number of the last message that was read, how many connections are open, whether more are
taken. The parent keeps a copy of the worker's end too, and reads what a worker that hangs or has ended did not.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

TAKEN_WITHIN = 0.5
"""Seconds after which a connection that a worker has not taken goes to another one."""
_MOST_WAITING = 256
"""Connections, at most, that wait for one worker. All others wait in the accept queue, whose bound is the kernel's."""
_REPORT_WITHIN = 0.005
"""Seconds in which changes are reported together."""
_REPORT_AGAIN = 0.05
"""Seconds until a report for which there was no room is sent again."""
_KEPT = sys.platform == "darwin"
"""Whether the sender keeps a descriptor until it has arrived, as `multiprocessing` does: macOS may lose one that is closed
on its way."""
_MESSAGE = struct.Struct("!Q")
"""Its number."""
_REPORT = struct.Struct("!QIB")
"""The number of the last message read, connections open, the `Stage`."""


class Stage(enum.IntEnum):
    """What a worker does with new connections."""

    STARTING = 0
    """It does not serve yet."""
    TAKES = 1
    LEAVES = 2
    """It is about to end: it answers, and says that it closes."""
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class _Message:
    sent_at: float
    carries: int
    """Connections: one, or none."""
    kept: socket.socket | None


class ConnectionSender:
    """The parent's end, for one worker. `worker_end`: what the worker's `ConnectionReceiver` gets. Raises `OSError`."""

    def __init__(self) -> None:
        self._own_end, self.worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._own_end.setblocking(False)
        self.worker_end.setblocking(False)
        self.stage = Stage.STARTING
        self._open = 0
        self._last = 0
        """The number of the last message sent."""
        self._untaken: dict[int, _Message] = {}
        """The messages that were not reported as read, by number."""
        self._waiting = 0
        """The connections in them."""
        self._asked = False
        """Whether it is late, and was asked for a sign of life."""

    def fileno(self) -> int:
        """The descriptor that can be read when there is a report."""
        return self._own_end.fileno()

    @property
    def load(self) -> int:
        """How many connections the worker has, those on their way included."""
        return self._open + self._waiting

    @property
    def late_at(self) -> float | None:
        """When the worker is late, by the monotonic clock, unless it takes something; None: nothing waits for it."""
        return next((one.sent_at + TAKEN_WITHIN for one in self._untaken.values()), None)

    def has_room(self, now: float) -> bool:
        """Whether the worker takes what it is given in time, and is not behind with too much."""
        late_at = self.late_at
        return self._waiting < _MOST_WAITING and (late_at is None or now < late_at)

    def send(self, connection: socket.socket | None, now: float) -> bool:
        """Give a connection away, or ask for a sign of life. False: the system has no room for it now."""
        number = self._last + 1
        handles = [] if connection is None else [connection.fileno()]
        try:
            socket.send_fds(self._own_end, [_MESSAGE.pack(number)], handles)
        except OSError:
            return False
        if connection is not None and not _KEPT:
            connection.close()
        self._last = number
        self._untaken[number] = _Message(now, len(handles), connection if _KEPT else None)
        self._waiting += len(handles)
        return True

    def read_reports(self) -> None:
        """Read what the worker has reported."""
        while True:
            try:
                report = self._own_end.recv(_REPORT.size)
            except OSError:  # there is no more
                return
            taken, self._open, stage = _REPORT.unpack(report)
            self.stage = Stage(stage)
            for number in [number for number in self._untaken if number <= taken]:
                self._forget(number)
            self._asked = self._asked and bool(self._untaken)

    def _forget(self, number: int) -> None:
        message = self._untaken.pop(number)
        self._waiting -= message.carries
        if message.kept is not None:
            message.kept.close()

    def take_back(self, now: float) -> list[socket.socket]:
        """The connections that a worker which is late, or takes no more, has not read.

        It is late until it answers a message that is sent in their place.
        """
        if self._overdue_since(now) is not None:
            self.read_reports()  # it may be the parent that is late
        since = self._overdue_since(now)
        if since is None:
            return []
        back = self._unread()
        if self.stage is not Stage.CLOSED:
            self._asked = self.send(None, since)
        return back

    def _overdue_since(self, now: float) -> float | None:
        """When what has waited for too long, or in vain, was sent; None: nothing has, or it was taken back."""
        late_at = self.late_at
        if late_at is None or self._asked or (now < late_at and self.stage is not Stage.CLOSED):
            return None
        return late_at - TAKEN_WITHIN

    def _unread(self) -> list[socket.socket]:
        unread: list[socket.socket] = []
        while True:
            try:
                message, handles, _, _ = socket.recv_fds(self.worker_end, _MESSAGE.size, 1)
            except OSError:  # there is no more
                return unread
            unread += [socket.socket(fileno=handle) for handle in handles]
            self._forget(*_MESSAGE.unpack(message))

    def close(self) -> list[socket.socket]:
        """For a worker that has ended: the connections that it has not read."""
        unread = self._unread()
        for number in tuple(self._untaken):
            self._forget(number)
        self._own_end.close()
        self.worker_end.close()
        return unread


class ConnectionReceiver:
    """The worker's end: serves the connections that come through `channel`, each by a protocol that `new_protocol` makes.

    `connections`: those that are open. Call `changed` when one of them has ended.
    """

    def __init__(self, channel: socket.socket, new_protocol: Callable[[], Any], connections: Sized) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._new_protocol = new_protocol
        self._connections = connections
        self._stage = Stage.TAKES
        self._last = 0
        """The number of the last message read."""
        self._opening: set[asyncio.Task[None]] = set()
        self._next_report: asyncio.Handle | None = None
        self._reported = 0
        """How many connections were reported as open."""
        channel.setblocking(False)
        self._loop.add_reader(channel, self._read)
        self._report()

    def changed(self) -> None:
        """Report soon what is so by then."""
        self._report_in(_REPORT_WITHIN)

    def leave(self) -> None:
        """Ask for no more connections, where there is another worker. Those that come are served."""
        self._stage = Stage.LEAVES
        self._report()

    def close(self) -> None:
        """Take no more connections."""
        self._loop.remove_reader(self._channel)
        self._stage = Stage.CLOSED
        self._report()

    async def wait_closed(self) -> None:
        """Return at once: what was taken is served, and nothing else waits."""

    def _read(self) -> None:
        """Serve what the parent has sent, of which there is a bounded number before the next report."""
        while True:
            try:
                message, handles, _, _ = socket.recv_fds(self._channel, _MESSAGE.size, 1)
            except OSError:  # there is no more
                break
            (self._last,) = _MESSAGE.unpack(message)
            for handle in handles:
                task = self._loop.create_task(self._open(socket.socket(fileno=handle)))
                self._opening.add(task)
                task.add_done_callback(self._opened)
        self.changed()

    def _report(self) -> None:
        if self._next_report is not None:
            self._next_report.cancel()
            self._next_report = None
        has = self._count()
        try:
            self._channel.send(_REPORT.pack(self._last, has, self._stage))
        except OSError:  # the parent stands still, or has ended
            self._report_in(_REPORT_AGAIN)
        else:
            self._reported = has

    def _report_in(self, seconds: float) -> None:
        if self._next_report is None and self._stage is not Stage.CLOSED:
            self._next_report = self._loop.call_later(seconds, self._report)

    def _count(self) -> int:
        return len(self._connections) + len(self._opening)

    async def _open(self, connection: socket.socket) -> None:
        connection.set_inheritable(False)
        connection.setblocking(False)
        try:
            _, protocol = await self._loop.connect_accepted_socket(self._new_protocol, connection)
        except OSError:  # the client has gone
            connection.close()
            return
        if self._stage is Stage.CLOSED:  # the open ones have been told to end
            protocol.shutdown()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if self._count() != self._reported:
            self.changed()
