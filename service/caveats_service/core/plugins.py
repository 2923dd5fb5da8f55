"""Plug-ins: how their kinds are registered, and the threads in which their checks run. Knows no caveats.

The threads are daemons, so that a check that never returns does not keep the process from ending; and nothing that it
raises, not even `SystemExit`, ends anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from caveats_service.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """At most `count` threads for plug-ins' checks, started when they are needed.

    A check that runs on after its deadline has its thread for itself; another thread takes its place, for up to
    `most_lost` of them. Checks that wait longer than their deadline, or that are more than `most_waiting`, are never begun.
    """

    def __init__(self, count: int, name: str, *, most_lost: int = 56, most_waiting: int = 1000) -> None:
        self._count = count
        self._name = name
        self._most_lost = most_lost
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._waiting: dict[_Work, None] = {}
        """What no thread has begun, first come first served."""
        self._idle = 0
        self._threads = 0
        self._lost = 0
        """Threads, of `_threads`, whose check has run past its deadline."""
        self._closed = False

    async def run(self, work: Callable[[], _T], deadline: float) -> _T:
        """What `work` returns or raises.

        Raises `TimeoutError` after `deadline` seconds, or at once where too many wait, and `PluginFailure`.
        """
        loop = asyncio.get_running_loop()
        item = _Work(work, loop, loop.create_future())
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                raise TimeoutError
            self._waiting[item] = None
            self._find_thread()
        try:
            async with asyncio.timeout(deadline):
                result: _T = await item.answer
                return result
        finally:
            self._leave(item)

    def close(self) -> None:
        """Let the idle threads end. A check that hangs runs on until the process ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _find_thread(self) -> None:
        """Wake or start a thread for what waits. Called under the lock.

        Where the system has no thread to give, it waits for those that there are.
        """
        if self._idle >= len(self._waiting):
            self._changed.notify()
        elif self._threads - self._lost < self._count and self._threads < self._count + self._most_lost:
            name = f"{self._name}-{self._threads + 1}"
            with contextlib.suppress(RuntimeError):
                threading.Thread(target=self._serve, name=name, daemon=True).start()
                self._threads += 1

    def _leave(self, item: _Work) -> None:
        """Nobody waits for this any more."""
        with self._changed:
            if item in self._waiting:
                del self._waiting[item]
            elif not item.ended:
                item.lost = True
                self._lost += 1
                if self._waiting:
                    self._find_thread()

    def _serve(self) -> None:
        while (item := self._next()) is not None:
            item.run()
            with self._changed:
                item.ended = True
                self._lost -= item.lost
            item.tell()

    def _next(self) -> _Work | None:
        """What to do next; None if this thread is to end: the pool is closed, or another has taken its place."""
        with self._changed:
            while True:
                if self._closed or self._threads - self._lost > self._count:
                    self._threads -= 1
                    return None
                if self._waiting:
                    item = next(iter(self._waiting))
                    del self._waiting[item]
                    return item
                self._idle += 1
                self._changed.wait()
                self._idle -= 1


@dataclass(eq=False, slots=True)
class _Work:
    """One check: what it is, who waits for it, and how it ended."""

    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    ended: bool = False
    lost: bool = False
    """Whether it ran when its deadline came."""
    result: Any = None
    failure: BaseException | None = None

    def run(self) -> None:
        """Do it, in a thread."""
        try:
            self.result = self.work()
        except Exception as error:  # noqa: BLE001  # it is raised where the answer is awaited
            self.failure = error
        except BaseException as error:  # noqa: BLE001  # SystemExit and its like end this piece of work and no more
            self.failure = PluginFailure(type(error).__name__)

    def tell(self) -> None:
        """Hand the result to who waits for it."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.answer.done():
            return
        if self.failure is None:
            self.answer.set_result(self.result)
        else:
            self.answer.set_exception(self.failure)
