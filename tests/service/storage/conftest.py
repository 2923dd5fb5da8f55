"""A place for a store, on each of the two databases, and a migrated store in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from caveats_service.storage import (
    Store,
    sqlite_url,
)
from tests.support.store import KINDS, SqlitePlace, new_place, new_sqlite_file


@pytest_asyncio.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    async with new_place(request.param, tmp_path) as place:
        yield place


@pytest_asyncio.fixture
async def store(place: Any) -> AsyncIterator[Store]:
    store: Store = place.store()
    if isinstance(place, SqlitePlace):
        place.path.parent.mkdir()
        new_sqlite_file(place.path)
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
