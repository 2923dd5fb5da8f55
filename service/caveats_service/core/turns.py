"""Turns at something scarce, shared fairly among accounts and addresses. Knows names and order, no work and no clock.

Who waits is in rounds: each account has one turn in a round, and within a round addresses take turns. So an account that
asks again and again, rightly or wrongly, leaves every other account as much as it takes itself; an address with many
accounts lets others go first; and one account that is asked for from many addresses has one turn a round. Among
addresses that are alike otherwise, the one goes first whose last turn is longest ago. Where the queue is full, the place of
whoever would wait longest is given to a newcomer who would not.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from caveats_service.core.errors import Busy

_ADDRESSES = 4096
"""Addresses whose last turn is remembered."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """One who waits, and the place.

    It is a round, how many of the address come before in it, the number of the address's last turn, and that of arrival.
    """

    account: str
    address: str
    place: tuple[int, int, int, int]
    called: asyncio.Future[None] = field(repr=False)


class Turns:
    """At most `at_once` have their turn, and at most `queue` wait. For one event loop."""

    def __init__(self, at_once: int, queue: int, *, why: str) -> None:
        """`why`: the message of `Busy`."""
        self._free = at_once
        self._queue = queue
        self._why = why
        self._waiting: list[_Waiter] = []
        self._round = 0
        self._turns = 0
        self._arrivals = 0
        self._last_turns: OrderedDict[str, int] = OrderedDict()
        """The number of each address's last turn; the latest one last."""

    def __len__(self) -> int:
        return len(self._waiting)

    async def take(self, account: str, address: str) -> None:
        """Return when it is the turn of this account at this address; `give_back` ends the turn. Raises `Busy`."""
        if self._free:
            self._free -= 1
            self._note_turn(address)
            return
        waiter = self._arrive(account, address)
        self._waiting.append(waiter)
        if len(self._waiting) > self._queue:
            last = max(self._waiting, key=lambda other: other.place)
            self._waiting.remove(last)
            if not last.called.done():
                last.called.set_exception(Busy(self._why, 1))
        try:
            await waiter.called
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not waiter.called.cancelled() and waiter.called.exception() is None:
                self.give_back()  # called and cancelled at once
            raise

    def give_back(self) -> None:
        """A turn has ended: the next one has theirs."""
        while self._waiting:
            waiter = min(self._waiting, key=lambda other: other.place)
            self._waiting.remove(waiter)
            if not waiter.called.done():  # it is, for one who went away a moment ago
                self._round = waiter.place[0]
                self._note_turn(waiter.address)
                waiter.called.set_result(None)
                return
        self._free += 1

    def _arrive(self, account: str, address: str) -> _Waiter:
        mine = [other.place[0] for other in self._waiting if other.account == account]
        turn = 1 + max(mine, default=self._round)
        before = sum(other.place[0] == turn and other.address == address for other in self._waiting)
        self._arrivals += 1
        called = asyncio.get_running_loop().create_future()
        place = (turn, before, self._last_turns.get(address, 0), self._arrivals)
        return _Waiter(account, address, place, called)

    def _note_turn(self, address: str) -> None:
        """This address has its turn. Of so many addresses, those whose turn is longest ago are forgotten."""
        self._turns += 1
        self._last_turns[address] = self._turns
        self._last_turns.move_to_end(address)
        if len(self._last_turns) > _ADDRESSES:
            self._last_turns.popitem(last=False)
