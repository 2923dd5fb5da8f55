"""One service and one Chromium for all of these tests, and a window of one's own for every person in them.

Chromium is the one that the system has: nothing is downloaded. With neither it nor playwright at hand the tests are
skipped; what CI=true makes of that stands in tests/conftest.py.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests.support.console import Visit
from tests.support.service import User, new_user
from tests.support.token_pages import FIELD, NOW
from tests.support.web import Auth, Window, serving, window

NAMES = ("chromium", "chromium-browser", "google-chrome")
Open = Callable[..., Awaitable[Window]]
Come = Callable[..., Awaitable[Visit]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Any]:
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=path)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def service(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def user(service: Auth) -> User:
    return new_user(service)  # type: ignore[arg-type]


@pytest_asyncio.fixture(loop_scope="session")
async def bare(chromium: Any, service: Auth) -> AsyncIterator[Open]:
    """Open a window that may complain, for pages that give it a reason to."""
    async with AsyncExitStack() as opened:

        async def open_one(**given: Any) -> Window:
            return await opened.enter_async_context(window(chromium, service.url, **given))

        yield open_one


@pytest_asyncio.fixture(loop_scope="session")
async def open_window(bare: Open) -> AsyncIterator[Open]:
    """Open a window, as often as there are people; each is looked through at the end (`Window.check`)."""
    windows: list[Window] = []

    async def open_one(**given: Any) -> Window:
        windows.append(await bare(**given))
        return windows[-1]

    yield open_one
    for opened in windows:
        await opened.check()


@pytest_asyncio.fixture(loop_scope="session")
async def come_to(service: Auth, open_window: Open) -> AsyncIterator[Come]:
    """Come to a page about tokens: at noon of a day in November, in UTC; with `now=False` at the time that it is."""

    async def one(page: str, *, now: bool = True, **given: Any) -> Visit:
        visit = Visit(service, await open_window(timezone_id="UTC", **given))
        if now:
            await visit.page.clock.set_fixed_time(NOW)
        await visit.page.goto(f"{service.url}/console/{page}")
        await visit.page.get_by_label(FIELD, exact=True).wait_for()
        return visit

    yield one
