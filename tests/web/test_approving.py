"""The page where a second person approves, in a real browser: who may, who may not, and what each is told."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.support.discharge import denied, ours, predicates
from tests.support.service import User, bearer, new_user
from tests.support.web import Auth, Begun

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
NO = (401, "permission denied")


@pytest.fixture
def approver(service: Auth, user: User) -> User:
    """The one person of the group that is called as `user` is, with a g before."""
    other = new_user(service)
    service.put_in_group(f"g{user.username}", other)
    return other


def asked_by(service: Auth, user: User, *more: str) -> Begun:
    """By somebody who is known already: what is left is the approval."""
    ticket = ours(service, f"approved-by = g{user.username}", *more)
    return Begun(service, ticket, bearer(user.token()))


async def test_a_second_person_of_the_group_approves_what_the_first_asks(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    begun = Begun(service, ours(service, "signed-in = *", f"approved-by = g{user.username}"))
    first, second = await open_window(), await open_window()
    await first.visit(begun.page)
    assert "After that a second person has to approve." in await first.text()
    assert await first.give(user, "Sign in and confirm") == "Waiting for approval"
    assert "Send this address to somebody who may approve" in await first.text()
    assert begun.is_open
    assert await first.address() == begun.approvers_page
    await second.visit(await first.address())
    assert f"{user.username} at 127.0.0.1 asks for your approval" in await second.text()
    assert f"{user.username} has signed in\nsigned-in = *" in await second.text()
    assert f"A second person, of g{user.username}, approves" in await second.text()
    assert await second.give(approver, "Approve") == "Done"
    await first.page.reload()
    assert await first.heading() == "Done"
    assert predicates(begun.answer())[0] == f"user = {user.username}"


async def test_who_asks_cannot_approve_and_reads_why(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    service.put_in_group(f"g{user.username}", user, approver)
    begun = asked_by(service, user)
    by_password, by_session = await open_window(), await open_window()
    await by_session.has_session(user)
    for window in (by_password, by_session):
        await window.visit(begun.page)
        assert await window.page.get_by_role("button").all_inner_texts() == ["Withdraw"]
        await window.visit(await window.address())
    assert await by_password.give(user, "Approve") == "Approve"
    assert await by_session.press("Approve") == "Approve"
    for window in (by_password, by_session):
        assert await window.alert() == "You ask this yourself: a second person has to approve."
    assert begun.is_open


async def test_who_asks_may_withdraw_and_nobody_else(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    begun = asked_by(service, user)
    window, other = await open_window(), await open_window()
    await other.visit(begun.approvers_page)
    assert "Withdraw" not in await other.text()
    await window.visit(begun.page)
    assert await window.page.locator("input").count() == 0
    assert await window.press("Withdraw") == "Denied"
    assert f"Asked by\n{user.username}" in await window.text()
    assert denied(begun.answer()) == NO


async def test_the_page_that_waits_finds_out_by_itself_and_says_what_was_agreed(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    begun = asked_by(service, user)
    first, second = await open_window(java_script_enabled=False), await open_window()
    await first.visit(begun.page)
    assert await first.heading() == "Waiting for approval"
    await second.visit(begun.approvers_page)
    assert await second.give(approver, "Approve") == "Done"
    await first.page.get_by_role("heading", name="Done").wait_for(timeout=15_000)
    for window in (first, second):
        text = await window.text()
        assert f"Asked by\n{user.username}" in text
        assert f"Approved by\n{approver.username}" in text
        assert f"approved-by = g{user.username}" in text
        assert re.search(r"Good until\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)
        assert service.url.removeprefix("http://") in text


async def test_whoever_comes_before_the_asker_has_signed_in_cannot_sign_in_instead(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    begun = Begun(service, ours(service, f"approved-by = g{user.username}"))
    first, second = await open_window(), await open_window()
    await second.visit(begun.approvers_page)
    assert await second.heading() == "Not yet"
    assert not await second.has_form()
    await first.visit(begun.page)
    await first.give(user, "Sign in and confirm")
    await second.page.reload()
    assert await second.give(approver, "Approve") == "Done"
    assert predicates(begun.answer())[0] == f"user = {user.username}"


async def test_who_is_not_of_the_group_neither_approves_nor_denies_and_reads_why(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    outsider = new_user(service)
    begun = asked_by(service, user)
    window = await open_window()
    await window.visit(begun.approvers_page)
    for button in ("Approve", "Deny"):
        assert await window.give(outsider, button) == "Approve"
        assert await window.alert() == f"It is not for {outsider.username} to approve this."
    assert begun.is_open
    assert await window.give(approver, "Approve") == "Done"
    assert predicates(begun.answer())[0] == f"user = {user.username}"


@pytest.mark.parametrize(("button", "heading"), [("Approve", "Done"), ("Deny", "Denied")])
async def test_an_approver_with_a_session_needs_one_click_and_not_none(
    service: Auth, user: User, approver: User, open_window: Any, *, button: str, heading: str
) -> None:
    begun = asked_by(service, user)
    window = await open_window()
    await window.has_session(approver)
    await window.visit(begun.approvers_page)
    assert f"You are signed in as {approver.username}." in await window.text()
    assert begun.is_open
    assert await window.press(button) == heading
    assert (begun.answer().status_code == 200) == (button == "Approve")


async def test_whoever_has_approved_reads_that_another_group_still_has_to(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    other = new_user(service)
    service.put_in_group(f"h{user.username}", other)
    begun = asked_by(service, user, f"approved-by = h{user.username}")
    first, second = await open_window(), await open_window()
    await first.visit(begun.approvers_page)
    assert await first.give(approver, "Approve") == "Waiting for approval"
    assert "You have approved this. Somebody else still has to" in await first.text()
    assert begun.is_open
    await second.visit(begun.approvers_page)
    assert await second.give(other, "Approve") == "Done"
    assert begun.answer().status_code == 200


async def test_one_approves_while_another_denies_and_there_is_one_decision(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    other = new_user(service)
    service.put_in_group(f"g{user.username}", approver, other)
    begun = asked_by(service, user)
    windows = [await open_window(), await open_window()]
    for window, person in zip(windows, (approver, other), strict=True):
        await window.visit(begun.approvers_page)
        await window.fill(person)
    made = service.decisions
    headings = await asyncio.gather(windows[0].press("Approve"), windows[1].press("Deny"))
    assert headings[0] == headings[1] == ("Done" if begun.answer().status_code == 200 else "Denied")
    assert service.decisions == made + 1


async def test_an_approval_counts_only_of_whoever_is_of_the_group_when_they_press(
    service: Auth, user: User, approver: User, open_window: Any
) -> None:
    begun = asked_by(service, user)
    window = await open_window()
    await window.visit(begun.approvers_page)
    await window.fill(approver)
    service.put_in_group(f"g{user.username}")
    assert await window.press("Approve") == "Approve"
    assert await window.alert() == f"It is not for {approver.username} to approve this."
    assert begun.is_open
