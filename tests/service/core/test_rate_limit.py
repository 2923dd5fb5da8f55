"""Guessing is slow, for the guesser and for nobody else."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats_service.core.errors import RateLimited
from caveats_service.core.passwords import PasswordProfile
from caveats_service.core.rate_limit import MOST_BYTES, MOST_WAITERS, MovingWindow, RateLimiter
from caveats_service.settings import Settings
from tests.support.service import Service, User, basic, new_user, problem

PROXIED = {"trusted_proxies": "127.0.0.0/8"}


def guess(http: httpx.Client, username: str, password: str, address: str) -> httpx.Response:
    return http.post(
        "/v1/tokens",
        json={"username": username, "password": password},
        headers={"X-Forwarded-For": address},
    )


@pytest.fixture
def guarded(start: Callable[..., Service]) -> Service:
    return start(login_limit_account="10/minute", login_limit_address="60/minute", **PROXIED)


@pytest.mark.slow
def test_a_thousand_guesses_get_ten_looks_and_the_owner_elsewhere_signs_in(guarded: Service) -> None:
    user = new_user(guarded)
    with guarded.client() as http, ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(lambda n: guess(http, user.username, f"password{n}", "192.0.2.1"), range(1000))
        )
        kinds = [problem(answer) for answer in answers]
        assert kinds.count((401, "invalid_credentials")) == 10
        assert kinds.count((429, "rate_limited")) == 990
        assert all(1 <= int(a.headers["retry-after"]) <= 60 for a in answers if a.status_code == 429)
        assert guess(http, user.username, user.password, "192.0.2.1").status_code == 429
        assert guess(http, user.username, user.password, "198.51.100.1").status_code == 201


@pytest.mark.slow
def test_all_ways_to_show_a_password_are_counted_together(guarded: Service) -> None:
    user = new_user(guarded)
    wrong = {"username": user.username, "password": "wrong one"}
    ways: list[Callable[[httpx.Client], httpx.Response]] = [
        lambda http: http.post("/v1/tokens", json=wrong),
        lambda http: http.post("/v1/session", json=wrong),
        lambda http: http.get("/v1/tokens", headers=basic(user.username, "wrong one")),
        lambda http: http.get("/v1/keys", headers=basic(user.username, "wrong one")),
        lambda http: http.put(
            f"/v1/users/{user.username}/password", json={"password": "wrong one", "new_password": "brand new"}
        ),
    ]
    with guarded.client() as http:
        answers = [ways[n % 5](http).status_code for n in range(15)]
    assert answers == [401] * 10 + [429] * 5


@pytest.mark.slow
def test_a_success_lets_its_owner_try_again(guarded: Service) -> None:
    user = new_user(guarded)
    with guarded.client() as http:
        for _ in range(3):
            for n in range(9):
                assert guess(http, user.username, f"wrong one {n}", "192.0.2.1").status_code == 401
            assert guess(http, user.username, user.password, "192.0.2.1").status_code == 201


@pytest.mark.slow
def test_right_passwords_are_not_counted(guarded: Service) -> None:
    user = new_user(guarded)
    with guarded.client() as http, ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: guess(http, user.username, user.password, "192.0.2.1"), range(100)))
    assert {answer.status_code for answer in answers} == {201}


@pytest.mark.slow
def test_accounts_that_sign_in_rightly_without_end_leave_others_their_turn(
    start: Callable[..., Service],
) -> None:
    """Six accounts, five at a time each, for 1 + 12 places; a seventh from the same address signs in all the same.

    A hash takes longer than thirty clients in this process need to ask again, so that the places are taken.
    """
    service = start(password_workers=1, password_queue=12, password_profile=PasswordProfile(1, 32_768))
    greedy, other = [new_user(service) for _ in range(6)], new_user(service)
    over = threading.Event()

    def loop(user: User) -> set[int]:
        answers = set()
        with service.client() as http:
            while not over.is_set():
                answers.add(guess(http, user.username, user.password, "192.0.2.1").status_code)
        return answers

    with service.client() as http, ThreadPoolExecutor(30) as pool:
        looping = [pool.submit(loop, user) for user in greedy * 5]
        answers = [guess(http, other.username, other.password, "192.0.2.1").status_code for _ in range(8)]
        over.set()
    assert answers == [201] * 8
    assert 503 in set().union(*(one.result() for one in looping)), "the queue was never full"


def test_one_address_that_tries_many_accounts_is_stopped(guarded: Service) -> None:
    user = new_user(guarded)
    with guarded.client() as http:
        answers = [guess(http, f"nobody{n}", "password1", "192.0.2.9").status_code for n in range(70)]
        assert answers == [401] * 60 + [429] * 10
        assert guess(http, user.username, user.password, "192.0.2.9").status_code == 429
        assert guess(http, user.username, user.password, "192.0.2.10").status_code == 201


def test_an_ipv6_client_has_one_count_for_all_its_addresses(guarded: Service) -> None:
    user = new_user(guarded)
    with guarded.client() as http:
        answers = [
            guess(http, user.username, "wrong one", f"2001:db8:1:2::{n}").status_code for n in range(12)
        ]
        assert answers == [401] * 10 + [429] * 2
        assert guess(http, user.username, user.password, "2001:db8:1:3::1").status_code == 201


def test_a_forged_address_does_not_help_where_no_proxy_is_trusted(start: Callable[..., Service]) -> None:
    service = start(login_limit_account="5/minute", login_limit_address="1000/minute")
    user = new_user(service)
    with service.client() as http:
        answers = [guess(http, user.username, "wrong one", f"192.0.2.{n}").status_code for n in range(8)]
    assert answers == [401] * 5 + [429] * 3


@pytest.mark.slow
def test_the_wait_ends(start: Callable[..., Service]) -> None:
    service = start(login_limit_account="2/second", login_limit_address="1000/minute")
    user = new_user(service)
    with service.client() as http:
        answers = [guess(http, user.username, "wrong one", "192.0.2.1") for _ in range(3)]
        assert problem(answers[-1]) == (429, "rate_limited")
        time.sleep(1.1)
        assert guess(http, user.username, user.password, "192.0.2.1").status_code == 201


def test_a_password_that_cannot_be_one_is_a_guess_like_any_other(guarded: Service) -> None:
    user = new_user(guarded)
    with guarded.client() as http:
        answers = [guess(http, user.username, "", "192.0.2.1").status_code for _ in range(12)]
        assert answers == [400] * 10 + [429] * 2
        assert guess(http, user.username, user.password, "192.0.2.2").status_code == 201


@pytest.mark.slow
def test_nothing_is_kept_of_those_who_have_left(guarded: Service) -> None:
    user: User = new_user(guarded)
    with guarded.client() as http, ThreadPoolExecutor(30) as pool:
        list(pool.map(lambda n: guess(http, user.username, "wrong one", f"192.0.2.{n % 3}"), range(90)))
    assert guarded.runtime.rate_limiter._lines == {}


# The counts by themselves


class Ticks:
    """Seconds that a test turns on."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_so_many_in_any_stretch_of_time_and_then_again() -> None:
    ticks = Ticks()
    window = MovingWindow("3/minute", clock=ticks)
    for _ in range(3):
        assert window.hit("a")
        ticks.at += 10
    assert (window.hit("a"), window.left("a"), window.hit("b")) == (False, 0, True)
    assert window.refusal("a").retry_after == 30
    ticks.at += 30
    assert (window.left("a"), window.hit("a"), window.hit("a")) == (1, True, False)
    window.clear("a")
    assert window.left("a") == 3


def test_what_is_over_leaves_the_table() -> None:
    ticks = Ticks()
    window = MovingWindow("3/minute", clock=ticks)
    for n in range(1000):
        window.hit(f"address{n}")
    ticks.at += 60
    window.hit("another")
    assert len(window) == 1


def test_ever_new_addresses_do_not_lengthen_a_table_past_its_bound() -> None:
    window = MovingWindow("3/minute", most=100 * 432 + 64)
    for n in range(100):
        window.hit(f"address{n}")
    for _ in range(2):
        window.hit("address0")  # the latest now
    for n in range(100, 199):
        window.hit(f"address{n}")
    assert len(window) == 100
    assert (window.left("address0"), window.left("address99"), window.left("address196")) == (0, 3, 2)


@pytest.mark.slow
def test_a_full_table_takes_the_memory_that_it_says() -> None:
    tracemalloc.start()
    window = MovingWindow("60/minute")
    for n in range(100_000):
        window.hit(f"some-account-of-a-name-of-some-length-{n}", f"2001:0db8:{n:04x}:0001")
    own = [tracemalloc.Filter(True, file) for file in (__file__, inspect.getfile(MovingWindow))]
    traced = tracemalloc.take_snapshot().filter_traces(own)
    tracemalloc.stop()
    taken = sum(trace.size for trace in traced.traces)
    assert 30_000 < len(window) < 40_000
    assert taken < 1.1 * MOST_BYTES


def test_many_events_of_few_keys_are_bounded_too_and_the_latest_key_keeps_its_count() -> None:
    window = MovingWindow("100000/day", most=100_000)
    for n in range(5000):
        window.hit("address0" if n < 2000 else "address1")
    assert (window.left("address0"), window.left("address1")) == (100_000, 97_000)
    assert window._size <= 100_000
    small = MovingWindow("100000/day", most=10)
    assert small.hit("a")
    assert small.hit("a")
    assert (len(small), small._size) == (0, 0)


async def test_attempts_that_wait_for_one_account_are_bounded() -> None:
    limiter = RateLimiter(Settings.load(login_limit_account="1/minute"))
    over = asyncio.Event()

    async def attempt() -> None:
        async with limiter.attempt("alice", "192.0.2.1"):
            await over.wait()

    tasks = [asyncio.create_task(attempt()) for _ in range(MOST_WAITERS)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        await attempt()
    async with limiter.attempt("alice", "198.51.100.1"):
        pass
    over.set()
    await asyncio.gather(*tasks)
    assert limiter._lines == {}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=60), st.integers(1, 4))
def test_no_stretch_of_time_has_more_than_the_rate(events: list[tuple[str, int]], amount: int) -> None:
    ticks = Ticks()
    window = MovingWindow(f"{amount}/minute", clock=ticks)
    allowed: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for key, pause in events:
        ticks.at += pause
        recent = [at for at in allowed[key] if at > ticks.at - 60]
        assert window.left(key) == amount - len(recent)
        assert window.hit(key) == (len(recent) < amount)
        if len(recent) < amount:
            allowed[key].append(ticks.at)
    assert window._size == sum(400 + 32 * len(times) for times in window._events.values())
