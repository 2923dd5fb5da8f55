"""The console within everybody's reach: by keyboard alone, for screen readers, in both schemes, on a small screen, on a slow line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from caveats import PrivateKey
from caveats.token import encode_base64
from tests.support.bakery import site
from tests.support.console import Visit
from tests.support.discharge import ours
from tests.support.reach import SCHEMES, SMALL, WIDE
from tests.support.service import ADMIN_PASSWORD, User, admin_token, bearer, new_user
from tests.support.web import Auth, Begun, serving, window

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
FIRST_LOAD = 60_000
"""Bytes, compressed."""
VIEWS = {
    "tokens": "My tokens",
    "issue": "Issue a token",
    "sign-ins": "Sign-ins",
    "password": "Change your password",
    "admin": "Requests",
    "admin/users": "Users",
    "admin/users/someone": "someone",
    "admin/groups": "Groups",
    "admin/agents": "Agents",
    "admin/clients": "Clients",
    "admin/keys": "Keys",
    "admin/verifiers": "Verifiers",
    "admin/revocations": "Revocations",
}


@pytest.fixture(scope="module")
def lived_in(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth]:
    """A service on which there is something to see on each page."""
    key = encode_base64(PrivateKey(b"v" * 32).public_key)
    with serving(tmp_path_factory.mktemp("lived_in")) as running:
        with running.client(headers=bearer(admin_token(running))) as http:  # type: ignore[arg-type]
            for method, path, body in (
                ("POST", "users", {"username": "someone", "password": "a long password"}),
                ("PUT", "groups/ops", {"members": ["someone"]}),
                ("POST", "agents", {"username": "someone", "public_key": key, "name": "nightly build"}),
                ("POST", "verifiers", {"audience": "photos", "public_key": key, "name": "photos, Oslo"}),
                ("POST", "keys/rotate", {"now": True}),
                ("POST", "keys/rotate", {}),
                ("POST", "revocations", {"user": "someone"}),
                (
                    "POST",
                    "clients",
                    {
                        "name": "photo-site",
                        "groups": ["ops"],
                        "audiences": ["photos"],
                        "scope": "photos:read",
                    },
                ),
            ):
                assert http.request(method, f"/v1/{path}", json=body).is_success, path
        for user in (_admin(running), User(running, "someone", "a long password")):  # type: ignore[arg-type]
            user.token(note="my laptop", scope="photos:read photos/42:*")
            user.token(note="backup of my photos", audience="photos", expires_in="30d")
            ended = user.issue(note="old phone")
            with running.client(headers=bearer(user.token())) as http:
                assert http.delete(f"/v1/tokens/{ended['token_id']}").status_code == 204
        yield running


def _admin(service: Auth) -> User:
    return User(service, "admin", ADMIN_PASSWORD)  # type: ignore[arg-type]


@pytest_asyncio.fixture(loop_scope="session", scope="module", params=SCHEMES)
async def admin(
    chromium: Any, lived_in: Auth, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Visit, str]]:
    """An administrator who is signed in, in a light or a dark browser."""
    async with window(chromium, lived_in.url, color_scheme=request.param, viewport=WIDE) as opened:
        visit = Visit(lived_in, opened)
        await visit.page.goto(lived_in.url)
        await visit.reads("Sign in")
        await _look(visit, "sign-in", request.param)
        await visit.sign_in(_admin(lived_in))
        await visit.reads("My tokens")
        yield visit, request.param
        await opened.check()


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(chromium: Any, lived_in: Auth, request: pytest.FixtureRequest) -> AsyncIterator[Visit]:
    """Somebody who is not signed in."""
    given = getattr(request, "param", {})
    async with window(chromium, lived_in.url, **given) as opened:
        visit = Visit(lived_in, opened)
        await visit.page.goto(lived_in.url)
        await visit.reads("Sign in")
        yield visit
        await opened.check()


async def _look(visit: Visit, name: str, scheme: str) -> None:
    """In this scheme, wide and small: axe-core finds nothing that is serious, and nothing sticks out."""
    for size in (WIDE, SMALL):
        await visit.page.set_viewport_size(size)  # type: ignore[arg-type]
        await visit.screenshot(f"{name.replace('/', '-')}-{scheme}-{size['width']}")
        assert await visit.found_by_axe() == []
        assert await visit.overflow() == 0
    await visit.page.set_viewport_size({"width": 320, "height": 600})
    assert await visit.overflow() == 0
    await visit.page.set_viewport_size(WIDE)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", VIEWS, ids=lambda address: address.replace("/", "-"))
async def test_every_page_is_within_everybodys_reach(admin: tuple[Visit, str], address: str) -> None:
    visit, scheme = admin
    await visit.see(address, VIEWS[address])
    await _look(visit, address, scheme)
    for details in await visit.page.locator("details:not([open]) > summary").all():
        await details.click()
    assert await visit.found_by_axe() == []


@pytest.mark.parametrize(
    ("address", "button"),
    [
        ("admin/users", "Add a user"),
        ("admin/groups", "Add a group"),
        ("admin/agents", "Register an agent"),
        ("admin/clients", "Add a client"),
        ("admin/keys", "Rotate"),
        ("admin/keys", "Retire k1"),
        ("admin/verifiers", "Register a verifier"),
        ("admin/revocations", "Revoke by id"),
    ],
    ids=lambda value: value.replace("/", "-"),
)
async def test_every_dialog_is_within_everybodys_reach(
    admin: tuple[Visit, str], address: str, button: str
) -> None:
    visit, scheme = admin
    await visit.see(address, VIEWS[address])
    await visit.button(button).click()
    await visit.page.get_by_role("dialog").wait_for()
    await _look(visit, f"dialog-{button.lower().replace(' ', '-')}", scheme)
    await visit.page.keyboard.press("Escape")
    assert await visit.button(button).evaluate("button => button === document.activeElement")


@pytest.mark.parametrize(
    "stranger", [{"color_scheme": scheme} for scheme in SCHEMES], indirect=True, ids=SCHEMES
)
async def test_the_pages_where_people_approve_are_as_well(
    lived_in: Auth, stranger: Visit, request: pytest.FixtureRequest
) -> None:
    scheme = request.node.callspec.id
    begun = Begun(lived_in, ours(lived_in, "signed-in = *", "approved-by = ops"))
    await stranger.page.goto(begun.page)
    await _look(stranger, "third-party-sign-in", scheme)
    user = new_user(lived_in)  # type: ignore[arg-type]
    await stranger.window.give(user, "Sign in and confirm", "not this one")
    await _look(stranger, "third-party-wrong", scheme)
    await stranger.window.give(user, "Sign in and confirm")
    await _look(stranger, "third-party-waiting", scheme)
    await stranger.page.goto(begun.approvers_page)
    await _look(stranger, "third-party-approve", scheme)
    assert await stranger.window.give(User(lived_in, "someone", "a long password"), "Approve") == "Done"  # type: ignore[arg-type]
    await _look(stranger, "third-party-done", scheme)
    await stranger.page.goto(f"{lived_in.url}/discharge/visit/nowhere")
    await _look(stranger, "third-party-nothing", scheme)


async def _tab_to(visit: Visit, name: str) -> None:
    """Press Tab until this is in focus; everything on the way has to be seen as it is."""
    for _ in range(60):
        await visit.page.keyboard.press("Tab")
        found = await visit.page.evaluate(
            """() => {
              const element = document.activeElement;
              const box = element.getBoundingClientRect();
              const style = getComputedStyle(element);
              const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
              const label = element.labels?.[0] ?? element;
              return {
                name: element.getAttribute("aria-label") ?? (label.textContent.trim() || element.value),
                outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
                covered: !(top === element || element.contains(top) || top?.contains(element)),
                height: box.height, width: box.width, inSentence: element.tagName === "A" && element.parentElement.textContent.trim().length > element.textContent.trim().length,
              };
            }"""
        )
        assert found["outlined"], f"the focus is not seen on {found}"
        assert not found["covered"], f"the focus is hidden on {found}"
        assert found["inSentence"] or min(found["height"], found["width"]) >= 24, found
        if found["name"].startswith(name):
            return
    raise AssertionError(f"{name} is out of a keyboard's reach")


async def test_all_of_it_is_done_by_keyboard_alone(lived_in: Auth, stranger: Visit) -> None:
    user, visit = new_user(lived_in), stranger  # type: ignore[arg-type]
    keyboard = visit.page.keyboard
    await _tab_to(visit, "Skip to the content")
    await keyboard.press("Enter")
    await _tab_to(visit, "Username")
    await keyboard.type(user.username)
    await _tab_to(visit, "Password")
    await keyboard.type(user.password)
    await keyboard.press("Enter")
    await visit.reads("My tokens")
    assert await visit.page.evaluate("document.activeElement.textContent") == "My tokens"
    await _tab_to(visit, "Issue a token")
    await keyboard.press("Enter")
    await visit.reads("Issue a token")
    await _tab_to(visit, "Label")
    await keyboard.type("by keyboard")
    await _tab_to(visit, "Your password")
    await keyboard.type(user.password)
    await _tab_to(visit, "Issue the token")
    await keyboard.press("Space")
    await visit.reads("“by keyboard” is issued")
    await _tab_to(visit, "Back to my tokens")
    await keyboard.press("Enter")
    await visit.reads("My tokens")
    await _tab_to(visit, "Revoke")
    await keyboard.press("Enter")
    await visit.page.get_by_role("dialog").wait_for()
    await keyboard.press("Escape")
    await keyboard.press("Enter")
    await _tab_to(visit, "Revoke")
    await keyboard.press("Enter")
    await visit.button("Undo").wait_for()
    await keyboard.press("Enter")  # it has the focus
    assert await visit.button("Undo").count() == 0
    assert await visit.button("Revoke").evaluate("button => button === document.activeElement")
    await keyboard.press("Enter")
    await _tab_to(visit, "Revoke")
    await keyboard.press("Enter")
    await visit.told("“by keyboard” is revoked.")
    assert "No token is alive" in await visit.window.text()


async def test_the_first_load_is_small_and_from_here_alone(lived_in: Auth, stranger: Visit) -> None:
    await stranger.sign_in(_admin(lived_in))
    await stranger.reads("My tokens")
    files = {url for url in stranger.window.asked if "/v1/" not in url}
    assert len(files) > 5
    with lived_in.client(headers={"Accept": "text/html"}) as http:
        answers = [http.get(url) for url in files]
    sizes = {answer.url.path: int(answer.headers["content-length"]) for answer in answers}
    assert sum(sizes.values()) < FIRST_LOAD, sizes


async def test_the_browser_itself_keeps_scripts_from_elsewhere_out(lived_in: Auth, bare: Any) -> None:
    with site() as elsewhere:
        visit = Visit(lived_in, await bare())
        await visit.page.goto(lived_in.url)
        await visit.reads("Sign in")
        planted = """async (url) => {
          const tried = {};
          tried.fetch = await fetch(url).then(() => "sent", () => "blocked");
          tried.image = await new Promise((resolve) => {
            const image = new Image();
            image.onload = () => resolve("sent");
            image.onerror = () => resolve("blocked");
            image.src = url;
          });
          const script = document.createElement("script");
          try { script.textContent = "window.ran = true"; } catch { tried.script = "blocked"; }
          document.head.append(script);
          try { document.body.innerHTML += "<b>x</b>"; tried.markup = "made"; } catch { tried.markup = "blocked"; }
          tried.ran = window.ran === true;
          return tried;
        }"""
        tried = await visit.page.evaluate(planted, elsewhere.url)
        assert tried == {
            "fetch": "blocked",
            "image": "blocked",
            "script": "blocked",
            "markup": "blocked",
            "ran": False,
        }
        assert elsewhere.asked == []


@pytest.mark.parametrize("stranger", [{"reduced_motion": "reduce"}], indirect=True, ids=["reduced"])
async def test_without_motion_nothing_moves(stranger: Visit) -> None:
    moving = "[...document.querySelectorAll('*')].filter((each) => getComputedStyle(each).transitionDuration !== '0s').length"
    assert await stranger.page.evaluate(moving) == 0
