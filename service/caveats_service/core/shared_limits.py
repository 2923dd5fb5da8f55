"""Attempts that are counted for all workers and nodes together, in the database or in Redis: CAVEATS_LIMITS.

Knows limits and keys; knows no passwords and no HTTP. What is counted is named to the shared store by an HMAC under a key of the
service's own: somebody may type a password where the username goes. An attempt takes its places before it begins, and gives
them back unless it has failed, so that attempts at many nodes at once cannot outrun the count.

While Redis is away each process counts for itself, as it does where nothing is shared: sign-ins stay limited, and nobody locks
all users out by stopping it. Without the database nobody signs in anyway.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from caveats.keys import hkdf
from caveats.token import mac, pads
from caveats_service.core import log
from caveats_service.core.errors import RateLimited
from caveats_service.settings import SettingsError
from caveats_service.storage import AttemptLimit, AttemptRefusal, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caveats_service.settings import Settings
    from caveats_service.storage import Store

TOO_MANY = "too many attempts"
_LABEL = b"caveats/v1/limits"
_ASK_AGAIN = 0.05
"""Seconds until it is asked again whether an attempt that is under way has ended."""
_WAIT_FOR_OTHERS = 5.0
"""Seconds, at most, until attempts that are under way elsewhere have ended."""
_AWAY = 5.0
"""Seconds for which a store that did not answer is not asked."""


class AttemptStore(Protocol):
    """Where attempts are counted: `storage/repositories/attempts`, `storage/redis_attempts`."""

    async def begin(
        self, attempt: str, limits: Sequence[AttemptLimit], *, now: datetime, failed: bool = False
    ) -> AttemptRefusal | None:
        """Take a place under each key, or none and say why."""

    async def failed(self, attempt: str, limits: Sequence[AttemptLimit]) -> None:
        """It counts from now on."""

    async def end(self, attempt: str, limits: Sequence[AttemptLimit], *, clear: Sequence[bytes] = ()) -> None:
        """Give its places back."""

    async def close(self) -> None:
        """Close what is open."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What an attempt counts against: so many for these words in so many seconds."""

    words: tuple[str, ...]
    amount: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Place:
    """The places of an attempt that has begun."""

    attempt: str
    limits: tuple[AttemptLimit, ...]


class SharedLimits:
    """The counts of all workers and nodes together."""

    def __init__(
        self,
        store: AttemptStore,
        secret: bytes,
        *,
        now: Callable[[], datetime],
        may_be_away: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secret`: 32 bytes, the same at every node. `may_be_away`: then begin returns None; otherwise the store's error is raised."""
        self._store = store
        self._pads = pads(hkdf(secret, _LABEL, 32))
        self._now = now
        self._may_be_away = may_be_away
        self._monotonic = monotonic
        self._away_until: float | None = None

    async def begin(self, counted: Sequence[Counted], *, failed: bool = False) -> Place | None:
        """The places of an attempt; None if the store is away. `failed`: it counts whatever comes of it.

        While others are under way that may fail, it waits for them. Raises `RateLimited`, `StoreUnavailable`.
        """
        if self._away_until is not None and self._monotonic() < self._away_until:
            return None
        place = Place(secrets.token_hex(16), tuple(map(self._limit, counted)))
        deadline = self._monotonic() + _WAIT_FOR_OTHERS
        while True:
            try:
                refusal = await self._store.begin(place.attempt, place.limits, now=self._now(), failed=failed)
            except StoreUnavailable as error:
                self._is_away(error)
                return None
            except asyncio.CancelledError:
                self._give_back_later(place)
                raise
            self._is_back()
            if refusal is None:
                return place
            if refusal.retry_after is not None:
                raise RateLimited(TOO_MANY, math.ceil(refusal.retry_after))
            if self._monotonic() > deadline:
                raise RateLimited(TOO_MANY, 1)
            await asyncio.sleep(_ASK_AGAIN)

    async def failed(self, place: Place) -> None:
        """The attempt counts from now on. Raises `StoreUnavailable`."""
        try:
            await self._store.failed(place.attempt, place.limits)
        except StoreUnavailable as error:
            self._is_away(error)

    async def end(self, place: Place, *, clear: Counted | None = None) -> None:
        """Give the places back. `clear`: nothing of that counts any more. Raises `StoreUnavailable`."""
        cleared = [] if clear is None else [self._limit(clear).key]
        try:
            await self._store.end(place.attempt, place.limits, clear=cleared)
        except StoreUnavailable as error:
            self._is_away(error)

    async def close(self) -> None:
        """Close what is open."""
        await self._store.close()

    def _limit(self, counted: Counted) -> AttemptLimit:
        key = mac(self._pads, "\0".join(counted.words).encode("utf-8", "surrogatepass"))
        return AttemptLimit(key, counted.amount, timedelta(seconds=counted.seconds))

    def _give_back_later(self, place: Place) -> None:
        """The caller went away while it began: whether it took its places is not known."""
        task = asyncio.get_running_loop().create_task(self._store.end(place.attempt, place.limits))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _is_away(self, error: StoreUnavailable) -> None:
        """Raises the error where nothing may be done without the store."""
        if not self._may_be_away:
            raise error
        if self._away_until is None:
            log.error("shared_limits_away", reason=str(error), instead="each process counts for itself")
        self._away_until = self._monotonic() + _AWAY

    def _is_back(self) -> None:
        if self._away_until is not None:
            self._away_until = None
            log.info("shared_limits_back")


def open_shared_limits(
    settings: Settings,
    store: Store,
    secret: bytes,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> SharedLimits | None:
    """The counts that CAVEATS_LIMITS asks for; None if each process counts for itself. Raises `SettingsError`."""
    if settings.limits == "memory":
        return None
    if settings.limits == "database":
        return SharedLimits(store.attempts, secret, now=now, may_be_away=False)
    try:
        from caveats_service.storage.redis_attempts import RedisAttempts  # noqa: PLC0415  # an extra
    except ImportError:
        raise SettingsError("CAVEATS_LIMITS: for Redis, pip install 'caveats[redis]'") from None
    url = settings.limits.get_secret_value()
    return SharedLimits(RedisAttempts(url), secret, now=now, may_be_away=True)
