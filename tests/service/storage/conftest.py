"""A place for a store, on each of the two databases, and a migrated store in it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from caveats_service.storage import (
    Store,
    sqlite_url,
)
from tests.support.store import KINDS, SqlitePlace, new_place


@pytest_asyncio.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    async with new_place(request.param, tmp_path) as place:
        yield place


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy: a migration takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "caveats.db"

    async def migrate() -> None:
        store = Store(sqlite_url(path))
        await store.migrate()
        await store.close()

    asyncio.run(migrate())
    return path


@pytest_asyncio.fixture
async def store(place: Any, migrated_file: Path) -> AsyncIterator[Store]:
    store: Store = place.store()
    if isinstance(place, SqlitePlace):
        place.path.parent.mkdir()
        shutil.copyfile(migrated_file, place.path)
    else:
        await store.migrate()
    yield store
    await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "caveats.db"


@pytest_asyncio.fixture
async def file_store(path: Path) -> AsyncIterator[Store]:
    """For what only a file has."""
    store = Store(sqlite_url(path))
    await store.migrate()
    yield store
    await store.close()
