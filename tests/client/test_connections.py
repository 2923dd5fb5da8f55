"""Connections: each process and each event loop has its own, and no answer is read by somebody else."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Macaroon, Stale
from caveats_client import AsyncClient, Client, TokenAuth, Unavailable, calls
from caveats_client.verifiers.remote import AsyncRemoteVerifier, RemoteVerifier

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@contextmanager
def counting() -> Iterator[str]:
    """The address of a service whose every connection names itself by its number."""
    numbers = count(1)

    class Connection(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.number = next(numbers)

        def do_GET(self) -> None:
            body = json.dumps({"service": str(self.number), "version": "1"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with counting() as address:
        yield address


def in_child(work: Callable[[], object]) -> str:
    """What `work` returns, or raises, in a forked process, as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(work()).encode())
        except BaseException as error:  # a child must never go on with the tests
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def connection(client: Client) -> str:
    """The number of the connection that `client` uses."""
    return client.send(calls.about()).service


async def aconnection(client: AsyncClient) -> str:
    """As `connection`."""
    return (await client.send(calls.about())).service


# Forks


@forks
def test_a_child_of_a_fork_never_uses_its_parents_connection(url: str) -> None:
    with Client(url) as client:
        own = connection(client)
        assert connection(client) == own

        def twice() -> tuple[str, str]:
            first, grandchild = connection(client), in_child(lambda: connection(client))
            assert connection(client) == first
            return first, grandchild

        children = [in_child(twice) for _ in range(3)]
        assert connection(client) == own
    numbers = [number for child in children for number in child.strip("()").replace("'", "").split(", ")]
    assert all(number.isdigit() for number in numbers), children
    assert len({own, *numbers}) == 7


@forks
def test_a_child_of_a_fork_never_uses_its_parents_asynchronous_connection(url: str) -> None:
    async def parent() -> tuple[str, str, str]:
        async with AsyncClient(url) as client:
            first = await aconnection(client)
            child = in_child(lambda: asyncio.run(aconnection(client)))
            return first, child, await aconnection(client)

    first, child, again = asyncio.run(parent())
    assert first == again
    assert child.isdigit()
    assert child != first


@forks
def test_a_client_that_was_closed_before_a_fork_is_closed_in_the_child(url: str) -> None:
    client = Client(url)
    client.close()
    assert "closed" in in_child(lambda: connection(client))


@forks
def test_a_transport_with_connections_of_its_own_is_refused_in_a_child(url: str) -> None:
    """It cannot be made anew: who gave it knows how."""
    with Client(url, transport=httpx.HTTPTransport()) as client:
        assert connection(client).isdigit()
        assert "Unavailable" in in_child(lambda: connection(client))
        assert connection(client).isdigit()


@forks
def test_locks_that_another_thread_holds_are_free_in_a_child() -> None:
    auth = TokenAuth(None, "https://photos.example")
    remote = RemoteVerifier("https://auth.example")

    def locked() -> list[bool]:
        locks = (auth._flights._changing, remote._flights._changing, remote._accepted._changing)
        return [lock.locked() for lock in locks]

    with auth._flights._changing, remote._flights._changing, remote._accepted._changing:
        assert locked() == [True, True, True]
        assert in_child(locked) == "[False, False, False]"
        assert in_child(remote.clear) == "None"
    remote.close()


# Event loops


def test_an_asynchronous_client_works_in_every_event_loop_in_turn(url: str) -> None:
    client = AsyncClient(url)
    numbers = [asyncio.run(aconnection(client)) for _ in range(4)]
    assert len(set(numbers)) == 4
    asyncio.run(client.close())
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(aconnection(client))


def test_an_asynchronous_client_works_in_two_event_loops_at_once(url: str) -> None:
    client = AsyncClient(url)
    together = threading.Barrier(2, timeout=30)
    found: list[set[str]] = []

    def run() -> None:
        async def ask() -> None:
            numbers = set()
            for _ in range(5):
                together.wait()
                numbers.add(await aconnection(client))
            found.append(numbers)

        asyncio.run(ask())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(numbers) for numbers in found] == [1, 1]
    assert found[0] != found[1]


def test_a_closed_event_loop_leaves_no_connection_behind(url: str) -> None:
    client = AsyncClient(url)

    async def use() -> httpx.AsyncClient:
        await aconnection(client)
        return await client._connections.here()

    used = [asyncio.run(use()) for _ in range(3)]
    assert all(http.is_closed for http in used)
    assert len(client._connections._open._values) == 1


def test_an_asynchronous_transport_with_connections_of_its_own_serves_one_event_loop(url: str) -> None:
    client = AsyncClient(url, transport=httpx.AsyncHTTPTransport())
    assert asyncio.run(aconnection(client)).isdigit()
    with pytest.raises(Unavailable, match="make a client here"):
        asyncio.run(aconnection(client))


def test_an_asynchronous_verifier_asks_in_every_event_loop(url: str, mint: Callable[..., Macaroon]) -> None:
    """What answers is no caveats service, and says so in each loop; none is told that its connection broke."""
    verifier = AsyncRemoteVerifier(url)
    for _ in range(3):
        with pytest.raises(Stale, match="not that of a caveats service"):
            asyncio.run(verifier.verify(mint()))
