"""How the feed is asked for, read and paced: bytes to lines, answers that are none, and when to come back."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats_client.verifiers.feed_client import (
    LONGEST_LINE,
    MOST_LINES_WITHOUT_NEWS,
    MOST_WITHOUT_NEWS,
    PROOF_HEADER,
    SILENCE,
    SLICE,
    Backoff,
    CannotRead,
    LineReader,
    Mode,
    feed_request,
)
from caveats_client.verifiers.replica import Place
from tests.support.local import IDENTITY

EVENTS = {"content-type": "text/event-stream; charset=utf-8"}
NDJSON = {"content-type": "application/x-ndjson"}


def reading(mode: Mode, status: int = 200, headers: dict[str, str] | None = None) -> LineReader:
    default = EVENTS if mode is Mode.STREAM else NDJSON
    return LineReader(
        feed_request(mode, IDENTITY, Place(7, 2), "proof"), status, default if headers is None else headers
    )


def lines(mode: Mode, *chunks: bytes) -> list[str]:
    read = reading(mode)
    return [line for chunk in chunks for line in read.take(chunk)]


@pytest.mark.parametrize(
    ("mode", "accepts", "query"),
    [
        (Mode.CATCH_UP, "application/x-ndjson", {}),
        (Mode.POLL, "application/x-ndjson", {"wait": "4"}),
        (Mode.STREAM, "text/event-stream", {}),
    ],
)
def test_a_request_says_from_where_and_in_which_form(mode: Mode, accepts: str, query: dict[str, str]) -> None:
    asked = feed_request(mode, IDENTITY, Place(7, 2), "proof")
    assert asked.query == {"audience": "photos", "after": "7", "epoch": "2", **query}
    assert asked.headers[PROOF_HEADER] == "proof"
    assert asked.headers["Accept"] == accepts
    assert asked.patience >= SILENCE
    assert "epoch" not in feed_request(mode, IDENTITY, Place(0, None), "proof").query


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"id: 7\nevent: page\ndata: a b\n\n", ["a b"], id="an event"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"], id="with carriage returns"),
        pytest.param(b"data:a\n\n", ["a"], id="no space"),
        pytest.param(b": a comment\n\n\n", [], id="a comment"),
        pytest.param(b"data: a\ndata: b\n\n", ["a\nb"], id="two lines of data"),
        pytest.param(b"data: a\n", [], id="not finished"),
        pytest.param(b"event: page\n\n", [], id="no data"),
        pytest.param(b"data: \xff\n\n", ["\ufffd"], id="not ASCII, which no page is"),
    ],
)
def test_events_are_read(body: bytes, expected: list[str]) -> None:
    assert lines(Mode.STREAM, body) == expected


@given(st.lists(st.text("ab{}", min_size=1, max_size=30), max_size=8), st.data())
def test_lines_do_not_depend_on_how_the_bytes_are_cut(texts: list[str], data: st.DataObject) -> None:
    for mode, whole in (
        (Mode.STREAM, "".join(f"event: page\ndata: {text}\n\n" for text in texts).encode()),
        (Mode.POLL, "".join(f"{text}\n" for text in texts).encode()),
    ):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
        pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert lines(mode, *pieces) == texts


def test_a_line_without_an_end_is_given_up() -> None:
    read = reading(Mode.POLL)
    with pytest.raises(CannotRead, match="without an end"):
        for _ in range(LONGEST_LINE // 2**20 + 1):
            list(read.take(b"x" * 2**20))


PACKED = {**NDJSON, "content-encoding": "gzip"}


def test_an_event_without_an_end_is_given_up() -> None:
    read = reading(Mode.STREAM)
    line = b"data: " + b"x" * (SLICE - 7) + b"\n"
    with pytest.raises(CannotRead, match="event without an end"):
        for _ in range(LONGEST_LINE // SLICE + 2):
            list(read.take(line))
            read.heard_news()


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        pytest.param(Mode.CATCH_UP, b"\n", id="empty lines"),
        pytest.param(Mode.POLL, b"k1 00 {}\n", id="lines"),
        pytest.param(Mode.STREAM, b"\r\n", id="events without data"),
        pytest.param(Mode.STREAM, b": a comment\n", id="comments"),
        pytest.param(Mode.STREAM, b"data: a\n\n", id="events"),
    ],
)
def test_lines_without_news_are_bounded_whatever_they_are(mode: Mode, line: bytes) -> None:
    events = mode is Mode.STREAM
    sent = line * 100_000 if events else gzip.compress(line * 100_000)
    read = reading(mode, headers=EVENTS if events else PACKED)
    taken = 0
    with pytest.raises(CannotRead, match="lines without anything new"):
        for part in read.slices(sent):
            for _ in read.take(part):
                taken += 1
    assert taken <= MOST_LINES_WITHOUT_NEWS


def test_an_answer_with_news_in_it_goes_on_for_as_long_as_it_has_any() -> None:
    read = reading(Mode.CATCH_UP, headers=PACKED)
    lines = b"k1 00 {}\n" * (3 * MOST_LINES_WITHOUT_NEWS)
    count = 0
    for part in read.slices(gzip.compress(lines)):
        for _ in read.take(part):
            read.heard_news()
            count += 1
    assert count == 3 * MOST_LINES_WITHOUT_NEWS


@pytest.mark.parametrize("headers", [NDJSON, PACKED], ids=["plain", "packed"])
@pytest.mark.parametrize("size", [0, 1, SLICE - 1, SLICE, SLICE + 1, 5 * SLICE])
def test_an_answer_comes_in_slices_and_whole(headers: dict[str, str], size: int) -> None:
    body = (b"0123456789abcde\n" * (size // 16 + 1))[:size]
    sent = gzip.compress(body) if headers is PACKED else body
    read = reading(Mode.POLL, headers=headers)
    parts = [part for at in range(0, len(sent), 7) for part in read.slices(sent[at : at + 7])]
    assert b"".join(parts) == body
    assert all(len(part) <= SLICE for part in reading(Mode.POLL, headers=headers).slices(sent))


def test_a_packed_answer_is_bounded_after_unpacking_in_bytes_and_in_memory() -> None:
    packed = gzip.compress(bytes(8 * MOST_WITHOUT_NEWS))
    read = reading(Mode.CATCH_UP, headers=PACKED)
    size = 0
    tracemalloc.start()
    with pytest.raises(CannotRead, match="without anything new"):
        for part in read.slices(packed):
            size += len(part)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size <= MOST_WITHOUT_NEWS
    assert peak < 1_000_000


def test_a_packed_answer_that_unpacks_to_nothing_is_bounded_as_well() -> None:
    read = reading(Mode.CATCH_UP, headers=PACKED)
    assert list(read.slices(gzip.compress(b"")[:10])) == [b""]
    with pytest.raises(CannotRead, match="without anything new"):
        for _ in range(MOST_WITHOUT_NEWS // 50_000 + 1):
            assert not any(read.slices(b"\x00\x00\x00\xff\xff" * 10_000))


@pytest.mark.parametrize("packing", ["gzip, gzip", "gzip, identity", "br", "zstd", "deflate", "x"])
def test_an_answer_packed_in_another_way_is_not_unpacked(packing: str) -> None:
    for mode in (Mode.CATCH_UP, Mode.POLL):
        with pytest.raises(CannotRead, match="encoding"):
            reading(mode, headers={**NDJSON, "content-encoding": packing})


def test_events_are_asked_for_unpacked_and_not_unpacked() -> None:
    with pytest.raises(CannotRead, match="encoding") as refused:
        reading(Mode.STREAM, headers={**EVENTS, "content-encoding": "gzip"})
    assert refused.value.unsuited


def test_ever_so_small_pieces_of_an_answer_are_bounded_in_number() -> None:
    read, pieces = reading(Mode.POLL), 0
    with pytest.raises(CannotRead, match="without anything new"):
        while True:
            list(read.slices(b"x"))
            pieces += 1
    assert pieces <= 20_000


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"not packed at all", "cannot be unpacked", id="not packed"),
        pytest.param(gzip.compress(b"a\n") + b"b", "after its end", id="more behind it"),
        pytest.param(gzip.compress(b"a\n") * 2, "after its end", id="twice"),
    ],
)
def test_a_packed_answer_that_is_none_is_given_up(body: bytes, says: str) -> None:
    read = reading(Mode.CATCH_UP, headers=PACKED)
    with pytest.raises(CannotRead, match=says):
        list(read.slices(body))


@pytest.mark.parametrize(
    ("mode", "status", "headers", "unsuited", "unproved", "retry_after"),
    [
        pytest.param(Mode.STREAM, 200, NDJSON, True, False, 0, id="a proxy that answers with something else"),
        pytest.param(Mode.STREAM, 200, {}, True, False, 0, id="no type at all"),
        pytest.param(Mode.STREAM, 406, {}, True, False, 0, id="no streams here"),
        pytest.param(Mode.POLL, 406, {}, False, False, 0, id="a poll is not one"),
        pytest.param(Mode.STREAM, 403, {}, False, True, 0, id="the proof does not hold"),
        pytest.param(Mode.STREAM, 503, {"retry-after": "7"}, False, False, 7, id="busy"),
        pytest.param(
            Mode.CATCH_UP, 503, {"retry-after": "tomorrow"}, False, False, 0, id="busy until some day"
        ),
        pytest.param(
            Mode.POLL,
            503,
            {"retry-after": "Sat, 21 Nov 2026 12:00:07 GMT", "date": "Sat, 21 Nov 2026 12:00:00 GMT"},
            False,
            False,
            7,
            id="busy until a time",
        ),
        pytest.param(Mode.POLL, 503, {"retry-after": "-7"}, False, False, 0, id="busy until before"),
        pytest.param(Mode.CATCH_UP, 301, {}, False, False, 0, id="elsewhere"),
    ],
)
def test_an_answer_that_is_not_the_feed_says_what_to_do(
    mode: Mode, status: int, headers: dict[str, str], *, unsuited: bool, unproved: bool, retry_after: float
) -> None:
    with pytest.raises(CannotRead) as refused:
        reading(mode, status, headers)
    found = refused.value
    assert (found.unsuited, found.unproved, found.retry_after) == (unsuited, unproved, retry_after)


def test_waits_grow_to_five_seconds_differ_and_begin_anew_after_news() -> None:
    for random, factor in ((0.0, 0.5), (1.0, 1.0)):
        backoff = Backoff(lambda random=random: random)  # type: ignore[misc]
        waits = [backoff.failed() for _ in range(40)]
        assert waits[:6] == [factor * wait for wait in (0.25, 0.5, 1.0, 2.0, 4.0, 5.0)]
        assert waits[-1] == 5.0 * factor
        assert backoff.ended(Mode.CATCH_UP, news=True, seconds=1) == 0
        assert backoff.failed() == 0.25 * factor


def test_the_service_may_ask_for_more_patience_but_not_for_ever() -> None:
    backoff = Backoff(lambda: 0.0)
    assert backoff.failed(retry_after=7) == 7
    assert backoff.failed(retry_after=999_999) == 30


@pytest.mark.parametrize("asked", [30, 86_400, 10**9])
def test_nobody_on_the_way_can_ask_for_a_wait_that_outlasts_the_bound(asked: float) -> None:
    for bound in (30.0, 2.0):
        backoff, left, times = Backoff(lambda: 1.0), bound, 0
        while left > bound / 20:
            wait = backoff.failed(asked, left)
            assert wait < max(left, 0.26)
            left, times = left - wait, times + 1
        assert times >= 3
    assert Backoff(lambda: 1.0).failed(asked, 0.0) == 0.25


def test_an_answer_that_teaches_nothing_is_a_failure() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.ended(Mode.POLL, news=False, seconds=0) for _ in range(3)] == [0.25, 0.5, 1.0]


def test_a_stream_that_ended_is_taken_up_again_at_once_and_polls_do_not_spin() -> None:
    backoff = Backoff(lambda: 1.0)
    assert backoff.ended(Mode.STREAM, news=True, seconds=60) <= 0.2
    assert backoff.ended(Mode.POLL, news=True, seconds=0.05) == pytest.approx(0.15)
    assert backoff.ended(Mode.POLL, news=True, seconds=4) == 0


def test_everything_is_asked_for_compressed_news_as_events_and_polled_for_where_those_do_not_come_through() -> (
    None
):
    backoff = Backoff(lambda: 0.0)
    assert backoff.mode(behind=True, tick=0) is Mode.CATCH_UP
    assert backoff.mode(behind=False, tick=0) is Mode.STREAM
    backoff.no_stream(tick=10)
    assert backoff.mode(behind=False, tick=11) is Mode.POLL
    assert backoff.mode(behind=True, tick=11) is Mode.CATCH_UP
    assert backoff.mode(behind=False, tick=311) is Mode.STREAM
