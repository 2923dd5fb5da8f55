"""Counts that workers and nodes share, in both databases and in Redis: none can be outrun by asking at many nodes at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from caveats_service.core.errors import RateLimited
from caveats_service.core.rate_limit import RateLimiter
from caveats_service.core.shared_limits import Counted, SharedLimits, open_shared_limits
from caveats_service.settings import Settings, SettingsError
from caveats_service.storage.redis_attempts import RedisAttempts
from tests.support.redis import PrivateRedis, private_redis
from tests.support.service import (
    ADMIN_PASSWORD,
    PASSWORD,
    Service,
    bearer,
    new_user,
    problem,
    process,
)
from tests.support.store import KINDS, SqlitePlace, new_place, new_sqlite_file

pytestmark = pytest.mark.slow

SECRET = bytes(range(32))
PLACES = (*KINDS, "redis")


@pytest_asyncio.fixture(params=PLACES)
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[..., RateLimiter]]:
    """Makes the limiter of one more node; all share their counts."""
    made: list[Any] = []
    if request.param == "redis":
        with private_redis(tmp_path) as server:

            def one(**given: Any) -> RateLimiter:
                attempts = RedisAttempts(server.url)
                made.append(attempts)
                shared = SharedLimits(attempts, SECRET, now=lambda: datetime.now(UTC), may_be_away=True)
                return RateLimiter(Settings.load(**given), shared)

            yield one
            for attempts in made:
                await attempts.close()
        return
    async with new_place(request.param, tmp_path) as place:
        if isinstance(place, SqlitePlace):
            place.path.parent.mkdir()
            new_sqlite_file(place.path)
        else:
            first = place.store()
            await first.migrate()
            made.append(first)

        def another(**given: Any) -> RateLimiter:
            store = place.store()
            made.append(store)
            settings = Settings.load(**{"limits": "database", **given})
            shared = open_shared_limits(settings, store, SECRET)
            assert shared is not None
            return RateLimiter(settings, shared)

        yield another
        for store in made:
            await store.close()


async def guess(limiter: RateLimiter, *, address: str = "192.0.2.1", right: bool = False) -> bool:
    """Whether the password was looked at."""
    try:
        async with limiter.attempt("alice", address) as attempt:
            await asyncio.sleep(0.01)
            await (attempt.succeeded() if right else attempt.failed())
    except RateLimited as refusal:
        return not 1 <= refusal.retry_after <= 60
    return True


async def test_guesses_at_three_nodes_at_once_get_the_looks_of_one(nodes: Callable[..., RateLimiter]) -> None:
    three = [nodes(login_limit_account="10/minute") for _ in range(3)]
    looks = await asyncio.gather(*(guess(three[n % 3]) for n in range(60)))
    assert looks.count(True) == 10
    assert await guess(three[0], address="198.51.100.1")


async def test_a_success_at_one_node_clears_the_count_at_all(nodes: Callable[..., RateLimiter]) -> None:
    here, there = (nodes(login_limit_account="3/minute") for _ in range(2))
    for _ in range(3):
        assert await guess(here)
        assert await guess(there)
        assert await guess(here, right=True)


async def test_right_passwords_at_once_wait_for_each_other_and_are_not_counted(
    nodes: Callable[..., RateLimiter],
) -> None:
    here, there = (nodes(login_limit_account="2/minute", login_limit_address="5/minute") for _ in range(2))
    looks = await asyncio.gather(*(guess(one, right=True) for one in [here, there] * 10))
    assert looks.count(True) == 20


async def test_an_address_is_stopped_whichever_accounts_it_tries_wherever(
    nodes: Callable[..., RateLimiter],
) -> None:
    limiters = [nodes(login_limit_account="3/minute", login_limit_address="5/minute") for _ in range(2)]
    looked = 0
    for n in range(20):
        try:
            async with limiters[n % 2].attempt(f"user{n}", "192.0.2.1") as attempt:
                looked += 1
                await attempt.failed()
        except RateLimited:
            pass
    assert looked == 5


async def test_an_attempt_that_nobody_finished_counts_nothing(nodes: Callable[..., RateLimiter]) -> None:
    here, there = (nodes(login_limit_account="2/minute") for _ in range(2))
    for one in (here, there) * 4:
        with pytest.raises(ZeroDivisionError):
            async with one.attempt("alice", "192.0.2.1"):
                raise ZeroDivisionError
    assert await guess(here)

    async def hangs() -> None:
        async with here.attempt("alice", "192.0.2.1"):
            await asyncio.sleep(60)

    task = asyncio.create_task(hangs())
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await guess(there)
    assert not await guess(here)


async def test_the_time_passes_and_attempts_are_free_again(nodes: Callable[..., RateLimiter]) -> None:
    here, there = (nodes(login_limit_account="2/second") for _ in range(2))
    assert [await guess(one) for one in (here, there, here, there)].count(True) == 2
    await asyncio.sleep(1.1)
    assert await guess(there)


@pytest.mark.parametrize("what", ["register", "interact"])
async def test_registrations_and_interactions_are_counted_together(
    nodes: Callable[..., RateLimiter], what: str
) -> None:
    rates = {"register_limit_address": "3/minute", "interaction_limit_address": "3/minute"}
    two = [nodes(**rates) for _ in range(2)]
    done = await asyncio.gather(
        *(getattr(two[n % 2], what)("192.0.2.1") for n in range(8)), return_exceptions=True
    )
    assert sum(one is None for one in done) == 3
    assert all(isinstance(one, RateLimited) for one in done if one is not None)


# Redis that goes away


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[PrivateRedis]:
    with private_redis(tmp_path) as server:
        yield server


async def test_while_redis_is_away_each_process_counts_for_itself_and_goes_on_from_what_it_saw(
    redis: PrivateRedis,
) -> None:
    now = [0.0]
    attempts = RedisAttempts(redis.url)
    shared = SharedLimits(
        attempts, SECRET, now=lambda: datetime.now(UTC), may_be_away=True, monotonic=lambda: now[0]
    )
    limiter = RateLimiter(Settings.load(login_limit_account="5/minute"), shared)
    for _ in range(2):
        assert await guess(limiter)
    redis.stop()
    with capture_logs() as logs:
        assert [await guess(limiter) for _ in range(5)] == [True, True, True, False, False]
        assert [one["event"] for one in logs] == ["shared_limits_away"]
        redis.start()
        assert not await guess(limiter)  # not asked yet
        now[0] += 10
        assert await guess(limiter)  # Redis remembers nothing of before
        assert [one["event"] for one in logs] == ["shared_limits_away", "shared_limits_back"]
    await attempts.close()


async def test_what_redis_is_told_names_nobody(redis: PrivateRedis) -> None:
    from redis.asyncio import Redis

    attempts = RedisAttempts(redis.url)
    shared = SharedLimits(attempts, SECRET, now=lambda: datetime.now(UTC), may_be_away=True)
    await guess(RateLimiter(Settings.load(), shared))
    reader = Redis.from_url(redis.url)
    keys = await reader.keys("*")
    assert len(keys) == 2
    for key in keys:
        assert b"alice" not in key
        assert b"192.0.2.1" not in key
        assert 0 < await reader.pttl(key) <= 60_000
    await reader.aclose()
    await attempts.close()


async def test_the_same_words_apart_are_other_keys() -> None:
    shared = SharedLimits(
        RedisAttempts("redis://127.0.0.1:1/0"), SECRET, now=lambda: datetime.now(UTC), may_be_away=True
    )
    one, other = (Counted(words, 1, 60) for words in (("a", "bc"), ("ab", "c")))
    assert shared._limit(one).key != shared._limit(other).key


# the service


def test_two_nodes_look_at_as_many_guesses_as_one(
    start: Callable[..., Service], database: dict[str, Any], tmp_path: Path
) -> None:
    given = {"limits": "database", "login_limit_account": "10/minute", **database}
    two = [start(**given), start(**given)]
    user = new_user(two[0])

    def attempt(n: int) -> tuple[int, str]:
        with two[n % 2].client() as http:
            return problem(
                http.post("/v1/tokens", json={"username": user.username, "password": f"wrong {n}"})
            )

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(30)))
    assert answers.count((401, "invalid_credentials")) == 10
    assert answers.count((429, "rate_limited")) == 20
    with two[0].client() as http:
        admin = http.post("/v1/tokens", json={"username": "admin", "password": ADMIN_PASSWORD})
        assert http.get("/v1/authorize", headers=bearer(admin.json()["token"])).status_code == 200


@pytest.mark.parametrize("where", ["database", "redis"])
def test_workers_of_one_service_look_at_as_many_guesses_as_one(
    tmp_path: Path, where: str, redis: PrivateRedis
) -> None:
    limits = redis.url if where == "redis" else where
    rates = {"LOGIN_LIMIT_ACCOUNT": "10/minute", "OPEN_REGISTRATION": "true"}
    with process(tmp_path / "s", "--workers", "2", LIMITS=limits, **rates) as service:

        def attempt(n: int) -> int:
            with service.client() as http:  # a connection each, so that both workers are asked
                wish = {"username": "admin", "password": f"wrong {n}"}
                return http.post("/v1/tokens", json=wish).status_code

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(attempt, range(24)))
    assert (answers.count(401), answers.count(429)) == (10, 14)


def test_a_service_serves_while_redis_is_away_and_the_address_is_in_no_log(
    tmp_path: Path, redis: PrivateRedis
) -> None:
    redis.stop()
    url = redis.url.replace("redis://", "redis://:hunter2@")
    with process(tmp_path / "s", LIMITS=url) as service, service.client() as http:
        begun = time.monotonic()
        answer = http.post("/v1/tokens", json={"username": "admin", "password": ADMIN_PASSWORD})
        assert answer.status_code == 201
        assert time.monotonic() - begun < 5
        assert "shared_limits_away" in "\n".join(service.output)
        assert "hunter2" not in "\n".join(service.output)


def test_where_redis_cannot_be_spoken_to_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "caveats_service.storage.redis_attempts", None)
    settings = Settings.load(limits="redis://127.0.0.1:1/0")
    with pytest.raises(SettingsError, match=r"caveats\[redis\]"):
        open_shared_limits(settings, None, SECRET)  # type: ignore[arg-type]


def test_a_sign_in_is_refused_while_its_counts_are_away_with_the_database(
    start: Callable[..., Service],
) -> None:
    from caveats_service.storage import StoreUnavailable

    service = start(limits="database")
    user = new_user(service)

    async def away(*arguments: Any, **named: Any) -> None:
        raise StoreUnavailable("away")

    service.runtime.store.attempts.begin = away  # type: ignore[assignment,method-assign]
    with service.client() as http:
        answer: httpx.Response = http.post(
            "/v1/tokens", json={"username": user.username, "password": PASSWORD}
        )
        assert problem(answer) == (503, "unavailable")
