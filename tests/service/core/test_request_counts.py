"""Requests by the minute: an hour of them, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats_service.core.request_counts import MinuteCount, Outcome, RequestCounts

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def after(**how_long: float) -> datetime:
    return NOON + timedelta(**how_long)


def test_each_minute_has_its_own_count_and_a_quiet_one_has_zeros() -> None:
    counts = RequestCounts(NOON)
    for outcome, at in (
        (Outcome.ANSWERED, after(seconds=1)),
        (Outcome.REFUSED, after(seconds=59)),
        (Outcome.FAILED, after(minutes=2)),
    ):
        counts.add(outcome, at)
    assert counts.last_hour(after(minutes=2, seconds=30)) == (
        MinuteCount(NOON, 2, 1, 0),
        MinuteCount(after(minutes=1), 0, 0, 0),
        MinuteCount(after(minutes=2), 1, 0, 1),
    )


def test_what_is_older_than_an_hour_is_gone() -> None:
    counts = RequestCounts(NOON)
    counts.add(Outcome.ANSWERED, NOON)
    assert sum(minute.requests for minute in counts.last_hour(after(minutes=59, seconds=59))) == 1
    hour = counts.last_hour(after(minutes=60))
    assert (len(hour), sum(minute.requests for minute in hour)) == (60, 0)
    assert counts.last_hour(after(days=30))[0].at == after(days=30, minutes=-59)


def test_a_minute_begins_with_the_clocks_minute() -> None:
    counts = RequestCounts(after(seconds=42))
    assert [minute.at for minute in counts.last_hour(after(minutes=1, seconds=1))] == [NOON, after(minutes=1)]


@pytest.mark.parametrize("back", [1, 61, 100_000])
def test_a_clock_that_goes_back_loses_counts_and_nothing_else(back: int) -> None:
    counts = RequestCounts(NOON)
    counts.add(Outcome.ANSWERED, NOON)
    earlier = after(minutes=-back)
    counts.add(Outcome.REFUSED, earlier)
    assert counts.last_hour(earlier) == ()
    assert sum(minute.requests for minute in counts.last_hour(NOON)) <= 1


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.integers(0, 59 * 60 + 59)), max_size=200))
def test_the_hour_adds_up(added: list[tuple[Outcome, int]]) -> None:
    counts = RequestCounts(NOON)
    for outcome, second in sorted(added, key=lambda one: one[1]):
        counts.add(outcome, after(seconds=second))
    hour = counts.last_hour(after(minutes=59, seconds=59))
    assert len(hour) == 60
    assert sum(minute.requests for minute in hour) == len(added)
    for outcome, total in (
        (Outcome.REFUSED, sum(minute.refused for minute in hour)),
        (Outcome.FAILED, sum(minute.failed for minute in hour)),
    ):
        assert total == sum(one is outcome for one, _ in added)
