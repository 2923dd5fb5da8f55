"""Caveat kinds from entry points: enabled by name, judged within a deadline, and whatever they do, nobody else waits."""

# ruff: noqa: ASYNC110  a test has its loop to itself and may block

from __future__ import annotations

import asyncio
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats_service.core.plugins import PluginThreadPool
from caveats_service.settings import SettingsError
from tests.support.service import ADMIN_PASSWORD, Service, bearer, narrow, new_user, problem

SOURCE = """
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

from caveats import Caveat, Context, Unmet

CALLS = []


@dataclass(frozen=True, slots=True)
class Acme(Caveat):
    kind: ClassVar[str] = "acme/how"
    how: str

    @property
    def value(self):
        return self.how

    @classmethod
    def parse(cls, value):
        return cls(value)


def check(caveat: Acme, context: Context):
    CALLS.append(threading.current_thread().name)
    match caveat.how:
        case "holds":
            return True
        case "slow":
            time.sleep(1.2)
            return True
        case "blocks":
            time.sleep(30)
            return True
        case "raises":
            raise RuntimeError("secret of the plug-in")
        case "exits":
            raise SystemExit(3)
        case "awaits":
            return later()
        case "says yes":
            return "yes"
        case "says 1":
            return 1
        case "extra":
            return context.extra.get("album") == "42" or Unmet("another album", "album 42")
    return None


async def later():
    return True


def register(checkers):
    checkers.register(Acme, check)


def register_twice(checkers):
    register(checkers)
    register(checkers)


def broken(checkers):
    raise RuntimeError("no")
"""
ENTRIES = """
[caveats.checkers]
acme = acme_plugin:register
twice = acme_plugin:register_twice
broken = acme_plugin:broken
missing = acme_plugin:nothing
gone = no_such_module:register
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A distribution with entry points, as pip would leave it."""
    site = tmp_path_factory.mktemp("site")
    (site / "acme_plugin.py").write_text(textwrap.dedent(SOURCE))
    info = site / "acme_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    sys.path.insert(0, str(site))
    yield site
    sys.path.remove(str(site))
    sys.modules.pop("acme_plugin", None)


@pytest.fixture(scope="module")
def plugged(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    from tests.support.service import serving

    with serving(tmp_path_factory.mktemp("plugged"), checkers="acme", checker_deadline=0.5) as running:
        yield running


def ask(service: Service, how: str, path: str = "/v1/authorize") -> httpx.Response:
    token = narrow(new_user(service).token(), f"acme/how = {how}")
    with service.client() as http:
        return http.get(path, headers=bearer(token))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("holds", 200, ""),
        ("slow", 403, "took longer than 0.5 s"),
        ("raises", 403, "its check failed: RuntimeError"),
        ("exits", 403, "its check failed: SystemExit"),
        ("awaits", 403, "coroutine"),
        ("says yes", 403, "did not answer True"),
        ("says 1", 403, "did not answer True"),
        ("nothing", 403, "did not answer True"),
        ("extra", 403, "another album"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/authorize", "/v1/tokens"])
def test_only_true_in_time_is_a_yes(plugged: Service, path: str, how: str, status: int, reason: str) -> None:
    answer = ask(plugged, how, path)
    assert answer.status_code == status
    if status == 403:
        (failure,) = answer.json()["failures"]
        assert reason in failure["reason"]
        assert failure["kind"] == "acme/how"
        assert "secret" not in answer.text


def test_a_check_runs_once_and_beside_the_loop(plugged: Service) -> None:
    import acme_plugin  # type: ignore[import-not-found]

    for path in ("/v1/authorize", "/v1/tokens"):
        acme_plugin.CALLS.clear()
        assert ask(plugged, "holds", path).status_code == 200
        assert len(acme_plugin.CALLS) == 1
        assert acme_plugin.CALLS[0].startswith("checker")


def test_facts_reach_a_plug_in_through_verify(plugged: Service) -> None:
    token = narrow(new_user(plugged).token(), "acme/how = extra")
    with plugged.client() as http:
        for album, granted in (("42", True), ("43", False)):
            body = {"token": token, "extra": {"album": album}}
            assert http.post("/v1/verify", json=body).json()["granted"] is granted


def test_a_check_that_blocks_refuses_in_time_and_holds_up_nobody(plugged: Service) -> None:
    user = new_user(plugged)
    token = user.token()
    blocking, holding = narrow(token, "acme/how = blocks"), narrow(token, "acme/how = holds")
    with plugged.client() as http, ThreadPoolExecutor(4) as pool:
        begin = time.monotonic()
        blocked = [
            pool.submit(http.get, "/v1/authorize", headers=bearer(blocking)),
            pool.submit(http.post, "/v1/verify", json={"token": blocking}),
            pool.submit(http.post, "/v1/tokens", json={}, headers=bearer(blocking)),
        ]
        time.sleep(0.1)
        for _ in range(20):
            each = time.monotonic()
            assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
            assert http.get("/v1/authorize", headers=bearer(holding)).status_code == 200
            assert time.monotonic() - each < 0.4
        answers = [future.result() for future in blocked]
        assert time.monotonic() - begin < 3
    assert problem(answers[0]) == (403, "caveats_unsatisfied")
    assert answers[1].json()["granted"] is False
    assert answers[2].status_code == 201  # for this audience only, with the caveat in it
    assert b"acme/how = blocks" in _caveats(answers[2].json()["token"])


def _caveats(token: str) -> tuple[object, ...]:
    from caveats import Macaroon

    return Macaroon.decode(token).wire.caveats


def test_more_that_block_than_there_are_threads_still_hold_up_nobody_else(plugged: Service) -> None:
    token = new_user(plugged).token()
    blocking = narrow(token, "acme/how = blocks")
    with plugged.client() as http, ThreadPoolExecutor(12) as pool:
        begin = time.monotonic()
        futures = [pool.submit(http.get, "/v1/authorize", headers=bearer(blocking)) for _ in range(12)]
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
        assert {future.result().status_code for future in futures} == {403}
        assert time.monotonic() - begin < 3
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
        holding = narrow(token, "acme/how = holds")
        assert http.get("/v1/authorize", headers=bearer(holding)).status_code == 200, "no thread is left"


def test_a_kind_that_is_not_enabled_here_refuses(service: Service) -> None:
    answer = ask(service, "holds")
    assert problem(answer) == (403, "caveats_unsatisfied")


def test_its_values_are_judged_when_a_token_is_asked_for(plugged: Service) -> None:
    assert new_user(plugged).issue(caveats=["acme/how = holds"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing-of-this-name", "0 entry points"),
        ("twice", "does not load: ValueError"),
        ("broken", "does not load: RuntimeError"),
        ("missing", "does not load: AttributeError"),
        ("gone", "does not load: ModuleNotFoundError"),
    ],
)
def test_a_plug_in_that_does_not_load_refuses_to_start(
    installed: Path, start: Callable[..., Service], name: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        start(checkers=name)


# The pool by itself


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What checks that hang wait for; set in the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


async def hang(pool: PluginThreadPool, release: threading.Event, times: int) -> list[object]:
    """So many checks that hang, one after the other has begun, and how each ended."""
    ended: list[object] = []
    for _ in range(times):
        ended += await asyncio.gather(pool.run(release.wait, 0.02), return_exceptions=True)
    return ended


async def test_a_check_that_timed_out_before_it_began_leaves_the_queue(release: threading.Event) -> None:
    pool = PluginThreadPool(1, "test", most_lost=0)
    begun: list[int] = []
    await hang(pool, release, 1)
    late = await asyncio.gather(
        *(pool.run(lambda n=n: begun.append(n), 0.02) for n in range(100)),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert {type(error) for error in late} == {TimeoutError}
    assert not pool._waiting
    release.set()
    assert await pool.run(lambda: "well", 5) == "well"
    assert begun == [], "what nobody waits for any more was begun"


async def test_more_checks_than_may_wait_are_refused_at_once(release: threading.Event) -> None:
    pool = PluginThreadPool(1, "test", most_lost=0, most_waiting=3)
    running = asyncio.create_task(pool.run(release.wait, 30))
    await asyncio.sleep(0)
    while pool._waiting:  # until a thread has begun it
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(pool.run(lambda: "well", 30)) for _ in range(5)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(pool._waiting) == 3
    release.set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [end if end == "well" else type(end) for end in ended] == ["well"] * 3 + [TimeoutError] * 2
    assert await running


async def test_lost_threads_are_replaced_within_a_bound_and_come_back(release: threading.Event) -> None:
    pool = PluginThreadPool(2, "test", most_lost=4)
    for lost in range(1, 6):
        assert [type(error) for error in await hang(pool, release, 1)] == [TimeoutError]
        assert await pool.run(lambda: "well", 5) == "well", f"{lost} checks hang, and a good one is refused"
    assert pool._threads <= 2 + 4
    await hang(pool, release, 20)
    assert pool._threads == 2 + 4
    with pytest.raises(TimeoutError):
        await pool.run(lambda: "no thread is left", 0.02)
    release.set()
    assert await pool.run(lambda: "well", 5) == "well"
    while pool._threads > 2:
        await asyncio.sleep(0)
    assert pool._lost == 0
    pool.close()
    while pool._threads:
        await asyncio.sleep(0)


async def test_a_caller_who_goes_away_leaves_nothing_in_the_queue(release: threading.Event) -> None:
    pool = PluginThreadPool(
        1, "test", most_lost=20
    )  # a new thread may begin with one that is about to go away
    tasks = [asyncio.create_task(pool.run(release.wait, 30)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not pool._waiting
    assert await pool.run(lambda: "well", 5) == "well"


async def test_a_system_without_a_thread_to_give_leaves_nothing_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = PluginThreadPool(1, "test", most_lost=1, most_waiting=3)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await pool.run(lambda: "well", 0.02)
    assert not pool._waiting
    assert await pool.run(lambda: "well", 5) == "well"
    pool.close()


@pytest.mark.slow
def test_a_check_that_never_ends_does_not_keep_the_service_from_ending(
    installed: Path, tmp_path: Path
) -> None:
    from tests.support.service import process

    given = {"CHECKERS": "acme", "PYTHONPATH": str(installed), "OPEN_REGISTRATION": "true"}
    with process(tmp_path, CHECKER_DEADLINE="0.2", **given) as running, running.client() as http:
        body = {"username": "admin", "password": ADMIN_PASSWORD, "caveats": ["acme/how = blocks"]}
        token = http.post("/v1/tokens", json=body).json()["token"]
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 403
        http.close()
        begin = time.monotonic()
        running.stop()
        assert time.monotonic() - begin < 5
