"""Try in a real browser: what each caveat says to a request, here and at the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from caveats import Bundle, Context, PrivateKey, ThirdParty, unsatisfied
from caveats.kinds import standard_checkers
from caveats_client.cli.inspection import inspection_of
from tests.javascript import tokens
from tests.support.console import Visit
from tests.support.reach import SCHEMES, SMALL, WIDE
from tests.support.service import User, bearer
from tests.support.token_pages import NOW, bundle_of, macaroon, paste
from tests.support.web import Auth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
Come = Callable[..., Awaitable[Visit]]
LABELS = {
    "scopes": "Scope",
    "path": "Path",
    "host": "Host",
    "client_ip": "Client address",
    "audience": "App (audience)",
}
NARROW = (
    b"scope = photos/42:read",
    b"client-ip = 10.0.0.0/8",
    b"method = GET",
    b"path = /albums/42 /public/*",
    b"host = photos.example",
)


async def fill(visit: Visit, method: str = "", **facts: str) -> None:
    await visit.page.get_by_label("Method").select_option(method)
    for name, fact in facts.items():
        await visit.page.get_by_label(LABELS[name]).fill(fact)


async def verdicts(visit: Visit) -> list[tuple[str, str]]:
    """Each caveat that refuses, and why."""
    found: list[list[str]] = await visit.page.evaluate(
        """() => [...document.querySelectorAll("#verdict ~ .verdicts .refuses")].map((row) =>
          [row.querySelector("code").textContent, row.querySelector("p").textContent, row.querySelector(".hint")?.textContent ?? ""])"""
    )
    return [(caveat, f"{why} {hint}") for caveat, why, hint in found]


async def banner(visit: Visit) -> str:
    return await visit.page.locator("#verdict + .notice").inner_text()


REQUESTS: list[dict[str, Any]] = [
    {},
    {"scopes": "photos/42:read", "method": "GET", "path": "/public/a", "host": "Photos.Example:443", "client_ip": "10.1.2.3"},
    {"scopes": "photos:read", "method": "PUT", "path": "/private", "host": "albums.example", "client_ip": "192.0.2.7"},
    {"scopes": "photos/42:read notes:read", "method": "HEAD", "path": "/a/../b", "client_ip": "x", "audience": "photos"},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REQUESTS)))
async def test_each_caveats_verdict_is_the_library_s(number: int, come_to: Come) -> None:
    facts = REQUESTS[number]
    visit = await come_to("try")
    token = macaroon(*NARROW, b"photos/album = 42")
    await paste(visit, token.encode())
    await fill(visit, **facts)
    caveats = [link.caveat for link in inspection_of(token).links]
    asked = {**facts, "audience": facts.get("audience", "default")}
    scopes = tuple(asked.pop("scopes", "").split())
    expected = unsatisfied(caveats, standard_checkers(), Context(now=NOW, scopes=scopes, **asked))
    shown = await verdicts(visit)
    assert [caveat for caveat, _ in shown] == [one.predicate for one in expected]
    for (_, words), one in zip(shown, expected, strict=True):
        assert one.reason[1:] in words
        assert one.kind == "unknown" or one.hint in words
    assert "It would be refused" in await banner(visit)
    assert "Judged in this page, without a key" in await visit.window.text()


async def test_a_request_that_all_caveats_hold_for_would_pass(come_to: Come) -> None:
    visit = await come_to("try")
    await paste(visit, macaroon(*NARROW).encode())
    await fill(visit, **REQUESTS[1])
    assert "It would pass\nAll 8 caveats hold." in await banner(visit)
    heard = visit.page.locator("#status")
    await heard.get_by_text("It would pass: All 8 caveats hold.").wait_for(state="attached")
    await visit.page.get_by_label("Time, if not now").fill("2026-11-21T18:00")
    assert await verdicts(visit) == [
        ("expires = 2026-11-21T18:00:00Z",
         "It is 2026-11-21T18:00:00Z. Would pass: a request before 2026-11-21T18:00:00Z; ask for a fresh token.")
    ]  # fmt: skip


async def test_the_example_passes_wherever_a_request_can(come_to: Come) -> None:
    visit = await come_to("try")
    passed = 0
    for seed in range(60):
        random = Random(seed)
        kinds = (b"scope = photos/*:read", b"method = PUT", b"path = /a/* /c", b"path = /a/b/*", b"host = a.example",
                 b"client-ip = 2001:db8::/32", b"scope = photos/42:*", b"path = /a/b/K%C3%A4se%20brot")  # fmt: skip
        token = macaroon(*random.sample(kinds, random.randint(0, 4)))
        await paste(visit, "")
        await paste(visit, token.encode())
        await visit.button("Fill in an example").click()
        assert "It would pass" in await banner(visit), token.unverified_caveats
        passed += 1
    assert passed == 60


async def test_what_third_parties_have_not_agreed_to_would_be_refused(come_to: Come) -> None:
    visit = await come_to("try")
    key = PrivateKey.generate()
    asked = macaroon().require_discharge(ThirdParty("https://approve.example", key.public_key), "x = y")
    await paste(visit, asked.encode())
    await visit.button("Fill in an example").click()
    assert "there is no discharge of https://approve.example" in (await banner(visit)).lower()
    bundle = bundle_of(asked, key)
    await paste(visit, bundle.encode())
    await visit.button("Fill in an example").click()
    assert "It would pass" in await banner(visit)
    await paste(visit, Bundle(macaroon(), bundle.discharges).encode())
    await visit.button("Fill in an example").click()
    assert "1 discharge that nothing asks for" in await banner(visit)


async def test_the_service_is_asked_only_when_the_person_says_so(
    service: Auth, user: User, come_to: Come
) -> None:
    visit = await come_to("try", now=False)
    token = user.token(scope="photos:*")
    await paste(visit, token)
    await fill(visit, scopes="photos/42:read")
    assert not any("/v1/" in url for url in visit.window.asked)
    await visit.button("Ask the service").click()
    await visit.page.locator("#main").get_by_text(f"The service grants it, for {user.username}").wait_for()
    assert [url for url in visit.window.asked if "/v1/" in url] == [f"{service.url}/v1/verify"]
    await fill(visit, scopes="notes:read")
    assert await visit.page.locator("#main").get_by_text("The service grants it").count() == 0
    await visit.button("Ask the service").click()
    await visit.page.locator("#main").get_by_text("The service refuses it: 1 caveat of 3").wait_for()
    assert "The same caveats refuse it as here." in await visit.window.text()
    await visit.page.get_by_label("Time, if not now").fill("2099-01-01T00:00")
    await visit.button("Ask the service").click()
    await visit.page.locator("#main").get_by_text("These caveats refuse it:").wait_for()
    with service.client() as http:
        assert (
            http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).status_code == 201
        )
    await visit.button("Ask the service").click()
    await visit.page.locator("#main").get_by_text("it was revoked, or its key was retired").wait_for()
    await paste(visit, macaroon().encode())
    await visit.button("Ask the service").click()
    await visit.page.locator("#main").get_by_text("It is not authentic here").wait_for()


async def test_no_random_token_or_request_breaks_the_page(come_to: Come) -> None:
    """And what the page says of it is what the library says."""
    visit = await come_to("try")
    for seed in range(60):
        bundle = tokens.bundle(Random(seed))
        asked = tokens.context(Random(seed))
        await paste(visit, bundle.encode())
        method = asked.get("method", "")
        method = method if method in {"GET", "HEAD", "PUT", "POST"} else ""
        facts = {
            "scopes": " ".join(asked.get("scopes", ())),
            "path": asked.get("path", ""),
            "host": asked.get("host", ""),
            "client_ip": asked.get("clientIp", ""),
            "audience": asked.get("audience", ""),
        }
        await fill(visit, method, **facts)
        given = {name: fact for name, fact in facts.items() if fact and name != "scopes"}
        if method:
            given["method"] = method
        context = Context(now=NOW, scopes=tuple(facts["scopes"].split()), **given)
        caveats = [link.caveat for link in inspection_of(bundle).links]
        expected = [one.predicate for one in unsatisfied(caveats, standard_checkers(), context)]
        assert [caveat for caveat, _ in await verdicts(visit)] == expected, f"seed {seed}"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_it_is_within_everybodys_reach(scheme: str, service: Auth, user: User, come_to: Come) -> None:
    visit = await come_to("try", now=False, color_scheme=scheme, viewport=WIDE)
    for name, text in {"empty": "", "token": user.token(scope="photos:*")}.items():
        await paste(visit, text)
        if text:
            await visit.button("Ask the service").click()
            await visit.page.locator("#main").get_by_text("The service refuses it").wait_for()
        for size in (WIDE, SMALL):
            await visit.page.set_viewport_size(size)  # type: ignore[arg-type]
            await visit.screenshot(f"try-{name}-{scheme}-{size['width']}")
            assert await visit.found_by_axe() == []
            assert await visit.overflow() == 0
        await visit.page.set_viewport_size({"width": 320, "height": 600})
        assert await visit.overflow() == 0
