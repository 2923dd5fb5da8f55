from datetime import UTC, datetime, timedelta

import pytest

from caveats_client.durations import in_words, parse_duration, relative


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("8h", 28_800), ("30d", 2_592_000)],
)
def test_lengths_of_time_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 8h",
        "8h ",
        "8 h",
        "+8h",
        "-8h",
        "8H",
        "8.5h",
        "1h30m",
        "08h",
        "1_000",
        "٣h",
        "8w",
        "1e3",
        "36501d",
    ],
)
def test_anything_else_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="a length of time is"):
        parse_duration(text)


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


def test_client_and_service_read_the_same_lengths() -> None:
    durations = pytest.importorskip("caveats_service.durations")
    for text in ("0", "90", "90s", "15m", "8h", "30d", "36500d", "9999999999"):
        try:
            theirs = durations.parse_duration(text)
        except ValueError:
            theirs = None
        try:
            ours = parse_duration(text)
        except ValueError:
            ours = None
        assert ours == theirs
