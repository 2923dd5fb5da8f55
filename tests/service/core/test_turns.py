"""Whose turn it is: nobody can take the turns of others by asking more often, from more places or under more names."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats_service.core.errors import Busy
from caveats_service.core.turns import Turns

HOME, OFFICE = "192.0.2.1", "198.51.100.1"


async def begin(turns: Turns, who: Iterable[tuple[str, str]]) -> list[asyncio.Task[None]]:
    """Each of these waits, in this order."""
    tasks = [asyncio.create_task(turns.take(*one)) for one in who]
    await asyncio.sleep(0)
    return tasks


async def order(turns: Turns, who: list[tuple[str, str]]) -> list[int]:
    """In which order these have their turns, by their number, if each ends before the next begins."""
    await turns.take("nobody", "nowhere")
    served: list[int] = []

    async def ask(number: int) -> None:
        try:
            await turns.take(*who[number])
        except Busy:
            return
        served.append(number)
        turns.give_back()

    tasks = [asyncio.create_task(ask(number)) for number in range(len(who))]
    await asyncio.sleep(0)
    turns.give_back()
    await asyncio.gather(*tasks)
    return served


async def test_six_accounts_that_ask_without_end_leave_a_seventh_its_turn() -> None:
    """They ask as soon as they are answered, ten at a time each: 60 for 34 places. The seventh asks once in a while."""
    turns = Turns(2, 32, why="busy")
    served: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    async def ask(name: str) -> None:
        try:
            await turns.take(name, HOME)
        except Busy:
            refused[name] += 1
            await asyncio.sleep(0)
            return
        served[name] += 1
        await asyncio.sleep(0)
        turns.give_back()

    async def loop(name: str) -> None:
        while True:
            await ask(name)

    greedy = [asyncio.create_task(loop(f"greedy{n % 6}")) for n in range(60)]
    await asyncio.sleep(0)
    for _ in range(50):
        before = sum(served.values())
        await ask("seventh")
        assert sum(served.values()) - before <= 20, "more than about two rounds went by"
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)
    assert (served["seventh"], refused["seventh"]) == (50, 0)
    shares = [count for name, count in served.items() if name != "seventh"]
    assert max(shares) - min(shares) <= 0.2 * max(shares), shares


async def test_an_address_with_many_accounts_lets_another_address_go_first() -> None:
    crowd = [(f"account{n}", OFFICE) for n in range(20)]
    assert (await order(Turns(1, 50, why="busy"), [*crowd, ("alice", HOME)])).index(20) == 1


async def test_an_account_that_is_asked_for_from_many_addresses_has_one_turn_a_round() -> None:
    crowd = [("victim", f"203.0.113.{n}") for n in range(20)]
    assert (await order(Turns(1, 50, why="busy"), [*crowd, ("alice", HOME)])).index(20) == 1


async def test_more_addresses_than_places_that_ask_without_end_do_not_keep_a_newcomer_out() -> None:
    """Each has a name and an address of its own. They have had their turns, and the newcomer has not."""
    turns = Turns(2, 32, why="busy")
    served: Counter[str] = Counter()

    async def ask(name: str) -> None:
        await turns.take(name, f"address of {name}")
        served[name] += 1
        await asyncio.sleep(0)
        turns.give_back()

    async def loop(name: str) -> None:
        while True:
            try:
                await ask(name)
            except Busy:
                await asyncio.sleep(0)

    greedy = [asyncio.create_task(loop(f"greedy{n}")) for n in range(40)]
    async with asyncio.timeout(60):
        while len(served) < 40:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0)
    for n in range(10):
        before = sum(served.values())
        await ask(f"newcomer{n}")
        assert sum(served.values()) - before <= 70, "more than about two rounds went by"
    for task in greedy:
        task.cancel()
    await asyncio.gather(*greedy, return_exceptions=True)


async def test_the_addresses_whose_turns_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caveats_service.core.turns._ADDRESSES", 8)
    turns = Turns(1, 4, why="busy")
    for n in range(100):
        await turns.take("a", f"198.51.100.{n}")
        turns.give_back()
    assert len(turns._last_turns) == 8


async def test_a_newcomer_has_the_place_of_whoever_would_wait_longest() -> None:
    turns = Turns(1, 4, why="busy")
    greedy = await begin(turns, [("greedy", HOME)] * 5)
    (newcomer,) = await begin(turns, [("alice", HOME)])
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="busy") as refused:
        await greedy[4]
    assert refused.value.retry_after >= 1
    turns.give_back()
    turns.give_back()
    await newcomer
    assert [task.done() for task in greedy] == [True, True, False, False, True]
    for task in greedy:
        task.cancel()


async def test_whoever_would_wait_longest_is_refused_when_all_others_come_first() -> None:
    turns = Turns(1, 2, why="busy")
    await turns.take("a", HOME)
    waiting = await begin(turns, [("a", HOME), ("b", OFFICE)])
    with pytest.raises(Busy):
        await turns.take("a", HOME)
    assert len(turns) == 2
    for task in waiting:
        task.cancel()


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(["keep", "leave"]))),
    st.integers(1, 3),
    st.integers(0, 5),
)
def test_every_turn_is_given_back_whoever_goes_away(
    who: list[tuple[str, str, str]], at_once: int, queue: int
) -> None:
    async def run() -> None:
        turns = Turns(at_once, queue, why="busy")
        running: list[asyncio.Task[None]] = []

        async def ask(account: str, address: str) -> None:
            await turns.take(account, address)
            await asyncio.sleep(0)
            turns.give_back()

        for account, address, what in who:
            task = asyncio.create_task(ask(account, address))
            running.append(task)
            if what == "leave":
                await asyncio.sleep(0)
                if not task.done() and len(turns):
                    task.cancel()
            assert len(turns) <= queue
        await asyncio.gather(*running, return_exceptions=True)
        assert (len(turns), turns._free) == (0, at_once)

    asyncio.run(run())
