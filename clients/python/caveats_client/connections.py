"""The connections of a client: one `httpx.Client` for each process, one `httpx.AsyncClient` for each event loop.

A connection that two processes or two event loops share gives one the answer to the other's question, or fails. Knows
httpx, forks and event loops; knows no address and no endpoint.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpx2 as httpx

from caveats.forks import renewed_after_fork
from caveats_client.api.errors import Unavailable
from caveats_client.ordinary_httpx import async_transport, has_connections, sync_transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from caveats_client.ordinary_httpx import AsyncTransport, SyncTransport

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value for each running event loop, made on first use. Those of closed loops are dropped."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[asyncio.AbstractEventLoop | None, T] = {}

    def here(self) -> T:
        """The value of the running event loop, or the one for code without an asyncio loop, such as trio's."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here not in self._values:
            for loop in list(self._values):
                if loop is not None and loop.is_closed():
                    self._values.pop(loop, None)
            self._values[here] = self._make()
        return self._values[here]


class _Given(Generic[T]):
    """The transport that a client was given. One with connections of its own serves the first process or loop only."""

    def __init__(self, transport: T) -> None:
        self._transport = transport
        self._taken = False

    def take(self) -> T:
        """The transport. Raises `Unavailable` where it belongs to another process or loop."""
        if self._taken and has_connections(self._transport):
            raise Unavailable(
                "this client was given a transport, which another process or event loop uses: make a client here"
            )
        self._taken = True
        return self._transport


class Connections:
    """The connections of this process. After a fork, the child has new ones."""

    def __init__(self, transport: SyncTransport | None, options: Mapping[str, Any]) -> None:
        """`transport`: one of either httpx, or None for httpx2's own. `options`: of `httpx.Client`."""
        self._given = _Given(transport)
        self._options = options
        self._closed = False
        self._http: httpx.Client | None = None
        renewed_after_fork(self, Connections._renew)

    def _renew(self) -> None:
        try:
            self._http = self._make()
        except Unavailable:
            self._http = None

    def here(self) -> httpx.Client:
        """The client of this process. Raises `Unavailable` if there can be none, `RuntimeError` if they were closed."""
        if self._closed:
            raise RuntimeError("this client has been closed")
        return self._http or self._make()

    def _make(self) -> httpx.Client:
        return httpx.Client(transport=sync_transport(self._given.take()), **self._options)

    def close(self) -> None:
        """Close this process's connections."""
        self._closed = True
        if self._http is not None:
            self._http.close()


@dataclass(slots=True)
class _Open:
    """The connections of one event loop."""

    http: httpx.AsyncClient
    closing: AsyncGenerator[None, None]
    """Closes them. A loop closes its generators when it ends (`shutdown_asyncgens`): it has no other hook for this."""
    started: bool = False


class AsyncConnections:
    """The connections of each event loop, which closes them when it ends. After a fork, the child has new ones."""

    def __init__(self, transport: AsyncTransport | None, options: Mapping[str, Any]) -> None:
        """As `Connections`, for `httpx.AsyncClient`."""
        self._given = _Given(transport)
        self._options = options
        self._closed = False
        self._inherited: list[PerLoop[_Open]] = []
        """Those of the parent. Kept: if they were collected, they would be closed in the parent's event loop."""
        self._open: PerLoop[_Open] = PerLoop(self._make)
        renewed_after_fork(self, AsyncConnections._renew)

    def _renew(self) -> None:
        self._inherited.append(self._open)
        self._open = PerLoop(self._make)

    def _make(self) -> _Open:
        http = httpx.AsyncClient(transport=async_transport(self._given.take()), **self._options)
        return _Open(http, _closing(http))

    async def here(self) -> httpx.AsyncClient:
        """The client of the running event loop. Raises as `Connections.here`."""
        if self._closed:
            raise RuntimeError("this client has been closed")
        found = self._open.here()
        if not found.started:
            found.started = True
            await anext(found.closing)
        return found.http

    async def close(self) -> None:
        """Close the connections of the running event loop. Other loops close theirs when they end."""
        self._closed = True
        await self._open.here().closing.aclose()


async def _closing(http: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await http.aclose()
