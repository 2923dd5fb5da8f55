"""One request for all who wait: in threads and in tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from caveats_client.single_flight import AsyncSingleFlight, SingleFlight


class Slow:
    """A question that is answered when a test lets it be."""

    def __init__(self) -> None:
        self.asked = 0
        self.began = threading.Event()
        self.go = threading.Event()
        self.error: BaseException | None = None

    def __call__(self) -> int:
        self.asked += 1
        self.began.set()
        assert self.go.wait(30)
        if self.error is not None:
            raise self.error
        return self.asked


def in_threads(count: int, work: Callable[[], object]) -> tuple[list[threading.Thread], list[object]]:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, found


def waiting_for(flights: SingleFlight[int], key: str, slow: Slow, count: int) -> list[object]:
    """What so many threads get that come while `slow` is asked."""
    first, one = in_threads(1, lambda: flights.share(key, slow))
    assert slow.began.wait(30)
    others, found = in_threads(count, lambda: flights.share(key, slow))
    for thread in others:
        thread.join(0.02)
    slow.go.set()
    for thread in (*first, *others):
        thread.join(30)
    return one + found


def test_threads_that_wait_share_one_answer_and_it_is_not_kept() -> None:
    flights, slow = SingleFlight[int](), Slow()
    assert waiting_for(flights, "a", slow, 20) == [1] * 21
    assert flights.share("a", slow) == 2


def test_other_questions_wait_for_nobody() -> None:
    flights, slow = SingleFlight[int](), Slow()
    first, _ = in_threads(1, lambda: flights.share("a", slow))
    assert slow.began.wait(30)
    assert flights.share("b", lambda: 7) == 7
    slow.go.set()
    first[0].join(30)


def test_an_error_goes_to_all_threads_that_wait_and_is_not_kept() -> None:
    flights, slow = SingleFlight[int](), Slow()
    slow.error = ValueError("no")
    found = waiting_for(flights, "a", slow, 5)
    assert found == [slow.error] * 6
    slow.error = None
    assert flights.share("a", slow) == 2


def test_a_thread_that_is_interrupted_leaves_the_question_to_the_next() -> None:
    flights, slow = SingleFlight[int](), Slow()

    def ask() -> int:
        if slow.asked:
            return 7
        slow.error = KeyboardInterrupt()
        return slow()

    first, one = in_threads(1, lambda: flights.share("a", ask))
    assert slow.began.wait(30)
    others, found = in_threads(5, lambda: flights.share("a", ask))
    for thread in others:
        thread.join(0.02)
    slow.go.set()
    for thread in (*first, *others):
        thread.join(30)
    assert one == [slow.error]
    assert found == [7] * 5


async def test_tasks_that_wait_share_one_answer_and_one_that_is_cancelled_stops_nobody() -> None:
    flights, asked, go = AsyncSingleFlight[int](), 0, asyncio.Event()

    async def ask() -> int:
        nonlocal asked
        asked += 1
        await go.wait()
        return asked

    tasks = [asyncio.create_task(flights.share("a", ask)) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for cancelled in (0, 5):  # the first, which asked, and another
        tasks[cancelled].cancel()
    await asyncio.sleep(0)
    go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each).__name__ for each in found].count("CancelledError") == 2
    assert found.count(1) == 8
    assert await flights.share("a", ask) == 2


async def test_an_error_goes_to_all_tasks_that_wait_and_is_not_kept() -> None:
    flights, errors = AsyncSingleFlight[int](), [ValueError("no")]

    async def ask() -> int:
        await asyncio.sleep(0)
        if errors:
            raise errors.pop()
        return 7

    found = await asyncio.gather(*(flights.share("a", ask) for _ in range(5)), return_exceptions=True)
    assert [str(each) for each in found] == ["no"] * 5
    assert await flights.share("a", ask) == 7


def test_each_event_loop_asks_for_itself() -> None:
    flights = AsyncSingleFlight[int]()

    async def ask() -> int:
        return 7

    async def share() -> int:
        return await flights.share("a", ask)

    assert [asyncio.run(share()) for _ in range(2)] == [7, 7]


def test_without_an_asyncio_loop_everybody_asks() -> None:
    async def ask() -> int:
        return 7

    with pytest.raises(StopIteration) as done:
        AsyncSingleFlight[int]().share("a", ask).send(None)
    assert done.value.value == 7
