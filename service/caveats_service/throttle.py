"""Guessing is slow: sign-ins per account and address, and per address. Knows rates, knows no passwords.

Only failures count against an address. Against an account from one address every attempt counts, until one
succeeds; an owner who signs in from elsewhere is not locked out by somebody else's guesses.
"""

import math
import time
from typing import Final

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from caveats_service.problems import rate_limited
from caveats_service.settings import Settings

_ACCOUNT: Final = "account"
_ADDRESS: Final = "address"
_REGISTER: Final = "register"


class Throttle:
    """Counts in memory: each process has its own, so N workers allow at most N times as much."""

    def __init__(self, settings: Settings) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._account = parse(settings.login_limit_account)
        self._address = parse(settings.login_limit_address)
        self._register = parse(settings.register_limit_address)

    async def attempt(self, username: str, address: str) -> None:
        """Before a password is looked at. Raises a 429 `Problem`."""
        if not await self._limiter.test(self._address, _ADDRESS, address):
            raise await self._refusal(self._address, _ADDRESS, address)
        if not await self._limiter.hit(self._account, _ACCOUNT, username, address):
            raise await self._refusal(self._account, _ACCOUNT, username, address)

    async def succeeded(self, username: str, address: str) -> None:
        """The password was right: the account's count from this address begins anew."""
        await self._limiter.clear(self._account, _ACCOUNT, username, address)

    async def failed(self, address: str) -> None:
        """The password was wrong."""
        await self._limiter.hit(self._address, _ADDRESS, address)

    async def register(self, address: str) -> None:
        """Before an account is made by somebody unknown. Raises a 429 `Problem`."""
        if not await self._limiter.hit(self._register, _REGISTER, address):
            raise await self._refusal(self._register, _REGISTER, address)

    async def _refusal(self, rate: RateLimitItem, *key: str) -> Exception:
        stats = await self._limiter.get_window_stats(rate, *key)
        return rate_limited(math.ceil(stats.reset_time - time.time()))
