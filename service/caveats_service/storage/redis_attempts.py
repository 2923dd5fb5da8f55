"""Attempts of all nodes and workers in Redis: as `repositories/attempts`, for services that have one.

Knows keys as hashes. Each operation is one script, which Redis runs without anything in between, by its own clock. Raises
`StoreUnavailable`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from caveats_service.storage.errors import StoreUnavailable
from caveats_service.storage.records import AttemptLimit, AttemptRefusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

_PATIENCE = 1.0
"""Seconds for a connection or an answer."""

# Of each key two sorted sets, by the time at which an attempt counts no more: KEYS[2i-1] what has failed, KEYS[2i] what is
# under way.
_BEGIN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, #KEYS, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now)
  local amount = tonumber(ARGV[i + 2])
  local failed = redis.call('ZCARD', KEYS[i])
  if failed >= amount then
    local first = redis.call('ZRANGE', KEYS[i], failed - amount, failed - amount, 'WITHSCORES')
    return math.max(1, math.floor(tonumber(first[2]) - now))
  end
  if failed + redis.call('ZCARD', KEYS[i + 1]) >= amount then
    return -1
  end
end
for i = 1, #KEYS, 2 do
  local life = tonumber(ARGV[i + 3])
  local key = KEYS[i + 1 - tonumber(ARGV[2])]
  redis.call('ZADD', key, now + life, ARGV[1])
  redis.call('PEXPIRE', key, life)
end
return 0
"""
_FAILED = """
for i = 1, #KEYS, 2 do
  local ends = redis.call('ZSCORE', KEYS[i + 1], ARGV[1])
  if ends then
    redis.call('ZREM', KEYS[i + 1], ARGV[1])
    redis.call('ZADD', KEYS[i], ends, ARGV[1])
    redis.call('PEXPIRE', KEYS[i], ARGV[(i + 1) / 2 + 1])
  end
end
return 0
"""
_END = """
for i = 1, #KEYS, 2 do
  redis.call('ZREM', KEYS[i], ARGV[1])
  redis.call('ZREM', KEYS[i + 1], ARGV[1])
  if ARGV[(i + 1) / 2 + 1] == '1' then
    redis.call('DEL', KEYS[i])
  end
end
return 0
"""


class RedisAttempts:
    """The operations on attempts."""

    def __init__(self, url: str) -> None:
        """`url`: `redis://host:port/0`, `rediss://` for TLS. Nothing is connected yet."""
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE, protocol=2
        )
        self._begin: Any = self._redis.register_script(_BEGIN)
        self._failed: Any = self._redis.register_script(_FAILED)
        self._end: Any = self._redis.register_script(_END)

    async def begin(
        self, attempt: str, limits: Sequence[AttemptLimit], *, now: datetime, failed: bool = False
    ) -> AttemptRefusal | None:
        """As `AttemptRepository.begin`. `now` does not count: Redis has a clock."""
        del now
        given: list[object] = [attempt, int(failed)]
        for limit in limits:
            given += [limit.amount, int(limit.within.total_seconds() * 1000)]
        with _failures():
            left = int(await self._begin(keys=_keys(limits), args=given))
        if left == 0:
            return None
        return AttemptRefusal(None if left < 0 else left / 1000)

    async def failed(self, attempt: str, limits: Sequence[AttemptLimit]) -> None:
        """As `AttemptRepository.failed`. `limits`: those that it has begun with."""
        lives = [int(limit.within.total_seconds() * 1000) for limit in limits]
        with _failures():
            await self._failed(keys=_keys(limits), args=[attempt, *lives])

    async def end(self, attempt: str, limits: Sequence[AttemptLimit], *, clear: Sequence[bytes] = ()) -> None:
        """As `AttemptRepository.end`. `limits`: those that it has begun with."""
        cleared = [int(limit.key in clear) for limit in limits]
        with _failures():
            await self._end(keys=_keys(limits), args=[attempt, *cleared])

    async def close(self) -> None:
        """Close its connections."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()


def _keys(limits: Sequence[AttemptLimit]) -> list[str]:
    """Two for each limit. The braces keep all of them in one slot of a cluster, where a script may use them together."""
    return [f"{{caveats:attempts}}:{limit.key.hex()}:{kind}" for limit in limits for kind in "fp"]


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(f"Redis does not answer: {type(error).__name__}") from error
