"""The background work of a verifier, in process: whatever a mirror of the feed answers, the app's event loop goes on."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator

import httpx2 as httpx
import pytest

from caveats.token import encode_base64
from caveats_client.verifiers.feed_client import MOST_LINES_WITHOUT_NEWS, MOST_WITHOUT_NEWS, LineReader
from caveats_client.verifiers.local import AsyncLocalVerifier
from tests.support.local import APP_KEY, IDENTITY, NOW, SERVICE_KEY, Model


class HostileMirror(httpx.AsyncBaseTransport):
    """Gives keys, and answers for the feed with what a test makes of an authentic line; counts the answers."""

    def __init__(self, model: Model, answer: Callable[[bytes], httpx.Response]) -> None:
        self._model = model
        self._answer = answer
        self.answers = 0
        self.again = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/keys"):
            box = encode_base64(self._model.bundle())
            return httpx.Response(200, content=json.dumps({"box": box}).encode())
        self.answers += 1
        if self.answers > 1:
            self.again.set()
            await asyncio.Event().wait()
        return self._answer(self._model.line().encode() + b"\n")


def packed(body: bytes) -> httpx.Response:
    headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
    return httpx.Response(200, stream=httpx.ByteStream(gzip.compress(body)), headers=headers)


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
    verifier = AsyncLocalVerifier(
        "https://auth.example",
        audience=IDENTITY.audience,
        verifier_id=IDENTITY.verifier_id,
        private_key=APP_KEY,
        service_public_key=SERVICE_KEY.public_key,
        transport=mirror,
        clock=NOW.timestamp,
    )
    other = asyncio.create_task(another_task_of_the_app())
    async with asyncio.timeout(30), verifier:
        await mirror.again.wait()
    other.cancel()
    assert turns
    assert len(set(turns)) == len(turns), "two slices were handled without a turn for others"
