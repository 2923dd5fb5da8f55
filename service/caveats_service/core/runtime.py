"""What one process holds while it serves: store, keys, verifier, revocations, passwords, and what tends them.

Knows every part and how they start and stop; knows no HTTP. Nothing here would be missed if the process died:
the store has it, or it can be derived.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import structlog

import caveats
from caveats import (
    DEFAULT_LIMITS,
    AudienceKey,
    Authenticated,
    Bundle,
    Checkers,
    Context,
    Failure,
    Grant,
    Identifier,
    LimitExceeded,
    Macaroon,
    MasterKeyring,
    PrivateKey,
    RevocationSet,
    UnknownKey,
    UnsatisfiedCaveats,
    Verifier,
    new_token_id,
    renew,
    standard_checkers,
)
from caveats.revocation import Page, Row
from caveats.token import derive, issue_time
from caveats_service import storage as stores
from caveats_service.core.errors import BadPassword
from caveats_service.core.feed import Broadcast
from caveats_service.core.issuing import Lives, Plan
from caveats_service.core.master_keys import MasterKeys
from caveats_service.core.passwords import INTERACTIVE, PasswordHasher, PasswordProfile
from caveats_service.core.plugins import PluginFailure, PluginThreadPool, register_plugins
from caveats_service.core.rate_limit import RateLimiter
from caveats_service.discharge.conditions import load_conditions
from caveats_service.discharge.decisions import Decisions
from caveats_service.discharge.service import Discharges
from caveats_service.discharge.waiters import Waiters
from caveats_service.http.idempotency import Replies
from caveats_service.settings import Settings, SettingsError
from caveats_service.storage import Idempotency, LabelledToken, Store, StoreError, UserExists
from caveats_service.storage.encryption import SealKey, seal, unseal
from caveats_service.storage.open import open_store

_log = structlog.get_logger("caveats")
_FEED_EVERY: Final = 1.0
_HEARTBEAT: Final = timedelta(seconds=2)
_PAGE: Final = 5000
RACE: Final = timedelta(milliseconds=250)
"""How far ahead of now all of a user's tokens are revoked: see `_all_of_a_user`."""
_MOST_AUDIENCES: Final = 1024
_BOX_KEY: Final = "box key"
_DISCHARGE_KEY: Final = "discharge key"
_TEND_EVERY: Final = 2.0
_PRUNE_EVERY: Final = timedelta(minutes=10)
_CHECKER_THREADS: Final = 8
_MOST_USES: Final = 50_000
ADMIN: Final = "admin"
_T = TypeVar("_T")
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC, microsecond=0)


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class FirstStart:
    """The admin that the first start made. The password is shown once."""

    username: str
    password: str | None

    def __repr__(self) -> str:
        return f"FirstStart({self.username!r})"


def load_checkers(names: tuple[str, ...]) -> Checkers:
    """The standard kinds and the plug-ins of these entry points in group `caveats.checkers`.

    An entry point names a callable that takes the `Checkers` and registers its kinds. Raises `SettingsError`.
    """
    checkers = standard_checkers()
    register_plugins(checkers, names, group="caveats.checkers", variable="CAVEATS_CHECKERS")
    return checkers


class ServiceRuntime:
    """One process of the service."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        password_profile: PasswordProfile = INTERACTIVE,
    ) -> None:
        self.settings = settings
        self.now = now
        self.checkers = load_checkers(settings.checkers)
        self.revocations = RevocationSet()
        self.epoch = 0
        self.verifier = Verifier(
            MasterKeyring(()),
            checkers=self.checkers,
            audience=None,
            revocations=self.revocations,
            location=settings.location,
        )
        self.rate_limiter = RateLimiter(settings)
        self.passwords = PasswordHasher(
            password_profile,
            workers=settings.password_workers,
            queue=settings.password_queue,
            min_length=settings.password_min_length,
        )
        self.lives = Lives(settings.default_lifetime, settings.max_lifetime, settings.max_total_life)
        self.session_lives = Lives(
            settings.session_lifetime, settings.session_max_life, settings.session_max_life
        )
        self.store: Store
        self.master_keys: MasterKeys
        self.first_start: FirstStart | None = None
        self.uses: dict[str, datetime] = {}
        self._plugin_pool: PluginThreadPool | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._read_up_to = 0
        self._loading: list[caveats.Revocation] | None = None
        self._news = asyncio.Event()
        self._waiting = asyncio.Event()
        self._feed_keys: dict[str, AudienceKey] = {}
        self.feed = Broadcast(self.signing_key)
        self.box_key: PrivateKey
        self._conditions = load_conditions(settings.conditions)
        self.discharges: Discharges
        self.decisions: Decisions
        self.waiters: Waiters
        self.replies: Replies
        self._prune_next = now() + _PRUNE_EVERY

    async def start(self) -> None:
        """Open everything; the first time, make the seal key, a master key and an admin. Started already: nothing.

        Raises `SealKeyError`, `StoreError` or `SettingsError`, and then nothing is left open.
        """
        if self._tasks:
            return
        settings = self.settings
        self.store, seal_key = await open_store(settings)
        try:
            self.master_keys = MasterKeys(
                self.store, seal_key, settings, now=self.now, changed=self._keys_changed
            )
            await self.master_keys.start()
            self.box_key = await self._load_key(seal_key, _BOX_KEY)
            key = await self._load_key(seal_key, _DISCHARGE_KEY)
            self.discharges = Discharges(self.store, key, self._conditions, settings, self.now)
            self.waiters = Waiters(self.store, self.now)
            self.decisions = Decisions(self.store, self.discharges, self.waiters, settings, self.now)
            self.replies = Replies(seal_key, self.box_key)
            await self._load_revocations()
            await self._first_admin()
        except BaseException:
            await self.store.close()
            raise
        if settings.checkers:
            self._plugin_pool = PluginThreadPool(_CHECKER_THREADS, "checker")
        self._tasks = [
            asyncio.create_task(_forever(self._follow, 0.0, "feed")),
            asyncio.create_task(_forever(self._listen, 0.0, "listen")),
            asyncio.create_task(_forever(self._tend, _TEND_EVERY, "tend")),
        ]

    def take_leave(self) -> None:
        """About to stop: whoever listens or waits here goes elsewhere. They would not end by themselves."""
        self.feed.end()
        self._wake()
        self.waiters.end()

    async def stop(self) -> None:
        """Write down what is only in memory, and close."""
        self.take_leave()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(StoreError):
            await self._write_uses()
        self.passwords.close()
        self.discharges.close()
        if self._plugin_pool is not None:
            self._plugin_pool.close()
        await self.store.close()

    # verifying

    async def authenticate(self, text: str, *, even_revoked: bool = False) -> Authenticated:
        """The authentic, live token. Looks once for a key that turned up meanwhile. Raises the library's errors."""
        return await self._with_fresh_keys(
            text, lambda: self.verifier.authenticate(text, even_revoked=even_revoked)
        )

    async def verify(self, text: str, context: Context) -> Grant:
        """The grant for a token and a request. Raises the library's errors."""
        if self._plugin_pool is not None:
            grant = await self._verify_with_plugins(text, context)
        else:
            try:
                grant = self.verifier.verify(text, context)
            except UnknownKey:
                grant = await self._with_fresh_keys(text, lambda: self.verifier.verify(text, context))
        self.used(grant.identifier, context.now)
        return grant

    async def failures(self, text: str, context: Context) -> tuple[Authenticated, tuple[Failure, ...]]:
        """The authentic token, and every caveat that says no. Raises as `authenticate`."""
        authenticated = await self.authenticate(text)
        if self._plugin_pool is None or all(type(caveat) in _STANDARD for caveat in authenticated.caveats):
            return authenticated, self.verifier.failures(text, context)
        try:
            return authenticated, await self._in_time(
                authenticated, lambda: self.verifier.failures(text, context)
            )
        except UnsatisfiedCaveats as late:
            return authenticated, tuple(late.failures)

    async def authenticate_live(self, text: str, context: Context) -> Authenticated:
        """As `authenticate`, and alive now and here: the caveats of its kinds with `liveness` hold.

        What it may do elsewhere is not asked: that is carried into whatever is made of it.
        """
        authenticated = await self.authenticate(text)
        live = [caveat for caveat in authenticated.caveats if caveat.liveness]
        failures = caveats.unsatisfied(live, self.checkers, context)
        if failures:
            raise UnsatisfiedCaveats(failures)
        return authenticated

    def used(self, identifier: Identifier, now: datetime) -> None:
        """Remember when a token was last used, if it may be a labelled one; written down every few seconds."""
        if identifier.issuer_caveats > 3 and len(self.uses) < _MOST_USES:  # user, expires, scope, and a note
            self.uses[identifier.token_id] = now

    async def _with_fresh_keys(self, text: str, attempt: Callable[[], _T]) -> _T:
        try:
            return attempt()
        except UnknownKey:
            identifier = Bundle.decode(text).macaroon.unverified_identifier
            if identifier is None or not await self._key_turned_up(identifier.key_id):
                raise
        return attempt()

    async def _key_turned_up(self, key_id: str) -> bool:
        try:
            return await self.master_keys.refresh_for(key_id)
        except StoreError:
            return False

    async def _verify_with_plugins(self, text: str, context: Context) -> Grant:
        authenticated = await self.authenticate(text)
        if all(type(caveat) in _STANDARD for caveat in authenticated.caveats):
            return self.verifier.verify(text, context)
        return await self._in_time(authenticated, lambda: self.verifier.verify(text, context))

    async def _in_time(self, authenticated: Authenticated, judge: Callable[[], _T]) -> _T:
        """Plug-ins are judged in a thread and within a deadline: one that hangs refuses, and holds up nobody else."""
        assert self._plugin_pool is not None
        try:
            return await self._plugin_pool.run(judge, self.settings.checker_deadline)
        except TimeoutError:
            reason = f"its check took longer than {self.settings.checker_deadline:g} s"
        except PluginFailure as failure:
            reason = f"its check failed: {failure}"
        index, culprit = next((i, c) for i, c in enumerate(authenticated.caveats) if type(c) not in _STANDARD)
        raise UnsatisfiedCaveats(
            (
                Failure(
                    index,
                    culprit.kind,
                    str(culprit),
                    authenticated.added_by[index],
                    reason,
                    "another try, if the check is mended",
                ),
            )
        )

    def alert(self, event: str, **facts: str) -> None:
        """Something that an operator should look at."""
        _log.error(event, **facts)

    # issuing

    async def issue(
        self,
        plan: Plan,
        *,
        actor: str,
        now: datetime,
        once: Callable[[Macaroon, Identifier], Idempotency | None] = lambda _macaroon, _identifier: None,
    ) -> tuple[Macaroon, Identifier]:
        """Mint what was planned. A labelled token is written down first; no other leaves a trace.

        With `once`, the reply is remembered: `AlreadyDone` if this request has been answered before.

        `now` is a time from before the credential was looked at: what is revoked meanwhile hits the new token too.
        """
        key_id = self.master_keys.keyring.active.key_id
        identifier = Identifier(key_id, plan.audience, new_token_id(now), len(plan.caveats))
        macaroon = Macaroon.mint(
            self.master_keys.keyring.root_key(identifier),
            identifier,
            location=self.settings.location,
            caveats=plan.caveats,
        )
        _check_size(macaroon)
        if plan.note is not None:
            label = LabelledToken(
                identifier.token_id, plan.user, plan.note, plan.scope, plan.audience, now, plan.expires_at
            )
            await self.store.labels.add(label, now=now, actor=actor, once=once(macaroon, identifier))
        elif (remembered := once(macaroon, identifier)) is not None:
            await self.store.replies.remember(remembered, now=now)
        return macaroon, identifier

    def renew(self, authenticated: Authenticated, expires_at: datetime) -> Macaroon:
        """The same token with a later expiry."""
        macaroon = renew(authenticated, expires_at, self._derived_key)
        _check_size(macaroon)
        return macaroon

    def _derived_key(self, identifier: Identifier) -> bytes:
        return derive(self.master_keys.keyring.root_key(identifier))

    # revoking: written down first, then known here at once; other processes follow the store

    def outlives(self, token_id: str) -> datetime:
        """When the last renewal of this token has ended, and a revocation of it can be forgotten."""
        return issue_time(token_id) + min(self.settings.longest_life, _END_OF_TIME - issue_time(token_id))

    async def revoke_token(
        self, token_id: str, *, actor: str, once: Idempotency | None = None
    ) -> stores.Revocation:
        """The whole token. Repeating it changes nothing."""
        row = await self.store.revocations.revoke_token(
            token_id, expires_at=self.outlives(token_id), now=self.now(), actor=actor, once=once
        )
        return self._take(row)

    async def revoke_branch(
        self, token_id: str, branch_id: bytes, *, actor: str, once: Idempotency | None = None
    ) -> stores.Revocation:
        """One copy and all that descends from it."""
        row = await self.store.revocations.revoke_branch(
            token_id, branch_id, expires_at=self.outlives(token_id), now=self.now(), actor=actor, once=once
        )
        return self._take(row)

    async def revoke_presented(self, authenticated: Authenticated) -> stores.Revocation:
        """This copy and what descends from it: the whole token, renewals included, if no holder has narrowed it.

        By its branch even then, never by its id: an app that has its audience's keys can put any id into a token.
        """
        identified = authenticated.identified
        assert identified is not None
        branch = self.verifier.branches(authenticated)[-1]
        return await self.revoke_branch(identified.token_id, branch, actor=authenticated.caveats[0].value)

    async def revoke_user(
        self, username: str, *, actor: str, once: Idempotency | None = None
    ) -> stores.Revocation:
        """Everything issued to this user until now."""
        now = self.now() + RACE
        row = await self.store.revocations.revoke_user(
            username, now, expires_at=now + self.settings.longest_life, now=now, actor=actor, once=once
        )
        return await self._all_of_a_user(row)

    async def set_password(self, username: str, new_hash: str, *, actor: str) -> None:
        """A new password; everything issued to the user until now is dead."""
        now = self.now() + RACE
        change = await self.store.users.set_password(
            username, new_hash, now=now, actor=actor, revoke_until=now + self.settings.longest_life
        )
        if change.revocation is not None:
            await self._all_of_a_user(change.revocation)

    async def disable_user(self, username: str, *, actor: str) -> stores.User:
        """Nobody signs in as this user; everything issued to them until now is dead."""
        now = self.now() + RACE
        change = await self.store.users.disable(
            username, now=now, actor=actor, revoke_until=now + self.settings.longest_life
        )
        if change.revocation is not None:
            await self._all_of_a_user(change.revocation)
        return change.user

    async def _all_of_a_user(self, row: stores.Revocation) -> stores.Revocation:
        """Known, and then waited for the moment up to which it counts.

        It lies a little ahead, so that a sign-in that read the account just before it changed issues nothing that
        lives on; and what is issued after this has been answered is issued later than that. Where the change had
        to wait for other writers until that moment had passed, it is written down anew.
        """
        self._take(row)
        assert row.username is not None
        assert row.issued_up_to is not None
        late = self.now()
        if late > row.issued_up_to:
            row = await self.store.revocations.revoke_user(
                row.username,
                late,
                expires_at=late + self.settings.longest_life,
                now=late,
                actor=row.revoked_by,
                reason=row.reason,
            )
            return self._take(row)
        await asyncio.sleep(RACE.total_seconds())
        return row

    def _take(self, row: stores.Revocation) -> stores.Revocation:
        """Known here from now on. The feed is not moved past what has not been read from it yet."""
        revocation = _revocation(row)
        self.revocations.add(revocation)
        if self._loading is not None:
            self._loading.append(revocation)
        self._news.set()
        return row

    # what goes on in the background

    async def _load_key(self, seal_key: SealKey, name: str) -> PrivateKey:
        """An X25519 key of the service's own; made once, since others pin or cache its public half.

        One makes the boxes for verifiers. Another opens whatever anybody calls a ticket, and so is not that one.
        """
        fresh = seal(seal_key, PrivateKey.generate().secret, row_id=0, key_id="", purpose=name)
        sealed = await self.store.keys.service_key(name, fresh)
        return PrivateKey(unseal(seal_key, sealed, row_id=0, key_id="", purpose=name))

    async def _first_admin(self) -> None:
        if await self.store.users.count():
            return
        chosen = self.settings.admin_password
        password = chosen.get_secret_value() if chosen is not None else secrets.token_urlsafe(15)
        try:
            hashed = await self.passwords.hash(password)
        except BadPassword as error:
            raise SettingsError(f"CAVEATS_ADMIN_PASSWORD: {error}") from None
        try:
            await self.store.users.create(ADMIN, hashed, now=self.now(), actor="service", is_admin=True)
        except UserExists:
            return
        self.first_start = FirstStart(ADMIN, None if chosen is not None else password)

    def _keys_changed(self, keyring: MasterKeyring) -> None:
        self.verifier.keyring = keyring
        self._news.set()

    async def _load_revocations(self) -> None:
        """Everything that is live, into a fresh set; the verifier gets it when it is whole."""
        fresh = RevocationSet()
        taken: list[caveats.Revocation] = []
        self._loading = taken
        read_at = self.now()
        page = await self.store.revocations.page(0, limit=0)
        head, epoch = page.last_sequence, page.epoch
        async for _, rows in self._live_rows(0, head, read_at):
            fresh.add_rows(rows)
        for revocation in taken:  # revoked here meanwhile, after its page had been read
            fresh.add(revocation)
        self._loading = None
        self._read_up_to = head
        self.epoch = epoch
        self.revocations = self.verifier.revocations = fresh
        self._tell(Page(epoch, head, head, head, read_at, self.master_keys.keyring.key_ids))

    async def _follow(self) -> None:
        """Take in what other processes revoked, and tell those who listen."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _FEED_EVERY)
        self._news.clear()
        read_at, after = self.now(), self._read_up_to
        page = await self.store.revocations.page(after)
        if page.must_resync(self.epoch, after):
            self.feed.close()
            await self._load_revocations()
            return
        entries = tuple((row.sequence, _revocation(row)) for row in page.entries)
        for _, revocation in entries:
            self.revocations.add(revocation)
        head = self.feed.head
        keys = self.master_keys.keyring.key_ids
        self._read_up_to = entries[-1][0] if entries else after
        if entries or head is None or head.keys != keys or read_at - head.at >= _HEARTBEAT:
            self._tell(Page(self.epoch, after, self._read_up_to, page.last_sequence, read_at, keys, entries))
        if page.last_sequence > self._read_up_to:
            self._news.set()

    async def _listen(self) -> None:
        """Look at once when another process wrote something; without this it would be within a second."""
        async for change in self.store.changes.follow():
            if change.kind is not stores.ChangeKind.REVOCATION:
                await self.master_keys.refresh()
            self._news.set()

    def _tell(self, page: Page) -> None:
        self.feed.publish(page)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, asyncio.Event()
        waiting.set()

    async def pages(self, after: int, epoch: int | None = None) -> AsyncIterator[tuple[Page, list[Row]]]:
        """The live entries from `after` up to where this node stands, in pages and apart from them; at least one page.

        A reader of another epoch begins at 0. One of this epoch that is ahead has heard it from a quicker node.
        """
        head = self.feed.head
        assert head is not None  # set before anybody can ask
        if epoch is not None and epoch != head.epoch:
            after = 0
        elif after > head.upto:
            after = head.upto if epoch is not None else 0
        async for upto, rows in self._live_rows(after, head.upto, head.at):
            yield replace(head, after=after, upto=upto), rows
            after = upto

    async def _live_rows(self, after: int, upto: int, now: datetime) -> AsyncIterator[tuple[int, list[Row]]]:
        """What is live in this stretch, as much as fits a page at a time, and up to where that is all."""
        while True:
            rows = (
                await self.store.revocations.live_rows(after, upto, now=now, limit=_PAGE)
                if after < upto
                else []
            )
            after = upto if len(rows) < _PAGE else rows[-1][0]
            yield after, rows
            if after == upto:
                return

    async def wait_for_news(self, after: int, epoch: int | None, seconds: float) -> None:
        """Return when there is an entry after this one, or there are other keys, or another epoch than the reader's.

        Also when the time is up, or when the node is about to stop.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        first = self.feed.head
        assert first is not None  # set before anybody can ask
        known = (first.epoch if epoch is None else epoch, first.keys)
        while (
            (head := self.feed.head) is not None
            and head.upto <= after
            and (head.epoch, head.keys) == known
            and not self.feed.ended
        ):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._waiting.wait(), left)

    def signing_key(self, audience: str) -> AudienceKey:
        """The key that seals the feed for an audience."""
        active = self.master_keys.keyring.active
        key = self._feed_keys.get(audience)
        if key is None or key.key_id != active.key_id:
            if len(self._feed_keys) >= _MOST_AUDIENCES:
                self._feed_keys.clear()
            key = self._feed_keys[audience] = active.audience_key(audience)
        return key

    async def _tend(self) -> None:
        now = self.now()
        await self._write_uses()
        await self.master_keys.tend()
        if now >= self._prune_next:
            self._prune_next = now + _PRUNE_EVERY
            self.revocations.prune(now)
            await self.store.revocations.prune(now=now, actor="service")
            await self.store.labels.prune(now=now, actor="service")
            await self.store.replies.prune(now=now)
            await self.store.interactions.prune(now=now)

    async def _write_uses(self) -> None:
        uses, self.uses = self.uses, {}
        if uses:
            await self.store.labels.mark_used(uses)


_STANDARD: Final = frozenset(standard_checkers().kinds.values())


def _check_size(macaroon: Macaroon) -> None:
    """Hand out no token that nobody would take. Raises `LimitExceeded`."""
    most = DEFAULT_LIMITS.token_text
    if len(macaroon.encode()) > most:
        raise LimitExceeded(f"a token has at most {most} characters")


def _revocation(row: stores.Revocation) -> caveats.Revocation:
    if row.token_id is not None and row.branch_id is not None:
        return caveats.BranchRevocation(row.token_id, row.branch_id, row.expires_at)
    if row.token_id is not None:
        return caveats.TokenRevocation(row.token_id, row.expires_at)
    assert row.username is not None
    assert row.issued_up_to is not None
    return caveats.UserRevocation(row.username, row.issued_up_to, row.expires_at)


async def _forever(work: Callable[[], Coroutine[Any, Any, None]], every: float, name: str) -> None:
    """Again and again; a store that is away is said once, and waited for."""
    well = True
    while True:
        await asyncio.sleep(every)
        try:
            await work()
        except Exception as error:  # noqa: BLE001  # the process edge: whatever it was, the work goes on
            if well:
                _log.warning("background_work_failed", work=name, error=type(error).__name__)
            well = False
            await asyncio.sleep(0.5)
        else:
            if not well:
                _log.info("background_work_resumed", work=name)
            well = True
