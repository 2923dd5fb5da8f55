"""The JavaScript client in a real browser, on a page of the service's own origin: its cookie, its redirects, its WebCrypto."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from tests.support.bakery import AGENT_KEY
from tests.support.service import User
from tests.support.web import Auth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

LOAD = """
    const caveats = await import("/console/client/index.js");
    const { Client, calls, parseAgent, tokenFetch } = await import("/console/client/client/index.js");
    const failed = (promise) => promise.then(() => null, (error) => [error.constructor.name, error.code, error.message]);
"""


async def run(window: Any, service: Auth, program: str, given: object = None) -> Any:
    """What a program gives that has the client at hand, on a page that has no script of its own."""
    await window.page.goto(f"{service.url}/healthz")
    return await window.page.evaluate(f"async (given) => {{ {LOAD} {program} }}", given)


async def test_a_page_signs_in_by_cookie_and_works_with_it(
    service: Auth, user: User, open_window: Any
) -> None:
    window = await open_window()
    program = """
        const page = new Client(location.origin, { credentials: "include" });
        const session = await page.signIn(given.username, given.password);
        const { user } = await page.getSession();
        const issued = await page.issue({ scope: "photos:read", expiresIn: "5m", note: "from the page" });
        const { tokens } = await page.tokens();
        const narrow = await caveats.attenuate(issued.token, { method: "GET" });
        const verified = await page.verify(narrow, { scope: "photos:read", method: "GET" });
        await page.revoke(narrow);
        const dead = await failed(page.verify(narrow));
        const without = await failed(new Client(location.origin).tokens());
        await page.signOut();
        const out = await failed(page.tokens());
        const notes = tokens.map(({ note }) => note);
        return { user, cookie: session.cookie, notes, granted: verified.granted, dead, without, out, left: document.cookie };
    """
    seen = await run(window, service, program, {"username": user.username, "password": user.password})
    assert (seen["user"], seen["granted"], seen["notes"]) == (user.username, True, ["from the page"])
    assert (seen["cookie"], seen["left"]) == (None, ""), "no script sees the cookie"
    assert seen["dead"][:2] == ["NotAuthenticated", "invalid_token"]
    assert seen["without"][:2] == ["NotAuthenticated", "not_authenticated"]
    assert seen["out"][:2] == ["NotAuthenticated", "credential_required"]


async def test_a_redirect_is_not_followed_with_a_token(service: Auth, user: User, open_window: Any) -> None:
    window = await open_window()

    async def away(route: Any) -> None:
        await route.fulfill(status=307, headers={"Location": f"{service.url}/elsewhere"})

    await window.page.route("**/v1/tokens", away)
    await window.page.route("**/albums", away)
    program = """
        const client = new Client(location.origin, { token: given });
        const photos = tokenFetch(given, location.origin);
        const { type, status } = await photos("/albums");
        return { failed: await failed(client.tokens()), type, status };
    """
    seen = await run(window, service, program, user.token(scope="photos:*"))
    assert (seen["type"], seen["status"]) == ("opaqueredirect", 0)
    assert seen["failed"][0] == "UnexpectedResponse"
    assert "redirect" in seen["failed"][2]
    assert not [url for url in window.asked if "elsewhere" in url]


async def test_a_token_on_a_page_s_own_requests(service: Auth, user: User, open_window: Any) -> None:
    window = await open_window()
    program = """
        const photos = tokenFetch(given, location.origin, { narrow: ({ method }) => ({ method }) });
        const answer = await photos("/v1/authorize?scope=photos:read", { headers: { "X-Original-Method": "GET", "X-Original-URI": "/" } });
        const other = await fetch("/v1/authorize?scope=photos:read");
        return [answer.status, answer.headers.get("x-auth-user"), other.status];
    """
    seen = await run(window, service, program, user.token(scope="photos:*"))
    assert seen == [200, user.username, 401]


async def test_a_third_party_is_shown_who_asks(service: Auth, user: User, open_window: Any) -> None:
    """A form is filled in; and WebCrypto knows the curve of an agent's key."""
    window = await open_window()
    agent = {"key": {"private": b64encode(AGENT_KEY.secret).decode()}, "agents": []}
    program = """
        const client = new Client(location.origin);
        const { publicKey, version } = await client.thirdParty();
        const agent = await parseAgent(given.agent);
        const bundle = await client.discharge(given.token, {
            interact: { fill: () => ({ username: given.username, password: given.password }) },
        });
        return [publicKey.length, version, agent.publicKey, bundle.discharges.length];
    """
    token = guarded(service)
    given = {"token": token, "agent": json.dumps(agent)}
    seen = await run(
        window, service, program, {**given, "username": user.username, "password": user.password}
    )
    assert seen == [32, 3, b64encode(AGENT_KEY.public_key).decode(), 1]


def guarded(service: Auth) -> str:
    """A token that asks the service, as a third party, whether somebody is signed in."""
    from caveats import Macaroon, ThirdParty
    from caveats.token import decode_any_base64

    with service.client() as http:
        key = decode_any_base64(http.get("/discharge/info").json()["PublicKey"])
    macaroon = Macaroon.mint(b"a root key", b"root")
    return macaroon.require_discharge(ThirdParty(service.url, key), "signed-in = *").encode()
