"""The console's pages for administrators in a real browser: each does what it says, on a service of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio

from caveats import PrivateKey
from caveats.token import encode_base64
from tests.support.console import Visit
from tests.support.service import ADMIN_PASSWORD, User, admin_token, bearer, new_user
from tests.support.web import Auth, serving, window

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
KEY = encode_base64(PrivateKey(b"v" * 32).public_key)


@pytest.fixture(scope="module")
def own(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Auth]:
    """Keys are rotated and retired here."""
    with serving(tmp_path_factory.mktemp("administered")) as running:
        yield running


@pytest.fixture
def api(own: Auth) -> Iterator[httpx.Client]:
    """What an administrator can find out without the console."""
    with own.client(headers=bearer(admin_token(own))) as http:  # type: ignore[arg-type]
        yield http


@pytest.fixture
def person(own: Auth) -> User:
    return new_user(own)  # type: ignore[arg-type]


@pytest_asyncio.fixture(loop_scope="session")
async def admin(chromium: Any, own: Auth) -> AsyncIterator[Visit]:
    async with window(chromium, own.url) as opened:
        visit = Visit(own, opened)
        await visit.page.goto(own.url)
        await visit.sign_in(User(own, "admin", ADMIN_PASSWORD))  # type: ignore[arg-type]
        await visit.reads("My tokens")
        yield visit
        await opened.check()


async def test_a_user_is_added_with_a_password_for_once(own: Auth, admin: Visit, api: httpx.Client) -> None:
    await admin.see("admin/users", "Users")
    await admin.button("Add a user").click()
    await admin.page.get_by_label("Username").fill("carol")
    once = await admin.page.get_by_label("Password for once").input_value()
    assert len(once) == 23
    await admin.confirm("Add")
    await admin.told("carol is added.")
    await admin.page.get_by_role("row").filter(has_text="carol").get_by_text("has to change").wait_for()
    with own.client() as http:
        answer = http.post("/v1/tokens", json={"username": "carol", "password": once})
    assert answer.json()["code"] == "password_change_required"
    await admin.button("Add a user").click()
    await admin.page.get_by_label("Username").fill("carol")
    await admin.confirm("Add")
    await admin.page.get_by_role("dialog").get_by_role("alert").wait_for()
    await admin.confirm("Cancel")


async def test_an_account_is_disabled_enabled_and_deleted(
    admin: Visit, api: httpx.Client, person: User
) -> None:
    await admin.see(f"admin/users/{person.username}", person.username)
    await admin.button("Disable").click()
    await admin.confirm("Disable")
    await admin.told(f"{person.username} is disabled.")
    await admin.button("Enable").click()
    await admin.told(f"{person.username} may sign in again.")
    person.token()
    await admin.button("Delete").click()
    await admin.confirm("Delete for ever")
    await admin.reads("Users")
    assert api.get(f"/v1/users/{person.username}/tokens").status_code == 404


async def test_a_users_token_is_revoked_by_an_administrator(own: Auth, admin: Visit, person: User) -> None:
    token = person.token(note="my laptop")
    await admin.see(f"admin/users/{person.username}", person.username)
    await admin.button("Revoke my laptop").click()
    await admin.confirm("Revoke")
    await admin.told("“my laptop” is revoked.")
    with own.client() as http:
        assert http.post("/v1/verify", json={"token": token}).status_code == 401


async def test_a_user_is_given_a_password_for_once(own: Auth, admin: Visit, person: User) -> None:
    await admin.see(f"admin/users/{person.username}", person.username)
    await admin.button("Set a password").click()
    once = await admin.page.get_by_label("Password for once").input_value()
    await admin.confirm("Set it")
    await admin.page.get_by_text("has to change the password").wait_for()
    with own.client() as http:
        sign_in = {"username": person.username, "password": once}
        assert http.post("/v1/tokens", json=sign_in).json()["code"] == "password_change_required"


async def test_many_users_are_found_by_a_part_of_their_name(own: Auth, admin: Visit) -> None:
    for _ in range(8):
        new_user(own)  # type: ignore[arg-type]
    await admin.see("admin/users", "Users")
    await admin.page.get_by_label("Find").fill("admi")
    rows = admin.page.get_by_role("row")
    assert await rows.count() == 2
    await admin.page.get_by_label("Find").fill("nobody at all")
    assert "No such user" in await admin.window.text()


async def test_a_group_gets_members_and_loses_them(admin: Visit, api: httpx.Client, person: User) -> None:
    await admin.see("admin/groups", "Groups")
    assert "No groups yet" in await admin.window.text()
    await admin.button("Add a group").click()
    await admin.page.get_by_label("Name").fill("ops")
    await admin.confirm("Add")
    await admin.told("The group ops is there.")
    await admin.page.get_by_label("A user to add to ops").fill(person.username)
    await admin.button("Add").click()
    await admin.told(f"{person.username} is in ops.")
    assert api.get("/v1/groups/ops").json()["members"] == [person.username]
    await admin.button(f"Remove {person.username} from ops").click()
    await admin.told(f"{person.username} is no longer in ops.")
    assert api.get("/v1/groups/ops").json()["members"] == []
    await admin.page.get_by_label("A user to add to ops").fill("nobody-here")
    await admin.button("Add").click()
    await admin.page.get_by_role("alert").wait_for()
    await admin.button("Delete the group ops").click()
    await admin.confirm("Delete")
    await admin.told("The group ops is deleted.")


async def test_an_agent_is_registered_and_removed(admin: Visit, api: httpx.Client, person: User) -> None:
    await admin.see("admin/agents", "Agents")
    await admin.button("Register an agent").click()
    await admin.page.get_by_label("Name").fill("nightly build")
    await admin.page.get_by_label("Speaks for").fill(person.username)
    await admin.page.get_by_label("Public key").fill(KEY)
    await admin.confirm("Register")
    await admin.told(f"The agent speaks for {person.username} now.")
    assert [row["name"] for row in api.get("/v1/agents").json()["agents"]] == ["nightly build"]
    await admin.button("Remove nightly build").click()
    await admin.confirm("Remove")
    await admin.told("The agent is removed.")
    assert api.get("/v1/agents").json()["agents"] == []


async def test_a_client_is_added_its_secret_shown_once_and_removed(
    own: Auth, admin: Visit, api: httpx.Client, person: User
) -> None:
    await admin.see("admin/clients", "Clients")
    await admin.button("Add a client").click()
    for label, value in (
        ("Name", "photo-site"),
        ("For users", person.username),
        ("At apps", "photos"),
        ("Scope", "photos:read"),
    ):
        await admin.page.get_by_label(label).fill(value)
    await admin.confirm("Add")
    secret = await admin.page.get_by_role("dialog").locator(".secret").inner_text()
    client_id = api.get("/v1/clients").json()["clients"][0]["client_id"]
    asked = {"client_id": client_id, "client_secret": secret, "user": person.username}
    with own.client() as http:
        assert http.post("/v1/tokens", json=asked).status_code == 201
    await admin.confirm("I have it")
    await admin.told("photo-site is added.")
    assert secret not in await admin.page.content()
    said = f"Issues tokens for {person.username}, at photos, that may read photos, for at most 1 hour."
    assert said in await admin.window.text()
    await admin.button("Remove photo-site").click()
    await admin.confirm("Remove")
    await admin.told("photo-site is removed.")


async def test_keys_are_rotated_and_retired_and_what_that_does_is_said_before(
    own: Auth, admin: Visit, api: httpx.Client, person: User
) -> None:
    await admin.see("admin/keys", "Keys")
    assert "New tokens are issued under it." in await admin.window.text()
    await admin.button("Rotate").click()
    dialog = admin.page.get_by_role("dialog")
    assert "No token dies of this." in await dialog.inner_text()
    await admin.page.get_by_label("Issue under it at once").check()
    await admin.confirm("Rotate")
    await admin.told("k2 is active.")
    old = {row["id"]: row["state"] for row in api.get("/v1/keys").json()["keys"]}
    assert old == {"k1": "verifying", "k2": "active"}
    await admin.button("Retire k1").click()
    assert "may be alive until" in await dialog.inner_text()
    await admin.confirm("Retire it and end its tokens")
    await admin.reads("Sign in")  # under that key was this very sign-in
    own.tokens.clear()
    await admin.sign_in(User(own, "admin", ADMIN_PASSWORD))  # type: ignore[arg-type]
    await admin.reads("Keys")
    await admin.page.get_by_text("Retired: 1").click()
    assert "It is destroyed." in await admin.window.text()


async def test_a_verifier_is_registered_and_how_far_it_has_read_is_said(
    admin: Visit, api: httpx.Client
) -> None:
    await admin.see("admin/verifiers", "Verifiers")
    await admin.button("Register a verifier").click()
    await admin.page.get_by_label("Name").fill("photos, Oslo")
    await admin.page.get_by_label("Audience").fill("photos")
    await admin.page.get_by_label("Public key").fill(KEY)
    await admin.confirm("Register")
    await admin.page.get_by_role("heading", name="The verifier is registered").wait_for()
    [row] = api.get("/v1/verifiers").json()["verifiers"]
    assert row["verifier_id"] in await admin.page.get_by_role("dialog").inner_text()
    await admin.confirm("Done")
    assert "not seen here" in await admin.page.get_by_role("row").filter(has_text="Oslo").inner_text()
    await admin.button("Remove photos, Oslo").click()
    await admin.confirm("Remove")
    await admin.told("The verifier is removed.")
    assert "No verifiers yet" in await admin.window.text()


async def test_what_is_revoked_is_listed_and_more_is_revoked_by_id(
    own: Auth, admin: Visit, person: User
) -> None:
    issued = person.issue(note="my laptop")
    await admin.see("admin/revocations", "Revocations")
    await admin.button("Revoke by id").click()
    await admin.page.get_by_label("Token id").fill(issued["token_id"])
    await admin.confirm("Revoke")
    await admin.told("It is revoked.")
    await (
        admin.page.get_by_role("row").nth(1).get_by_text(f"Token {issued['token_id']}, all copies").wait_for()
    )
    with own.client() as http:
        assert http.post("/v1/verify", json={"token": issued["token"]}).status_code == 401


async def test_requests_and_refusals_are_drawn_with_the_numbers_beside(
    own: Auth, admin: Visit, api: httpx.Client
) -> None:
    with own.client() as http:
        for _ in range(7):
            assert http.get("/v1/tokens").status_code == 401
    await admin.see("admin", "Requests")
    minutes = api.get("/v1/counts").json()["minutes"]
    refused = sum(minute["refused"] for minute in minutes)
    assert refused >= 7
    assert f"{refused}\nrefused" in await admin.window.text()
    assert await admin.page.get_by_role("img").locator("rect.soon").count() >= 1
    cells = admin.page.get_by_role("table").locator("tbody td:nth-child(3)")
    assert sum(int(text) for text in await cells.all_inner_texts()) == refused
