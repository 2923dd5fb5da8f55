"""Inspect in a real browser: what is pasted, what the page says of it, and that it can tell nobody."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Awaitable, Callable
from datetime import datetime
from random import Random
from typing import Any

import pytest

from caveats import (
    Bundle,
    Caveat,
    Context,
    Note,
    PrivateKey,
    ThirdParty,
    unsatisfied,
)
from caveats.kinds import standard_checkers
from caveats_client.cli.inspect import members
from caveats_client.cli.inspection import inspection_of
from tests.javascript import tokens
from tests.support.console import Visit
from tests.support.keyboard import tab
from tests.support.pastes import HARMLESS
from tests.support.reach import SCHEMES, SMALL, WIDE
from tests.support.token_pages import FIELD, NOW, bundle_of, macaroon, paste, sentence
from tests.support.web import Auth

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
COUNT = 1_000 if os.environ.get("CI") == "true" else 150
FIRST_LOAD = 60_000
"""Bytes, compressed, of all files of a page."""
Come = Callable[..., Awaitable[Visit]]
BATCH = """async (texts) => {
  const copied = [];
  Object.defineProperty(navigator, "clipboard", {configurable: true, value: {writeText: async (text) => { copied.push(text); }}});
  const area = document.querySelector("textarea");
  for (const text of texts) {
    area.value = text;
    area.dispatchEvent(new Event("input", {bubbles: true}));
    [...document.querySelectorAll("button")].find((button) => button.textContent === "Copy as JSON").click();
  }
  return copied;
}"""
"""Pastes each text, and presses the button that copies as JSON."""


async def test_what_is_put_around_a_token_is_taken_off(come_to: Come) -> None:
    visit = await come_to("inspect")
    key = PrivateKey.generate()
    asked = macaroon().require_discharge(ThirdParty("https://approve.example", key.public_key), "x = y")
    for token in (macaroon(), bundle_of(asked, key)):
        for name, dress in HARMLESS.items():
            await paste(visit, "")
            assert await visit.page.locator(".sentence").count() == 0
            await paste(visit, dress(token.encode()))
            assert (await sentence(visit)).startswith("alice may "), name
            size = await visit.page.locator("dd", has_text="characters").inner_text()
            assert size.startswith(f"{len(token.encode()):,} characters"), name


@pytest.mark.parametrize(
    ("dress", "said"),
    [
        ("{}", []),
        ('"{}"', ["quotes"]),
        (
            "Authorization: Bearer <{}>.",
            ["brackets", "a mark at its end", "Authorization", "the word Bearer"],
        ),
        ("Bearer\n {}\n", ["the word Bearer"]),
        ("\u200b{}", ["characters that are not seen"]),
        ("> {}\n> ", ["marks beside its lines"]),
        ("X-Auth-Token: {}", ["X-Auth-Token"]),
    ],
    ids=["nothing", "quotes", "all", "Bearer", "unseen", "a mail", "our header"],
)
async def test_what_was_taken_off_is_said(dress: str, said: list[str], come_to: Come) -> None:
    visit = await come_to("inspect")
    await paste(visit, dress.format(macaroon().encode()))
    words = await visit.page.locator(".said-of-it").inner_text()
    assert [word for word in said if word not in words] == []
    assert (words == "") == (not said)


MISFITS: dict[str, tuple[Callable[[str], str], str]] = {
    "a JWT": (lambda _: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "This is a JWT, not a token of Caveats"),
    "a JWT as a header": (lambda _: "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", "This is a JWT"),
    "Basic": (lambda _: "Authorization: Basic YWxpY2U6aHVudGVyMg==", "This is a username and password, not a token"),
    "Macaroon": (lambda text: f"Authorization: Macaroon root={text}", "a credential for the scheme Macaroon"),
    "PyPI": (lambda _: "pypi-AgEIcHlwaS5vcmcCJGFiYw", "This is a token of PyPI"),
    "GitHub": (lambda _: "ghp_0123456789abcdefghijklmnopqrstuvwxyz", "This is a token of GitHub"),
    "an ellipsis within": (lambda text: f"{text[:20]}\u2026{text[-8:]}", "A display cut this token short"),
    "three dots within": (lambda text: f"{text[:20]}...{text[-8:]}", "A display cut this token short"),
    "an ellipsis at the end": (lambda text: f"{text[:40]}\u2026", "A display cut this token short"),
    "capitals": (str.upper, "became capitals or small"),
    "a dash of a word processor": (lambda text: f"{text[:20]}\u2014{text[20:]}", "Character 21 is \u2014 (U+2014)"),
    "a letter of another script": (lambda text: f"{text[:9]}\u0430{text[10:]}", "Character 10 is \u0430 (U+0430)"),
    "a sentence": (lambda text: f"the token is {text}", "There is a token, and other text around it"),
    "two of them": (lambda text: f"{text} {text}", "There is more than one token"),
    "an answer of the service": (lambda text: json.dumps({"token": text, "user": "alice"}), "in its member token"),
    "a list": (lambda _: "[1]", "This is a list in JSON"),
    "a variable": (lambda _: "$TOKEN", "the name of a variable"),
    "an id": (lambda _: "01KAJ5M3W8E2RZ6V8Q4T0N9XCD", "This is a token's id, not its text"),
    "an address": (lambda _: "https://auth.example", "This is an address, not a token"),
    "a link": (lambda text: f"https://auth.example/console/inspect#token={text}", "This is a link with a token in it"),
    "cut off": (lambda text: text[:-9], "The checksum does not match"),
    "cut off in its middle": (lambda text: text[:-90], "The checksum does not match"),
    "nothing but wrapping": (lambda _: '"Bearer "', "Nothing but what surrounds a token"),
    "any words": (lambda _: "hello", "This is no token"),
}  # fmt: skip
PLACES = {
    "an ellipsis within": (20, 21),
    "three dots within": (20, 23),
    "an ellipsis at the end": (40, 41),
    "a dash of a word processor": (20, 21),
    "a letter of another script": (9, 10),
}
"""Where each mistake is shown."""
MENDED = ("a sentence", "an answer of the service", "a link")
"""What has a token in it that the page offers to take out."""


@pytest.mark.parametrize("name", MISFITS)
async def test_what_is_no_token_is_named_and_its_place_shown(name: str, come_to: Come) -> None:
    visit = await come_to("inspect")
    dress, title = MISFITS[name]
    token = macaroon().encode()
    await paste(visit, dress(token))
    notice = visit.page.locator(".said-of-it .notice")
    assert title in await notice.locator("strong").inner_text()
    assert await visit.page.locator(".sentence").count() == 0
    assert await visit.page.get_by_label(FIELD, exact=True).get_attribute("aria-invalid") == "true"
    if name in PLACES:
        await visit.button("Show the place").click()
        area = visit.page.get_by_label(FIELD, exact=True)
        assert tuple(await area.evaluate("area => [area.selectionStart, area.selectionEnd]")) == PLACES[name]
        assert await area.evaluate("area => area === document.activeElement")
    assert await visit.button("Correct it").count() == (name in MENDED)
    if name in MENDED:
        await visit.button("Correct it").click()
        assert await visit.page.get_by_label(FIELD, exact=True).input_value() == token
        assert (await sentence(visit)).startswith("alice may")


async def test_the_checksum_names_one_typo_wherever_it_is(come_to: Come) -> None:
    visit = await come_to("inspect")
    token = macaroon().encode()
    random = Random(12)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for at in random.sample(range(5, len(token) - 8), 12):
        letter = random.choice([one for one in letters if one != token[at]])
        swapped = token[:at] + token[at + 1] + token[at] + token[at + 2 :]
        for typo, said in (
            (token[:at] + letter + token[at + 1 :], f"character {at + 1} should be {token[at]}, not {letter}"),
            (token[:at] + token[at + 1 :], "is missing after character"),
            (token[:at] + letter + token[at:], "is one too many"),
            (swapped, f"characters {at + 1} and {at + 2} are swapped"),
        ):  # fmt: skip
            if typo == token:
                continue
            await paste(visit, f'"{typo}"')
            assert said in await visit.page.locator(".notice strong").inner_text()
            await visit.button("Correct it").click()
            assert await visit.page.get_by_label(FIELD, exact=True).input_value() == token


async def test_no_typo_is_named_where_more_is_wrong(come_to: Come) -> None:
    visit = await come_to("inspect")
    token = macaroon().encode()
    random = Random(7)
    for _ in range(20):
        first, second = sorted(random.sample(range(10, len(token) - 12), 2))
        typo = f"{token[:first]}{token[first + 3 : second + 3]}{token[second + 5 :]}"
        await paste(visit, typo)
        title = await visit.page.locator(".notice strong").inner_text()
        assert title == "The checksum does not match"


SENTENCES: dict[str, tuple[tuple[Caveat | bytes, ...], str]] = {
    "as issued": (
        (),
        "alice may read notes and do anything with photos, until 18:00 today.",
    ),
    "narrowed": (
        (b"scope = photos/42:read", b"client-ip = 10.0.0.0/8", b"expires = 2026-11-21T14:10:00Z"),
        "alice may read photos/42, from 10.0.0.0/8, until 14:10 today.",
    ),
    "every kind": (
        (b"scope = photos:read", b"method = GET PUT", b"path = /a /b/*", b"host = a.example b.example",
         b"client-ip = 10.0.0.0/8 192.0.2.7", b"not-before = 2026-11-22T09:00:00Z", b"expires = 2026-11-23T00:00:00Z",
         b"note = x"),
        "Good for nothing: its caveats leave alice no request that passes.",
    ),
    "every kind that can be": (
        (b"scope = photos:read", b"method = GET PUT", b"path = /a /b/*", b"host = a.example b.example",
         b"client-ip = 10.0.0.0/8 192.0.2.7", b"not-before = 2026-11-21T13:00:00Z", b"note = x"),
        "alice may read photos, with GET or PUT, on a.example or b.example, at /a or below /b/, from 10.0.0.0/8 or 192.0.2.7, not before 13:00 today, until 18:00 today.",
    ),
    "expired": (
        (b"scope = photos:read", b"expires = 2026-11-20T14:10:00Z"),
        "alice could read photos, until 14:10 yesterday: it has expired.",
    ),
    "of another kind": (
        (b"scope = photos:read", b"photos/album = 42"),
        "alice may read photos, until 18:00 today. Only apps that know one more kind of caveat take it.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
async def test_what_it_allows_is_one_sentence(name: str, come_to: Come) -> None:
    visit = await come_to("inspect")
    caveats, expected = SENTENCES[name]
    await paste(visit, macaroon(*caveats).encode())
    assert await sentence(visit) == expected
    await visit.page.get_by_role("status").filter(has_text=expected).wait_for(state="attached")


async def test_a_third_party_that_has_not_agreed_is_in_the_sentence(come_to: Come) -> None:
    visit = await come_to("inspect")
    key = PrivateKey.generate()
    asked = macaroon().require_discharge(ThirdParty("https://approve.example", key.public_key), "x = y")
    await paste(visit, asked.encode())
    assert "once https://approve.example has agreed" in await sentence(visit)
    assert "no discharge" in await visit.page.locator(".link").last.inner_text()
    await paste(visit, bundle_of(asked, key).encode())
    assert "agreed" not in await sentence(visit)
    assert await visit.page.locator(".chain.inner .link").count() == 1
    assert await visit.page.locator(".picture figure.inner svg").count() == 1
    assert "discharger" in await visit.page.locator(".chain.inner .link").inner_text()


MARKS: dict[str, tuple[tuple[bytes, ...], dict[int, str]]] = {
    "nothing": ((b"scope = photos:read",), {}),
    "another user": ((b"user = bob",), {3: "contradicts"}),
    "the same user": ((b"user = alice",), {3: "repeats"}),
    "scopes apart": ((b"scope = videos:read",), {3: "contradicts"}),
    "a wider scope": ((b"scope = photos:read", b"scope = photos:*"), {4: "repeats"}),
    "a later expiry": ((b"expires = 2027-01-01T00:00:00Z",), {3: "repeats"}),
    "it ends before it begins": ((b"not-before = 2026-11-21T18:00:00Z",), {3: "contradicts"}),
    "methods apart": ((b"method = GET", b"method = PUT"), {4: "contradicts"}),
    "GET has HEAD": ((b"method = GET", b"method = HEAD"), {}),
    "hosts apart": ((b"host = a.example", b"host = b.example c.example"), {4: "contradicts"}),
    "paths apart": ((b"path = /a/* /c", b"path = /b /d/*"), {4: "contradicts"}),
    "a path below": ((b"path = /a/*", b"path = /a/b"), {}),
    "paths as wide": ((b"path = /a/b", b"path = /a/*"), {4: "repeats"}),
    "addresses apart": ((b"client-ip = 10.0.0.0/8", b"client-ip = 192.0.2.0/24 2001:db8::/32"), {4: "contradicts"}),
    "an address inside": ((b"client-ip = 10.0.0.0/8", b"client-ip = 10.1.0.0/16"), {}),
    "another app": ((b"audience = photos",), {3: "contradicts"}),
    "its own app": ((b"audience = default photos",), {}),
    "a kind of somebody's": ((b"photos/album = 42",), {3: "unknown"}),
    "no grammar": ((b"path = a",), {3: "unknown"}),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKS)
async def test_what_repeats_or_contradicts_is_marked(name: str, come_to: Come) -> None:
    visit = await come_to("inspect")
    caveats, marks = MARKS[name]
    await paste(visit, macaroon(*caveats).encode())
    assert await _marks(visit) == marks
    dead = "contradicts" in marks.values()
    assert (await sentence(visit)).startswith("Good for nothing") == dead


async def _marks(visit: Visit) -> dict[int, str]:
    """Which of the token's own caveats are marked, by their place from 0; the picture says the same."""
    by_class: list[list[str]] = await visit.page.evaluate(
        """() => [".chain:not(.inner) .link", ".picture figure:not(.inner) .ring"].map((all) =>
          [...document.querySelectorAll(all)].map((one) => ["repeats", "contradicts", "unknown"].find((mark) => one.classList.contains(mark)) ?? ""))"""
    )
    assert by_class[0] == by_class[1]
    return {at: mark for at, mark in enumerate(by_class[0]) if mark}


async def test_what_is_said_to_leave_nothing_refuses_every_request(come_to: Come) -> None:
    """For random tokens and requests, by the verdict of the library."""
    visit = await come_to("inspect")
    texts, bundles = [], []
    for seed in range(4 * COUNT):
        random = Random(seed)
        words = [tokens.predicate(random) for _ in range(random.randint(2, 6))]
        bundles.append(Bundle(macaroon(*words)))
        texts.append(bundles[-1].encode())
    dead: list[bool] = await visit.page.evaluate(
        """(texts) => texts.map((text) => {
          const area = document.querySelector("textarea");
          area.value = text;
          area.dispatchEvent(new Event("input", {bubbles: true}));
          return document.querySelector(".sentence").classList.contains("dead");
        })""",
        texts,
    )
    assert dead.count(True) > COUNT / 4
    for number, bundle in enumerate(bundles):
        if not dead[number]:
            continue
        caveats = [link.caveat for link in inspection_of(bundle).links]
        for seed in range(20):
            asked = tokens.context(Random(seed))
            now = datetime.fromisoformat(asked.pop("now"))
            asked["client_ip"] = asked.pop("clientIp", None)
            context = Context(now=now, **{**asked, "audience": "default"})
            assert unsatisfied(caveats, standard_checkers(), context), texts[number]


async def test_its_json_is_that_of_the_command_line(come_to: Come) -> None:
    visit = await come_to("inspect")
    bundles = [tokens.bundle(Random(seed)) for seed in range(COUNT)]
    copied: list[str] = await visit.page.evaluate(BATCH, [bundle.encode() for bundle in bundles])
    assert len(copied) == COUNT
    for bundle, text in zip(bundles, copied, strict=True):
        expected = json.dumps(members(inspection_of(bundle), NOW))
        assert json.dumps(json.loads(text)) == expected


async def test_a_token_in_the_fragment_is_read_and_taken_out_of_the_address(
    service: Auth, come_to: Come
) -> None:
    visit = await come_to("inspect")
    token = macaroon().encode()
    for fragment in (f"#token={token}", f"#{token}"):
        await visit.page.goto("about:blank")
        await visit.page.goto(f"{service.url}/console/inspect{fragment}")
        await visit.page.locator(".sentence").wait_for()
        assert visit.page.url == f"{service.url}/console/inspect"
    await visit.page.evaluate(
        f"() => {{ location.hash = 'token={macaroon(b'scope = photos/1:read').encode()}' }}"
    )
    await visit.page.locator(".sentence", has_text="alice may read photos/1,").wait_for()
    assert visit.page.url == f"{service.url}/console/inspect"
    assert not any("cav1_" in url.partition("#")[0] for url in visit.window.asked)


@pytest.mark.parametrize(("link", "page"), [("Narrow and share", "narrow"), ("Try a request", "try")])
async def test_a_token_goes_along_to_another_page_and_is_in_no_address(
    link: str, page: str, service: Auth, come_to: Come
) -> None:
    visit = await come_to("inspect")
    token = macaroon().encode()
    await paste(visit, token)
    await visit.page.get_by_role("link", name=link).click()
    await visit.page.wait_for_url(f"{service.url}/console/{page}")
    await visit.page.get_by_role("heading", level=2).first.wait_for()
    assert await visit.page.get_by_label(FIELD, exact=True).input_value() == token
    assert token not in await visit.page.evaluate("JSON.stringify(sessionStorage)")
    await visit.page.reload()
    assert await visit.page.get_by_label(FIELD, exact=True).input_value() == ""


async def test_a_token_in_the_query_is_not_read_and_its_leak_is_told(service: Auth, come_to: Come) -> None:
    visit = await come_to("inspect")
    await visit.page.goto(f"{service.url}/console/inspect?token={macaroon().encode()}")
    await visit.page.get_by_role("alert").wait_for()
    assert "had a token in its query" in await visit.window.alert()
    assert "Revoke that token" in await visit.window.alert()
    assert visit.page.url == f"{service.url}/console/inspect"
    assert await visit.page.get_by_label(FIELD, exact=True).input_value() == ""


async def test_the_browser_lets_the_page_tell_nobody(service: Auth, bare: Any) -> None:
    """Whatever a planted script tries, and be it the service's own address."""
    visit = Visit(service, await bare())
    await visit.page.goto(f"{service.url}/console/inspect#token={macaroon().encode()}")
    await visit.page.locator(".sentence").wait_for()
    served: list[str] = []
    visit.page.on("requestfinished", lambda request: served.append(request.url))
    tried = await visit.page.evaluate(
        """async (url) => {
          const blocked = [];
          document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
          const tried = {};
          const stolen = url + "/console/style.css?stolen=";
          tried.fetch = await fetch(stolen + "fetch").then(() => "sent", () => "blocked");
          tried.xhr = await new Promise((resolve) => {
            const request = new XMLHttpRequest();
            request.open("GET", stolen + "xhr");
            request.onload = () => resolve("sent");
            request.onerror = () => resolve("blocked");
            request.send();
          });
          navigator.sendBeacon(stolen + "beacon", "x");
          try { new EventSource(stolen + "events"); } catch {}
          try { new WebSocket(stolen.replace("http", "ws") + "socket"); } catch {}
          tried.image = await new Promise((resolve) => {
            const image = new Image();
            image.onload = () => resolve("sent");
            image.onerror = () => resolve("blocked");
            image.src = stolen + "image";
          });
          const form = document.createElement("form");
          form.action = stolen + "form";
          document.body.append(form);
          form.submit();
          const frame = document.createElement("iframe");
          frame.src = stolen + "frame";
          document.body.append(frame);
          await new Promise((resolve) => setTimeout(resolve, 500));
          return {...tried, blocked: [...new Set(blocked)].sort()};
        }""",
        service.url,
    )
    assert tried == {
        "fetch": "blocked",
        "xhr": "blocked",
        "image": "blocked",
        "blocked": ["connect-src", "form-action", "frame-src", "img-src"],
    }
    assert [url for url in served if "stolen" in url] == []


async def test_whoever_has_no_token_is_shown_a_sample(come_to: Come) -> None:
    visit = await come_to("inspect")
    await visit.button("Show a sample").click()
    await visit.page.locator(".sentence").wait_for()
    assert (
        await sentence(visit)
        == "alice may read photos/42, at the app photos, from 10.0.0.0/8, until 18:00 today."
    )
    assert await _marks(visit) == {6: "repeats"}
    assert "6 hours left" in await visit.window.text()
    await paste(visit, "")
    assert await visit.button("Show a sample").count() == 1


async def test_the_time_left_goes_on_while_the_page_is_open(come_to: Come) -> None:
    visit = await come_to("inspect")
    await visit.page.clock.install(time=NOW)
    await paste(visit, macaroon().encode())
    assert "6 hours left" in await visit.page.locator(".authority .left").inner_text()
    await visit.page.clock.fast_forward(2 * 3600 * 1000)
    await visit.page.get_by_text("4 hours left").wait_for()
    await visit.page.clock.fast_forward(5 * 3600 * 1000)
    await visit.page.get_by_text("Expired 1 hour ago").wait_for()
    assert "it has expired" in await sentence(visit)


async def test_64_caveats_are_shown_within_50_milliseconds(come_to: Come) -> None:
    visit = await come_to("inspect")
    words = [tokens.predicate(Random(seed)) for seed in range(40)]
    token = macaroon(*words, *(Note(f"number {n}") for n in range(21)))
    assert len(token.unverified_caveats) == 64
    times: list[float] = await visit.page.evaluate(
        """async (text) => {
          const area = document.querySelector("textarea");
          const times = [];
          for (let turn = 0; turn < 15; turn++) {
            area.value = "";
            area.dispatchEvent(new Event("input", {bubbles: true}));
            await new Promise((resolve) => requestAnimationFrame(resolve));
            const begun = performance.now();
            area.value = text;
            area.dispatchEvent(new Event("input", {bubbles: true}));
            document.body.offsetHeight;
            times.push(performance.now() - begun);
          }
          return times;
        }""",
        token.encode(),
    )
    assert await visit.page.locator(".link").count() == 64
    print(f"Inspect of 64 caveats: median {statistics.median(times):.1f} ms, first {times[0]:.1f} ms")
    assert min(times) < 50, times


@pytest.mark.parametrize("page", ["inspect", "narrow", "try"])
async def test_the_first_load_is_small(service: Auth, page: str, come_to: Come) -> None:
    visit = await come_to(page)
    files = set(visit.window.asked)
    assert len(files) > 10
    with service.client(headers={"Accept": "text/html"}) as http:
        sizes = {url: int(http.get(url).headers["content-length"]) for url in files}
    print(f"{page}: {sum(sizes.values())} bytes in {len(sizes)} files")
    assert sum(sizes.values()) < FIRST_LOAD, sizes


@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
@pytest.mark.parametrize("page", ["inspect", "narrow", "try"])
async def test_every_stop_of_the_tab_key_is_seen(page: str, size: dict[str, int], come_to: Come) -> None:
    """With a token in the page, from the address bar to the end, and everything on the way is another."""
    visit = await come_to(page, viewport=size)
    await visit.page.goto("about:blank")
    await visit.page.goto(f"{visit.service.url}/console/{page}#token={macaroon(b'method = GET').encode()}")
    await visit.page.get_by_role("heading", level=2).first.wait_for()
    names = []
    while (name := await tab(visit.page)) is not None:
        names.append(name)
        assert len(names) < 80
    assert names[:2] == ["Skip to the content", "Caveats"]
    assert FIELD in names
    assert {
        "inspect": "Copy as JSON",
        "narrow": "Add",
        "try": "Ask the service",
    }[page] in names


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_it_is_within_everybodys_reach(scheme: str, come_to: Come) -> None:
    visit = await come_to("inspect", color_scheme=scheme, viewport=WIDE)
    key = PrivateKey.generate()
    asked = macaroon(b"scope = photos:read").require_discharge(
        ThirdParty("https://approve.example", key.public_key), "x = y"
    )
    shown = {
        "empty": "",
        "token": macaroon(b"scope = photos/42:read", b"client-ip = 10.0.0.0/8", b"scope = photos:read").encode(),
        "bundle": bundle_of(asked, key).encode(),
        "dead": macaroon(b"scope = videos:read", b"photos/album = 42").encode(),
        "long": macaroon(*(Note("x" * 90) for _ in range(60))).encode(),
        "typo": f'"{macaroon().encode()[:-7]}"',
    }  # fmt: skip
    for name, text in shown.items():
        await paste(visit, text)
        for size in (WIDE, SMALL):
            await visit.page.set_viewport_size(size)  # type: ignore[arg-type]
            await visit.screenshot(f"inspect-{name}-{scheme}-{size['width']}")
            assert await visit.found_by_axe() == []
            assert await visit.overflow() == 0
        await visit.page.set_viewport_size({"width": 320, "height": 600})
        assert await visit.overflow() == 0
