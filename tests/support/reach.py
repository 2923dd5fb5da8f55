"""Whether a page is within everybody's reach: what axe-core says of it, and whether it fits the window."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Page

SCREENSHOTS = os.environ.get("CAVEATS_TEST_SCREENSHOTS")
"""A folder that each page's screenshots are written to; unset: none."""
SCHEMES = ("light", "dark")
WIDE, SMALL = {"width": 1280, "height": 850}, {"width": 360, "height": 740}
_AXE = Path(__file__).parents[1] / "web" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  return found.violations.map(({id, impact, nodes}) => ({id, impact, where: nodes.map((node) => node.target.join(" ") + " " + node.failureSummary)}));
}"""


async def found_by_axe(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    if not _AXE.exists():
        pytest.skip("axe-core is not there: npm ci --prefix tests/web")
    await page.evaluate(_AXE.read_text("utf-8"))
    found: list[dict[str, Any]] = await page.evaluate(_RUN)
    return [json.dumps(one) for one in found if one["impact"] in ("serious", "critical")]


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(await page.evaluate(width))


async def screenshot(page: Page, name: str) -> None:
    """Keep what is seen, if somebody wants to look at it."""
    if SCREENSHOTS:
        await page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)
