"""A keyboard alone: where Tab leads to on a page, and that whoever is there sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Page

_FOCUSED = """() => {
  const element = document.activeElement;
  if (element === document.body) return null;
  const shown = element.closest(".pill")?.querySelector("span") ?? element;
  const style = getComputedStyle(shown);
  const box = shown.getBoundingClientRect();
  const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return {
    name: element.getAttribute("aria-label") ?? (element.labels?.[0] ?? element).textContent.trim(),
    outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    covered: !(shown.contains(top) || top?.contains(shown) || top === element),
    size: Math.min(box.width, box.height),
    inSentence: element.tagName === "A" && element.parentElement.textContent.trim() !== element.textContent.trim(),
  };
}"""


async def tab(page: Page) -> str | None:
    """Press Tab. The name of what is in focus then, which has to be seen and large enough; None behind the last."""
    await page.keyboard.press("Tab")
    found: dict[str, Any] | None = await page.evaluate(_FOCUSED)
    if found is None:
        return None
    assert found["outlined"], f"the focus is not seen on {found}"
    assert not found["covered"], f"the focus is hidden on {found}"
    assert found["inSentence"] or found["size"] >= 24, found
    return str(found["name"])


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until what begins with this name is in focus."""
    for _ in range(60):
        found = await tab(page)
        if found is not None and found.startswith(name):
            return
    raise AssertionError(f"{name} is out of a keyboard's reach")
