"""The console in a real browser: somebody who is signed in there, and what axe-core says of what they see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support import reach
from tests.support.web import Auth, Window

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

    from tests.support.service import User


@dataclass
class Visit:
    """Somebody at the console."""

    service: Auth
    window: Window

    @property
    def page(self) -> Page:
        return self.window.page

    async def sign_in(self, user: User, password: str | None = None) -> None:
        """Type a name and a password where the console asks for them."""
        await self.window.fill(user, password)
        await self.page.get_by_role("button", name="Sign in", exact=True).click()

    async def see(self, address: str, heading: str) -> None:
        """Go to a view of the console and wait until it is shown."""
        await self.page.goto(f"{self.service.url}/#{address}")
        await self.reads(heading)

    async def reads(self, heading: str) -> None:
        """Wait for this heading."""
        await self.page.get_by_role("heading", level=1, name=heading, exact=True).wait_for()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def confirm(self, yes: str) -> None:
        """Say yes in the dialog that is open."""
        await self.page.get_by_role("dialog").get_by_role("button", name=yes, exact=True).click()

    async def told(self, words: str) -> None:
        """Wait until a notice says so."""
        await self.page.locator("#notices").get_by_text(words).wait_for()

    async def found_by_axe(self) -> list[str]:
        """What axe-core finds that is serious or critical."""
        return await reach.found_by_axe(self.page)

    async def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return await reach.overflow(self.page)

    async def screenshot(self, name: str) -> None:
        """Keep what is seen, if somebody wants to look at it."""
        await reach.screenshot(self.page, name)
