"""The clock of a node: it agrees with the database's as far as is tolerated, or the node says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from caveats_service.core import log
from caveats_service.core.clock import ClockCheck
from caveats_service.storage import TOLERATED_SKEW, Store
from tests.support.service import Clock, Service, problem

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def check(clock: Clock, there: list[datetime | None]) -> ClockCheck:
    """Of a node with this clock; the database's is the last of `there`."""

    async def server_time() -> datetime | None:
        return there[-1]

    return ClockCheck(
        cast("Store", SimpleNamespace(instance=SimpleNamespace(server_time=server_time))), clock
    )


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (TOLERATED_SKEW, None),
        (-TOLERATED_SKEW, None),
        (TOLERATED_SKEW + SECOND, "2.0 s ahead of"),
        (-TOLERATED_SKEW - SECOND, "2.0 s behind"),
    ],
)
async def test_a_clock_that_is_further_off_than_is_tolerated_is_named(
    off: timedelta, said: str | None
) -> None:
    trouble = await check(Clock(NOW + off), [NOW]).trouble()
    assert trouble is None if said is None else trouble is not None and said in trouble


async def test_a_clock_is_off_by_no_more_than_the_answer_took() -> None:
    """The answer of a slow database is of some time between the question and now."""
    times = iter([NOW - 5 * SECOND, NOW + 5 * SECOND])
    there: list[datetime | None] = [NOW]
    assert await check(cast("Clock", lambda: next(times)), there).trouble() is None


async def test_a_database_on_this_machine_has_this_clock() -> None:
    assert await check(Clock(NOW), [None]).trouble() is None


async def test_a_clock_that_is_off_is_logged_once_until_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(log, "error", lambda event, **_: said.append(event))
    monkeypatch.setattr(log, "info", lambda event, **_: said.append(event))
    there: list[datetime | None] = [NOW]
    looking = check(Clock(NOW), there)
    for server in (NOW, NOW - 5 * SECOND, NOW - 5 * SECOND, NOW, NOW, NOW + 5 * SECOND):
        there.append(server)
        await looking.watch()
    assert said == ["clock_is_off", "clock_is_right", "clock_is_off"]


def test_a_node_whose_clock_is_off_against_the_database_is_not_ready(
    start: Callable[..., Service], database: dict[str, Any], clock: Clock
) -> None:
    with start(now=clock, **database).client() as http:
        answer = http.get("/readyz")
    if database:
        assert problem(answer) == (503, "unavailable")
        assert "behind the database's" in answer.json()["detail"]
    else:
        assert answer.status_code == 200
