"""How a worker serves the connections that its parent gives it, on both event loops."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from caveats_service.server import handover
from caveats_service.server.handover import ConnectionReceiver, ConnectionSender, Stage

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
"""The service takes uvloop where it is installed."""


class Echo(asyncio.Protocol):
    """Answers what it is told, as `uvicorn`'s protocols do in the set of those that are open."""

    def __init__(self, world: World) -> None:
        self.world = world

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.world.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.world.connections.discard(self)
        self.world.receiver.changed()

    def shutdown(self) -> None:
        self.transport.close()


class World:
    """Both ends in one process, and clients."""

    def __init__(self) -> None:
        self.connections: set[Echo] = set()
        self.sender = ConnectionSender()
        self.receiver = ConnectionReceiver(self.sender.worker_end, lambda: Echo(self), self.connections)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.clients: list[socket.socket] = []

    def give(self) -> socket.socket:
        """A client whose connection is on its way."""
        client = socket.create_connection(self.listener.getsockname(), 10)
        client.setblocking(False)
        self.clients.append(client)
        assert self.sender.send(self.listener.accept()[0], time.monotonic())
        return client

    async def load(self, wanted: int) -> None:
        """Wait until the parent knows of so many connections, and that none is on its way."""
        async with asyncio.timeout(10):
            while True:
                self.sender.read_reports()
                if self.sender.load == wanted and self.sender.late_at is None:
                    return
                await asyncio.sleep(0.001)

    def reported(self) -> Stage:
        self.sender.read_reports()
        return self.sender.stage

    def close(self) -> None:
        if self.reported() is not Stage.CLOSED:
            self.receiver.close()
        for connection in self.connections:
            connection.transport.close()
        for one in (*self.clients, *self.sender.close(), self.listener):
            one.close()


async def echo(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        await loop.sock_sendall(client, b"hello")
        return await loop.sock_recv(client, 10)


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[World], Any]], None]:
    """Run a test in a world of its own."""

    async def whole(work: Callable[[World], Any]) -> None:
        world = World()
        try:
            await work(world)
        finally:
            world.close()
            await asyncio.sleep(0)

    def run(work: Callable[[World], Any]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(whole(work))

    return run


Run = Callable[[Callable[[World], Any]], None]


def test_a_connection_that_is_given_is_served_and_counted(run: Run) -> None:
    async def work(world: World) -> None:
        first, second = world.give(), world.give()
        assert world.sender.load == 2
        assert await echo(first) == b"hello"
        assert await echo(second) == b"hello"
        await world.load(2)
        assert world.sender.stage is Stage.TAKES
        first.close()
        await world.load(1)
        second.close()
        await world.load(0)

    run(work)


def test_the_end_that_the_worker_closes_is_the_end_for_the_client(run: Run) -> None:
    """Also while the parent does nothing."""

    async def work(world: World) -> None:
        client = world.give()
        await echo(client)
        (served,) = world.connections
        served.shutdown()
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""

    run(work)


def test_a_client_that_has_gone_already_does_not_count(run: Run) -> None:
    async def work(world: World) -> None:
        world.give().close()
        reset = world.give()
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        reset.close()
        await world.load(0)
        assert await echo(world.give()) == b"hello"

    run(work)


def test_a_worker_whose_reports_find_no_room_serves_and_reports_when_there_is(run: Run) -> None:
    async def work(world: World) -> None:
        await world.load(0)
        with pytest.raises(BlockingIOError):
            while True:
                world.sender.worker_end.send(b"\0" * 13)
        assert await echo(world.give()) == b"hello"
        assert world.sender.load == 1
        assert world.sender.late_at is not None
        await world.load(1)

    run(work)


def test_a_system_that_loses_descriptors_on_their_way_has_them_kept_until_they_arrive(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS. The copy does not keep a connection open that the worker closes."""
    monkeypatch.setattr(handover, "_KEPT", True)

    async def work(world: World) -> None:
        client = world.give()
        await echo(client)
        (served,) = world.connections
        served.shutdown()
        await world.load(0)
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""

    run(work)


def test_a_worker_says_that_it_leaves_and_that_it_has_closed(run: Run) -> None:
    async def work(world: World) -> None:
        await world.load(0)
        world.receiver.leave()
        assert world.reported() is Stage.LEAVES
        assert await echo(world.give()) == b"hello"
        await world.load(1)
        world.receiver.close()
        assert world.reported() is Stage.CLOSED
        world.give()
        await asyncio.sleep(0.05)
        (left,) = world.sender.take_back(time.monotonic())
        left.close()

    run(work)


def test_a_connection_that_is_opened_after_the_close_is_told_to_end(run: Run) -> None:
    """uvicorn tells those that are open at that time."""

    async def work(world: World) -> None:
        client = world.give()
        world.receiver._read()
        world.receiver.close()
        assert not world.connections
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""

    run(work)
