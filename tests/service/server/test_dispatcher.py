"""Who is given a connection, on real sockets: workers are played by hand, one step at a time."""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from caveats_service.server.dispatcher import Dispatcher
from caveats_service.server.handover import TAKEN_WITHIN, Stage


class Hand:
    """A worker's end, without an event loop: it reads and reports when it is told to."""

    def __init__(self, dispatcher: Dispatcher, stack: ExitStack) -> None:
        self.sender = dispatcher.add()
        self.stack = stack
        self.last = 0
        self.open: list[socket.socket] = []

    def read(self, most: int = 10_000) -> int:
        """How many connections there were."""
        count = 0
        while count < most:
            try:
                message, handles, _, _ = socket.recv_fds(self.sender.worker_end, 8, 1)
            except BlockingIOError:
                break
            (self.last,) = struct.unpack("!Q", message)
            for handle in handles:
                self.open.append(self.stack.enter_context(socket.socket(fileno=handle)))
                count += 1
        return count

    def report(self, stage: Stage = Stage.TAKES) -> None:
        self.sender.worker_end.send(struct.pack("!QIB", self.last, len(self.open), stage))

    def end(self) -> None:
        """Close all that are open, as their clients have."""
        for one in self.open:
            one.close()
        self.open.clear()


class Room:
    """A dispatcher on a free port, and a clock that is moved by hand."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.now = 1000.0
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        self.address = self.listener.getsockname()
        self.dispatcher = Dispatcher([self.listener], clock=lambda: self.now)
        stack.callback(self.dispatcher.close)

    def worker(self, stage: Stage = Stage.TAKES) -> Hand:
        hand = Hand(self.dispatcher, self.stack)
        hand.report(stage)
        self.step()
        return hand

    def workers(self, count: int) -> list[Hand]:
        return [self.worker() for _ in range(count)]

    def connect(self, count: int) -> list[socket.socket]:
        """So many clients, all accepted that are going to be."""
        clients = [
            self.stack.enter_context(socket.create_connection(self.listener.getsockname(), 5))
            for _ in range(count)
        ]
        self.step(3 + count // 64)
        return clients

    def step(self, times: int = 3) -> None:
        for _ in range(times):
            self.dispatcher.run(0)


@pytest.fixture
def room() -> Iterator[Room]:
    with ExitStack() as stack:
        yield Room(stack)


def answered_by(hand: Hand, client: socket.socket) -> bool:
    """Whether this worker has the other end of the client's connection."""
    return any(one.getpeername() == client.getsockname() for one in hand.open)


def settle(*hands: Hand) -> list[int]:
    counts = [hand.read() for hand in hands]
    for hand in hands:
        hand.report()
    return counts


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_burst_is_dealt_out_evenly_whatever_the_ports_are(room: Room, count: int) -> None:
    hands = room.workers(count)
    for _ in range(5):
        room.connect(16 * count)
        assert settle(*hands) == [16] * count
        room.step()


def test_connections_that_end_at_once_are_dealt_in_turn(room: Room) -> None:
    hands = room.workers(3)
    served = []
    for _ in range(9):
        room.connect(1)
        counts = settle(*hands)
        served.append(counts.index(1))
        for hand in hands:
            hand.end()
            hand.report()
        room.step()
    assert served == served[:3] * 3
    assert len(set(served)) == 3


def test_a_worker_that_knows_first_that_a_burst_has_ended_is_not_given_the_next_one(room: Room) -> None:
    """It has the fewest by far, in the reports that have come."""
    first, second = room.workers(2)
    room.connect(64)
    settle(first, second)
    first.end()
    first.report()
    room.step()
    room.connect(64)
    assert settle(first, second) == [33, 31]


def test_of_any_64_connections_neither_of_two_workers_is_given_more_than_seven_tenths(room: Room) -> None:
    """Whatever they report, and whenever."""
    hands = room.workers(2)
    whim = random.Random(7)
    given: list[int] = []
    for _ in range(400):
        room.now += whim.choice((0, 0.001, 0.1))
        room.connect(whim.randrange(1, 4))
        counts = [hand.read() for hand in hands]
        given += [0] * counts[0] + [1] * counts[1]
        for hand in hands:
            if whim.random() < 0.5:
                del hand.open[whim.randrange(0, len(hand.open) + 1) :]
            hand.report()
        room.step()
    shares = [sum(given[at : at + 64]) for at in range(len(given) - 64)]
    assert len(shares) > 500
    assert min(shares) >= 0.3 * 64
    assert max(shares) <= 0.7 * 64


def test_a_worker_that_comes_later_catches_up(room: Room) -> None:
    """It is given two of three, one every hundredth of a second."""
    (first,) = room.workers(1)
    room.connect(20)
    assert settle(first) == [20]
    second = room.worker()
    counts = [0, 0]
    for _ in range(30):
        room.now += 0.011
        room.connect(1)
        counts = [sum(both) for both in zip(counts, settle(first, second), strict=True)]
        room.step()
    assert counts == [10, 20]
    for _ in range(60):
        room.now += 0.011
        room.connect(1)
        settle(first, second)
        room.step()
    assert abs(len(first.open) - len(second.open)) <= 1


def test_connections_wait_where_they_are_until_a_worker_serves(room: Room) -> None:
    client = room.connect(1)[0]
    starting = room.worker(Stage.STARTING)
    room.step()
    assert starting.read() == 0
    with pytest.raises(BlockingIOError):
        starting.sender.worker_end.recv(1)
    starting.report()
    room.step()
    assert starting.read() == 1
    assert answered_by(starting, client)


def test_what_a_worker_that_hangs_has_not_taken_another_one_takes(room: Room) -> None:
    _, works = room.workers(2)
    clients = room.connect(10)
    assert settle(works) == [5]
    room.step()
    assert settle(works) == [0]
    room.now += TAKEN_WITHIN + 0.01
    room.step()
    assert works.read() == 5
    assert all(answered_by(works, client) for client in clients)
    works.report()
    room.step()


def test_a_worker_that_hangs_is_given_nothing_until_it_gives_a_sign_of_life(room: Room) -> None:
    hangs, works = room.workers(2)
    room.connect(2)
    settle(works)
    room.now += TAKEN_WITHIN + 0.01
    room.step()
    settle(works)
    room.step()
    for _ in range(20):
        room.connect(1)
        room.now += 10
        assert settle(works) == [1]
        room.step()
    assert hangs.read() == 0
    hangs.report()
    room.step()
    room.connect(3)
    assert settle(hangs, works) == [2, 1]


def test_when_all_workers_hang_new_connections_wait_in_the_accept_queue(room: Room) -> None:
    first, second = room.workers(2)
    room.connect(2)
    room.now += TAKEN_WITHIN + 0.01
    room.step()
    later = room.connect(4)
    assert first.read() + second.read() == 0
    settle(first)
    room.step()
    assert settle(first) == [6]
    assert all(answered_by(first, client) for client in later)


def test_what_a_worker_that_died_has_not_read_another_one_takes(room: Room) -> None:
    dies, lives = room.workers(2)
    clients = room.connect(8)
    settle(lives)
    assert dies.read(1) == 1
    dies.end()
    room.dispatcher.remove(dies.sender)
    room.step()
    assert settle(lives) == [3]
    assert sum(answered_by(lives, client) for client in clients) == 7


def test_what_a_worker_that_died_had_taken_ends_with_it(room: Room) -> None:
    dies, lives = room.workers(2)
    clients = room.connect(8)
    settle(dies, lives)
    lost = [client for client in clients if answered_by(dies, client)]
    dies.end()
    room.dispatcher.remove(dies.sender)
    room.step()
    assert lives.read() == 0
    for client in lost:
        assert client.recv(1) == b""


def test_connections_wait_for_the_worker_that_replaces_the_only_one(room: Room) -> None:
    (dies,) = room.workers(1)
    clients = room.connect(3)
    room.dispatcher.remove(dies.sender)
    clients += room.connect(3)
    comes = room.worker()
    room.step()
    assert settle(comes) == [6]
    assert [one.getpeername() for one in comes.open] == [client.getsockname() for client in clients]


def test_a_worker_that_takes_nothing_is_given_a_bounded_number(room: Room) -> None:
    (busy,) = room.workers(1)
    room.connect(400)
    room.step(20)
    assert settle(busy) == [256]
    room.step(20)
    assert settle(busy) == [144]


@pytest.mark.parametrize("ending", [False, True])
def test_a_worker_that_leaves_is_given_connections_only_when_all_leave(room: Room, ending: bool) -> None:
    leaves, stays = room.workers(2)
    leaves.report(Stage.LEAVES)
    if ending:
        room.dispatcher.end()
    room.step()
    room.connect(4)
    assert settle(leaves, stays) == ([2, 2] if ending else [0, 4])


def test_the_last_worker_that_leaves_leaves_connections_to_the_one_that_replaces_it(room: Room) -> None:
    """It may close a connection while its first request is on the way."""
    (leaves,) = room.workers(1)
    leaves.report(Stage.LEAVES)
    room.step()
    room.connect(2)
    assert leaves.read() == 0
    assert settle(room.worker()) == [2]


def test_what_a_worker_that_has_closed_did_not_read_another_one_takes_at_once(room: Room) -> None:
    closes, stays = room.workers(2)
    room.connect(6)
    closes.report(Stage.CLOSED)
    room.step()
    assert stays.read() == 6


def test_at_the_end_connections_are_accepted_while_a_worker_takes_them_and_then_refused(room: Room) -> None:
    (worker,) = room.workers(1)
    room.dispatcher.end()
    assert room.dispatcher.has_takers
    worker.report(Stage.CLOSED)
    room.step()
    assert not room.dispatcher.has_takers
    room.dispatcher.close_listeners()
    room.dispatcher.run(0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(room.address, 5)


def test_no_open_files_left_is_said_once_and_ends_nothing(
    room: Room, capsys: pytest.CaptureFixture[str]
) -> None:
    class Exhausted(socket.socket):
        left = False

        def accept(self) -> Any:
            if not self.left:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    with Exhausted(socket.AF_INET) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        room.listener = listener
        room.dispatcher = Dispatcher([listener], clock=lambda: room.now)
        room.stack.callback(room.dispatcher.close)
        (worker,) = room.workers(1)
        room.connect(2)
        for _ in range(10):
            room.now += 1
            room.step()
        assert "".join(capsys.readouterr()).count("connections_wait") == 1
        listener.left = True
        room.now += 1
        room.step()
        assert worker.read() == 2


def test_run_returns_when_something_that_is_watched_can_be_read(room: Room) -> None:
    here, there = socket.socketpair()
    with here, there:
        room.dispatcher.watch(here)
        there.send(b"x")
        room.dispatcher.run(3600)
        room.dispatcher.unwatch(here)
        room.dispatcher.run(0)
