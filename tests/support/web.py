"""A service that runs as operators run it, people at a browser, and what somebody who asks has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from caveats_service.discharge.secrets import approve_secret, wait_hash
from tests.support.discharge import ask, info, waited
from tests.support.service import Process, User, admin_token, bearer, process, rows

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request

GENEROUS = {
    "OPEN_REGISTRATION": "true",
    "LOGIN_LIMIT_ACCOUNT": "100000/minute",
    "LOGIN_LIMIT_ADDRESS": "100000/minute",
    "REGISTER_LIMIT_ADDRESS": "100000/minute",
    "INTERACTION_LIMIT_ADDRESS": "100000/minute",
}
NARROW = {"width": 360, "height": 740}
_OF_STATUS = "Failed to load resource: the server responded with a status of"
"""What Chromium says of every page that is no 200."""


@dataclass
class Auth:
    """`caveats-service serve` as a process, for the helpers that take a `Service`."""

    running: Process
    folder: Path
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.running.url

    def client(self, **kwargs: Any) -> httpx.Client:
        return self.running.client(**kwargs)

    def put_in_group(self, name: str, *users: User) -> None:
        body = {"members": [user.username for user in users]}
        with self.client() as http:
            answer = http.put(f"/v1/groups/{name}", json=body, headers=bearer(admin_token(self)))  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text

    @property
    def decisions(self) -> int:
        """So many have been made here."""
        query = "SELECT count(*) FROM audit WHERE action IN ('interaction.granted', 'interaction.denied')"
        return int(rows(self.folder, query)[0][0])


@contextmanager
def serving(folder: Path, **given: str) -> Iterator[Auth]:
    with process(folder, **{**GENEROUS, **given}) as running:
        yield Auth(running, folder)


class Begun:
    """What somebody who asked for a discharge was told: the page's address, and where to wait."""

    def __init__(self, service: Auth, ticket: bytes, headers: dict[str, str] | None = None) -> None:
        told = info(ask(service, ticket, headers))  # type: ignore[arg-type]
        self._service = service
        self.ticket = ticket
        self.page = f"{service.url}/{told['VisitURL']}"
        self.approvers_page = (
            f"{service.url}/discharge/approve/{approve_secret(self.page.rpartition('/')[2])}"
        )
        """Which the asker's page shows."""
        self._wait = told["WaitURL"]
        self.secret = self._wait.rpartition("/")[2]

    def answer(self) -> httpx.Response:
        """What whoever waits is told at last."""
        return waited(self._service, self._wait)  # type: ignore[arg-type]

    @property
    def is_open(self) -> bool:
        """Whether nobody has decided yet."""
        query = "SELECT decision FROM interactions WHERE wait_hash = ?"
        return rows(self._service.folder, query, wait_hash(self.secret)) == [("open",)]


class Window:
    """A person's browser, whose cookies nobody else has. Keeps what it asked for and what it complained of."""

    def __init__(self, context: BrowserContext, page: Page, origin: str) -> None:
        self.context = context
        self.page = page
        self.asked: list[str] = []
        self.sent = 0
        """How many forms."""
        self.complaints: list[str] = []
        self.refusals: list[str] = []
        """What it wrote into its console because of an answer's status."""
        self._origin = origin
        self._typed: list[str] = []
        context.on("request", self._ask)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _ask(self, request: Request) -> None:
        self.asked.append(request.url)
        self.sent += request.method == "POST"

    def _hear(self, message: ConsoleMessage) -> None:
        of_status = message.text.startswith(_OF_STATUS)
        (self.refusals if of_status else self.complaints).append(message.text)

    async def visit(self, url: str) -> None:
        await self.page.goto(url)

    async def has_session(self, user: User) -> None:
        """Sign in to the service as its own pages do: the cookie is the browser's."""
        await self.page.goto(f"{self._origin}/healthz")
        status = await self.page.evaluate(
            """async (body) => (await fetch("/v1/session", {method: "POST", body: JSON.stringify(body),
                headers: {"Content-Type": "application/json"}})).status""",
            {"username": user.username, "password": user.password},
        )
        assert status == 201

    async def fill(self, user: User, password: str | None = None) -> None:
        password = user.password if password is None else password
        self._typed.append(password)
        await self.page.get_by_label("Username").fill(user.username)
        await self.page.get_by_label("Password").fill(password)

    async def press(self, button: str) -> str:
        """Press it and read the heading of what comes then."""
        async with self.page.expect_navigation():
            await self.page.get_by_role("button", name=button, exact=True).click()
        return await self.heading()

    async def give(self, user: User, button: str, password: str | None = None) -> str:
        """Name, password and a button. Answers the heading of what comes then."""
        await self.fill(user, password)
        return await self.press(button)

    async def heading(self) -> str:
        return await self.page.get_by_role("heading", level=1).inner_text()

    async def alert(self) -> str:
        """What went wrong; nothing if nothing did."""
        return "\n".join(await self.page.get_by_role("alert").all_inner_texts())

    async def complaint(self, words: str) -> None:
        """Wait until the browser has said so."""
        for _ in range(500):
            if any(words in complaint for complaint in self.complaints):
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"not a word of {words}: {self.complaints}")

    async def text(self) -> str:
        return await self.page.locator("body").inner_text()

    async def address(self) -> str:
        """What the page says to send to whoever approves."""
        return await self.page.locator(".address").inner_text()

    async def has_form(self) -> bool:
        return await self.page.locator("form, input, button").count() > 0

    async def check(self) -> None:
        """What holds at the end of every visit: nothing was loaded from elsewhere, nothing complained of, and no
        password is in an address, in the console or in the page's source."""
        assert not self.complaints, self.complaints
        elsewhere = {url for url in self.asked if not url.startswith(f"{self._origin}/")}
        assert not elsewhere, elsewhere
        shown = [*self.asked, *[page.url for page in self.context.pages]]
        shown += [await page.content() for page in self.context.pages]
        for password in self._typed:
            assert not any(password in text for text in shown)


@asynccontextmanager
async def window(browser: Browser, origin: str, **given: Any) -> AsyncIterator[Window]:
    context = await browser.new_context(**given)
    context.set_default_timeout(20_000)
    try:
        yield Window(context, await context.new_page(), origin)
    finally:
        await context.close()
