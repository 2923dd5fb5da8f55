"""Waiting in line: in order, for as long as it moves, and no place is lost when somebody leaves."""

# ruff: noqa: ASYNC251  a test has its loop to itself and may block

from __future__ import annotations

import asyncio
import time

import pytest

from caveats_service.storage import StoreUnavailable, UserExists
from caveats_service.storage.engines.queue import WAITER, Clock, FairQueue, Waiter


async def test_turns_come_in_the_order_of_asking() -> None:
    turns = FairQueue(2, 60, Clock())
    served: list[int] = []

    async def take(n: int) -> None:
        async with turns.turn():
            served.append(n)
            await asyncio.sleep(0)

    await asyncio.gather(*(take(n) for n in range(100)))
    assert served == list(range(100))


async def test_a_line_that_moves_is_waited_in_for_longer_than_the_patience() -> None:
    turns = FairQueue(1, 0.1, Clock())

    async def take() -> None:
        async with turns.turn():
            await asyncio.sleep(0.02)

    begun = time.monotonic()
    await asyncio.gather(*(take() for _ in range(12)))
    assert time.monotonic() - begun > 0.2


@pytest.mark.parametrize("error", [StoreUnavailable, UserExists])
async def test_an_answer_moves_the_line_and_a_failure_does_not(error: type[Exception]) -> None:
    clock = Clock()
    turns = FairQueue(1, 0.15, clock)

    async def take() -> None:
        async with turns.turn():
            await asyncio.sleep(0.06)
            raise error("no")

    done = await asyncio.gather(*(take() for _ in range(8)), return_exceptions=True)
    assert {type(one) for one in done} == {error}
    given_up = ["no operation on the database has finished" in str(one) for one in done]
    assert any(given_up) is (error is StoreUnavailable)
    async with turns.turn():
        pass


async def test_whoever_leaves_takes_no_turn_along() -> None:
    turns = FairQueue(1, 60, Clock())

    async def take() -> None:
        async with turns.turn():
            await asyncio.sleep(0)

    for cut in range(6):
        async with turns.turn():
            leaving, staying = asyncio.create_task(take()), asyncio.create_task(take())
            await asyncio.sleep(0.01)
        for _ in range(cut):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await staying
    async with turns.turn():
        pass


async def test_an_operation_that_has_the_turn_does_not_wait_for_itself() -> None:
    clock = Clock()
    turns = FairQueue(1, 60, clock)
    WAITER.set(Waiter(clock))
    async with turns.turn(), turns.turn():
        pass
    async with turns.turn():
        pass


async def test_the_clock_stands_still_while_this_process_is_held_up() -> None:
    clock = Clock()
    with clock.running():
        begun = clock.now()
        time.sleep(0.3)
        await asyncio.sleep(0)
        assert clock.now() - begun < 0.15
        await asyncio.sleep(0.3)
        assert clock.now() - begun > 0.06
    stopped = clock.now()
    await asyncio.sleep(0.1)
    assert clock.now() - stopped < 0.1
