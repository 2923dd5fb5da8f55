"""The background work of a verifier, in process: whatever a mirror of the feed answers, the app's event loop goes on."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest

from caveats.token import encode_base64
from caveats_client.verifiers.feed_client import MOST_LINES_WITHOUT_NEWS, MOST_WITHOUT_NEWS, LineReader
from caveats_client.verifiers.local import AsyncLocalVerifier
from tests.support.local import APP_KEY, IDENTITY, NOW, SERVICE_KEY, Model


class HostileMirror(httpx.AsyncBaseTransport):
    """Gives keys, and answers for the feed with what a test makes of an authentic line; counts the answers."""

    def __init__(self, model: Model, *answers: Callable[[bytes], httpx.Response]) -> None:
        self._model = model
        self._answers = answers
        self.answers = 0
        self.again = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/keys"):
            box = encode_base64(self._model.bundle())
            return httpx.Response(200, content=json.dumps({"box": box}).encode())
        self.answers += 1
        if self.answers > len(self._answers):
            self.again.set()
            await asyncio.Event().wait()
        return self._answers[self.answers - 1](self._model.line().encode() + b"\n")


def packed(body: bytes) -> httpx.Response:
    headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
    return httpx.Response(200, stream=httpx.ByteStream(gzip.compress(body)), headers=headers)


def following(mirror: HostileMirror, **given: Any) -> AsyncLocalVerifier:
    return AsyncLocalVerifier(
        "https://auth.example",
        audience=IDENTITY.audience,
        verifier_id=IDENTITY.verifier_id,
        private_key=APP_KEY,
        service_public_key=SERVICE_KEY.public_key,
        transport=mirror,
        clock=NOW.timestamp,
        **given,
    )


@pytest.mark.parametrize("asked", ["30", "86400", "Sat, 28 Nov 2026 12:00:00 GMT"])
async def test_a_wait_that_something_on_the_way_asks_for_does_not_outlast_the_bound(asked: str) -> None:
    def busy(_: bytes) -> httpx.Response:
        return httpx.Response(503, headers={"retry-after": asked})

    mirror = HostileMirror(Model(), packed, busy)
    async with following(mirror, max_staleness=timedelta(seconds=1)):
        async with asyncio.timeout(10):
            await mirror.again.wait()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda page: packed(page + b"\n" * 10_000_000), id="empty lines"),
        pytest.param(lambda page: packed(page + page * (2 * MOST_LINES_WITHOUT_NEWS)), id="an old page"),
        pytest.param(lambda page: packed(page + b"x" * (2 * MOST_WITHOUT_NEWS)), id="an endless line"),
    ],
)
async def test_a_mirror_does_not_hold_the_event_loop(
    answer: Callable[[bytes], httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = 0
    turns: list[int] = []
    take = LineReader.take

    def counted(self: LineReader, chunk: bytes) -> Iterator[str]:
        turns.append(ticks)
        return take(self, chunk)

    async def another_task_of_the_app() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(LineReader, "take", counted)
    mirror = HostileMirror(Model(), answer)
    verifier = following(mirror)
    other = asyncio.create_task(another_task_of_the_app())
    async with asyncio.timeout(30), verifier:
        await mirror.again.wait()
    other.cancel()
    assert turns
    assert len(set(turns)) == len(turns), "two slices were handled without a turn for others"
