"""Durations: one strict form, read back as written."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caveats.durations import (
    LONGEST,
    BadDuration,
    format_duration,
    parse_duration,
    parse_typed_duration,
    unit_of,
)


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
        ("1w", 604_800),
        ("5214w", 5214 * 604_800),
        ("1h30m", 5400),
        ("2d12h", 216_000),
        ("1w2d3h4m5s", 788_645),
        ("1h90m", 9000),
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
            "8h ",
            "30m1h",
            "1h1h",
            "1h 30m",
            "1h30",
            "1.5h",
            "1h-30m",
            "1mo",
            "1y",
            "5215w",
            "36500d1s",
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
    assert text.translate(dict.fromkeys(map(ord, "wdhms"))).isdigit()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (60, "1m"), (61, "61s"), (5400, "90m"), (86_400, "1d")]
)
def test_a_length_is_formatted_in_the_largest_unit_that_is_whole(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("text", "longest"),
    [("40000d", "36500d"), ("900000h", "876000h"), ("900000h1m", "876000h"), ("6000w", "36500d")],
)
def test_the_longest_is_told_in_the_unit_that_was_written(text: str, longest: str) -> None:
    with pytest.raises(BadDuration, match=f"at most {longest}$"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "8", "900"])
def test_a_person_who_types_a_bare_number_is_asked_for_its_unit(text: str) -> None:
    with pytest.raises(BadDuration, match=f"{text} has no unit: {text}s is seconds, .* {text}h hours"):
        parse_typed_duration(text)
    assert parse_typed_duration(f"{text}h") == timedelta(hours=int(text))


def test_a_person_is_not_told_of_bare_seconds() -> None:
    with pytest.raises(BadDuration, match=r"^a duration is a whole number with s, m, h, d or w"):
        parse_typed_duration("tomorrow")


@pytest.mark.parametrize(
    ("text", "unit"), [("8h", "h"), ("1h30m", "h"), ("2w", "w"), ("90", ""), (90, ""), ("", "")]
)
def test_the_unit_is_the_first_that_was_written(text: str | int, unit: str) -> None:
    assert unit_of(text) == unit
