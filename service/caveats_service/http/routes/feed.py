"""The revocation feed over HTTP: server-sent events, long-poll, or everything at once, compressed.

A reader shows that it holds a key of the audience, since entries name users. Each page is authenticated, so that it
may come through any cache or mirror.
"""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse

from caveats.http import Problem, bad_request, unavailable
from caveats.revocation import Page, check_reader, rows_text, seal_text
from caveats.token import is_audience, is_token_id
from caveats_service.core.errors import Busy
from caveats_service.core.feed import Reader
from caveats_service.http.request import NO_STORE, RequestContext

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from caveats_service.core.feed import RevocationFeed

PROOF_HEADER = "X-Feed-Proof"
VERIFIER_HEADER = "X-Feed-Verifier"
_LONGEST_WAIT = 30
"""Seconds."""
_MOST = 2**53
"""The greatest sequence and epoch that JSON carries exactly."""
_SSE = {**NO_STORE, "X-Accel-Buffering": "no"}


async def read(request: RequestContext) -> Response:
    """From a sequence on: as events for `Accept: text/event-stream`, else as lines up to now."""
    reader = await _reader(request)
    after = request.number("after", 0, _MOST)
    epoch = request.number("epoch", 0, _MOST) or None
    if "text/event-stream" in request.http.headers.get("accept", ""):
        return _event_stream(request, reader, after, epoch)
    wait = request.number("wait", 0, _LONGEST_WAIT)
    if wait:
        with request.runtime.feed.reading(reader.audience):
            await request.runtime.feed.wait_for_news(after, epoch, wait)
        if not await request.runtime.feed.admits(reader):
            raise _not_shown()
    return _line_stream(request, reader, after, epoch)


def _event_stream(request: RequestContext, reader: Reader, after: int, epoch: int | None) -> Response:
    """Server-sent events, without end. A browser that comes back names the last one that it got."""
    last_event = request.http.headers.get("last-event-id", "")
    if last_event.isascii() and last_event.isdigit() and len(last_event) <= 16:
        after = int(last_event)
    request.runtime.feed.require_room(reader.audience)
    events = _events(request.runtime.feed, reader, after, epoch)
    return StreamingResponse(events, 200, _SSE, "text/event-stream")


def _line_stream(request: RequestContext, reader: Reader, after: int, epoch: int | None) -> Response:
    """One page a line, up to now; compressed for a reader that accepts gzip."""
    headers = {**NO_STORE, "Vary": "Accept-Encoding"}
    lines = _lines(request.runtime.feed, reader, after, epoch)
    if "gzip" in request.http.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return StreamingResponse(_gzipped(lines), 200, headers, "application/x-ndjson")
    return StreamingResponse(lines, 200, headers, "application/x-ndjson")


async def _reader(request: RequestContext) -> Reader:
    """Who reads, if the request proves that it has a key of the audience that it names. Raises `Problem`.

    Which verifier it is, only the reader itself can say: one that was removed and says so is refused, and one that does
    not say so still has the keys, until they are retired.
    """
    audience = request.http.query_params.get("audience", "")
    if not is_audience(audience):
        raise bad_request("say for which audience: ?audience=...")
    keys = request.runtime.master_keys.keyring.export(audience)
    key_id = check_reader(request.http.headers.get(PROOF_HEADER, ""), keys, request.now)
    if key_id is None:
        raise _not_shown()
    if request.runtime.feed.head is None:
        raise unavailable()
    verifier_id = request.http.headers.get(VERIFIER_HEADER)
    reader = Reader(audience, key_id, verifier_id)
    if not (verifier_id is None or is_token_id(verifier_id)) or not await request.runtime.feed.admits(reader):
        raise _not_shown()
    return reader


def _not_shown() -> Problem:
    return Problem(403, "forbidden", f"show that you hold a key of this audience, in {PROOF_HEADER}")


async def _events(feed: RevocationFeed, reader: Reader, after: int, epoch: int | None) -> AsyncIterator[str]:
    """What was missed, then what comes. The subscriber has been listening since before the first was read.

    It subscribes here, since a generator that was never begun has no end either. Ends where too many came meanwhile.
    """
    with contextlib.suppress(Busy), feed.reading(reader.audience):
        subscriber = feed.subscribe(reader)
        try:
            async for page, line in _sealed_pages(feed, reader, after, epoch):
                yield _event(line, page)
            async for line in subscriber.follow():
                yield f"event: page\ndata: {line}\n\n"
                if subscriber.lines.empty() and feed.head is not None:
                    feed.note_read(reader, feed.head.upto)
        finally:
            feed.leave(subscriber)


def _event(line: str, page: Page) -> str:
    return f"id: {page.upto}\nevent: page\ndata: {line}\n\n"


async def _lines(feed: RevocationFeed, reader: Reader, after: int, epoch: int | None) -> AsyncIterator[str]:
    async for _, line in _sealed_pages(feed, reader, after, epoch):
        yield line + "\n"


async def _sealed_pages(
    feed: RevocationFeed, reader: Reader, after: int, epoch: int | None
) -> AsyncIterator[tuple[Page, str]]:
    """The pages up to now, each with its line, for as long as the reader may have them."""
    async for page, rows in feed.pages(after, epoch):
        if not feed.may_read(reader):
            return
        yield page, seal_text(rows_text(page, rows), feed.signing_key(reader.audience))
        feed.note_read(reader, page.upto)


async def _gzipped(lines: AsyncIterator[str]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    async for line in lines:
        yield packer.compress(line.encode())
    yield packer.flush()
