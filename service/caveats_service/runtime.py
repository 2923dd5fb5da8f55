"""One process of the service: its parts, and how they start, run and stop.

Knows every part of `core` and `discharge`; knows no HTTP, and holds no rule of its own. Nothing here would be missed if
the process died: the store has it, or it can be derived.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from caveats.keys import is_box_key
from caveats_service.console.files import ConsoleFiles
from caveats_service.core import log
from caveats_service.core.accounts import Accounts, FirstAdmin
from caveats_service.core.clients import IssuingClients
from caveats_service.core.clock import ClockCheck, utc_now
from caveats_service.core.errors import BadPassword
from caveats_service.core.feed import RevocationFeed
from caveats_service.core.forgetting import LATE, ForgettingTime, uptime
from caveats_service.core.issuing import Lives, TokenIssuer
from caveats_service.core.labels import LabelledTokens
from caveats_service.core.master_keys import MasterKeys
from caveats_service.core.passwords import INTERACTIVE, PasswordHasher, PasswordProfile
from caveats_service.core.rate_limit import RateLimiter
from caveats_service.core.readiness import FailingWork, Readiness
from caveats_service.core.request_counts import RequestCounts
from caveats_service.core.revoking import Revoker
from caveats_service.core.service_keys import ServiceKeys, load_service_keys
from caveats_service.core.shared_limits import open_shared_limits
from caveats_service.core.usernames import SERVICE_NAME
from caveats_service.core.verifying import TokenVerifier, load_checkers, new_verifier
from caveats_service.discharge.conditions import load_conditions
from caveats_service.discharge.decisions import Decisions
from caveats_service.discharge.pages import BrandError, Pages
from caveats_service.discharge.service import Discharges
from caveats_service.discharge.waiters import Waiters
from caveats_service.settings import Settings, SettingsError
from caveats_service.storage import Store, StoreError
from caveats_service.storage.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from caveats import MasterKeyring
    from caveats_service.storage.encryption import SealKey

_TEND_EVERY = 2.0
"""Seconds between two rounds of `_tend`."""
_ENDLESS = "listen"
"""The background work of which no attempt ever goes well: it ends with an error only."""
_RETRY_AFTER = 0.5
"""Seconds, after background work has failed."""
_STOP_WITHIN = 2.0
"""Seconds, at most, for the end of background work and for closing the database."""
_CANCEL_AGAIN = 0.25
_PRUNE_EVERY = 600.0
"""Seconds between two rounds of forgetting what has expired."""
_ACTOR = SERVICE_NAME


class ServiceRuntime:
    """The parts of one process. What needs the store is there once `start` has returned."""

    store: Store
    service_keys: ServiceKeys
    master_keys: MasterKeys
    clock_check: ClockCheck
    tokens: TokenVerifier
    issuer: TokenIssuer
    feed: RevocationFeed
    revocations: Revoker
    rate_limiter: RateLimiter
    accounts: Accounts
    labels: LabelledTokens
    clients: IssuingClients
    discharges: Discharges
    decisions: Decisions
    waiters: Waiters
    readiness: Readiness

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = uptime,
        password_profile: PasswordProfile = INTERACTIVE,
    ) -> None:
        self.settings = settings
        self.now = now
        self.forgetting_time = ForgettingTime(now, monotonic)
        self._monotonic = monotonic
        self.checkers = load_checkers(settings.checkers)
        self._conditions = load_conditions(settings.conditions)
        self.lives = Lives(settings.default_lifetime, settings.max_lifetime, settings.max_total_life)
        self.session_lives = Lives(
            settings.session_lifetime, settings.session_max_life, settings.session_max_life
        )
        self.passwords = PasswordHasher(
            password_profile,
            workers=settings.password_workers,
            queue=settings.password_queue,
            min_length=settings.password_min_length,
        )
        self.request_counts = RequestCounts(now())
        self.first_admin: FirstAdmin | None = None
        """The administrator that this very start made."""
        self.on_failure: Callable[[], None] = lambda: None
        """Called when background work has ended by itself: the server then ends the process."""
        self.ended_work: str | None = None
        """The background work that has ended by itself; None while all of it goes on."""
        self._damaged: tuple[str, ...] = ()
        self.unreadable_revocations: tuple[str, ...] = ()
        """The sequences of revocations whose rows are damaged: nobody can tell what they have revoked."""
        try:
            self.pages = Pages(settings.pages_dir)
        except BrandError as error:
            raise SettingsError(f"CAVEATS_PAGES_DIR: {error}") from None
        self.console = ConsoleFiles(
            service=settings.service_name,
            public_path=settings.public_path,
            brand=self.pages.brand,
            open_registration=settings.open_registration,
        )
        self._failing_work = FailingWork()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._prune_at = monotonic() + _PRUNE_EVERY

    async def start(self, *, create: bool = True, before_admin: Callable[[], None] = lambda: None) -> None:
        """Open everything; the first time, make the seal key, a master key and an admin. Started already: nothing.

        `create` false: there must be a database. `before_admin` is called when all but the admin is there: what it raises
        ends the start, and the next one makes the admin. Raises `SealKeyError`, `StoreError` or `SettingsError`, and then
        nothing is left open.
        """
        if self._tasks:
            return
        self.store, seal_key = await open_store(
            self.settings,
            create=create,
            done=lambda step: log.info("database_migrated", schema=step.revision),
        )
        try:
            await self._assemble(seal_key)
            before_admin()
            self.first_admin = await self._add_first_admin()
        except BaseException:
            await self._close_store()
            raise
        self._tasks = [
            asyncio.create_task(self._forever(work, every, name), name=name)
            for work, every, name in (
                (self.feed.follow, 0.0, "feed"),
                (self.feed.listen, 0.0, "listen"),
                (self._tend, _TEND_EVERY, "tend"),
            )
        ]
        for task in self._tasks:
            task.add_done_callback(self._work_ended)

    async def _assemble(self, seal_key: SealKey) -> None:
        settings, store, now = self.settings, self.store, self.now
        verifier = new_verifier(self.checkers, settings)
        self.master_keys = MasterKeys(
            store,
            seal_key,
            settings,
            now=now,
            tend_time=self.forgetting_time,
            changed=self._keys_changed,
            may_destroy=lambda: self.forgetting_time.may_destroy,
            is_doubtful=lambda: self.forgetting_time.is_doubtful,
            monotonic=self._monotonic,
        )
        self.tokens = TokenVerifier(verifier, self.master_keys, store, settings)
        self.feed = RevocationFeed(
            store,
            self.master_keys,
            verifier,
            now=now,
            forgotten_before=self.forgetting_time.forgotten_before,
            most_readers=settings.max_feed_readers,
        )
        written = [*(await store.instance.issued()).latest.values()]
        written += [row.created_at for row in await store.keys.list()]
        self.forgetting_time.known_before(max(written, default=None))
        await self.master_keys.start()
        self.master_keys.check_active()
        self.service_keys = await load_service_keys(store, seal_key)
        shared = open_shared_limits(settings, store, self.service_keys.box.secret, now=now)
        self.rate_limiter = RateLimiter(settings, shared)
        self.issuer = TokenIssuer(store, self.master_keys, settings, epoch=lambda: self.feed.epoch)
        self.clock_check = ClockCheck(store, now)
        self.revocations = Revoker(
            store,
            self.rate_limiter,
            settings,
            now=now,
            forgetting_time=self.forgetting_time,
            may_destroy=lambda: self.forgetting_time.may_destroy,
            known=self.feed.take,
            branch_count=self.feed.branch_count,
        )
        self.accounts = Accounts(
            store, self.passwords, self.revocations, self.rate_limiter, settings, now=now
        )
        self.labels = LabelledTokens(
            store,
            self.revocations,
            settings,
            now=now,
            recent_use=lambda audience, token_id: self.tokens.uses.get((audience, token_id)),
        )
        self.clients = IssuingClients(store, self.revocations, settings, now=now)
        self.discharges = Discharges(store, self.service_keys.discharge, self._conditions, settings, now)
        self.waiters = Waiters(store, now)
        self.decisions = Decisions(store, self.discharges, self.waiters, settings, now)
        self.readiness = Readiness(
            store,
            self.feed,
            self.master_keys,
            self.clock_check,
            self._failing_work,
            seal_key_file=settings.seal_key_path if settings.seal_key is None else None,
            ended_work=lambda: self.ended_work,
            unreadable_revocations=lambda: self.unreadable_revocations,
        )
        await self._look_for_damage()
        self._require_revocations()
        await self.feed.load()

    async def _add_first_admin(self) -> FirstAdmin | None:
        chosen = self.settings.admin_password
        try:
            return await self.accounts.add_first_admin(None if chosen is None else chosen.get_secret_value())
        except BadPassword as error:
            raise SettingsError(f"CAVEATS_ADMIN_PASSWORD: {error}") from None

    def take_leave(self) -> None:
        """Let all who listen or wait here go elsewhere: the process is about to stop."""
        self.feed.end()
        self.waiters.end()

    async def stop(self) -> None:
        """Write down what is only in memory, and close: within two seconds, also if the database does not answer."""
        self.take_leave()
        self._stopping = True
        try:
            async with asyncio.timeout(_STOP_WITHIN / 2):
                await _ended(self._tasks)
                with contextlib.suppress(StoreError):
                    await self.tokens.write_uses()
        except TimeoutError:
            log.warning("stopped_without_the_database", lost="times of last use, of the last two seconds")
        self.passwords.close()
        self.tokens.close()
        self.discharges.close()
        await self.rate_limiter.close()
        await self._close_store()

    async def _close_store(self) -> None:
        try:
            async with asyncio.timeout(_STOP_WITHIN / 2):
                await self.store.close()
        except TimeoutError:
            log.warning("database_not_closed", reason="it has not answered")

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        """A node without its background work hears of no revocation: it answers no longer than it must."""
        if self._stopping:
            return
        self.ended_work = task.get_name()
        error = "CancelledError" if task.cancelled() else type(task.exception()).__name__
        log.error("background_work_ended", work=self.ended_work, error=error)
        self.take_leave()
        self.on_failure()

    @property
    def damaged(self) -> tuple[str, ...]:
        """The rows of the store that cannot be used: what each is, and its id. The rest goes on without them."""
        return (*(f"master key {key_id}" for key_id in self.master_keys.damaged), *self._damaged)

    def _require_revocations(self) -> None:
        """Return if all revocations can be read. What a damaged one revoked is not known: it may be any token."""
        if self.unreadable_revocations:
            raise StoreError(
                f"what the damaged revocations {', '.join(self.unreadable_revocations)} have revoked is not known: look "
                "for these sequences in `caveats-service audit`, then see `caveats-service damage list`"
            )

    async def _look_for_damage(self) -> None:
        """Look for damaged rows, and for verifiers and agents whose public key is none: whoever needs one gets an error."""
        found: list[str] = []
        after = ""
        while verifiers := await self.store.verifiers.list(after=after):
            found += (
                f"verifier {app.verifier_id}"
                for app in verifiers
                if app.revoked_at is None and not is_box_key(app.public_key)
            )
            after = verifiers[-1].verifier_id
        after = ""
        while agents := await self.store.agents.list(after=after, limit=1000):
            found += (f"agent {agent.agent_id}" for agent in agents if not is_box_key(agent.public_key))
            after = agents[-1].agent_id
        damaged = await self.store.damage.find()
        self.unreadable_revocations = tuple(row.name for row in damaged if row.table == "revocations")
        found += map(str, damaged)
        for row in found:
            if row not in self._damaged:
                log.error("row_damaged", row=row)
        self._damaged = tuple(found)

    def _keys_changed(self, keyring: MasterKeyring) -> None:
        self.tokens.verifier.keyring = keyring
        self.feed.keys_changed()

    async def _tend(self) -> None:
        await self.tokens.write_uses()
        clock_is_right = await self.clock_check.watch()
        await (self.master_keys.tend() if clock_is_right else self.master_keys.refresh())
        if self.forgetting_time.went_back():
            log.warning("clock_was_ahead")
            await self.feed.load()
        may_prune = clock_is_right and self.forgetting_time.may_destroy
        if may_prune and self._monotonic() >= self._prune_at:  # other nodes forget for this one
            self._prune_at = self._monotonic() + _PRUNE_EVERY
            now = self.forgetting_time()
            self.feed.revocation_set.prune(now - LATE)
            await self.store.revocations.prune(now=now, actor=_ACTOR)
            await self.store.labels.prune(now=now, actor=_ACTOR)
            await self.store.replies.prune(now=now)
            await self.store.interactions.prune(now=now)
            await self.store.attempts.prune(now=now)
            await self._look_for_damage()

    async def _forever(self, work: Callable[[], Coroutine[Any, Any, None]], every: float, name: str) -> None:
        """Do `work` again and again, `every` seconds apart. A kind of failure is logged once, until it has gone well again."""
        told = ""
        while True:
            await asyncio.sleep(every)
            try:
                await work()
            except Exception as error:  # noqa: BLE001  # the process edge: whatever it was, the work goes on
                kind = type(error).__name__
                if kind != told:
                    # The messages of the store hold no secret; of others nobody knows.
                    said = {"detail": str(error)} if isinstance(error, StoreError) else {}
                    log.warning("background_work_failed", work=name, error=kind, **said)
                told = kind
                if name != _ENDLESS:
                    self._failing_work.failed(name)
                await asyncio.sleep(_RETRY_AFTER)
            else:
                if told:
                    log.info("background_work_resumed", work=name)
                told = ""
                self._failing_work.went_well(name)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel the tasks until all have ended: a cancellation can be lost in a library, such as `wait_for` of Python 3.11."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCEL_AGAIN)
