"""Plug-ins: how their kinds are registered, and the threads in which their checks run. Knows no caveats.

The threads are daemons, so that a check that never returns does not keep the process from ending; and nothing that it
raises, not even `SystemExit`, ends anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from caveats_service.settings import SettingsError

if TYPE_CHECKING:
    from caveats import Checkers

_T = TypeVar("_T")


def register_plugins(checkers: Checkers, names: tuple[str, ...], *, group: str, variable: str) -> None:
    """Let the entry points of these names register their kinds. Raises `SettingsError`, which names `variable`."""
    for name in names:
        found = [point for point in entry_points(group=group) if point.name == name]
        if len(found) != 1:
            raise SettingsError(f"{variable}: {len(found)} entry points are called {name!r} in {group}")
        try:
            found[0].load()(checkers)
        except Exception as error:
            raise SettingsError(
                f"{variable}: {name!r} does not load: {type(error).__name__}: {error}"
            ) from error


class PluginFailure(Exception):
    """The plug-in raised no `Exception` but `SystemExit` or its like. The message is the class's name."""


class PluginThreadPool:
    """At most `count` threads for plug-ins' checks, started when they are needed."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made = 0

    async def run(self, work: Callable[[], _T], deadline: float) -> _T:
        """What `work` returns or raises. Raises `TimeoutError` after `deadline` seconds, and `PluginFailure`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        self._work.put((work, loop, answer))
        if not self._idle.acquire(blocking=False) and self._made < self._count:
            self._made += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._made}", daemon=True).start()
        return await asyncio.wait_for(answer, deadline)

    def close(self) -> None:
        """Let the idle threads end. A check that hangs runs on until the process ends."""
        for _ in range(self._made):
            self._work.put(None)

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            work, loop, answer = item
            if not answer.cancelled():
                self._one(work, loop, answer)
            self._idle.release()

    def _one(
        self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any]
    ) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  # it is raised where the answer is awaited
            failure = error
        except BaseException as error:  # noqa: BLE001  # SystemExit and its like end this piece of work and no more
            failure = PluginFailure(type(error).__name__)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, answer, result, failure)


_Work = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


def _settle(answer: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)
