"""How a command reaches the store: settings, seal key, what is built on them, and errors as exit codes.

Knows how the core's parts are put together for one command; knows no arguments and prints nothing but errors.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from caveats import CaveatsError
from caveats_service.cli.exit_codes import CliError
from caveats_service.cli.output import wrong_usage
from caveats_service.core.accounts import OPERATOR, Accounts
from caveats_service.core.clients import IssuingClients
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import ServiceError
from caveats_service.core.labels import LabelledTokens
from caveats_service.core.master_keys import MasterKeys
from caveats_service.core.passwords import PasswordHasher
from caveats_service.core.rate_limit import RateLimiter
from caveats_service.core.revoking import Revoker
from caveats_service.settings import Settings, SettingsError
from caveats_service.storage import (
    Store,
    StoreError,
    UnknownAgent,
    UnknownClient,
    UnknownGroup,
    UnknownMasterKey,
    UnknownUser,
)
from caveats_service.storage.encryption import SealKey, SealKeyError
from caveats_service.storage.open import open_any_schema, open_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

_T = TypeVar("_T")
ACTOR = OPERATOR.username
"""Who acts, in the audit log."""


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment, and these. A wrong one ends the command with exit code 2."""
    try:
        return Settings.load(**overrides)
    except SettingsError as error:
        wrong_usage(str(error))


def with_store(work: Callable[[Store], Awaitable[_T]]) -> _T:
    """What `work` returns, given the open store, which must be there and have this version's schema.

    An error ends the command with exit code 1 and one line.
    """
    return _run(lambda store, _seal_key, _settings: work(store))


def with_any_schema(work: Callable[[Store], Awaitable[_T]]) -> _T:
    """As `with_store`, also for the schema of an older version, and without the seal key."""

    async def run() -> _T:
        store = await open_any_schema(load_settings())
        try:
            return await work(store)
        finally:
            await store.close()

    return run_or_fail(run())


async def all_pages(
    page: Callable[..., Awaitable[Sequence[_T]]], position: Callable[[_T], str]
) -> Sequence[_T]:
    """All records of a `list`, read in pages of 1000. `position`: what `after` takes for a record."""
    found: list[_T] = []
    while more := await page(after=position(found[-1]) if found else "", limit=1000):
        found += more
    return found


def with_master_keys(work: Callable[[MasterKeys], Awaitable[_T]]) -> _T:
    """As `with_store`, given the master keys."""

    async def with_keys(store: Store, seal_key: SealKey, settings: Settings) -> _T:
        keys = MasterKeys(
            store, seal_key, settings, now=utc_now, tend_time=utc_now, changed=lambda _keyring: None
        )
        await keys.start()
        return await work(keys)

    return _run(with_keys)


def with_accounts(work: Callable[[Accounts], Awaitable[_T]], *, workers: int = 1) -> _T:
    """As `with_store`, given the operations on accounts. `workers`: passwords that are hashed at a time."""

    async def with_parts(store: Store, _seal_key: SealKey, settings: Settings) -> _T:
        passwords = PasswordHasher(workers=workers, min_length=settings.password_min_length)
        try:
            limiter = RateLimiter(settings)
            return await work(
                Accounts(store, passwords, Revoker(store, limiter, settings), limiter, settings)
            )
        finally:
            passwords.close()

    return _run(with_parts)


def with_labels(work: Callable[[LabelledTokens], Awaitable[_T]]) -> _T:
    """As `with_store`, given the operations on labelled tokens."""

    async def with_parts(store: Store, _seal_key: SealKey, settings: Settings) -> _T:
        revocations = Revoker(store, RateLimiter(settings), settings)
        return await work(LabelledTokens(store, revocations, settings))

    return _run(with_parts)


def with_clients(work: Callable[[IssuingClients], Awaitable[_T]]) -> _T:
    """As `with_store`, given the operations on issuing clients."""

    def with_parts(store: Store, _seal_key: SealKey, settings: Settings) -> Awaitable[_T]:
        revocations = Revoker(store, RateLimiter(settings), settings)
        return work(IssuingClients(store, revocations, settings))

    return _run(with_parts)


def _run(work: Callable[[Store, SealKey, Settings], Awaitable[_T]]) -> _T:
    settings = load_settings()

    async def run() -> _T:
        store, seal_key = await open_store(settings, create=False)
        try:
            return await work(store, seal_key, settings)
        finally:
            await store.close()

    return run_or_fail(run())


_LISTS: dict[type[Exception], str] = {
    UnknownUser: "users list",
    UnknownGroup: "groups list",
    UnknownAgent: "agents list",
    UnknownClient: "clients list",
    UnknownMasterKey: "keys list",
}
"""The command that shows what there is of a kind."""


def run_or_fail(work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` returns. An error ends the command with exit code 1 and one line."""
    try:
        return asyncio.run(work)
    except (CaveatsError, ServiceError, SettingsError, StoreError, SealKeyError) as error:
        told = CliError.of(error)
        if type(error) in _LISTS:
            told = CliError(told.code, f"{error}: see `caveats-service {_LISTS[type(error)]}`", told.name)
        raise told from error
