"""A thousand subscribers of one node's feed: what each costs, and when each hears of a revocation."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.cluster_nodes import Caller, cpu_seconds, database, nodes, resident
from benchmarks.sample import AUDIENCE
from benchmarks.table import Row, Section
from caveats import Macaroon
from caveats.revocation import prove_reader
from caveats_client.verifiers.local import LocalVerifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats import AudienceKey

_SUBSCRIBERS = 1000
_REVOCATIONS = 20
_IDLE = 8.0


def feed() -> Section:
    """Memory and processor time of the node's one process, and delivery over loopback to one reading process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(nodes(stack.enter_context(database()), 1))[0]
        caller = Caller(node).sign_in()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        caller.register(folder / "verifier")
        with LocalVerifier.from_file(folder / "verifier") as verifier:
            key: AudienceKey = verifier._gate.verifier.keyring.keys[-1]  # type: ignore[union-attr]
        copies = [
            Macaroon.decode(caller.issue()).attenuate(b"note = a copy").encode() for _ in range(_REVOCATIONS)
        ]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(_measure(node.port, node.pid, key, caller, copies))
    section = Section(f"The feed of one node with {_SUBSCRIBERS:,} subscribers [for each of them]")
    section.rows = [
        Row("memory of the node", f"{found['memory'] / _SUBSCRIBERS / 1024:.0f} KB", _mb(found["memory"])),
        Row(
            "a processor, heartbeats only",
            f"{found['idle'] / _SUBSCRIBERS * 1e6:.0f} us/s",
            f"{found['idle']:.1%} of a core",
        ),
        Row(
            "a processor, a revocation",
            f"{found['each'] / _SUBSCRIBERS * 1e6:.0f} us",
            f"{found['each'] * 1000:.1f} ms",
        ),
        Row("acknowledged to delivered, p50, p99, max", "", _ms(found["delays"])),
        Row("subscribing, all at once", "", f"{found['joined']:.1f} s"),
    ]
    return section


async def _measure(
    port: int, pid: int, key: AudienceKey, caller: Caller, copies: Sequence[str]
) -> dict[str, Any]:
    before = resident(pid)
    begun = time.monotonic()
    subscribers = await asyncio.gather(*(_subscribe(port, key) for _ in range(_SUBSCRIBERS)))
    joined = time.monotonic() - begun
    await asyncio.sleep(2)
    cpu, begun = cpu_seconds([pid]), time.monotonic()
    await asyncio.sleep(_IDLE)
    idle = (cpu_seconds([pid]) - cpu) / (time.monotonic() - begun)
    memory = resident(pid) - before
    delays, cpu, begun = [], cpu_seconds([pid]), time.monotonic()
    for copy in copies:
        heard = [one.next_entries() for one in subscribers]
        status, _ = await asyncio.to_thread(caller.ask, "POST", "/v1/revocations", copy, presented=True)
        acknowledged = time.monotonic()
        if status != 201:
            raise RuntimeError("not revoked")
        moments = await asyncio.wait_for(asyncio.gather(*heard), 30)
        delays += [max(0.0, moment - acknowledged) for moment in moments]
        await asyncio.sleep(0.1)
    spent = cpu_seconds([pid]) - cpu - idle * (time.monotonic() - begun)
    for one in subscribers:
        one.close()
    return {
        "memory": memory,
        "idle": idle,
        "each": max(0.0, spent) / len(copies),
        "delays": delays,
        "joined": joined,
    }


async def _subscribe(port: int, key: AudienceKey) -> _Subscriber:
    loop = asyncio.get_running_loop()
    request = (
        f"GET /v1/revocations/feed?audience={AUDIENCE} HTTP/1.1\r\nHost: auth.example\r\n"
        f"Accept: text/event-stream\r\nX-Feed-Proof: {prove_reader(key, datetime.now(UTC))}\r\n\r\n"
    )
    _, subscriber = await loop.create_connection(lambda: _Subscriber(request), "127.0.0.1", port)
    await asyncio.wait_for(subscriber.first, 60)
    return subscriber


class _Subscriber(asyncio.Protocol):
    """Notes when a page with entries comes; what is in it is of no interest here."""

    def __init__(self, request: str) -> None:
        self._request = request.encode()
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: asyncio.Future[float] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if b'"entries":[' in data and not self.first.done():
            self.first.set_result(None)
        if b'"entries":[[' in data and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(time.monotonic())

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.first, self._waiting):
            if future is not None and not future.done():
                future.set_exception(ConnectionError("the node has let a subscriber go"))

    def next_entries(self) -> asyncio.Future[float]:
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def close(self) -> None:
        self._waiting = None
        self._transport.close()


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def _ms(values: Sequence[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[-(-len(ordered) * 99 // 100) - 1]
    return ", ".join(f"{value * 1000:.0f} ms" for value in (median(ordered), p99, ordered[-1]))
