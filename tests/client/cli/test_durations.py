from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from caveats_client.cli.durations import in_words, relative


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (42, "42 s"),
        (59.9, "1 min"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (599, "9 min 59 s"),
        (3599.9, "1 h"),
        (3600, "1 h"),
        (3700, "1 h 2 min"),
        (28_799, "8 h"),
        (28_740, "7 h 59 min"),
        (86_399, "1 d"),
        (90_000, "1 d 1 h"),
        (30 * 86_400, "30 d"),
        (-28_800, "8 h"),
    ],
)
def test_lengths_are_told_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.5, "now"), (28_800, "in 8 h"), (-180, "3 min ago")])
def test_moments_are_told_relative_to_now(seconds: float, words: str) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert relative(now + timedelta(seconds=seconds), now) == words
