"""Open the store together with its seal key. Knows both, and in which order they are opened.

The first step asks whether there is a database: a seal key is made only for a new one, never for one that another key
has sealed. Only who asks for it makes a database, or changes the schema of one: a service of an older version may be
running on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_service.settings import Settings, SettingsError
from caveats_service.storage.encryption import (
    SealKey,
    SealKeyError,
    check_canary,
    load_seal_key,
    seal_canary,
)
from caveats_service.storage.engines.backup import Restored, interrupted_restore, restore_database
from caveats_service.storage.engines.migrate import require_current
from caveats_service.storage.errors import StoreError
from caveats_service.storage.store import Store

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from caveats_service.storage.engines.migrate import StepDone


class NoDatabase(StoreError):
    """There is no database, and the caller does not want one made."""


async def open_store(
    settings: Settings, *, create: bool = True, done: StepDone | None = None
) -> tuple[Store, SealKey]:
    """The store, with the schema of this version, and its seal key. The caller closes the store.

    `create`: make the database if there is none, and migrate an older one, calling `done` after each step of that.
    Raises `NoDatabase` and `SchemaTooOld` instead if `create` is false, `SealKeyError` for a missing or wrong key,
    `SettingsError` for a folder that cannot be made, and `StoreError`. Then nothing is left open.
    """
    store = Store(settings.store_url, connections=settings.database_connections)
    try:
        exists = await store.exists()
        if not create:
            await _require_database(store, settings)
            require_current(await store.schema())
        if not exists:
            _refuse_interrupted(settings)
        if settings.on_sqlite:
            _make(
                settings.sqlite_path.parent, "DATA_DIR" if settings.database_url is None else "DATABASE_URL"
            )
        if settings.seal_key is None:
            _make(settings.seal_key_path.parent, "SEAL_KEY_FILE" if settings.seal_key_file else "DATA_DIR")
        seal_key = load_seal_key(settings, database_exists=exists)
        if create:
            await store.migrate(done if exists else None)
        check_canary(seal_key, await store.instance.set_seal_canary(seal_canary(seal_key)))
    except BaseException:
        await store.close()
        raise
    return store, seal_key


async def open_any_schema(settings: Settings) -> Store:
    """The store of a database that is there, of this version's schema or of an older one. The caller closes it.

    Raises `NoDatabase`, `SchemaTooNew`, `StoreError`.
    """
    store = Store(settings.store_url, connections=settings.database_connections)
    try:
        await _require_database(store, settings)
    except BaseException:
        await store.close()
        raise
    return store


def restore(settings: Settings, backup: Path, *, now: datetime, actor: str, force: bool = False) -> Restored:
    """Replace the database, which no service uses, with a backup that the seal key fits.

    Raises `SealKeyError`, `BackupError` and `StoreError`, and then nothing was replaced; `SettingsError` for PostgreSQL.
    """
    database = settings.sqlite_path
    seal_key = load_seal_key(settings, database_exists=True)

    def fits(canary: bytes) -> None:
        try:
            check_canary(seal_key, canary)
        except SealKeyError as error:
            raise SealKeyError(
                "this backup is of another seal key, and nothing was replaced: put the key of then in place"
            ) from error

    return restore_database(backup, database, now=now, actor=actor, force=force, check_canary=fits)


def _refuse_interrupted(settings: Settings) -> None:
    """An empty database in the place of one that was being restored would have another admin, without a word."""
    left = interrupted_restore(settings.sqlite_path) if settings.on_sqlite else None
    if left is not None:
        raise NoDatabase(
            f"there is no database, and a restore of it was interrupted: run `caveats-service restore` again. "
            f"To begin with an empty one, move {left} away"
        )


async def _require_database(store: Store, settings: Settings) -> None:
    if not await store.exists() or (await store.schema()).found is None:
        place = f"in {settings.data_dir}: is CAVEATS_DATA_DIR right?"
        if settings.database_url is not None:
            place = "of this service at CAVEATS_DATABASE_URL: is it the right one?"
        raise NoDatabase(f"there is no database {place} `caveats-service serve` or `migrate` makes one")


def _make(folder: Path, setting: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"CAVEATS_{setting}: {folder} cannot be made: {error.strerror}") from error
