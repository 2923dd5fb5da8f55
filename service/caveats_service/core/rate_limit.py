"""Rate limits: failed sign-ins, registrations and interactions. Knows rates and addresses, knows no passwords.

Failed sign-ins count against an address, and against an account from that address. A success clears the second count.
An owner who signs in from another address is not locked out by somebody's guesses. Concurrent attempts cannot outrun
the count: at most as many run as may still fail, the others wait for them to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from caveats_service.core.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from caveats_service.settings import Settings

_ACCOUNT = "account"
_ADDRESS = "address"
_REGISTER = "register"
_INTERACTION = "interaction"


class RateLimiter:
    """The counts of one process, in memory: N workers together allow at most N times as much."""

    def __init__(self, settings: Settings) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._account = parse(settings.login_limit_account)
        self._address = parse(settings.login_limit_address)
        self._register = parse(settings.register_limit_address)
        self._interaction = parse(settings.interaction_limit_address)
        self._lines: dict[tuple[str, str], _Line] = {}

    @contextlib.asynccontextmanager
    async def attempt(self, username: str, address: str) -> AsyncIterator[Attempt]:
        """Around one check of a password; tell the `Attempt` how it ended. Raises `RateLimited`.

        `address`: the client's, an IPv6 one cut to its /64.
        """
        if not await self._limiter.test(self._address, _ADDRESS, address):
            raise await self._refusal(self._address, _ADDRESS, address)
        key = (username, address)
        line = self._lines.setdefault(key, _Line())
        line.waiters += 1
        try:
            while (left := await self._left(key)) <= line.inside:
                if left == 0:
                    raise await self._refusal(self._account, _ACCOUNT, *key)
                line.somebody_left.clear()
                await line.somebody_left.wait()
            line.inside += 1
            try:
                yield Attempt(self, username, address)
            finally:
                line.inside -= 1
                line.somebody_left.set()
        finally:
            line.waiters -= 1
            if not line.waiters:
                del self._lines[key]

    async def _left(self, key: tuple[str, str]) -> int:
        return int((await self._limiter.get_window_stats(self._account, _ACCOUNT, *key)).remaining)

    async def succeeded(self, username: str, address: str) -> None:
        """Clear the account's count from this address: the password was right."""
        await self._limiter.clear(self._account, _ACCOUNT, username, address)

    async def failed(self, username: str, address: str) -> None:
        """Count a failure against the account from this address, and against the address."""
        await self._limiter.hit(self._account, _ACCOUNT, username, address)
        await self._limiter.hit(self._address, _ADDRESS, address)

    async def register(self, address: str) -> None:
        """Count a registration by a caller without a credential. Raises `RateLimited`."""
        if not await self._limiter.hit(self._register, _REGISTER, address):
            raise await self._refusal(self._register, _REGISTER, address)

    async def interact(self, address: str) -> None:
        """Count an interaction that is about to begin. Raises `RateLimited`."""
        if not await self._limiter.hit(self._interaction, _INTERACTION, address):
            raise await self._refusal(self._interaction, _INTERACTION, address)

    async def _refusal(self, rate: RateLimitItem, *key: str) -> RateLimited:
        stats = await self._limiter.get_window_stats(rate, *key)
        return RateLimited("too many attempts", math.ceil(stats.reset_time - time.time()))


@dataclass(slots=True)
class _Line:
    """The attempts at one account from one address that run or wait at this moment."""

    inside: int = 0
    waiters: int = 0
    somebody_left: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One check of a password, to be told how it ended."""

    _limiter: RateLimiter
    _username: str
    _address: str

    async def succeeded(self) -> None:
        """The password was right."""
        await self._limiter.succeeded(self._username, self._address)

    async def failed(self) -> None:
        """The password was wrong."""
        await self._limiter.failed(self._username, self._address)
