"""One shared service for the many tests that disturb nobody; a fresh one, with a clock to turn, for the others."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.service import Clock, Service, User, admin_token, new_user, serving
from tests.support.store import KINDS, new_place


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    for name in [name for name in os.environ if name.upper().startswith("CAVEATS_")]:
        if name not in ("CAVEATS_TEST_POSTGRES", "CAVEATS_FUZZ", "CAVEATS_LAWS"):
            del os.environ[name]
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture
def user(service: Service) -> User:
    return new_user(service)


@pytest.fixture
def admin(service: Service) -> str:
    return admin_token(service)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service of one's own; settings are keyword arguments."""
    with ExitStack() as running:
        yield lambda **given: running.enter_context(serving(given.pop("folder", tmp_path), **given))


@pytest.fixture
def timed(start: Callable[..., Service], clock: Clock) -> Service:
    """A service of one's own whose clock is `clock`."""
    return start(now=clock)


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The settings for each of the two databases."""
    loop = asyncio.new_event_loop()
    place = new_place(request.param, tmp_path)
    made = loop.run_until_complete(place.__aenter__())
    yield {} if request.param == "sqlite" else {"database_url": made.url}
    loop.run_until_complete(place.__aexit__(None, None, None))
    loop.close()
