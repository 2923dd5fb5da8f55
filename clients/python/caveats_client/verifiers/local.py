"""Verification in the app itself, in microseconds: keys in memory, and revocations read in the background.

    with LocalVerifier.from_file("photos.verifier", state_dir="/var/lib/photos") as verifier:
        grant = verifier.verify(text, Context(now=..., scopes=("photos/42:read",)))

`verify` waits for the network in one case: if a token names a key that is not here, it fetches the keys, once for all
callers that wait, for a second at most. A verifier whose revocations are too old refuses every token with
`caveats.Stale`. Knows threads, tasks and forks; `freshness` decides whether to grant, and `sync` works in the background.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from caveats import (
    DEFAULT_LIMITS,
    Context,
    PrivateKey,
    Revoked,
    Stale,
    UnknownKey,
    UnsatisfiedCaveats,
)
from caveats.extras import needs
from caveats.forks import renewed_after_fork
from caveats.pickling import Unpicklable
from caveats_client.verifiers.freshness import FreshnessGate, Health, OnStale, Status
from caveats_client.verifiers.registration import Registration
from caveats_client.verifiers.replica import VerifierIdentity
from caveats_client.verifiers.state_files import StateFiles

with needs("client"):
    from caveats_client.verifiers.sync import SyncLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from caveats import Authenticated, Bundle, Checkers, Failure, Grant, Limits, Macaroon, Refused
    from caveats_client.ordinary_httpx import AsyncTransport

__all__ = ["AsyncLocalVerifier", "Health", "LocalVerifier", "Status"]

T = TypeVar("T")
_STALE_AFTER = timedelta(seconds=30)
_CLOSED = "this verifier has been closed"


class _Local(Unpicklable):
    """What both verifiers share: the constructor, and the questions that never wait."""

    def __init__(
        self,
        url: str,
        *,
        audience: str,
        verifier_id: str,
        private_key: PrivateKey | bytes,
        service_public_key: bytes,
        start_timeout: float = 10.0,
        checkers: Checkers | None = None,
        state_dir: Path | str | None = None,
        max_staleness: timedelta = _STALE_AFTER,
        on_stale: OnStale = "refuse",
        on_change: Callable[[Status], None] | None = None,
        feed_url: str | None = None,
        location: str = "",
        limits: Limits = DEFAULT_LIMITS,
        cache_entries: int = 10_000,
        cache_bytes: int = 16 * 1024 * 1024,
        transport: AsyncTransport | None = None,
        allow_http: bool = False,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url`: the service. `audience`, `verifier_id`, `service_public_key` (32 bytes): as registration answered.

        `private_key`: the verifier's own, X25519, 32 bytes. `start_timeout`: seconds that the first question, or a
        context manager, waits until the verifier is ready. `state_dir`: a folder for keys and revocations, encrypted,
        so that the verifier can restart without the service. `max_staleness`: how long the verifier grants without
        news of revocations. After it, `on_stale="refuse"` refuses every token; `"accept"` grants without the newest
        revocations until the keys end. `on_change`: called with the status, in the background, when the health
        changes. `feed_url`: a mirror of the feed. `location`, `limits`, `cache_entries`, `cache_bytes`: as for
        `caveats.Verifier`. `transport`: one of httpx2 or httpx, for tests. `allow_http`: plain http to any machine.
        `clock`, `monotonic`: seconds, as `time.time` and `time.monotonic` give them.
        Raises `UnusableAddress`, `caveats.InvalidKey`.
        """
        key = private_key if isinstance(private_key, PrivateKey) else PrivateKey(private_key)
        self._identity = VerifierIdentity(verifier_id, audience, key, service_public_key)
        self._url = url
        self._start_timeout = start_timeout
        self._feed_url = feed_url
        self._transport = transport
        self._allow_http = allow_http
        self._on_change = on_change
        # Absolute now: the process may change its folder later.
        self._state_dir = None if state_dir is None else Path(state_dir).absolute()
        self._make: Callable[[], FreshnessGate] = lambda: FreshnessGate(
            self._identity,
            checkers=checkers,
            location=location,
            limits=limits,
            cache_entries=cache_entries,
            cache_bytes=cache_bytes,
            max_staleness=max_staleness,
            on_stale=on_stale,
            clock=clock,
            monotonic=monotonic,
        )
        self._gate = self._make()
        self._closed = False
        self._sync_loop(lambda: None)  # raises `UnusableAddress` now, not in the background
        self._prepare()

    def _prepare(self) -> None:
        """Set the attributes for a thread or a task. Starts nothing."""
        raise NotImplementedError

    @classmethod
    def from_file(cls, path: Path | str, **options: Any) -> Self:
        """From the file that `caveats verifier register` filled in. Raises `RegistrationError`."""
        registration = Registration.load(path)
        identity = registration.identity
        return cls(
            options.pop("url", registration.url),
            audience=identity.audience,
            verifier_id=identity.verifier_id,
            private_key=identity.private_key,
            service_public_key=identity.service_public_key,
            **options,
        )

    @property
    def audience(self) -> str:
        """The audience whose tokens are verified."""
        return self._identity.audience

    def status(self) -> Status:
        """The status now, for health checks. Sends nothing."""
        return self._gate.status()

    def __repr__(self) -> str:
        health = self._gate.health.value
        return f"{type(self).__name__}({self.audience!r}, verifier {self._identity.verifier_id}, {health})"

    def _sync_loop(self, on_ready: Callable[[], None]) -> SyncLoop:
        state = None if self._state_dir is None else StateFiles(self._state_dir, self._identity)
        return SyncLoop(
            self._gate,
            self._url,
            feed_url=self._feed_url,
            state=state,
            transport=self._transport,
            allow_http=self._allow_http,
            on_change=self._on_change,
            on_ready=on_ready,
        )

    def _not_ready(self, seconds: float) -> Stale:
        status = self._gate.status()
        return Stale(f"not ready within {seconds:g} s: {status.problem or 'the service takes too long'}")


class LocalVerifier(_Local):
    """Verifies tokens of one audience, from any thread of the process. A background thread keeps it up to date.

    The first `verify`, `start` and the context manager start the thread, and wait until the verifier is ready. In the
    child of a fork, the verifier starts a new thread. Without `close`, it runs until the process ends.
    """

    def _prepare(self) -> None:
        renewed_after_fork(self, LocalVerifier._fresh_process)

    def _fresh_process(self) -> None:
        """Begin anew in a child process: the thread is not there, and nothing may ever release its locks."""
        self._gate = self._make()
        self._starting = threading.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: SyncLoop | None = None
        self._stop: Callable[[], object] = lambda: None
        self._waited = False

    def start(self, timeout: float | None = None) -> Self:
        """Start, and wait until ready. Raises `Stale` after `timeout` seconds; the background work continues."""
        seconds = self._start_timeout if timeout is None else timeout
        with self._starting:
            if self._closed:
                raise Stale(_CLOSED)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._work()), name="caveats-verifier", daemon=True
                )
                self._thread.start()
        ready = self._ready.wait(seconds)
        self._waited = True
        if not ready:
            raise self._not_ready(seconds)
        return self

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        sync = self._sync_loop(self._ready.set)
        loop = asyncio.get_running_loop()
        with self._starting:
            self._running, self._loop = sync, loop
            self._stop = functools.partial(loop.call_soon_threadsafe, task.cancel)
            if self._closed:
                return
        try:
            await sync.run()
        except asyncio.CancelledError:
            pass

    def close(self) -> None:
        """Stop the background work, and write the state to its files."""
        with self._starting:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            self._stop()
            thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def verify(self, presented: str | Bundle | Macaroon, context: Context | None = None) -> Grant:
        """The grant for this token and this request. Raises as `caveats.Verifier.verify`.

        Also raises `Stale` if the revocations or keys are too old. Without `context`, the time is the only known fact
        of the request.
        """
        # Written out here and in `authenticate`: a helper that both hand a lambda would cost 0.2 us a token.
        if not self._waited or self._closed:
            self.start()
        gate = self._gate
        gate.check()
        if context is None:
            context = Context(gate.now())
        verifier = gate.verifier
        try:
            return verifier.verify(presented, context)
        except (UnknownKey, Revoked) as refusal:
            if not self._missing_key_turned_up(refusal):
                raise
        return verifier.verify(presented, context)

    def authenticate(self, presented: str | Bundle | Macaroon) -> Authenticated:
        """The authentic, live token, whose caveats are not judged. Raises as `verify`, except `UnsatisfiedCaveats`."""
        if not self._waited or self._closed:
            self.start()
        self._gate.check()
        verifier = self._gate.verifier
        try:
            return verifier.authenticate(presented)
        except (UnknownKey, Revoked) as refusal:
            if not self._missing_key_turned_up(refusal):
                raise
        return verifier.authenticate(presented)

    def failures(
        self, presented: str | Bundle | Macaroon, context: Context | None = None
    ) -> tuple[Failure, ...]:
        """The caveats that refuse this request; empty where `verify` grants. Raises as `verify` otherwise."""
        try:
            self.verify(presented, context)
        except UnsatisfiedCaveats as refusal:
            return tuple(refusal.failures)
        return ()

    def _missing_key_turned_up(self, refusal: Refused) -> bool:
        key_id = refusal.missing_key
        if key_id is None or self._running is None or self._loop is None:
            return False
        try:
            turning_up = asyncio.run_coroutine_threadsafe(self._running.key_turned_up(key_id), self._loop)
            found = turning_up.result(2.0)
        except (TimeoutError, RuntimeError):
            raise Stale(
                f"a token under key {key_id}, which is not here, and the service cannot be asked for it"
            ) from None
        self._gate.check()
        return found


class AsyncLocalVerifier(_Local):
    """`LocalVerifier` with its methods awaited, and a task of the running event loop in place of the thread.

    It may be used from several event loops: the task runs in the first, and begins anew in another one when that is closed,
    or in the child of a fork.
    """

    def _prepare(self) -> None:
        self._home: asyncio.AbstractEventLoop | None = None
        renewed_after_fork(self, AsyncLocalVerifier._fresh_process)

    def _fresh_process(self) -> None:
        self._gate = self._make()
        self._fresh_loop()

    def _fresh_loop(self) -> None:
        self._home = None
        self._task: asyncio.Task[None] | None = None
        self._running: SyncLoop | None = None
        self._ready = asyncio.Event()
        self._waited = False

    async def start(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109  # as `LocalVerifier.start`
        """Start, and wait until ready. Raises `Stale` after `timeout` seconds; the background work continues."""
        seconds = self._start_timeout if timeout is None else timeout
        if self._closed:
            raise Stale(_CLOSED)
        if self._home is not None and self._home.is_closed():
            self._fresh_loop()
        if self._task is None:
            self._home = asyncio.get_running_loop()
            self._running = self._sync_loop(self._ready.set)
            self._task = self._home.create_task(self._running.run(), name="caveats-verifier")
        try:
            async with asyncio.timeout(seconds):
                await self._at_home(self._ready.wait())
        except TimeoutError:
            raise self._not_ready(seconds) from None
        finally:
            self._waited = True
        return self

    async def close(self) -> None:
        """Stop the background work, and write the state to its files."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            await self._at_home(_ended(task))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def verify(self, presented: str | Bundle | Macaroon, context: Context | None = None) -> Grant:
        """As `LocalVerifier.verify`."""
        facts = Context(self._gate.now()) if context is None else context
        return await self._ask(lambda: self._gate.verifier.verify(presented, facts))

    async def authenticate(self, presented: str | Bundle | Macaroon) -> Authenticated:
        """The authentic, live token, whose caveats are not judged. Raises as `verify`, except `UnsatisfiedCaveats`."""
        return await self._ask(lambda: self._gate.verifier.authenticate(presented))

    async def failures(
        self, presented: str | Bundle | Macaroon, context: Context | None = None
    ) -> tuple[Failure, ...]:
        """The caveats that refuse this request; empty where `verify` grants. Raises as `verify` otherwise."""
        try:
            await self.verify(presented, context)
        except UnsatisfiedCaveats as refusal:
            return tuple(refusal.failures)
        return ()

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, run in the event loop of the task."""
        if self._home is None or self._home is asyncio.get_running_loop():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))

    async def _ask(self, question: Callable[[], T]) -> T:
        if not self._waited or self._closed or (self._home is not None and self._home.is_closed()):
            await self.start()
        self._gate.check()
        try:
            return question()
        except (UnknownKey, Revoked) as refusal:
            key_id = refusal.missing_key
            if key_id is None or self._running is None:
                raise
            if not await self._at_home(self._running.key_turned_up(key_id)):
                raise
        self._gate.check()
        return question()


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel `task`, and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
