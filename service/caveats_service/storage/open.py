"""Open the store together with its seal key. Knows both, and in which order they are opened.

The first step asks whether there is a database: a seal key is made only for a new one, never for one that another key
has sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_service.settings import Settings, SettingsError
from caveats_service.storage import Store, StoreError
from caveats_service.storage.encryption import SealKey, check_canary, load_seal_key, seal_canary

if TYPE_CHECKING:
    from pathlib import Path


class NoDatabase(StoreError):
    """There is no database, and the caller does not want one made."""


async def open_store(settings: Settings, *, create: bool = True) -> tuple[Store, SealKey]:
    """The store, its schema up to date, and its seal key. The caller closes the store.

    Raises `NoDatabase` if there is none and `create` is false, `SealKeyError` for a missing or wrong key,
    `SettingsError` for a folder that cannot be made, and `StoreError`. Then nothing is left open.
    """
    store = Store(settings.store_url)
    try:
        exists = await store.exists()
        if not exists and not create:
            raise NoDatabase(
                f"there is no database in {settings.data_dir}: is CAVEATS_DATA_DIR right? `serve` makes one"
            )
        if settings.on_sqlite:
            _make(settings.sqlite_path.parent)
        if settings.seal_key is None:
            _make(settings.seal_key_path.parent)
        seal_key = load_seal_key(settings, database_exists=exists)
        await store.migrate()
        check_canary(seal_key, await store.instance.set_seal_canary(seal_canary(seal_key)))
    except BaseException:
        await store.close()
        raise
    return store, seal_key


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"CAVEATS_DATA_DIR: {folder} cannot be made: {error.strerror}") from error
