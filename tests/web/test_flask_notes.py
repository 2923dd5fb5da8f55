"""The page of the notes: no cookie anywhere, a sign-in at another origin, and a token in a header of its own."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.support.bakery import site
from tests.support.reach import SCHEMES, SMALL, WIDE, found_by_axe, overflow, screenshot
from tests.support.service import free_port
from tests.support.web import Window, window

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from local_service import LocalService, local_service, process  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.timeout(300),
]
PASSWORD = "correct horse battery staple"


_numbers = count(1)


@dataclass(frozen=True)
class Notes:
    url: str
    of_service: LocalService

    @property
    def service(self) -> str:
        return self.of_service.url

    def new_user(self) -> str:
        name = f"alice{next(_numbers)}"
        self.of_service.add_user(name, PASSWORD)
        return name


@pytest.fixture(scope="module")
def notes(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    """The notes, and a service that lets their page sign people in."""
    folder, port = tmp_path_factory.mktemp("notes"), free_port()
    with local_service(folder, CAVEATS_ALLOWED_ORIGINS=f"http://127.0.0.1:{port}") as service:
        environment = {**service.environment, "NOTES_KEYS": str(service.export_keys("notes"))}
        app = f"{EXAMPLES / 'flask_notes' / 'notes.py'}:from_environment"
        serve = ("flask", "--app", app, "run", "--port", str(port))
        with process(*serve, folder=folder, environment=environment) as url:
            yield Notes(url, service)


Open = Callable[..., Awaitable[Window]]


@pytest_asyncio.fixture(loop_scope="session")
async def opened(chromium: Any, notes: Notes) -> AsyncIterator[Open]:
    """Open a browser. At the end nothing was asked of anybody but the notes and the service, and there is no cookie."""
    windows: list[Window] = []
    async with AsyncExitStack() as stack:

        async def one(**given: Any) -> Window:
            windows.append(await stack.enter_async_context(window(chromium, notes.url, **given)))
            return windows[-1]

        yield one
        for each in windows:
            assert each.complaints == []
            hosts = {
                "{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in each.asked if url[:5] != "data:"
            }
            assert hosts <= {notes.url, notes.service}
            assert not any(word in url for url in each.asked for word in ("cav1_", PASSWORD))
            assert await each.context.cookies() == []


async def sign_in(browser: Window, notes: Notes, password: str = PASSWORD) -> None:
    """As somebody new."""
    name = await asyncio.to_thread(notes.new_user)
    await browser.visit(notes.url)
    await browser.page.get_by_label("Username").fill(name)
    await browser.page.get_by_label("Password").fill(password)
    await browser.page.get_by_role("button", name="Sign in").click()


async def keep(browser: Window, text: str) -> None:
    await browser.page.get_by_label("A note", exact=True).fill(text)
    await browser.page.get_by_role("button", name="Keep it").click()
    await browser.page.get_by_role("listitem").filter(has_text=text).wait_for()


async def test_the_page_signs_in_once_and_sends_its_token_with_each_request(
    opened: Open, notes: Notes
) -> None:
    alice = await opened()
    sent: list[dict[str, str]] = []
    alice.page.on("request", lambda request: sent.append(request.headers | {":url": request.url}))
    await sign_in(alice, notes)
    await alice.page.get_by_text(", until").wait_for()
    await keep(alice, "buy milk")
    await keep(alice, "<i>call</i> Bob")
    await alice.page.get_by_role("button", name="Delete buy milk").click()
    await alice.page.get_by_text("one note").wait_for()
    await alice.page.reload()
    await alice.page.get_by_role("listitem").filter(has_text="<i>call</i> Bob").wait_for()
    asked = [headers for headers in sent if re.search(r"/notes(/\d+)?$", headers[":url"])]
    assert len(asked) >= 7
    assert all(headers.get("x-auth-token", "").startswith("cav1_") for headers in asked)
    assert not any("cookie" in headers or "authorization" in headers for headers in asked)
    assert sum(headers[":url"] == f"{notes.service}/v1/tokens" for headers in sent) <= 2, (
        "one, and its preflight"
    )
    await alice.page.get_by_role("button", name="Delete <i>call</i> Bob").click()
    await alice.page.get_by_text("0 notes").wait_for()


async def test_a_wrong_password_is_said(opened: Open, notes: Notes) -> None:
    alice = await opened()
    await sign_in(alice, notes, "not this one")
    await alice.page.get_by_text("No such user, or not their password.").wait_for()
    assert await alice.page.get_by_label("Password").is_visible()


async def test_the_page_narrows_its_token_for_a_script_without_asking_anybody(
    opened: Open, notes: Notes
) -> None:
    alice = await opened()
    await sign_in(alice, notes)
    await alice.page.get_by_text(", until").wait_for()
    await keep(alice, "for the script")
    asked = len(alice.asked)
    await alice.page.get_by_role("button", name="Let a script read them").click()
    await alice.page.get_by_text("Nobody was asked").wait_for()
    assert len(alice.asked) == asked
    command = shlex.split(await alice.page.locator("#command").inner_text())
    for more, status in (([], "200"), (["-X", "POST", "-d", "{}"], "403")):
        curl = [*command, *more, "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*"]
        done = await asyncio.to_thread(subprocess.run, curl, capture_output=True, text=True, check=True)
        assert done.stdout == status


async def test_signing_out_forgets_the_token_and_revokes_it(opened: Open, notes: Notes) -> None:
    alice = await opened()
    await sign_in(alice, notes)
    await alice.page.get_by_text(", until").wait_for()
    token = await alice.page.evaluate("sessionStorage.getItem('notes-token')")
    async with alice.page.expect_response(lambda answer: answer.url.endswith("/v1/revocations")) as revoked:
        await alice.page.get_by_role("button", name="Sign out").click()
    assert (await revoked.value).status in (201, 204)
    assert await alice.page.evaluate("sessionStorage.length") == 0
    assert await alice.page.get_by_label("Username").is_visible()
    answer = await alice.context.request.post(f"{notes.service}/v1/verify", data={"token": token})
    assert answer.status == 401


async def test_a_page_of_any_other_origin_may_send_a_token_and_never_a_cookie(
    opened: Open, notes: Notes
) -> None:
    alice = await opened()
    await sign_in(alice, notes)
    await alice.page.get_by_text(", until").wait_for()
    token = await alice.page.evaluate("sessionStorage.getItem('notes-token')")
    elsewhere = await opened()
    with site() as other:
        other.places["/"] = lambda _: (200, {"Content-Type": "text/html"}, b"<p>a page")
        await elsewhere.visit(f"{other.url.replace('127.0.0.1', 'localhost')}/")
        told = await elsewhere.page.evaluate(
            "async ([url, token]) => (await fetch(url, {headers: {'X-Auth-Token': token}})).status",
            [f"{notes.url}/notes", token],
        )
        assert told == 200
        with_cookies = await elsewhere.page.evaluate(
            "(url) => fetch(url, {credentials: 'include'}).then(() => 'read', () => 'refused')",
            f"{notes.url}/notes",
        )
        assert with_cookies == "refused"
    elsewhere.complaints.clear()
    elsewhere.asked.clear()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_page_is_within_reach_and_fits(opened: Open, notes: Notes, scheme: str) -> None:
    alice = await opened(color_scheme=scheme)
    found: list[str] = []
    await alice.visit(notes.url)
    for name in ("sign-in", "notes"):
        if name == "notes":
            await sign_in(alice, notes)
            await alice.page.get_by_text(", until").wait_for()
            await keep(alice, f"a note that is long enough for a second line, in {scheme}, " * 2)
            await alice.page.get_by_role("button", name="Let a script read them").click()
            await alice.page.get_by_text("Nobody was asked").wait_for()
        found += await found_by_axe(alice.page)
        for size in (WIDE, SMALL, {"width": 320, "height": 600}):
            await alice.page.set_viewport_size(size)  # type: ignore[arg-type]
            assert await overflow(alice.page) <= 0, (name, size)
            await screenshot(alice.page, f"notes-{name}-{scheme}-{size['width']}")
        await alice.page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    assert found == []
