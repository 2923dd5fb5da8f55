"""`make todo` as people meet it: an account, a list, a link in somebody else's browser, revoked there and fine here."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.bakery import site
from tests.support.reach import SCHEMES, SMALL, WIDE, found_by_axe, overflow, screenshot
from tests.support.web import Window, window

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from local_service import process  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.timeout(300),
]
PASSWORD = "correct horse battery staple"
LINKS = "/links"
_numbers = count(1)


@pytest.fixture(scope="module")
def todo(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the to-do list: a service and two processes."""
    folder = tmp_path_factory.mktemp("todo")
    started = ("python", str(EXAMPLES / "todo" / "run.py"), "--port", "0", "--service-port", "0")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("CAVEATS_")}
    with process(*started, "--data", str(folder), folder=folder, environment=outside, patience=120) as url:
        yield url


Open = Callable[..., Awaitable[Window]]


@pytest_asyncio.fixture(loop_scope="session")
async def opened(chromium: Any, todo: str) -> AsyncIterator[Open]:
    """Open a browser, as often as there are people; each is looked through at the end (`Window.check`)."""
    windows: list[Window] = []
    async with AsyncExitStack() as stack:

        async def one(**given: Any) -> Window:
            windows.append(await stack.enter_async_context(window(chromium, todo, **given)))
            return windows[-1]

        yield one
        for each in windows:
            await each.check()


async def register(browser: Window, todo: str, path: str = "/") -> str:
    """Ask for a page without an account, make one, and be where one wanted to be. Answers the address."""
    address = f"ada{next(_numbers)}@example.org"
    await browser.visit(todo + path)
    await browser.page.get_by_role("link", name="Make an account").click()
    await browser.page.get_by_role("heading", level=1, name="Make an account").wait_for()
    await fill(browser, address)
    await browser.page.get_by_role("button", name="Make an account").click()
    await browser.page.wait_for_url(todo + path)
    return address


async def fill(browser: Window, address: str, password: str = PASSWORD) -> None:
    browser._typed.append(password)
    await browser.page.get_by_label("Address").fill(address)
    await browser.page.get_by_label("Password").fill(password)


async def add(browser: Window, *texts: str) -> None:
    for text in texts:
        await browser.page.get_by_label("What is to be done?").fill(text)
        await browser.page.keyboard.press("Enter")
        await browser.page.get_by_role("checkbox", name=text).wait_for()


async def make_link(browser: Window, todo: str, name: str) -> str:
    """Its address, as somebody would copy it."""
    await browser.visit(todo + LINKS)
    await browser.page.get_by_label("For whom").fill(name)
    await browser.page.get_by_role("button", name="Make a link").click()
    await browser.page.get_by_role("heading", name=f"A link for {name}").wait_for()
    return await browser.page.get_by_label("The link", exact=True).input_value()


async def items(browser: Window) -> list[str]:
    return await browser.page.get_by_role("list", name="Items").get_by_role("listitem").all_inner_texts()


async def shows(browser: Window, link: str) -> bool:
    """Whether a list comes by this link; if not, the page says why."""
    await browser.page.goto("about:blank")
    await browser.visit(link)
    await browser.page.locator("#items li, #problem:not([hidden])").first.wait_for()
    return not await browser.alert()


async def test_the_list_end_to_end(opened: Open, todo: str) -> None:
    ada = await opened()
    address = await register(ada, todo)
    assert "Nothing to do" in await ada.text()
    await add(ada, "Buy milk", "<b>Mend</b> the fence", "Write to Grace")
    await ada.page.get_by_role("checkbox", name="Buy milk").check()
    await ada.page.get_by_text("2 to do, 1 done").wait_for()
    await ada.page.get_by_role("button", name="Delete Write to Grace").click()
    await ada.page.get_by_text("1 to do, 1 done").wait_for()
    await ada.page.reload()
    await ada.page.get_by_text("1 to do, 1 done").wait_for()
    assert [text.partition("\n")[0] for text in await items(ada)] == ["Buy milk", "<b>Mend</b> the fence"]
    assert await ada.page.get_by_role("checkbox", name="Buy milk").is_checked()
    assert await ada.page.evaluate("document.cookie") == "", "scripts see no cookie"
    await ada.page.get_by_role("button", name="Sign out").click()
    await ada.page.wait_for_url("**/sign-in")
    await ada.visit(todo + "/")
    assert await ada.heading() == "Sign in"
    await fill(ada, address)
    await ada.page.get_by_role("button", name="Sign in").click()
    await ada.page.get_by_text("1 to do, 1 done").wait_for()


async def test_who_is_sent_to_sign_in_comes_back_to_where_they_were(opened: Open, todo: str) -> None:
    ada = await opened()
    address = await register(ada, todo, LINKS)
    await ada.page.get_by_role("button", name="Sign out").click()
    await ada.page.wait_for_url("**/sign-in")
    await ada.visit(todo + LINKS)
    assert ada.page.url == f"{todo}/sign-in?next={LINKS}"
    await fill(ada, address, "not this one")
    await ada.page.get_by_role("button", name="Sign in").click()
    await ada.page.get_by_text("that is not its password").wait_for()
    await fill(ada, address)
    await ada.page.get_by_role("button", name="Sign in").click()
    await ada.page.wait_for_url(todo + LINKS)


async def test_a_sign_in_leads_nowhere_else(opened: Open, todo: str) -> None:
    ada = await opened()
    address = await register(ada, todo)
    for elsewhere in ("https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"):
        await ada.visit(f"{todo}/sign-in?next={elsewhere}")
        await fill(ada, address)
        await ada.page.get_by_role("button", name="Sign in").click()
        await ada.page.wait_for_url(f"{todo}/**")
        await ada.page.get_by_role("heading", name="My list").wait_for()


async def test_a_session_that_ended_meanwhile_sends_the_page_to_sign_in(opened: Open, todo: str) -> None:
    ada = await opened()
    await register(ada, todo)
    await ada.context.clear_cookies()
    await ada.page.get_by_label("What is to be done?").fill("Buy milk")
    await ada.page.keyboard.press("Enter")
    await ada.page.wait_for_url("**/sign-in?next=%2F")


async def test_a_link_is_made_in_the_page_opened_elsewhere_and_revoked_alone(opened: Open, todo: str) -> None:
    ada = await opened(permissions=["clipboard-read", "clipboard-write"])
    address = await register(ada, todo)
    await add(ada, "Buy milk", "Mend the fence")
    await ada.page.get_by_role("checkbox", name="Buy milk").check()
    await ada.page.get_by_text("1 to do, 1 done").wait_for()
    for_grace = await make_link(ada, todo, "Grace")
    sent = len(ada.asked)
    for_bob = await make_link(ada, todo, "Bob")
    asked = [url.removeprefix(todo) for url in ada.asked[sent:] if "/api/" in url]
    assert asked == ["/api/links", "/api/sharing", "/api/links", "/api/links"], (
        "nobody narrows it for the page"
    )
    assert not any("cav1_" in url for url in ada.asked)
    await ada.page.get_by_role("button", name="Copy").click()
    await ada.page.get_by_text("Copied", exact=True).wait_for()
    assert await ada.page.evaluate("navigator.clipboard.readText()") == for_bob
    ends = await ada.page.locator("#made-says").inner_text()
    assert re.search(r"until Friday", ends), ends

    grace, bob = await opened(), await opened()
    assert await shows(grace, for_grace)
    assert await shows(bob, for_bob)
    assert await items(grace) == ["✓\nBuy milk", "Mend the fence"]
    assert f"From {address}." in await grace.text()
    assert not await grace.has_form(), "there is nothing to press"

    await ada.page.get_by_role("button", name="Revoke the link for Grace").click()
    await ada.page.get_by_text("Revoked", exact=True).wait_for()
    until = time.monotonic() + 10
    while await shows(grace, for_grace):
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    assert "This link does not work any more" in await grace.alert()
    assert await shows(bob, for_bob)
    await ada.visit(todo + "/")
    await ada.page.get_by_text("1 to do, 1 done").wait_for()

    await ada.page.get_by_role("button", name="Sign out").click()
    await ada.page.wait_for_url("**/sign-in")
    await asyncio.sleep(1)
    assert await shows(bob, for_bob), "what was promised until Friday is not the session's"


async def test_who_is_signed_in_opens_a_link_as_its_holder_and_not_as_themselves(
    opened: Open, todo: str
) -> None:
    ada, bob = await opened(), await opened()
    address = await register(ada, todo)
    await add(ada, "Buy milk")
    await register(bob, todo)
    assert await shows(bob, await make_link(ada, todo, "Bob"))
    assert f"From {address}." in await bob.text()


async def test_a_link_that_was_cut_off_is_said_to_be(opened: Open, todo: str) -> None:
    ada, grace = await opened(), await opened()
    await register(ada, todo)
    await add(ada, "Buy milk")
    link = await make_link(ada, todo, "Grace")
    for cut in (link[:-5], f"{todo}/shared"):
        assert not await shows(grace, cut)
        assert "This link is not whole" in await grace.alert()


async def test_a_page_of_another_site_has_no_say(opened: Open, todo: str) -> None:
    """Neither from another host, where the browser keeps the cookie to itself, nor from another port, where it sends it along."""
    ada = await opened()
    await register(ada, todo)
    await add(ada, "Buy milk")
    with site() as evil:
        evil.places["/"] = lambda _: (200, {"Content-Type": "text/html"}, b"<p>evil")
        for place in (evil.url, evil.url.replace("127.0.0.1", "localhost")):
            await ada.visit(f"{place}/")
            for path, how in (
                ("/api/sign-out", '{method: "POST", mode: "no-cors", credentials: "include"}'),
                ("/api/items", '{method: "POST", mode: "no-cors", credentials: "include", body: "{}"}'),
                ("/api/items", '{credentials: "include"}'),
                ("/api/sharing", '{credentials: "include"}'),
            ):
                asked = f"fetch('{todo}{path}', {how}).then((answer) => answer.type, () => 'refused')"
                assert await ada.page.evaluate(asked) == "refused", (place, path)
    ada.complaints.clear()  # the browser has said that it shows none of it
    ada.asked[:] = [url for url in ada.asked if url.startswith(todo)]
    await ada.visit(todo + "/")
    await ada.page.get_by_text("1 to do, 0 done").wait_for()


async def test_all_of_it_by_keyboard_alone(opened: Open, todo: str) -> None:
    ada = await opened()
    keys = ada.page.keyboard
    await ada.visit(f"{todo}/register")
    ada._typed.append(PASSWORD)
    await ada.page.get_by_label("Address").focus()
    await keys.type(f"keys{next(_numbers)}@example.org")
    await keys.press("Tab")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await ada.page.get_by_role("heading", name="Nothing to do").wait_for()
    await ada.page.locator("body").focus()
    await keys.press("Tab")
    assert await ada.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await keys.press("Enter")
    await keys.press("Tab")
    await keys.type("Buy milk")
    await keys.press("Enter")
    box = ada.page.get_by_role("checkbox", name="Buy milk")
    await box.wait_for()
    assert await ada.page.evaluate("document.activeElement.id") == "text", "one can go on typing"
    await keys.press("Tab")
    await keys.press("Tab")
    await keys.press("Space")
    await ada.page.get_by_text("0 to do, 1 done").wait_for()
    await keys.press("Tab")
    await keys.press("Enter")
    await ada.page.get_by_role("heading", name="Nothing to do").wait_for()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_every_page_is_within_reach_and_fits(opened: Open, todo: str, scheme: str) -> None:
    ada = await opened(color_scheme=scheme)
    found: list[str] = []

    async def look(name: str) -> None:
        found.extend(f"{name}: {one}" for one in await found_by_axe(ada.page))
        for size in (WIDE, SMALL, {"width": 320, "height": 600}):
            await ada.page.set_viewport_size(size)  # type: ignore[arg-type]
            assert await overflow(ada.page) <= 0, (name, size)
            await screenshot(ada.page, f"todo-{name}-{scheme}-{size['width']}")
        await ada.page.set_viewport_size(WIDE)  # type: ignore[arg-type]

    await ada.visit(todo + "/")
    await look("sign-in")
    await fill(ada, "nobody@example.org", "not this one")
    await ada.page.get_by_role("button", name="Sign in").click()
    await ada.page.get_by_role("alert").wait_for()
    await look("sign-in-refused")
    await ada.visit(f"{todo}/register")
    await look("register")
    await register(ada, todo)
    await look("list-empty")
    await add(ada, "Buy milk", "Write to Grace about the compiler, and how it is with the moth" * 3)
    await ada.page.get_by_role("checkbox", name="Buy milk").check()
    await look("list")
    link = await make_link(ada, todo, "Grace, who has quite a long name for a person" + "x" * 14)
    await ada.page.get_by_role("listitem").wait_for()
    await look("links")
    assert await shows(ada, link)
    await look("shared")
    assert not await shows(ada, f"{todo}/shared")
    await look("shared-refused")
    assert found == []
