"""Master keys: published, activated by age, retired; and the keyring of those that are alive.

Knows the store and the seal. Holds the opened keys of this process, and nothing that another node needs.
No lock is held across I/O: a refresh that is under way is awaited, never repeated.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING

from caveats import InvalidKey, KeyState, MasterKey, MasterKeyring
from caveats_service.core import log
from caveats_service.core.errors import NotReady
from caveats_service.core.forgetting import uptime
from caveats_service.core.usernames import SERVICE_NAME
from caveats_service.storage import KeyConflict, RowDamaged, SealedKey, Store
from caveats_service.storage.encryption import SealKey, SealKeyError, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from caveats_service.settings import Settings

_PURPOSE = "master key"
_ACTOR = SERVICE_NAME
_MISSES_STAY = 1.0
"""Seconds until an unknown key id is looked for again."""
_MOST_MISSES = 32
"""The most unknown key ids that are looked for in that time: anybody can make up more."""


class MasterKeys:
    """The master keys of this process, opened. `changed` is called with every new keyring.

    `tend_time`: the time by which keys are rotated and destroyed, which is never ahead of what has passed. `may_destroy`,
    `is_doubtful`: see `ForgettingTime`. `monotonic`: seconds.

    A key whose row cannot be opened is left out: tokens under it are refused, all others go on. It can be retired.
    """

    def __init__(
        self,
        store: Store,
        seal_key: SealKey,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        tend_time: Callable[[], datetime],
        changed: Callable[[MasterKeyring], None],
        may_destroy: Callable[[], bool] = lambda: True,
        is_doubtful: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = uptime,
    ) -> None:
        self.keyring = MasterKeyring(())
        self.rows: tuple[SealedKey, ...] = ()
        self.damaged: dict[str, str] = {}
        """What is wrong with each key that cannot be opened, by key id."""
        self._keys: list[MasterKey] = []
        self._store = store
        self._seal_key = seal_key
        self._settings = settings
        self._now = now
        self._tend_time = tend_time
        self._may_destroy = may_destroy
        self._is_doubtful = is_doubtful
        self._monotonic = monotonic
        self._seen: dict[tuple[str, KeyState], float] = {}
        """Since when this process knows each key in its state, on the monotonic clock."""
        self._changed = changed
        self._opened: dict[str, tuple[bytes, bytes]] = {}
        """The sealed and the opened bytes by key id. After a restore or a failover another key may have the same id."""
        self._loading: asyncio.Task[None] | None = None
        self._next_load: asyncio.Task[None] | None = None
        self._missed: set[str] = set()
        self._missed_since = 0.0

    async def start(self) -> None:
        """Load the keys; make and activate the first one if there is none. Raises `SealKeyError`, `StoreError`."""
        await self._load()
        if not any(row.state is KeyState.ACTIVE for row in self.rows):
            await self._first()

    @property
    def active(self) -> MasterKey:
        """The key to issue under. Raises `NotReady` if there is none, or none that can be opened."""
        try:
            return self.keyring.active
        except InvalidKey:
            raise NotReady(
                "no_active_key", "there is no key to issue under: run `caveats-service keys rotate --now`"
            ) from None

    def check_active(self) -> None:
        """Return if there is a key to issue under. Raises `SealKeyError` if it cannot be opened, `RowDamaged`."""
        # The row is there, and was left out as damaged: `start` would have made a key otherwise.
        if not any(row.state is KeyState.ACTIVE for row in self.rows):
            raise RowDamaged(
                "master_keys", "it is the active key: then run `caveats-service keys rotate --now`"
            )
        for row in self.rows:
            if row.state is KeyState.ACTIVE and row.key_id in self.damaged:
                raise SealKeyError(
                    f"{self.damaged[row.key_id]}. It is the active key: if the seal key is the right one, run "
                    f"`caveats-service keys rotate --now`, then `caveats-service keys retire {row.key_id} --force`"
                )

    async def _first(self) -> None:
        """Make the first key, active at once: no node or verifier has an older one."""
        try:
            row = await self.publish(first=True)
            await self.activate(row.key_id)
        except KeyConflict:
            await self._load()

    async def refresh(self) -> None:
        """Load the keys as they are now. Callers share one load that begins after they called."""
        if self._next_load is None:
            self._next_load = asyncio.create_task(self._load_next())
        await asyncio.shield(self._next_load)

    async def _load_next(self) -> None:
        if self._loading is not None:
            await asyncio.wait((self._loading,))
        self._loading, self._next_load = self._next_load, None
        await self._load()

    async def refresh_for(self, key_id: str) -> bool:
        """Whether the store has this key by now. Looks for each key once a second, and for at most 32 of them."""
        if key_id in self.keyring.key_ids:
            return True
        now = asyncio.get_running_loop().time()
        if now - self._missed_since >= _MISSES_STAY:
            self._missed, self._missed_since = set(), now
        if key_id in self._missed or len(self._missed) >= _MOST_MISSES:
            return False
        await self.refresh()
        if key_id in self.keyring.key_ids:
            return True
        self._missed.add(key_id)
        return False

    async def publish(
        self, *, replacing: str | None = None, first: bool = False, actor: str = _ACTOR
    ) -> SealedKey:
        """Make a key that verifies and waits to be activated. Raises `KeyConflict`, `StoreError`.

        A damaged key that waits is retired first: nothing was ever issued under it.
        """
        for waiting in self.rows:
            if waiting.state is KeyState.PUBLISHED and waiting.key_id in self.damaged:
                await self.retire(waiting.key_id, force=False, actor=actor)
        row = await self._store.keys.publish(
            self._fresh, now=self._now(), actor=actor, replacing=replacing, first=first
        )
        await self.refresh()
        return row

    async def activate(self, key_id: str, *, actor: str = _ACTOR) -> SealedKey:
        """Issue under this published key from now on. The one before can be retired when its last token has expired.

        Raises `UnknownMasterKey`, `KeyConflict`, `StoreError`.
        """
        if key_id in self.damaged:
            raise KeyConflict(f"{key_id} is damaged: retire it")
        now = self._now()
        retire_after = now + self._settings.longest_life
        row = await self._store.keys.activate(key_id, retire_after=retire_after, now=now, actor=actor)
        await self.refresh()
        return row

    async def retire(self, key_id: str, *, force: bool, actor: str) -> SealedKey:
        """Destroy a key. Raises `KeyInUse` while tokens under it may be alive, unless `force`."""
        row = await self._store.keys.retire(key_id, now=self._now(), actor=actor, force=force)
        await self.refresh()
        return row

    async def tend(self) -> None:
        """Rotate: publish a key when the active one is old, activate it when all can have it, retire keys without tokens.

        A key is not destroyed while the clock may be ahead, and one that waits does not wait longer for that: how long it
        has, this process also knows by the monotonic clock.
        """
        await self.refresh()
        now, settings = self._tend_time(), self._settings
        for row in self.rows:
            if row.key_id in self.damaged and row.state is not KeyState.VERIFYING:
                continue
            if (
                row.state is KeyState.PUBLISHED
                and self._lasts(row, row.created_at) >= settings.key_propagation
            ):
                await self.activate(row.key_id)
                log.info("key_activated", key_id=row.key_id)
            is_over = row.state is KeyState.VERIFYING and row.retire_after and now >= row.retire_after
            if is_over and self._may_destroy():
                await self.retire(row.key_id, force=False, actor=_ACTOR)
                log.info("key_retired", key_id=row.key_id)
        active = next((row for row in self.rows if row.state is KeyState.ACTIVE), None)
        waiting = any(row.state is KeyState.PUBLISHED and row.key_id not in self.damaged for row in self.rows)
        old = (
            settings.key_rotation_age
            and active
            and self._lasts(active, active.activated_at or now) >= settings.key_rotation_age
        )
        if active and old and not waiting:
            try:
                row = await self.publish(replacing=active.key_id)
                log.info("key_published", key_id=row.key_id)
            except KeyConflict:
                await self.refresh()

    def _lasts(self, row: SealedKey, since: datetime) -> timedelta:
        """How long a key has been in its state, at least: the time may have been written by a clock that was ahead."""
        tick = self._monotonic()
        here = timedelta(seconds=tick - self._seen.get((row.key_id, row.state), tick))
        return here if self._is_doubtful() else max(here, self._tend_time() - since)

    def _fresh(self, row_id: int, key_id: str) -> bytes:
        return seal(self._seal_key, os.urandom(32), row_id=row_id, key_id=key_id, purpose=_PURPOSE)

    async def _load(self) -> None:
        rows = await self._store.keys.list()
        keys: list[MasterKey] = []
        damaged: dict[str, str] = {}
        for row in rows:
            if row.state is KeyState.RETIRED:
                continue
            try:
                keys.append(self._open(row))
            except (SealKeyError, InvalidKey) as error:
                damaged[row.key_id] = str(error)
                if row.key_id not in self.damaged:
                    log.error("key_damaged", key_id=row.key_id, state=row.state.value, error=str(error))
        tick = self._monotonic()
        self._seen = {(row.key_id, row.state): self._seen.get((row.key_id, row.state), tick) for row in rows}
        changed = keys != self._keys
        self.rows, self.damaged = rows, damaged
        if changed:
            self._keys = keys
            live = {key.key_id for key in keys}
            self._opened = {key_id: opened for key_id, opened in self._opened.items() if key_id in live}
            self.keyring = MasterKeyring(keys)
            self._changed(self.keyring)

    def _open(self, row: SealedKey) -> MasterKey:
        sealed, secret = self._opened.get(row.key_id, (b"", b""))
        if sealed != row.sealed:
            try:
                secret = unseal(
                    self._seal_key, row.sealed, row_id=row.row_id, key_id=row.key_id, purpose=_PURPOSE
                )
            except SealKeyError:
                if not secret:  # one that was damaged since goes on until the next start
                    raise
            else:
                self._opened[row.key_id] = (row.sealed, secret)
        return MasterKey(row.key_id, secret, row.state)
