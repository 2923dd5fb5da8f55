"""Rate limits: failed sign-ins, registrations, interactions, revoked copies and what is kept for holders.

Knows rates and addresses, knows no passwords. Failed sign-ins count against an address, and against an account from that
address. A success clears the second count. An owner who signs in from another address is not locked out by somebody's
guesses. Concurrent attempts cannot outrun the count: at most as many run as may still fail, the others wait for them to
end. Each count is bounded, also for somebody who comes from ever new addresses. Sign-ins, registrations and interactions
can be counted for all workers and nodes together (`shared_limits`); the other counts are each process's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from limits import parse

from caveats_service.core.errors import RateLimited, TooManyRevocations
from caveats_service.core.shared_limits import TOO_MANY, Counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from caveats_service.core.shared_limits import Place, SharedLimits
    from caveats_service.settings import Settings

MOST_BYTES = 16 * 1024 * 1024
"""Memory of one `MovingWindow`, estimated: some 38,000 keys of one event each, or half a million events of a few keys."""
_KEY_BYTES, _EVENT_BYTES = 400, 32
MOST_WAITERS = 100
"""Attempts at one account from one address that run or wait."""
_REVOKE_ABOVE = "revoke the copy that these were made from, or the whole token"


class MovingWindow:
    """Events by key, so many of each in a time. Bounded: past `most` bytes, keys without an event for longest are forgotten.

    To be forgotten early one needs tens of thousands of other keys in that time: whoever has so many addresses is not held
    by a count of one.
    """

    def __init__(
        self, rate: str, *, most: int = MOST_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`rate`: as in "10/minute". `clock`: seconds."""
        parsed = parse(rate)
        self._amount = parsed.amount
        self._seconds = parsed.get_expiry()
        self._most = most
        self._clock = clock
        self._events: OrderedDict[tuple[str, ...], list[float]] = OrderedDict()
        """The times of each key's events, oldest first; the key with the latest event last."""
        self._size = 0

    def __len__(self) -> int:
        return len(self._events)

    def counted(self, *words: str) -> Counted:
        """What `SharedLimits` counts for this rate."""
        return Counted(words, self._amount, self._seconds)

    def left(self, *key: str) -> int:
        """How many more events of this key are allowed now."""
        return self._amount - len(self._live(key))

    def hit(self, *key: str) -> bool:
        """Count an event, if one more is allowed."""
        events = self._live(key)
        if len(events) >= self._amount:
            return False
        if key not in self._events:
            self._events[key] = events
            self._size += _KEY_BYTES
        self._events.move_to_end(key)
        events.append(self._clock())
        self._size += _EVENT_BYTES
        while self._events and (self._size > self._most or self._is_over(next(iter(self._events)))):
            self.clear(*next(iter(self._events)))
        return True

    def _live(self, key: tuple[str, ...]) -> list[float]:
        """The times of the key's events that still count. The others are dropped."""
        events = self._events.get(key, [])
        over = bisect_right(events, self._clock() - self._seconds)
        if over:
            del events[:over]
            self._size -= _EVENT_BYTES * over
        return events

    def _is_over(self, key: tuple[str, ...]) -> bool:
        events = self._events[key]
        return not events or events[-1] <= self._clock() - self._seconds

    def clear(self, *key: str) -> None:
        """Forget the events of this key."""
        events = self._events.pop(key, None)
        if events is not None:
            self._size -= _KEY_BYTES + _EVENT_BYTES * len(events)

    def refusal(self, *key: str) -> RateLimited:
        """The error for one event too many; it says when the oldest of this key no longer counts."""
        now = self._clock()
        first = min(self._live(key), default=now)
        return RateLimited(TOO_MANY, math.ceil(first + self._seconds - now))


_TOLD_OF_ADDRESS, _TOLD = "10/hour", "200/hour"
"""Failed sign-ins that leave a row in the audit: of one address, and of all."""


class RateLimiter:
    """The counts of one process, in memory: N workers together allow N times as much at most.

    With `shared`, sign-ins, registrations and interactions are counted there instead. They are counted here as well, for the
    time in which that store is away.
    """

    def __init__(self, settings: Settings, shared: SharedLimits | None = None) -> None:
        self._shared = shared
        self._account = MovingWindow(settings.login_limit_account)
        self._address = MovingWindow(settings.login_limit_address)
        self._register = MovingWindow(settings.register_limit_address)
        self._interaction = MovingWindow(settings.interaction_limit_address)
        self._copies_of = MovingWindow(settings.revoke_limit_token)
        self._copies_from = MovingWindow(settings.revoke_limit_address)
        self._kept_holder = MovingWindow(settings.keep_limit_holder)
        self._kept_address = MovingWindow(settings.keep_limit_address)
        self._told_of = MovingWindow(_TOLD_OF_ADDRESS)
        self._told = MovingWindow(_TOLD)
        self._lines: dict[tuple[str, str], _Line] = {}

    async def close(self) -> None:
        """Close what is open."""
        if self._shared is not None:
            await self._shared.close()

    @contextlib.asynccontextmanager
    async def attempt(self, username: str, address: str) -> AsyncIterator[Attempt]:
        """Around one check of a password; tell the `Attempt` how it ended. Raises `RateLimited`.

        `address`: the client's, an IPv6 one cut to its /64. Raises `StoreUnavailable` where the counts are in the database.
        """
        key = (username, address)
        line = self._lines.setdefault(key, _Line())
        if line.waiters >= MOST_WAITERS:
            raise RateLimited(TOO_MANY, 1)
        line.waiters += 1
        try:
            place = await self._shared_place(line, username, address)
            async with self._turn_here(line, username, address, counts=place is None):
                attempt = Attempt(self, username, address, place)
                try:
                    yield attempt
                finally:
                    await attempt.over()
        finally:
            line.waiters -= 1
            if not line.waiters:
                del self._lines[key]

    async def _shared_place(self, line: _Line, username: str, address: str) -> Place | None:
        """The places of an attempt in the shared counts; None where each process counts for itself."""
        if self._shared is None:
            return None
        counted = (
            self._account.counted("account", username, address),
            self._address.counted("address", address),
        )
        async with line.asking:  # one of this process at a time asks whether others have ended
            return await self._shared.begin(counted)

    @contextlib.asynccontextmanager
    async def _turn_here(
        self, line: _Line, username: str, address: str, *, counts: bool
    ) -> AsyncIterator[None]:
        """Around an attempt that may run now by the counts of this process. `counts`: whether these count."""
        if counts and not self._address.left(address):
            raise self._address.refusal(address)
        while counts and (left := self._account.left(username, address)) <= line.inside:
            if left == 0:
                raise self._account.refusal(username, address)
            line.somebody_left.clear()
            await line.somebody_left.wait()
        line.inside += 1
        try:
            yield
        finally:
            line.inside -= 1
            line.somebody_left.set()

    async def succeeded(self, username: str, address: str, place: Place | None) -> None:
        """Clear the account's count from this address: the password was right."""
        self._account.clear(username, address)
        if self._shared is not None and place is not None:
            await self._shared.end(place, clear=self._account.counted("account", username, address))

    async def failed(self, username: str, address: str, place: Place | None) -> None:
        """Count a failure against the account from this address, and against the address."""
        self._account.hit(username, address)
        self._address.hit(address)
        if self._shared is not None and place is not None:
            await self._shared.failed(place)

    async def given_up(self, place: Place | None) -> None:
        """Count nothing: nobody knows whether the password was right."""
        if self._shared is not None and place is not None:
            await asyncio.shield(self._shared.end(place))

    def may_tell(self, address: str) -> bool:
        """Whether a failed sign-in from this address leaves a row in the audit, which nobody may make grow."""
        return self._told_of.hit(address) and self._told.hit()

    async def register(self, address: str) -> None:
        """Count a registration by a caller without a credential. Raises `RateLimited`."""
        await self._count("register", self._register, address)

    async def interact(self, address: str) -> None:
        """Count an interaction that is about to begin. Raises `RateLimited`."""
        await self._count("interaction", self._interaction, address)

    async def _count(self, what: str, window: MovingWindow, address: str) -> None:
        """Count an event that counts whatever comes of it. Raises `RateLimited`."""
        if self._shared is not None and await self._shared.begin(
            [window.counted(what, address)], failed=True
        ):
            window.hit(address)
            return
        if not window.hit(address):
            raise window.refusal(address)

    def revoke(self, token_ids: Iterable[str], address: str) -> None:
        """Count a copy that is about to be revoked: against the address, and against each of the tokens that it came of.

        Raises `TooManyRevocations`.
        """
        if not self._copies_from.hit(address):
            wait = self._copies_from.refusal(address).retry_after
            raise TooManyRevocations(f"too many copies were revoked from this address: {_REVOKE_ABOVE}", wait)
        for token_id in token_ids:
            if not self._copies_of.hit(token_id):
                wait = self._copies_of.refusal(token_id).retry_after
                raise TooManyRevocations(f"too many copies of this token were revoked: {_REVOKE_ABOVE}", wait)

    def keep(self, holder: str, address: str) -> None:
        """Count a labelled token or a reply that is about to be kept for this holder. Raises `RateLimited`."""
        if not self._kept_holder.left(holder):
            raise self._kept_holder.refusal(holder)
        if not self._kept_address.hit(address):
            raise self._kept_address.refusal(address)
        self._kept_holder.hit(holder)


@dataclass(slots=True)
class _Line:
    """The attempts at one account from one address that run or wait at this moment."""

    inside: int = 0
    waiters: int = 0
    somebody_left: asyncio.Event = field(default_factory=asyncio.Event)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Attempt:
    """One check of a password, to be told how it ended."""

    _limiter: RateLimiter
    _username: str
    _address: str
    _place: Place | None = None
    _told: bool = False

    async def succeeded(self) -> None:
        """The password was right."""
        self._told = True
        await self._limiter.succeeded(self._username, self._address, self._place)

    async def failed(self) -> None:
        """The password was wrong."""
        self._told = True
        await self._limiter.failed(self._username, self._address, self._place)

    async def over(self) -> None:
        """Nothing more comes of it."""
        if not self._told:
            await self._limiter.given_up(self._place)
