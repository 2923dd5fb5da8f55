"""The time by which a process forgets: two clocks, one of which can be wrong for a while, from the start or later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from caveats_service.core.forgetting import LATE, ForgettingTime

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Machine:
    """A wall clock that people can set, and a clock that only runs."""

    def __init__(self, *, off: timedelta = timedelta(0)) -> None:
        self.true = NOW
        self.off = off
        self.forgetting = ForgettingTime(self.now, self.tick)

    def now(self) -> datetime:
        return self.true + self.off

    def tick(self) -> float:
        return (self.true - NOW).total_seconds()

    def run(self, seconds: float, *, looking_every: float = 2.0) -> None:
        """Let time pass, while the process looks at its clocks."""
        until = self.true + timedelta(seconds=seconds)
        while self.true < until:
            self.true = min(until, self.true + timedelta(seconds=looking_every))
            self.forgetting()


@pytest.mark.parametrize("off", [timedelta(hours=1), 100 * DAY, 40_000 * DAY])
def test_a_clock_that_is_set_ahead_is_not_followed_until_it_has_run_like_that_for_an_hour(
    off: timedelta,
) -> None:
    machine = Machine()
    machine.run(60)
    machine.off = off
    machine.run(3590)
    assert machine.forgetting() == machine.true
    machine.run(20)
    assert machine.forgetting() == machine.true + off


def test_a_clock_that_jumps_again_and_again_is_never_followed() -> None:
    machine = Machine()
    for n in range(10):
        machine.off = (n % 3 + 1) * DAY
        machine.run(3000, looking_every=60)
        machine.off = timedelta(0) if n % 2 else machine.off
        assert machine.forgetting() == machine.true


def test_a_clock_that_was_far_behind_at_the_start_is_followed_an_hour_after_it_was_set_right() -> None:
    """Else nothing would be forgotten, and no key replaced, until the next start."""
    machine = Machine(off=-20_000 * DAY)
    machine.run(60)
    machine.off = timedelta(0)
    machine.run(60)
    assert machine.forgetting() < machine.true - 19_000 * DAY
    machine.run(3600)
    assert machine.forgetting() == machine.true


def test_a_clock_that_is_behind_is_followed_at_once() -> None:
    machine = Machine()
    machine.off = -DAY
    assert machine.forgetting() == machine.true - DAY
    assert machine.forgetting.went_back()
    assert not machine.forgetting.went_back()


@pytest.mark.parametrize(
    ("before", "doubtful"),
    [
        (None, False),
        (NOW, False),
        (NOW - LATE, False),
        (NOW - LATE - timedelta(seconds=1), True),
        (NOW - 100 * DAY, True),
        (NOW + 100 * DAY, False),
    ],
    ids=["nothing", "now", "late", "later", "long ago", "by a clock that was ahead"],
)
def test_a_start_long_after_all_that_was_written_down_is_doubtful_for_an_hour(
    before: datetime | None, *, doubtful: bool
) -> None:
    machine = Machine()
    machine.forgetting.known_before(before)
    assert not machine.forgetting.may_destroy
    machine.run(10)
    assert (machine.forgetting.is_doubtful, machine.forgetting.may_destroy) == (doubtful, not doubtful)
    machine.run(3580)
    assert (machine.forgetting.is_doubtful, machine.forgetting.may_destroy) == (doubtful, not doubtful)
    machine.run(20)
    assert (machine.forgetting.is_doubtful, machine.forgetting.may_destroy) == (False, True)


def test_a_clock_that_was_ahead_at_the_start_is_no_more_in_doubt_once_it_is_right() -> None:
    machine = Machine(off=100 * DAY)
    machine.forgetting.known_before(NOW - timedelta(minutes=1))
    machine.run(20)
    assert machine.forgetting.is_doubtful
    machine.off = timedelta(0)
    assert machine.forgetting.may_destroy
