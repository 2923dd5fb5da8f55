"""The page where people sign in, in a real browser: what it shows, what it takes, and that it decides once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.discharge import denied, ours, predicates, ticket
from tests.support.service import User, new_user
from tests.support.web import NARROW, Auth, Begun, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
NO = (401, "permission denied")


async def test_whoever_signs_in_is_whom_the_discharge_is_for(
    service: Auth, user: User, open_window: Any
) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    await window.visit(begun.page)
    assert await window.heading() == await window.page.title() == "Sign in"
    assert "A program at 127.0.0.1 wants this service to confirm" in await window.text()
    assert "You have signed in\nsigned-in = *" in await window.text()
    assert begun.is_open, "opening the page decides nothing"
    assert await window.give(user, "Sign in and confirm") == "Done"
    assert "You can close this window" in await window.text()
    assert not await window.has_form()
    assert predicates(begun.answer())[0] == f"user = {user.username}"


async def test_a_wrong_password_is_said_and_another_try_is_at_hand(
    service: Auth, user: User, open_window: Any
) -> None:
    begun = Begun(service, ticket(service, "is-authenticated-user"))
    window = await open_window()
    await window.visit(begun.page)
    assert await window.alert() == ""
    assert await window.give(user, "Sign in and confirm", "not this one") == "Sign in"
    assert await window.alert() == "No such user, or not their password"
    username, password = window.page.get_by_label("Username"), window.page.get_by_label("Password")
    assert (await username.input_value(), await password.input_value()) == (user.username, "")
    assert await password.evaluate("field => field === document.activeElement")
    assert begun.is_open
    assert await window.give(user, "Sign in and confirm") == "Done"
    assert predicates(begun.answer())[0] == f"declared username {user.username}"


async def test_nothing_is_sent_while_a_field_is_empty(service: Auth, user: User, open_window: Any) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    await window.visit(begun.page)
    asked = len(window.asked)
    await window.page.get_by_label("Username").fill(user.username)
    await window.page.get_by_role("button", name="Sign in and confirm").click()
    assert await window.page.get_by_label("Password").evaluate("field => field.matches(':invalid:focus')")
    assert len(window.asked) == asked


async def test_a_browser_with_a_session_is_only_asked_to_confirm(
    service: Auth, user: User, open_window: Any
) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    await window.has_session(user)
    await window.visit(begun.page)
    assert f"You are signed in as {user.username}." in await window.text()
    assert begun.is_open, "opening the page decides nothing, even with a session"
    assert await window.press("Confirm") == "Done"
    assert predicates(begun.answer())[0] == f"user = {user.username}"


async def test_a_browser_with_a_session_takes_somebody_else_s_password(
    service: Auth, user: User, open_window: Any
) -> None:
    other = new_user(service)
    begun = Begun(service, ours(service, f"signed-in = {other.username}"))
    window = await open_window()
    await window.has_session(user)
    await window.visit(begun.page)
    assert f"You are {other.username}" in await window.text()
    assert await window.press("Confirm") == "Sign in"
    assert f"{user.username} has signed in" in await window.alert()
    assert await window.give(other, "Confirm") == "Done"
    assert predicates(begun.answer())[0] == f"user = {other.username}"


async def test_what_is_denied_is_denied(service: Auth, user: User, open_window: Any) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    await window.visit(begun.page)
    assert await window.give(user, "Deny") == "Denied"
    assert not await window.has_form()
    assert denied(begun.answer()) == NO


async def test_who_is_not_in_the_group_is_told_and_who_is_may_go_on(
    service: Auth, user: User, open_window: Any
) -> None:
    member = new_user(service)
    group = f"g{user.username}"
    service.put_in_group(group, member)
    begun = Begun(service, ours(service, f"member-of = {group}"))
    window = await open_window()
    await window.visit(begun.page)
    assert f"You belong to {group}" in await window.text()
    assert await window.give(user, "Sign in and confirm") == "Sign in"
    assert await window.alert() == f"member-of = {group}: {user.username} is in none of them"
    assert begun.is_open
    assert await window.give(member, "Sign in and confirm") == "Done"
    assert predicates(begun.answer())[0] == f"user = {member.username}"


async def test_reloading_and_going_back_show_the_decision_and_make_no_other(
    service: Auth, user: User, open_window: Any
) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    await window.visit(begun.page)
    assert await window.give(user, "Sign in and confirm") == "Done"
    made, sent = service.decisions, window.sent
    for move in (window.page.reload, window.page.go_back, window.page.go_forward, window.page.go_back):
        await move()
        assert await window.heading() == "Done"
        assert not await window.has_form()
    assert (service.decisions, window.sent) == (made, sent), "no form went out again"
    assert predicates(begun.answer())[0] == f"user = {user.username}"


async def test_a_page_that_was_left_open_while_another_decided_changes_nothing(
    service: Auth, user: User, open_window: Any
) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    first, second = await open_window(), await open_window()
    for window in (first, second):
        await window.visit(begun.page)
    assert await first.give(user, "Deny") == "Denied"
    assert await second.give(new_user(service), "Sign in and confirm") == "Denied"
    assert denied(begun.answer()) == NO


@pytest.mark.parametrize("other", ["Sign in and confirm", "Deny"])
async def test_two_browsers_at_once_are_one_decision(
    service: Auth, user: User, open_window: Any, other: str
) -> None:
    """Whoever comes second in the moment between a sign-in and its decision is told that, and then reads it as well."""
    begun = Begun(service, ours(service, "signed-in = *"))
    people = {user: "Sign in and confirm", new_user(service): other}
    windows = [await open_window() for _ in people]
    for window, person in zip(windows, people, strict=True):
        await window.visit(begun.page)
        await window.fill(person)
    made = service.decisions
    headings = await asyncio.gather(
        *[window.press(button) for window, button in zip(windows, people.values(), strict=True)]
    )
    assert service.decisions == made + 1
    answer = begun.answer()
    decision = "Done" if answer.status_code == 200 else "Denied"
    if answer.status_code == 200:
        assert predicates(answer)[0] in {f"user = {person.username}" for person in people}
    for window, heading in zip(windows, headings, strict=True):
        alert = await window.alert()
        late = "Somebody else has signed in here meanwhile." in alert or "asks this." in alert
        assert late or heading == decision
        await window.visit(begun.page)
        assert await window.heading() == decision


async def test_a_link_whose_time_is_up_says_so_before_and_after(
    tmp_path: Path, service: Auth, bare: Any
) -> None:
    with serving(tmp_path, INTERACTION_LIFETIME="2s") as short:
        user = new_user(short)  # type: ignore[arg-type]
        begun = Begun(short, ours(short, "signed-in = *"))
        window = await bare()
        await window.visit(begun.page)
        await window.fill(user)
        await asyncio.sleep(2)
        assert await window.press("Sign in and confirm") == "Nothing to decide here"
        assert "The time is up" in await window.text()
        await window.visit(begun.page)
        assert await window.heading() == "Nothing to decide here"
        assert not await window.has_form()
        assert denied(begun.answer()) == (404, "not found")


async def test_an_address_that_is_not_whole_says_so(service: Auth, open_window: Any) -> None:
    window = await open_window()
    await window.visit(Begun(service, ours(service, "signed-in = *")).page[:-1])
    assert await window.heading() == "Nothing to decide here"
    assert "the address is not whole. Begin again where you came from." in await window.text()


# hands and eyes


async def test_a_keyboard_is_enough(service: Auth, user: User, open_window: Any) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    await window.visit(begun.page)
    keys = window.page.keyboard
    ringed = "document.activeElement.matches(':focus-visible') && getComputedStyle(document.activeElement).outlineStyle"
    for label, text in (("Username", user.username), ("Password", user.password)):
        await keys.press("Tab")
        assert await window.page.get_by_label(label).evaluate("field => field === document.activeElement")
        assert await window.page.evaluate(ringed) == "solid"
        await keys.type(text)
    async with window.page.expect_navigation():
        await keys.press("Enter")
    assert await window.heading() == "Done"
    assert predicates(begun.answer())[0] == f"user = {user.username}"


async def test_the_second_button_is_two_tabs_further(service: Auth, user: User, open_window: Any) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    await window.visit(begun.page)
    keys = window.page.keyboard
    for text in (user.username, user.password, ""):
        await keys.press("Tab")
        await keys.type(text)
    await keys.press("Tab")
    async with window.page.expect_navigation():
        await keys.press("Space")
    assert await window.heading() == "Denied"


LONG = "x" * 300
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def test_nothing_runs_off_a_telephone_s_screen(service: Auth, open_window: Any) -> None:
    long_name = new_user(service)
    group = f"{long_name.username}{'-long' * 10}"
    approver = new_user(service)
    service.put_in_group(group, approver)
    window = await open_window(viewport=NARROW, is_mobile=True, has_touch=True, device_scale_factor=2)

    async def fits() -> None:
        assert await window.page.evaluate(OVERFLOW) == 0
        assert await window.page.evaluate("innerWidth") == NARROW["width"], "it is not shown smaller"

    await window.visit(Begun(service, ticket(service, f"is-member-of {LONG} b {LONG}")).page)
    await fits()
    begun = Begun(service, ours(service, "signed-in = *", f"approved-by = {group}"))
    await window.visit(begun.page)
    await fits()
    assert await window.give(long_name, "Sign in and confirm", "wrong " * 20) == "Sign in"
    await fits()
    assert await window.give(long_name, "Sign in and confirm") == "Waiting for approval"
    await fits()
    await window.visit(await window.address())
    await fits()
    assert await window.give(approver, "Approve") == "Done"
    await fits()
    await window.visit(f"{service.url}/discharge/visit/{LONG}")
    await fits()


CONTRASTS = """() => {
    const light = (color) => {
        const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((value) => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const color = getComputedStyle(one).backgroundColor;
            if (color !== "rgba(0, 0, 0, 0)") return color;
        }
        return "no color";
    };
    const found = {};
    for (const element of document.querySelectorAll("h1, p, li, code, label, input, button")) {
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const name = element.tagName + "." + element.className;
        found[name] = Math.min(contrast, found[name] ?? 99);
    }
    return [light(behind(document.body)), found];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_stands_out_by_day_and_by_night(
    service: Auth, user: User, open_window: Any, scheme: str
) -> None:
    """At least 4.5 to 1, as WCAG asks; and who asked for a dark page is not blinded."""
    window = await open_window(color_scheme=scheme)
    await window.visit(Begun(service, ours(service, "signed-in = *")).page)
    await window.give(user, "Sign in and confirm", "not this one")
    ground, contrasts = await window.page.evaluate(CONTRASTS)
    assert ground > 0.9 if scheme == "light" else ground < 0.05
    assert {"H1.", "P.said", "LI.", "CODE.", "INPUT.", "BUTTON.main", "BUTTON."} <= contrasts.keys()
    assert {name: contrast for name, contrast in contrasts.items() if contrast < 4.5} == {}
