"""One request for all who need its answer at the same moment: the first sends it, the others wait for what it brings.

An answer goes to those who came while it was under way, and so does an error; neither is kept. Knows threads, tasks and
forks; knows no HTTP.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from caveats.forks import renewed_after_fork
from caveats_client.connections import PerLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """For threads. In the child of a fork nothing is under way."""

    def __init__(self) -> None:
        renewed_after_fork(self, SingleFlight._renew)

    def _renew(self) -> None:
        self._changing = threading.Lock()
        self._under_way: dict[Hashable, Future[T]] = {}

    def share(self, key: Hashable, ask: Callable[[], T]) -> T:
        """The result of `ask`, called here or by another thread that calls this with the same key. Raises as `ask`."""
        while True:
            mine: Future[T] = Future()
            with self._changing:
                flight = self._under_way.setdefault(key, mine)
            if flight is mine:
                return self._ask(key, ask, mine)
            try:
                return flight.result()
            except CancelledError:  # the thread that asked was interrupted
                continue

    def _ask(self, key: Hashable, ask: Callable[[], T], flight: Future[T]) -> T:
        try:
            answer = ask()
        except BaseException as error:
            self._end(key)
            if isinstance(error, Exception):
                flight.set_exception(error)
            else:
                flight.cancel()
            raise
        self._end(key)
        flight.set_result(answer)
        return answer

    def _end(self, key: Hashable) -> None:
        with self._changing:
            del self._under_way[key]


class AsyncSingleFlight(Generic[T]):
    """For tasks, those of each event loop for themselves. Who stops waiting stops nobody else."""

    def __init__(self) -> None:
        self._under_way: PerLoop[dict[Hashable, asyncio.Task[T]]] = PerLoop(dict)

    async def share(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `SingleFlight.share`, awaited. Without an asyncio loop, as in trio, everybody asks."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return await ask()
        under_way = self._under_way.here()
        task = under_way.get(key)
        if task is None:
            task = under_way[key] = loop.create_task(ask())
            task.add_done_callback(lambda _: under_way.pop(key))
        return await asyncio.shield(task)
