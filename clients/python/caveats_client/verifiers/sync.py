"""The background work of a local verifier, in one asyncio task: reads the feed, fetches keys, writes the state.

Opens connections and waits. `feed_client` decides what to ask for, `replica` what to accept, and `freshness` whether to
grant; this module does the I/O. It holds no lock during I/O. Callers that need the same fetch share it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from caveats import RejectedDelivery, Stale
from caveats.revocation import UnknownSeal
from caveats_client.api import calls
from caveats_client.api.errors import ClientError, NotFound
from caveats_client.ordinary_httpx import async_transport
from caveats_client.transport import UnreadableBody, aread_reply, checked_address, options
from caveats_client.verifiers import feed_client
from caveats_client.verifiers.feed_client import Backoff, CannotRead, LineReader, Mode, feed_request
from caveats_client.verifiers.freshness import Health, Status
from caveats_client.verifiers.replica import Unconfirmed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from caveats_client.ordinary_httpx import AsyncTransport
    from caveats_client.verifiers.feed_client import FeedRequest
    from caveats_client.verifiers.freshness import FreshnessGate
    from caveats_client.verifiers.replica import Next
    from caveats_client.verifiers.state_files import StateFiles

_log = logging.getLogger("caveats_client.verifiers.local")
_MISSES_STAY = 1.0
"""Seconds until the service is asked again about an unknown key id, and between two fetches in the background."""
_AFTER_A_FALSE_HINT = 2.0
"""Seconds between two fetches in the background while they bring no other keys than those that are here."""
_MOST_MISSES = 3
"""The most unknown key ids that the service is asked about in that time."""
_FETCH_WITHIN = 5.0
"""Seconds for a fetch of keys."""
_CONNECT_WITHIN = 5.0
"""Seconds for a connection to the feed."""
_LARGEST_BOX = 1024 * 1024
"""The most bytes of an answer with keys."""
_LONG_LINE = 64 * 1024
"""Characters: a longer line is decrypted in a thread."""
_SAVE_EVERY = 5.0
_WATCH_EVERY = 0.25
_PRUNE_EVERY = 600.0
"""Seconds between two rounds of each."""


@dataclass(slots=True)
class _Attempt:
    """The result of one request for the feed."""

    heard: bool = False
    news: bool = False
    gap: bool = False


class SyncLoop:
    """The background work of one verifier, in one event loop.

    `feed_url`: a mirror of the feed, used instead of the service. `on_change`: called with the status when the health
    changes. `on_ready`: called when the verifier may grant.
    """

    def __init__(
        self,
        gate: FreshnessGate,
        url: str,
        *,
        feed_url: str | None,
        state: StateFiles | None,
        transport: AsyncTransport | None,
        allow_http: bool,
        on_change: Callable[[Status], None] | None,
        on_ready: Callable[[], None],
    ) -> None:
        self._gate = gate
        self._keys_call = calls.get_verifier_keys(gate.replica.identity.verifier_id)
        self._keys_url = _below(checked_address(url, allow_http=allow_http), self._keys_call.path)
        self._feed_url = _below(checked_address(feed_url or url, allow_http=allow_http), feed_client.PATH)
        self._state = state
        self._transport = transport
        self._on_change = on_change
        self._on_ready = on_ready
        self._http: httpx.AsyncClient
        self._fetching: asyncio.Task[bool] | None = None
        self._tried = float("-inf")
        self._missed: dict[str, float] = {}
        self._succeeded = False
        self._pause = _MISSES_STAY
        self._keys_due = float("-inf")
        self._key_waits = Backoff(random.random)
        self._keys_wanted = asyncio.Event()
        self._keys_came = asyncio.Event()
        self._changed = asyncio.Event()
        self._unsaved = asyncio.Event()
        self._save_problem = ""

    async def run(self) -> None:
        """Work until cancelled, then write the state to its files."""
        try:
            await self._recall()
            async with httpx.AsyncClient(**self._options()) as self._http, asyncio.TaskGroup() as tasks:
                tasks.create_task(_forever(self._follow, "following the feed"))
                tasks.create_task(_forever(self._tend_keys, "fetching keys"))
                tasks.create_task(_forever(self._watch, "watching"))
                if self._state is not None:
                    tasks.create_task(_forever(self._keep, "writing state down"))
        finally:
            if self._state is not None:
                await asyncio.shield(asyncio.to_thread(self._save))
                self._state.close()

    def _options(self) -> dict[str, Any]:
        return {**options(self._keys_url, self._feed_url), "transport": async_transport(self._transport)}

    # Keys

    async def key_turned_up(self, key_id: str) -> bool:
        """Whether the key `key_id` is here now. Fetches keys for it at most once a second, for all who wait.

        All wait for the first second of a fetch, and nobody for the rest: a stranger who names keys that there are not must
        not take up an app's threads while the service is silent. Raises `Stale` if the service cannot be asked.
        """
        replica = self._gate.replica
        if key_id in replica.key_ids:
            return True
        if key_id in replica.dead:
            return False
        is_fetching, began = self._is_fetching, self._tried
        if is_fetching or self._may_ask_for(key_id):
            left = began + _MISSES_STAY - self._tick() if is_fetching else _MISSES_STAY
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left)):
                    await self._fetch_keys()
        if key_id in replica.key_ids:
            return True
        if self._is_fetching or not self._succeeded:
            raise Stale(
                f"a token under key {key_id}, which is not here, and the service cannot be asked for it: "
                f"{self._gate.problem or 'it takes too long'}"
            )
        return False

    def _may_ask_for(self, key_id: str) -> bool:
        """Whether the service may be asked: not about this key within a second, and about fewer than three others."""
        tick = self._tick()
        self._missed = {other: at for other, at in self._missed.items() if tick - at < _MISSES_STAY}
        if key_id in self._missed or len(self._missed) >= _MOST_MISSES:
            return False
        self._missed[key_id] = tick
        return True

    @property
    def _is_fetching(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    async def _fetch_keys(self) -> bool:
        """Whether the keys could be fetched. Callers that come while a fetch is under way share it."""
        if self._fetching is None or self._fetching.done():
            self._tried = self._tick()
            self._fetching = asyncio.create_task(self._fetch())
        return await asyncio.shield(self._fetching)

    async def _fetch(self) -> bool:
        began = self._tick()
        gate = self._gate
        try:
            async with asyncio.timeout(_FETCH_WITHIN):
                box = await self._box()
            changed = gate.take_box(box, self._tick() - began)
        except (CannotRead, RejectedDelivery, httpx.HTTPError, TimeoutError) as error:
            self._fail("keys", error)
            self._succeeded = False
            wait = self._key_waits.failed(_asked_to_wait(error), gate.seconds_left())
            self._keys_due = self._tick() + wait
            return False
        self._succeeded = True
        self._gate.problems.pop("keys", None)
        self._key_waits.failures = 0
        self._pause = _MISSES_STAY if changed else _AFTER_A_FALSE_HINT
        self._keys_due = float("inf")  # when the gate says so
        self._keys_came.set()
        self._changed.set()
        self._unsaved.set()
        return True

    async def _box(self) -> bytes:
        """The key bundle in its NaCl box. Raises `CannotRead`, `httpx.HTTPError`."""
        request = self._http.build_request("GET", self._keys_url, timeout=_FETCH_WITHIN)
        response = await self._http.send(request, stream=True)
        try:
            return self._keys_call.answer(await aread_reply(response, largest=_LARGEST_BOX))
        except NotFound:
            raise CannotRead(
                "the service does not know this verifier: it was never registered, or was revoked"
            ) from None
        except (ClientError, UnreadableBody) as error:
            asked = getattr(error, "retry_after", None)
            raise CannotRead(f"the service gives no keys: {error}", retry_after=asked or 0.0) from error

    async def _tend_keys(self) -> None:
        """Fetch keys when the gate says that they are due, when a page names others, and again after a failure."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_EVERY):
                    await self._keys_wanted.wait()
            failed = self._keys_due < float("inf")
            due = self._tick() >= self._keys_due if failed else self._gate.are_keys_due()
            if due or self._keys_wanted.is_set():
                await self._fetch_again()

    async def _fetch_again(self) -> None:
        """Fetch keys, not sooner after the last time than the pause that is kept."""
        pause = self._tried + self._pause - self._tick()
        if pause > 0 and self._fetching is not None:
            await asyncio.sleep(pause)
        self._keys_wanted.clear()
        await self._fetch_keys()

    # The feed

    async def _follow(self) -> None:
        gate = self._gate
        backoff = Backoff(random.random)
        gap = False
        while True:
            proof = gate.replica.proof(gate.now())
            if proof is None:
                self._keys_came.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self._keys_came.wait()
                continue
            replica, began = gate.replica, self._tick()
            mode = backoff.mode(behind=replica.behind or gap, tick=began)
            attempt = _Attempt()
            try:
                await self._read(feed_request(mode, replica.identity, replica.place, proof), attempt)
                wait = backoff.ended(mode, news=attempt.news, seconds=self._tick() - began)
            except (CannotRead, RejectedDelivery, httpx.HTTPError, TimeoutError) as error:
                self._fail("feed", error)
                silent = isinstance(error, httpx.ReadTimeout | TimeoutError)
                if (
                    mode is Mode.STREAM
                    and not attempt.heard
                    and (silent or (isinstance(error, CannotRead) and error.unsuited))
                ):
                    backoff.no_stream(self._tick())
                if isinstance(error, RejectedDelivery) or (isinstance(error, CannotRead) and error.unproved):
                    self._keys_wanted.set()
                if attempt.news:
                    backoff.failures = 0
                wait = backoff.failed(_asked_to_wait(error), gate.seconds_left())
            gap = attempt.gap
            await asyncio.sleep(wait)

    async def _read(self, asked: FeedRequest, attempt: _Attempt) -> None:
        async with (
            asyncio.timeout(asked.patience) as limit,
            self._http.stream(
                "GET",
                self._feed_url,
                params=dict(asked.query),
                headers=dict(asked.headers),
                timeout=httpx.Timeout(_CONNECT_WITHIN, read=asked.patience),
            ) as response,
        ):
            loop = asyncio.get_running_loop()
            lines = LineReader(asked, response.status_code, response.headers)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for chunk in response.stream:  # as it was sent: httpx would unpack it without a limit
                for part in lines.slices(chunk):
                    for line in lines.take(part):
                        until = limit.when()
                        limit.reschedule(None)  # the time that is spent here is not the service's
                        taken = await self._take(line)
                        # Only news extends the deadline: incomplete lines and old pages do not.
                        limit.reschedule(loop.time() + asked.patience if taken.news else until)
                        attempt.heard = True
                        if taken.fetch_keys:
                            self._keys_wanted.set()
                        if taken.news:
                            lines.heard_news()
                            attempt.news = True
                            self._gate.problems.pop("feed", None)
                            self._changed.set()
                        if taken.reconnect:
                            attempt.gap = True
                            return
                    await asyncio.sleep(0)  # other tasks of the app run between two slices

    async def _take(self, line: str) -> Next:
        try:
            return await self._take_once(line)
        except (UnknownSeal, Unconfirmed):
            await self._fetch_again()
        return await self._take_once(line)

    async def _take_once(self, line: str) -> Next:
        if len(line) > _LONG_LINE:  # thousands of entries: other tasks run in the meantime
            return await asyncio.to_thread(self._gate.take_line, line)
        return self._gate.take_line(line)

    # State and health

    async def _recall(self) -> None:
        if self._state is None:
            return
        found = await asyncio.to_thread(self._state.load)
        if found is None:
            return
        try:
            await asyncio.to_thread(self._gate.recall, *found)
        except RejectedDelivery as error:
            _log.warning("the stored keys cannot be used any more: %s", error)
        self._keys_came.set()
        self._changed.set()
        self._tell_if_ready()

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SAVE_EVERY):
                    await self._unsaved.wait()
            self._unsaved.clear()
            await asyncio.to_thread(self._save)

    def _save(self) -> None:
        assert self._state is not None
        memory, whole = self._gate.memory()
        if not memory.box:
            return
        try:
            if whole is not None:
                assert memory.kept is not None
                self._state.save_base(memory.epoch, memory.kept, whole.rows())
            self._state.save(memory)
        except OSError as error:
            if whole is not None:
                self._gate.not_kept()
            if self._save_problem != str(error):
                _log.warning("state of the verifier cannot be written: %s", error.strerror)
            self._save_problem = str(error)
        else:
            self._save_problem = ""

    async def _watch(self) -> None:
        """Report changes of the health, and forget revocations of tokens that have expired."""
        before: Health | None = None
        prune_at = self._tick() + _PRUNE_EVERY
        while True:
            health = self._gate.health
            if health is not before:
                self._say(before, health)
                before = health
            if self._tick() >= prune_at:
                prune_at = self._tick() + _PRUNE_EVERY
                await asyncio.to_thread(self._gate.prune)
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_EVERY):
                    await self._changed.wait()

    def _say(self, before: Health | None, health: Health) -> None:
        status = self._gate.status()
        if health is Health.STALE:
            _log.error("verifier refuses every token: %s", status.problem)
        elif health is Health.ACCEPTING:
            _log.error("verifier accepts tokens without knowing what was revoked: %s", status.problem)
        elif health is Health.FRESH and before in (Health.STALE, Health.ACCEPTING):
            _log.info("verifier is up to date again")
        self._tell_if_ready()
        if self._on_change is not None and before is not None:
            self._on_change(status)

    def _tell_if_ready(self) -> None:
        if self._gate.status().ready:
            self._on_ready()

    def _fail(self, what: str, error: Exception) -> None:
        words = str(error) or type(error).__name__
        if isinstance(error, httpx.HTTPError):
            words = f"cannot reach the service ({type(error).__name__})"
        elif isinstance(error, TimeoutError):
            words = "nothing new in time"
        self._gate.problems[what] = words
        _log.debug("verifier, %s: %s", what, words)

    def _tick(self) -> float:
        """Seconds on the gate's monotonic clock."""
        return self._gate.instant().tick


def _asked_to_wait(error: Exception) -> float:
    """The seconds that the answer asked to wait, or 0."""
    return error.retry_after if isinstance(error, CannotRead) else 0.0


def _below(url: httpx.URL, path: str) -> httpx.URL:
    """`path` below the path of `url`."""
    return url.copy_with(path=url.path.rstrip("/") + path, query=None, fragment=None)


async def _forever(work: Callable[[], Awaitable[None]], what: str) -> None:
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001  # the process's edge: whatever it was, the work goes on
            _log.exception("verifier: %s failed, and begins again", what)
            await asyncio.sleep(1)
