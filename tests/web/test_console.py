"""The console in a real browser: sign in, issue, look, revoke with a moment to undo, change the password, sign out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.support.console import Visit
from tests.support.service import User, admin_token, bearer, command
from tests.support.web import Auth, serving, window

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
Come = Callable[..., Awaitable[Visit]]


@pytest_asyncio.fixture(loop_scope="session")
async def come(service: Auth, open_window: Any) -> AsyncIterator[Come]:
    """Come to the console, in a browser of one's own; signed in already, if a user is given."""

    async def one(user: User | None = None, **given: Any) -> Visit:
        visit = Visit(service, await open_window(**given))
        await visit.page.goto(service.url)
        await visit.reads("Sign in")
        if user is not None:
            await visit.sign_in(user)
            await visit.reads("My tokens")
        return visit

    yield one


def is_accepted(service: Auth, token: str) -> bool:
    with service.client() as http:
        return bool(http.post("/v1/verify", json={"token": token, "scope": "a:b"}).status_code == 200)


async def is_refused(service: Auth, token: str, within: float = 15) -> None:
    deadline = asyncio.get_running_loop().time() + within
    while is_accepted(service, token):
        assert asyncio.get_running_loop().time() < deadline, "the token is still accepted"
        await asyncio.sleep(0.1)


async def test_whoever_signs_in_sees_their_own_tokens_and_signs_out(
    service: Auth, user: User, come: Come
) -> None:
    user.token(note="my laptop", scope="photos:read photos/42:*")
    visit = await come()
    await visit.sign_in(user, "not this one")
    assert "That did not work" in await visit.page.get_by_role("alert").inner_text()
    assert await visit.page.get_by_label("Password").evaluate("field => field === document.activeElement")
    await visit.sign_in(user)
    await visit.reads("My tokens")
    assert await visit.page.title() == "My tokens · Caveats"
    card = visit.page.get_by_role("listitem").filter(has_text="my laptop")
    assert "May do anything with photos/42 and read photos." in await card.inner_text()
    assert "Never used" in await card.inner_text()
    assert "7 hours 59 minutes left" in await card.inner_text()
    await visit.page.reload()
    await visit.reads("My tokens")
    await visit.button("Sign out").click()
    await visit.reads("Sign in")
    assert "You are signed out." in await visit.window.text()
    await visit.page.reload()
    await visit.reads("Sign in")


async def test_an_account_without_tokens_reads_what_they_are_for(user: User, come: Come) -> None:
    visit = await come(user)
    assert "No tokens yet" in await visit.window.text()
    assert await visit.page.get_by_role("link", name="Issue a token").count() == 1


async def test_a_view_that_was_asked_for_before_the_sign_in_is_shown_after_it(
    service: Auth, user: User, come: Come
) -> None:
    visit = await come()
    await visit.page.goto(f"{service.url}/#sign-ins")
    await visit.page.reload()
    await visit.reads("Sign in")
    await visit.sign_in(user)
    await visit.reads("Sign-ins")


@pytest.mark.parametrize("end", ["With this sign-in, or earlier", "By itself, when its time is up"])
async def test_a_token_is_issued_shown_once_and_listed(
    service: Auth, user: User, come: Come, end: str
) -> None:
    visit = await come(user)
    page = visit.page
    await page.get_by_role("link", name="Issue a token").first.click()
    await visit.reads("Issue a token")
    await page.get_by_label("Label").fill("nightly build")
    await page.get_by_label("Only this").check()
    await page.get_by_role("textbox", name="Scope").fill("a:b  photos:read")
    await page.get_by_text("May b a and read photos.").wait_for()
    await page.get_by_label("Lasts for").select_option("1 hour")
    await page.get_by_label(end).check()
    if end.startswith("By itself"):
        await page.get_by_role("textbox", name="Your password").fill("not this one")
        await visit.button("Issue the token").click()
        await page.get_by_text("This is not your password.").wait_for()
        await page.get_by_role("textbox", name="Your password").fill(user.password)
    await visit.button("Issue the token").click()
    await visit.reads("“nightly build” is issued")
    token = await page.get_by_label("The token").input_value()
    assert is_accepted(service, token)
    for link, heading in (("Inspect it", "Inspect a token"), ("Narrow and share", "Narrow and share")):
        await page.get_by_role("link", name=link).click()
        await visit.reads(heading)
        assert token in await page.get_by_label("Token", exact=True).input_value()
        assert "cav1_" not in await page.evaluate("location.href + JSON.stringify({...sessionStorage})")
    assert not any("cav1_" in url for url in visit.window.asked), "a history would keep it"
    await page.get_by_role("link", name="My tokens").click()
    await visit.reads("My tokens")
    card = page.get_by_role("listitem").filter(has_text="nightly build")
    assert re.search(r"1 hour left|59 minutes left", await card.inner_text())
    assert token not in await page.content()
    await visit.button("Sign out").click()
    await visit.reads("Sign in")
    if end.startswith("By itself"):
        assert is_accepted(service, token)
    else:
        await is_refused(service, token)


async def test_what_the_service_refuses_is_said_where_it_was_asked_for(user: User, come: Come) -> None:
    visit = await come(user)
    await visit.page.goto(f"{visit.service.url}/#issue")
    await visit.reads("Issue a token")
    await visit.page.get_by_label("Label").fill("too much")
    await visit.page.get_by_label("Only this").check()
    await visit.page.get_by_role("textbox", name="Scope").fill("caveats:admin")
    await visit.page.get_by_label("With this sign-in").check()
    await visit.button("Issue the token").click()
    assert "beyond what you may have" in await visit.page.get_by_role("alert").inner_text()
    assert await visit.page.get_by_label("Label").input_value() == "too much"


async def test_a_token_is_revoked_after_a_moment_and_not_if_it_is_taken_back(
    service: Auth, user: User, come: Come
) -> None:
    token = user.token(note="my laptop")
    visit = await come(user)
    await visit.button("Revoke").click()
    await visit.confirm("Cancel")
    await visit.button("Revoke").click()
    await visit.confirm("Revoke")
    assert await visit.button("Undo").evaluate("button => button === document.activeElement")
    await visit.button("Undo").click()
    await asyncio.sleep(8)
    assert is_accepted(service, token), "it was taken back"
    await visit.button("Revoke").click()
    await visit.confirm("Revoke")
    await asyncio.sleep(2)
    assert is_accepted(service, token), "there is a moment left"
    await visit.told("“my laptop” is revoked.")
    assert not is_accepted(service, token)
    await visit.page.get_by_text("1 token that ended").click()
    assert "It was revoked" in await visit.window.text()


async def test_whoever_leaves_in_that_moment_has_revoked(service: Auth, user: User, come: Come) -> None:
    token = user.token(note="my laptop")
    visit = await come(user)
    await visit.button("Revoke").click()
    await visit.confirm("Revoke")
    assert is_accepted(service, token)
    await visit.page.goto("about:blank")
    await is_refused(service, token, within=5)


async def test_other_browsers_are_seen_and_signed_out(service: Auth, user: User, come: Come) -> None:
    here = await come(user)
    there = await come(user)
    await here.see("sign-ins", "Sign-ins")
    rows = here.page.get_by_role("main").get_by_role("listitem")
    assert await rows.count() == 2
    assert "this browser" in await rows.first.inner_text()
    await here.button("Sign it out").click()
    await here.told("is signed out.")
    await there.page.reload()
    await there.reads("Sign in")
    await here.page.reload()
    await here.reads("Sign-ins")


async def test_everything_of_a_user_is_revoked_this_sign_in_too(
    service: Auth, user: User, come: Come
) -> None:
    token = user.token()
    visit = await come(user)
    await visit.see("sign-ins", "Sign-ins")
    await visit.button("Revoke everything").click()
    await visit.confirm("Revoke everything")
    await visit.reads("Sign in")
    assert "Everything was revoked." in await visit.window.text()
    assert not is_accepted(service, token)


async def test_a_password_is_changed_and_whoever_changed_it_stays(
    service: Auth, user: User, come: Come
) -> None:
    token = user.token(note="my laptop")
    visit, other = await come(user), await come(user)
    await visit.see("password", "Change your password")
    await visit.page.get_by_label("Present password").fill("not this one")
    await visit.page.get_by_label("New password").fill("a sentence of my own")
    await visit.button("Change the password").click()
    await visit.page.get_by_text("This is not your present password.").wait_for()
    await visit.page.get_by_label("Present password").fill(user.password)
    await visit.button("Change the password").click()
    await visit.reads("My tokens")
    assert not is_accepted(service, token)
    await other.page.reload()
    await other.reads("Sign in")
    await other.sign_in(user, "a sentence of my own")
    await other.reads("My tokens")


async def test_a_password_for_once_is_changed_at_the_first_sign_in(
    service: Auth, user: User, come: Come
) -> None:
    body = {"new_password": "given to you for once", "must_change_password": True}
    with service.client(headers=bearer(admin_token(service))) as http:  # type: ignore[arg-type]
        assert http.put(f"/v1/users/{user.username}/password", json=body).status_code == 204
    visit = await come()
    await visit.sign_in(user, "given to you for once")
    await visit.page.get_by_text("Choose a password of your own").wait_for()
    fresh = visit.page.get_by_label("New password")
    assert await fresh.evaluate("field => field === document.activeElement")
    await fresh.fill("given to you for once")
    await visit.button("Change the password and sign in").click()
    await visit.page.get_by_role("alert").filter(has_text="The request").wait_for()
    await fresh.fill("a sentence of my own")
    await visit.button("Change the password and sign in").click()
    await visit.reads("My tokens")


async def test_where_anybody_may_have_an_account_one_is_made(service: Auth, come: Come) -> None:
    visit = await come()
    await visit.button("Create an account").click()
    await visit.reads("Create an account")
    await visit.page.get_by_label("Username").fill("newcomer@example.com")
    await visit.page.get_by_label("Password").fill("short")
    await visit.button("Create the account").click()
    await visit.page.get_by_role("alert").wait_for()
    await visit.page.get_by_label("Password").fill("a sentence of my own")
    await visit.button("Create the account").click()
    await visit.reads("My tokens")
    assert "newcomer@example.com" in await visit.page.get_by_role("banner").inner_text()


async def test_where_nobody_may_make_one_nothing_is_said_of_it(
    chromium: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with serving(tmp_path_factory.mktemp("closed"), OPEN_REGISTRATION="false") as closed:
        async with window(chromium, closed.url) as opened:
            visit = Visit(closed, opened)
            await visit.page.goto(closed.url)
            await visit.reads("Sign in")
            assert await visit.button("Create an account").count() == 0


async def test_a_browser_that_keeps_no_cookie_is_told_why_it_is_not_signed_in(user: User, come: Come) -> None:
    """As with plain http elsewhere than at localhost."""
    visit = await come()

    async def without_cookie(route: Any) -> None:
        answer = await route.fetch()
        headers = {name: value for name, value in answer.headers.items() if name != "set-cookie"}
        await visit.window.context.clear_cookies()
        await route.fulfill(response=answer, headers=headers)

    await visit.page.route("**/v1/session", without_cookie)
    await visit.sign_in(user)
    await visit.page.get_by_text("This browser did not keep the sign-in").wait_for()
    await visit.reads("Sign in")


async def test_from_the_first_look_on_the_browser_has_nothing_to_complain_of(user: User, come: Come) -> None:
    visit = await come()
    await visit.reads("Sign in")
    await visit.sign_in(user)
    await visit.reads("My tokens")
    await visit.see("sign-ins", "Sign-ins")
    assert visit.window.refusals == []


async def test_a_browser_that_blocks_storage_can_sign_in_and_inspect(user: User, come: Come) -> None:
    visit = await come()
    blocked = "{ get() { throw new DOMException('blocked', 'SecurityError') } }"
    await visit.page.add_init_script(f"Object.defineProperty(window, 'sessionStorage', {blocked})")
    await visit.page.reload()
    await visit.sign_in(user)
    await visit.reads("My tokens")
    await visit.page.get_by_role("link", name="Inspect").click()
    await visit.page.get_by_role("button", name="Show a sample").click()
    await visit.page.get_by_role("heading", name="The chain").wait_for()


async def test_a_session_is_kept_alive_by_whoever_goes_on_working(user: User, come: Come) -> None:
    visit = await come()
    await visit.page.clock.install()
    await visit.sign_in(user)
    await visit.reads("My tokens")
    asked = [url for url in visit.window.asked if "/v1/session" in url]
    for minutes, more in ((5, 0), (11, 1)):
        await visit.page.clock.fast_forward(minutes * 60_000)
        await visit.see("sign-ins", "Sign-ins")
        await visit.see("tokens", "My tokens")
        assert sum("/v1/session" in url for url in visit.window.asked) == len(asked) + more


async def test_time_goes_on_while_a_page_is_open(user: User, come: Come) -> None:
    user.token(note="my laptop", expires_in="1h")
    visit = await come()
    await visit.page.clock.install()
    await visit.sign_in(user)
    await visit.reads("My tokens")
    await visit.page.clock.fast_forward(57 * 60_000)
    await visit.page.get_by_text("2 minutes").wait_for()
    assert await visit.page.locator(".left.soon").count() == 1


async def test_a_sign_in_that_has_ended_is_said(service: Auth, user: User, come: Come) -> None:
    visit = await come(user)
    with service.client(headers=bearer(user.token())) as http:
        assert http.post("/v1/revocations", json={"user": user.username}).status_code == 201
    await visit.page.get_by_role("link", name="Issue a token").first.click()
    await visit.page.get_by_label("Label").fill("too late")
    await visit.page.get_by_label("With this sign-in").check()
    await visit.button("Issue the token").click()
    await visit.page.get_by_text("Your sign-in has ended.").wait_for()


async def test_a_user_sees_nothing_for_administrators(user: User, come: Come) -> None:
    visit = await come(user)
    assert await visit.page.get_by_role("link", name="Admin").count() == 0
    await visit.see("admin/users", "For administrators")
    assert not any("/v1/users" in url for url in visit.window.asked)


async def test_an_account_with_less_than_everything_reads_why_it_has_no_list(
    service: Auth, come: Come
) -> None:
    command(
        service.folder,
        *("users", "add", "bounded", "--scope", "photos:read", "--password-stdin"),
        stdin="a long password",
    )
    visit = await come(User(service, "bounded", "a long password"))  # type: ignore[arg-type]
    assert "Your account may no more than read photos" in await visit.window.text()
    await visit.see("sign-ins", "Sign-ins")
    assert "May read photos." in await visit.window.text()
    await visit.see("issue", "Issue a token")
    await visit.page.get_by_label("Label").fill("all that there is")
    await visit.page.get_by_label("With this sign-in").check()
    await visit.button("Issue the token").click()
    await visit.reads("“all that there is” is issued")
    assert "May read photos." in await visit.window.text()


async def test_a_service_that_is_gone_is_said_and_asked_again(user: User, come: Come) -> None:
    visit = await come(user)
    await visit.page.route("**/v1/tokens*", lambda route: route.abort())
    await visit.see("sign-ins", "Something went wrong")
    assert "The service does not answer" in await visit.page.get_by_role("alert").inner_text()
    await visit.page.unroute("**/v1/tokens*")
    visit.window.complaints.clear()  # the browser says that the request failed, as it should
    await visit.button("Try again").click()
    await visit.reads("Sign-ins")
