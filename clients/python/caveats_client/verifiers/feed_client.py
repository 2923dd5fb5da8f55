"""Requests for the feed of revocations: which one to send, when to send the next, and how to split answers into lines.

Pure: opens nothing. Knows the three forms of the feed: server-sent events, long-poll, and the whole feed compressed.
Knows no page and no key. If a proxy holds events back, no line arrives; then the verifier polls. Whoever answers may be
a mirror that means harm: what is read without news is bounded in bytes and lines, after unpacking.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from caveats.errors import reduce_error
from caveats_client.api.messages import seconds_to_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from caveats_client.verifiers.replica import Place, VerifierIdentity

PATH = "/v1/revocations/feed"
PROOF_HEADER = "X-Feed-Proof"
VERIFIER_HEADER = "X-Feed-Verifier"
SILENCE = 6.0
"""Seconds without a line after which a stream counts as broken: three heartbeats."""
POLL_SECONDS = 4
"""Seconds that a long-poll waits: short enough that a change of keys alone, which ends no poll, is seen in five."""
LONGEST_LINE = 1024 * 1024
"""Bytes of a line, and of an event. A page of 5000 entries has 750 KiB at most."""
MOST_WITHOUT_NEWS = 2 * 1024 * 1024
"""Bytes of an answer, packed and unpacked, without anything new in them."""
MOST_LINES_WITHOUT_NEWS = 1000
"""Lines of an answer, empty ones too, without anything new in them."""
_LEAST_CHUNK = 128
"""Bytes that a smaller chunk counts as: each takes some 20 us, whatever is in it."""
SLICE = 16 * 1024
"""Bytes that are unpacked and handled at a time: some milliseconds of work."""
_GZIP = 16 + zlib.MAX_WBITS
_POLL_FOR = 300.0
"""Seconds of polling after which events are tried again."""
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0
"""Seconds to wait after a failure: the first value, doubled at each failure up to the second."""
_LONGEST_ASKED = 30.0
"""The most seconds that an answer may ask to wait: at most half of those that are left until the verifier is stale."""
_NO_STREAM = frozenset((404, 405, 406, 415, 500, 501, 505))


class Mode(Enum):
    """The form in which the feed is requested."""

    CATCH_UP = "catch up"
    """Everything up to now, compressed."""
    STREAM = "stream"
    """As server-sent events."""
    POLL = "poll"
    """By long-poll."""


class CannotRead(Exception):
    """The answer is not the feed.

    `retry_after`: seconds that the service asked to wait. `unsuited`: another mode may work. `unproved`: the service no
    longer accepts the key that the request proved.
    """

    __reduce__ = reduce_error

    def __init__(
        self, text: str, *, retry_after: float = 0.0, unsuited: bool = False, unproved: bool = False
    ) -> None:
        super().__init__(text)
        self.unproved = unproved
        self.retry_after = retry_after
        self.unsuited = unsuited


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """One request for the feed."""

    mode: Mode
    query: Mapping[str, str]
    headers: Mapping[str, str]
    patience: float
    """The most seconds between two lines."""


def feed_request(
    mode: Mode, identity: VerifierIdentity, place: Place, proof: str, poll_seconds: int = POLL_SECONDS
) -> FeedRequest:
    """The request for the pages after `place`. `proof`: proves that this verifier has a key of its audience.

    `poll_seconds`: how long a long-poll may wait for news.
    """
    query = {"audience": identity.audience, "after": str(place.after)}
    shown = {PROOF_HEADER: proof, VERIFIER_HEADER: identity.verifier_id}
    if place.epoch is not None:
        query["epoch"] = str(place.epoch)
    if mode is Mode.STREAM:
        headers = {**shown, "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        return FeedRequest(mode, query, {**headers, "Cache-Control": "no-store"}, SILENCE)
    if mode is Mode.POLL:
        query["wait"] = str(poll_seconds)
    headers = {**shown, "Accept": "application/x-ndjson", "Accept-Encoding": "gzip"}
    return FeedRequest(mode, query, headers, SILENCE + (poll_seconds if mode is Mode.POLL else 0))


class LineReader:
    """The lines of the feed in an answer's bytes as they come, within bounds."""

    def __init__(self, asked: FeedRequest, status: int, headers: Mapping[str, str]) -> None:
        """Raises `CannotRead` for an answer that is not the feed."""
        self._events = asked.mode is Mode.STREAM
        self._rest = bytearray()
        self._data: list[str] = []
        self._data_size = 0
        self._packed = None
        self.heard_news()
        if status != 200:
            unsuited = self._events and status in _NO_STREAM
            retry_after = seconds_to_wait(headers.get("retry-after"), headers.get("date")) or 0.0
            raise CannotRead(
                _said(status), retry_after=retry_after, unsuited=unsuited, unproved=status == 403
            )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._events and kind != "text/event-stream":
            raise CannotRead("a proxy answers with something other than an event stream", unsuited=True)
        packing = headers.get("content-encoding", "").strip().lower()
        if packing == "gzip" and not self._events:
            self._packed = zlib.decompressobj(_GZIP)
        elif packing not in ("", "identity"):
            raise CannotRead("an answer in an encoding that was not asked for", unsuited=self._events)

    def heard_news(self) -> None:
        """Begin to count anew: the lines so far had news."""
        self._bytes_left = MOST_WITHOUT_NEWS
        self._lines_left = MOST_LINES_WITHOUT_NEWS

    def slices(self, chunk: bytes) -> Iterator[bytes]:
        """The bytes of the answer in a chunk of its body as it was sent, unpacked, at most `SLICE` bytes at a time.

        Raises `CannotRead` for what cannot be unpacked, and for more bytes than an answer may have without news.
        """
        self._count_bytes(max(len(chunk), _LEAST_CHUNK))
        if self._packed is None:
            for start in range(0, len(chunk), SLICE):
                yield chunk[start : start + SLICE]
            return
        full = False  # whether zlib may hold more than the last slice had room for
        while chunk or full:
            try:
                part = self._packed.decompress(chunk, SLICE)
            except zlib.error:
                raise CannotRead("an answer that cannot be unpacked") from None
            if self._packed.unused_data:
                raise CannotRead("an answer that goes on after its end")
            chunk, full = self._packed.unconsumed_tail, len(part) == SLICE
            self._count_bytes(len(part))
            yield part

    def _count_bytes(self, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise CannotRead(f"more than {MOST_WITHOUT_NEWS} bytes without anything new")

    def take(self, chunk: bytes) -> Iterator[str]:
        """The lines that are complete with these bytes.

        Raises `CannotRead` for a line that is too long, and for more lines than an answer may have without news.
        """
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._lines_left -= 1
            if self._lines_left < 0:
                raise CannotRead(f"more than {MOST_LINES_WITHOUT_NEWS} lines without anything new")
            self._rest += chunk[start:end]
            line = self._line(self._rest.removesuffix(b"\r").decode("ascii", "replace"))
            self._rest.clear()
            start = end + 1
            if line is not None:
                yield line
        self._rest += chunk[start:]
        if len(self._rest) > LONGEST_LINE:
            raise CannotRead("a line without an end")

    def _line(self, text: str) -> str | None:
        if not self._events:
            return text or None
        if text.startswith("data:"):
            self._data.append(text[5:].removeprefix(" "))
            self._data_size += len(text)
            if self._data_size > LONGEST_LINE:
                raise CannotRead("an event without an end")
        elif not text and self._data:
            data, self._data, self._data_size = "\n".join(self._data), [], 0
            return data
        return None


@dataclass(slots=True)
class Backoff:
    """The mode of the next request, and the seconds to wait before it, by the results of the last ones."""

    random: Callable[[], float]
    """A random number from 0 to 1: it keeps a thousand verifiers from asking at the same moment."""
    failures: int = 0
    _poll_until: float = field(default=float("-inf"))

    def mode(self, *, behind: bool, tick: float) -> Mode:
        """The mode of the next request. `behind`: the whole feed is to be read, which is sent compressed. `tick`: seconds."""
        if behind:
            return Mode.CATCH_UP
        return Mode.POLL if tick < self._poll_until else Mode.STREAM

    def ended(self, mode: Mode, *, news: bool, seconds: float) -> float:
        """Seconds to wait after an answer that ended. `news`: it contained something new. `seconds`: how long it took."""
        if not news:
            return self.failed()
        self.failures = 0
        if mode is Mode.STREAM:  # the node stopped, or closed the stream
            return 0.2 * self.random()
        return max(0.0, 0.2 - seconds) if mode is Mode.POLL else 0.0

    def no_stream(self, tick: float) -> None:
        """No events arrive: poll for some minutes, then try events again."""
        self._poll_until = tick + _POLL_FOR

    def failed(self, retry_after: float = 0.0, left: float = math.inf) -> float:
        """Seconds to wait after a failed attempt: as many as the answer asked for, and never past the bound.

        `left`: seconds until the verifier is stale. Whatever is on the way can ask to wait, and would make it so.
        """
        self.failures += 1
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self.failures - 1, 10)) * (0.5 + self.random() / 2)
        wait = min(wait, max(_FIRST_WAIT, left / 2)) if left > 0 else wait
        return max(wait, min(retry_after, _LONGEST_ASKED, left / 2))


def _said(status: int) -> str:
    if status == 403:
        return "the service does not let this verifier read the feed (403): are its keys retired, or its clock off?"
    return f"the feed answers {status}"
