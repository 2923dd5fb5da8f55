"""Narrow and share in a real browser: a copy is made, given away by a link, used elsewhere, and revoked alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from caveats import Macaroon, PrivateKey, ThirdParty
from caveats.token import branch_id
from tests.support.console import Visit
from tests.support.keyboard import tab_to
from tests.support.reach import SCHEMES, SMALL, WIDE
from tests.support.service import User
from tests.support.token_pages import FIELD, NOW, bundle_of, macaroon, paste, sentence
from tests.support.web import Auth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
Come = Callable[..., Awaitable[Visit]]
CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}
AREA = "Text of the copy"


def granted(service: Auth, token: str, **facts: str) -> bool | int:
    """Whether the service grants it for these facts; the status if it does not even look at the caveats."""
    with service.client() as http:
        answer = http.post("/v1/verify", json={"token": token, **facts})
    return bool(answer.json()["granted"]) if answer.status_code == 200 else answer.status_code


async def is_refused(service: Auth, token: str, **facts: str) -> None:
    """Wait until the service refuses it as what is not valid."""
    for _ in range(200):
        if granted(service, token, **facts) == 401:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it is still accepted")


async def clipboard(visit: Visit) -> str:
    return str(await visit.page.evaluate("navigator.clipboard.readText()"))


async def copy_text(visit: Visit) -> str:
    return await visit.page.get_by_label(AREA, exact=True).input_value()


async def test_a_copy_is_shared_by_link_used_elsewhere_and_revoked_alone(
    service: Auth, user: User, come_to: Come
) -> None:
    parent = user.token(note="my photos", scope="photos:* notes:read")
    owner = await come_to(f"narrow#token={parent}", now=False, **CLIPBOARD)
    await owner.page.goto(service.url)
    await owner.reads("Sign in")
    await owner.sign_in(user)
    await owner.reads("My tokens")
    await owner.page.goto(f"{service.url}/console/narrow#token={parent}")
    page = owner.page
    await page.get_by_label("notes:read").uncheck()
    await page.get_by_label("Only a part of that").fill("photos/42:read")
    await owner.button("Add").click()
    assert not await page.get_by_label("photos:*").is_checked()
    await page.get_by_label("1 hour").check()
    await page.get_by_label("GET", exact=True).check()
    await page.get_by_text(f"{user.username} may read photos/42, with GET, until").wait_for()
    await page.get_by_label("Name", exact=True).fill("for Bob")
    await owner.button("Copy a link").click()
    card = page.get_by_role("listitem").filter(has_text="for Bob")
    await card.wait_for()
    link = await clipboard(owner)
    assert link.startswith(f"{service.url}/console/inspect#token=cav1_")

    guest = await come_to("inspect", now=False, **CLIPBOARD)
    await guest.page.goto(link)
    assert await sentence(guest) == await sentence(owner)
    await guest.button("Copy the token").click()
    token = await clipboard(guest)
    facts = {"scope": "photos/42:read", "method": "GET"}
    assert granted(service, token, **facts) is True
    assert granted(service, token, scope="photos:read", method="GET") is False

    assert "cav1_" not in await page.evaluate("JSON.stringify(localStorage)")
    await page.reload()
    await card.get_by_role("button", name="Revoke").click()
    await owner.confirm("Revoke")
    await owner.button("Undo").click()
    await asyncio.sleep(0.3)
    assert granted(service, token, **facts) is True
    assert await card.get_by_text("revoked").count() == 0

    await card.get_by_role("button", name="Revoke").click()
    await owner.confirm("Revoke")
    await owner.told("“for Bob” is revoked.")
    await is_refused(service, token, **facts)
    assert granted(service, parent, **facts) is True
    await card.get_by_text("revoked", exact=True).wait_for()
    await guest.page.goto(f"{service.url}/console/try#token={token}")
    await guest.button("Ask the service").click()
    await guest.page.get_by_text("it was revoked, or its key was retired").wait_for()
    await card.get_by_role("button", name="Remove from the list").click()
    assert await card.count() == 0


@pytest.mark.parametrize("which", ["the parent", "the copy"])
async def test_without_a_sign_in_a_copy_is_revoked_with_a_token(
    which: str, service: Auth, user: User, come_to: Come
) -> None:
    parent = user.token(scope="photos:*")
    visit = await come_to("narrow", now=False)
    await paste(visit, parent)
    await visit.page.get_by_label("PUT", exact=True).check()
    await visit.page.get_by_text("with PUT").wait_for()
    copy = await copy_text(visit)
    await visit.button("Copy the token").click()
    await visit.button("Revoke").click()
    await visit.confirm("Revoke")
    dialog = visit.page.get_by_role("dialog")
    await dialog.get_by_text("Which token may revoke it?").wait_for()
    await dialog.get_by_label("Token").fill("nonsense")
    await visit.confirm("Revoke")
    assert "This is no token" in await dialog.get_by_role("alert").inner_text()
    await dialog.get_by_label("Token").fill(f'"{parent if which == "the parent" else copy}"')
    await visit.confirm("Revoke")
    await visit.told("is revoked.")
    await is_refused(service, copy, scope="photos:read", method="PUT")
    assert granted(service, parent, scope="photos:read") is True


async def test_a_copy_is_the_one_that_the_library_makes(come_to: Come) -> None:
    visit = await come_to("narrow", **CLIPBOARD)
    parent = macaroon()
    await paste(visit, parent.encode())
    assert await copy_text(visit) == parent.encode()
    assert await visit.button("Copy the token").is_disabled()
    page = visit.page
    await page.get_by_label("notes:read").uncheck()
    await page.get_by_label("A date and time").check()
    await page.get_by_label("Until, in the time of this browser").fill("2026-11-21T14:10")
    await page.get_by_label("Only from these addresses").fill("10.1.2.3/8, 192.0.2.7")
    await page.get_by_label("GET", exact=True).check()
    await page.get_by_label("PUT", exact=True).check()
    await page.get_by_text("Path, host, start, app and note").click()
    await page.get_by_label("Only these paths").fill("/albums/42  /public/*")
    await page.get_by_label("Only on these hosts").fill("photos.example")
    await page.get_by_label("Not before").fill("2026-11-21T13:00")
    await page.get_by_label("Only for these apps").fill("default")
    await page.get_by_label("Note", exact=True).fill("for  the printer")
    expected = parent.attenuate(
        b"scope = photos:*", b"expires = 2026-11-21T14:10:00Z", b"not-before = 2026-11-21T13:00:00Z",
        b"audience = default", b"method = GET PUT", b"path = /albums/42 /public/*", b"host = photos.example",
        b"client-ip = 10.0.0.0/8 192.0.2.7", b"note = for  the printer",
    )  # fmt: skip
    await page.get_by_text("for 9 caveats").wait_for()
    text = expected.encode()
    assert await copy_text(visit) == text
    assert await sentence(visit) == (
        "alice may do anything with photos, with GET or PUT, on photos.example, at /albums/42 or below /public/,"
        " from 10.0.0.0/8 or 192.0.2.7, not before 13:00 today, until 14:10 today."
    )
    size = f"{len(text)} bytes, {len(text) - len(parent.encode())} bytes more than the token, for 9 caveats."
    assert size in await visit.window.text()
    for button, form in {
        "Copy the token": text,
        "Copy a header": f"Authorization: Bearer {text}",
        "Copy for curl": f"curl -H 'Authorization: Bearer {text}' https://photos.example/",
        "Copy a link": f"{visit.service.url}/console/inspect#token={text}",
    }.items():
        await visit.button(button).click()
        await page.get_by_role("button", name="Copied").wait_for()
        assert await clipboard(visit) == form
        await visit.button(button).wait_for()
    stored = json.loads(await page.evaluate("localStorage.getItem('caveats-copies')"))
    assert len(stored) == 1
    assert stored[0]["branch"] == branch_id(Macaroon.decode(text).wire.signature).hex()
    assert stored[0]["expires"] == "2026-11-21T14:10:00Z"
    assert "cav1_" not in json.dumps(stored)


WRONG = {
    "no address": ("Only from these addresses", "10.0.0", "10.0.0 is not a whole address"),
    "no bits": ("Only from these addresses", "10.0.0.0/40", "0 to 32"),
    "a scope of others": ("Only a part of that", "videos:read", "The token does not allow this"),
    "no scope": ("Only a part of that", "videos", "Write what and how"),
    "no path": ("Only these paths", "albums", "Not a path pattern"),
    "a path that climbs": ("Only these paths", "/a/../b", "Not a path pattern"),
    "no host": ("Only on these hosts", "a..b", "Not a host"),
    "no app": ("Only for these apps", "Photos", "Not an audience"),
    "a start that is past": ("Not before", "2026-11-21T11:00", "That is past"),
    "an end that is past": ("Until, in the time of this browser", "2026-11-21T11:00", "That is past"),
    "an end after the token's": ("Until, in the time of this browser", "2026-11-22T11:00", "ends at 18:00 today"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_said_as_it_is_typed(name: str, come_to: Come) -> None:
    visit = await come_to("narrow")
    await paste(visit, macaroon().encode())
    await visit.page.get_by_label("A date and time").check()
    await visit.page.get_by_text("Path, host, start, app and note").click()
    await visit.page.get_by_label("GET", exact=True).check()
    await visit.page.get_by_text("with GET").wait_for()
    label, typed, said = WRONG[name]
    field = visit.page.get_by_label(label)
    await field.fill(typed)
    await visit.page.locator(".mistake", has_text=said).wait_for()
    assert await field.get_attribute("aria-invalid") == "true"
    ids = (await field.get_attribute("aria-describedby") or "").split()
    words = [await visit.page.locator(f"#{one}").inner_text() for one in ids]
    assert any(said in one for one in words)
    assert await visit.button("Copy the token").is_disabled()
    await field.fill("")
    assert await field.get_attribute("aria-invalid") is None
    await visit.page.get_by_text("for 1 caveat.").wait_for()
    assert await visit.button("Copy the token").is_enabled()


async def test_what_leaves_nothing_is_said_before_it_is_shared(come_to: Come) -> None:
    visit = await come_to("narrow")
    await paste(visit, macaroon(b"client-ip = 10.0.0.0/8", b"method = GET").encode())
    assert await visit.page.get_by_label("PUT", exact=True).count() == 0
    await visit.page.get_by_label("Only from these addresses").fill("192.0.2.7")
    await visit.page.get_by_text("Good for nothing").wait_for()
    assert "leaves nothing" in await visit.page.locator(".added").inner_text()


async def test_discharges_are_left_out_of_a_copy_and_that_is_said(come_to: Come) -> None:
    visit = await come_to("narrow")
    key = PrivateKey.generate()
    asked = macaroon().require_discharge(ThirdParty("https://approve.example", key.public_key), "x = y")
    await paste(visit, bundle_of(asked, key).encode())
    assert "1 discharge left out" in await visit.window.text()
    await visit.page.get_by_label("GET", exact=True).check()
    await visit.page.get_by_text("for 1 caveat.").wait_for()
    assert await copy_text(visit) == asked.attenuate(b"method = GET").encode()


async def test_copies_are_remembered_within_bounds_and_whatever_else_is_stored(come_to: Come) -> None:
    visit = await come_to("narrow")
    one = {
        "tokenId": "01KAJ5M3W8E2RZ6V8Q4T0N9XCD",
        "name": "one",
        "says": "alice may read photos.",
        "made": NOW.isoformat(),
        "expires": None,
        "revoked": None,
    }
    for stored in ("nonsense", "{}", "[null, 1, {}]", json.dumps([{**one, "branch": "x"}])):
        await visit.page.evaluate("text => localStorage.setItem('caveats-copies', text)", stored)
        await visit.page.reload()
        await visit.page.get_by_text("None yet.").wait_for()
    many = [{**one, "branch": f"{n:032x}", "name": f"copy {n}"} for n in range(200)]
    many[150]["revoked"] = NOW.isoformat()
    many[160]["expires"] = (NOW - timedelta(days=1)).isoformat()
    await visit.page.evaluate("text => localStorage.setItem('caveats-copies', text)", json.dumps(many))
    await visit.page.reload()
    await paste(visit, macaroon().encode())
    for number, method in enumerate(("GET", "POST", "PUT")):
        await visit.page.get_by_label(method, exact=True).check()
        await visit.page.get_by_text(
            f"{method}, until" if number == 0 else f"or {method}, until"
        ).first.wait_for()
        await visit.page.get_by_label("Name", exact=True).fill(f"new {number}")
        await visit.page.locator(".copy .actions button").first.click()
        kept = json.loads(await visit.page.evaluate("localStorage.getItem('caveats-copies')"))
        names = {copy["name"] for copy in kept}
        assert len(kept) == 200
        assert (f"new {number}" in names) == (number < 2)
        assert "copy 160" not in names
        assert ("copy 150" in names) == (number < 1)
    await visit.page.get_by_text("It could not be remembered").wait_for()


async def test_another_tab_sees_a_copy_at_once(service: Auth, come_to: Come) -> None:
    visit = await come_to("narrow")
    other = await visit.window.context.new_page()
    await other.goto(f"{service.url}/console/narrow")
    await other.get_by_text("None yet.").wait_for()
    await paste(visit, macaroon().encode())
    await visit.page.get_by_label("GET", exact=True).check()
    await visit.page.get_by_text("with GET").wait_for()
    await visit.page.get_by_label("Name", exact=True).fill("of the first tab")
    await visit.button("Copy the token").click()
    await other.get_by_role("heading", name="of the first tab").wait_for()


async def test_it_is_done_by_keyboard_alone(come_to: Come) -> None:
    visit = await come_to("narrow")
    keyboard = visit.page.keyboard

    await tab_to(visit.page, "Skip to the content")
    await keyboard.press("Enter")
    await tab_to(visit.page, FIELD)
    await keyboard.insert_text(macaroon().encode())
    await tab_to(visit.page, "Only a part of that")
    await keyboard.type("photos/42:read")
    await keyboard.press("Enter")
    await tab_to(visit.page, "As it is")
    await keyboard.press("ArrowRight")
    await tab_to(visit.page, "Only from these addresses")
    await keyboard.type("10.0.0.0/8")
    await tab_to(visit.page, "GET")
    await keyboard.press("Space")
    await visit.page.get_by_text("for 4 caveats.").wait_for()
    assert (
        await sentence(visit)
        == "alice may read notes and photos/42, with GET, from 10.0.0.0/8, until 12:10 today."
    )
    await tab_to(visit.page, "Name")
    await keyboard.press("Control+A")
    await keyboard.type("by keyboard")
    for _ in range(6):
        await keyboard.press("Shift+Tab")
        if await visit.page.evaluate("document.activeElement.textContent") == "Copy the token":
            break
    await keyboard.press("Enter")
    await visit.page.get_by_role("heading", name="by keyboard").wait_for()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_it_is_within_everybodys_reach(scheme: str, come_to: Come) -> None:
    visit = await come_to("narrow", color_scheme=scheme, viewport=WIDE)

    async def look(name: str) -> None:
        for size in (WIDE, SMALL):
            await visit.page.set_viewport_size(size)  # type: ignore[arg-type]
            await visit.screenshot(f"narrow-{name}-{scheme}-{size['width']}")
            assert await visit.found_by_axe() == []
            assert await visit.overflow() == 0
        await visit.page.set_viewport_size({"width": 320, "height": 600})
        assert await visit.overflow() == 0
        await visit.page.set_viewport_size(WIDE)  # type: ignore[arg-type]

    await look("empty")
    await paste(visit, macaroon().encode())
    await visit.page.get_by_text("Path, host, start, app and note").click()
    await visit.page.get_by_label("1 hour").check()
    await visit.page.get_by_text("for 1 caveat.").wait_for()
    await visit.button("Copy the token").click()
    await look("copy")
    await visit.page.get_by_label("Only from these addresses").fill("10.0.0.300")
    await look("wrong")
    await visit.button("Revoke").click()
    await look("dialog")
