"""Durations: one strict form, read back as written."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caveats.durations import LONGEST, BadDuration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        (90, 90),
        (0, 0),
        ("90s", 90),
        ("15m", 900),
        ("8h", 28_800),
        ("30d", 2_592_000),
        ("0d", 0),
        ("36500d", 36_500 * 86_400),
    ],
)
def test_an_accepted_form_is_its_length(text: str | int, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "s",
            "h8",
            "+5",
            "-5",
            " 5",
            "5 ",
            "5\n",
            "1_000",
            "1e3",
            "1.5",
            "0x10",
            "08h",
            "00",
            "8H",
        ),
        *(
            "8 h",
            "8hh",
            "1h30m",
            "8w",
            "8h ",
            "\u0665",
            "5\u0665",
            "\uff18h",
            "\u0663d",
            "nan",
            "inf",
            "9" * 5000,
            "36501d",
        ),
        *(-1, True, False, 10**12, 1.5, None, b"8h", [8]),
    ],
)
def test_any_other_form_is_refused(text: object) -> None:
    with pytest.raises(BadDuration):
        parse_duration(text)  # type: ignore[arg-type]


def test_a_refused_duration_is_a_value_error() -> None:
    assert issubclass(BadDuration, ValueError)


@given(st.integers(0, LONGEST // timedelta(seconds=1)))
@example(61)
def test_what_is_formatted_reads_back_as_the_same_length(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length


@given(st.text(max_size=8))
def test_whatever_is_read_is_plain_ascii_digits_and_a_unit(text: str) -> None:
    try:
        parse_duration(text)
    except BadDuration:
        return
    assert text.isascii()
    assert text.rstrip("smhd").isdigit()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (60, "1m"), (61, "61s"), (5400, "90m"), (86_400, "1d")]
)
def test_a_length_is_formatted_in_the_largest_unit_that_is_whole(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text
