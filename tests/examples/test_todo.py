"""The to-do list: sign-ins in a cookie that nothing is kept about, links that are narrowed elsewhere, one door for pages and scripts."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx2 as httpx
import pytest
import run
import todo
from local_service import ADMIN_PASSWORD, LocalService, local_service
from starlette.testclient import TestClient
from store import MOST_ITEMS, MOST_LINKS, Store, TooMany

from caveats import Expires, Macaroon, Note, Scope
from caveats.token import branch_id
from caveats_client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PASSWORD = "correct horse battery staple"
ORIGIN = {"Origin": "http://testserver"}
_numbers = count(1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service at which anybody may register, and often."""
    settings = {"CAVEATS_OPEN_REGISTRATION": "true", "CAVEATS_REGISTER_LIMIT_ADDRESS": "100000/minute"}
    with local_service(tmp_path_factory.mktemp("service"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def environment(service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `run.py` sets for each process of the app."""
    folder = tmp_path_factory.mktemp("todo")
    return {
        "TODO_SERVICE": service.url,
        "TODO_URL": "http://testserver",
        "TODO_DATABASE": str(folder / "todo.db"),
        "TODO_STATE": str(folder / "state"),
        **run.credentials(service, folder / "todo.verifier", ADMIN_PASSWORD),
    }


@pytest.fixture(scope="module")
def app(environment: dict[str, str]) -> Iterator[TestClient]:
    """The app, with a real service, and nobody signed in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with TestClient(todo.from_environment(), follow_redirects=False) as client:
            yield client


Person = Callable[[], TestClient]


@pytest.fixture
def person(app: TestClient) -> Person:
    """Another person at another browser, with an account, signed in."""

    def new() -> TestClient:
        browser = TestClient(app.app, follow_redirects=False, headers=ORIGIN)
        browser.portal = app.portal  # type: ignore[assignment]  # the app's own event loop, where its verifier lives
        address = f"person{next(_numbers)}@example.org"
        answer = browser.post("/api/accounts", json={"address": address, "password": PASSWORD})
        assert (answer.status_code, answer.json()["user"]) == (201, address)
        return browser

    return new


def user(browser: TestClient) -> str:
    return str(browser.get("/api/items").json()["owner"])


def texts(browser: TestClient) -> list[str]:
    return [item["text"] for item in browser.get("/api/items").json()["items"]]


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def bearer(token: Macaroon | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token if isinstance(token, str) else token.encode()}"}


def linked(browser: TestClient, *caveats: object) -> tuple[Macaroon, int]:
    """A link as the page makes it, and its number."""
    token = Macaroon.decode(browser.get("/api/sharing").json()["token"])
    end = Expires.after(timedelta(days=3), now=datetime.now(UTC))
    link = token.attenuate(end, Note(f"link {next(_numbers)}"), *caveats)  # type: ignore[arg-type]
    body = {"name": "Grace", "until": end.value, "branch": branch_id(link.wire.signature).hex()}
    answer = browser.post("/api/links", json=body)
    assert answer.status_code == 201, answer.text
    return link, answer.json()["id"]


def refused_soon(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer once the feed has told it: within a second, on an idle machine."""
    until = time.monotonic() + 10
    while (answer := ask()).status_code == 200:
        assert time.monotonic() < until
        time.sleep(0.02)
    return answer


def test_items_are_added_ticked_and_deleted(person: Person) -> None:
    ada = person()
    first = ada.post("/api/items", json={"text": " buy milk "}).json()
    second = ada.post("/api/items", json={"text": "mend the fence 👩‍🔧"}).json()
    assert ada.patch(f"/api/items/{first['id']}", json={"done": True}).status_code == 204
    assert ada.get("/api/items").json()["items"] == [
        {"id": first["id"], "text": "buy milk", "done": True},
        {"id": second["id"], "text": "mend the fence 👩‍🔧", "done": False},
    ]
    assert ada.delete(f"/api/items/{first['id']}").status_code == 204
    assert texts(ada) == ["mend the fence 👩‍🔧"]


def test_nobody_touches_what_is_somebody_elses(person: Person) -> None:
    ada, mallory = person(), person()
    item = ada.post("/api/items", json={"text": "buy milk"}).json()["id"]
    _, link = linked(ada)
    assert texts(mallory) == []
    assert mallory.get("/api/links").json() == {"links": []}
    assert code(mallory.patch(f"/api/items/{item}", json={"done": True})) == (404, "not_found")
    assert code(mallory.delete(f"/api/items/{item}")) == (404, "not_found")
    assert code(mallory.delete(f"/api/links/{link}")) == (404, "not_found")
    assert texts(ada) == ["buy milk"]


@pytest.mark.parametrize("path", ["/", "/links"])
def test_a_page_without_a_sign_in_is_sent_to_it_and_told_to_come_back(app: TestClient, path: str) -> None:
    answer = app.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={path}")
    stale = app.get(path, headers={"Cookie": "todo-session=cav1_old"})
    assert (stale.status_code, stale.headers["location"]) == (303, f"/sign-in?next={path}")


@pytest.mark.parametrize("path", ["/api/items", "/api/links", "/api/sharing"])
def test_the_api_without_a_sign_in_is_a_401(app: TestClient, path: str) -> None:
    assert code(app.get(path)) == (401, "credential_required")


@pytest.mark.parametrize(
    "path", ["/sign-in", "/register", "/shared", "/static/list.js", "/caveats/attenuate.js", "/nowhere"]
)
def test_every_answer_keeps_browsers_from_doing_more_than_they_have_to(app: TestClient, path: str) -> None:
    headers = app.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|\*|https?:|data:|blob:", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == ("no-cache" if "js" in path else "no-store")


def test_the_cookies_are_out_of_the_reach_of_scripts(person: Person, app: TestClient) -> None:
    body = {"address": user(person()), "password": PASSWORD}
    cookies = app.post("/api/sign-in", json=body).headers.get_list("set-cookie")
    app.cookies.clear()
    assert [re.sub("=cav1_[^;]*", "", cookie) for cookie in cookies] == [
        "todo-session; HttpOnly; Max-Age=2592000; Path=/; SameSite=lax",
        "todo-links; HttpOnly; Max-Age=2592000; Path=/api/sharing; SameSite=lax",
    ]


def test_over_https_the_cookies_are_secure_and_named_so(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, person: Person
) -> None:
    body = {"address": user(person()), "password": PASSWORD}
    for name, value in {**environment, "TODO_URL": "https://todo.example"}.items():
        monkeypatch.setenv(name, value)
    with TestClient(todo.from_environment(), base_url="https://todo.example") as browser:
        cookies = browser.post("/api/sign-in", json=body).headers.get_list("set-cookie")
        assert [cookie.partition("=")[0] for cookie in cookies] == [
            "__Host-todo-session",
            "__Secure-todo-links",
        ]
        assert all("; Secure" in cookie for cookie in cookies)
        assert browser.get("/api/items").json()["owner"] == body["address"]
        assert code(browser.post("/api/items", json={"text": "x"}, headers=ORIGIN)) == (403, "cross_site")
        own = {"Origin": "https://todo.example"}
        assert browser.post("/api/items", json={"text": "x"}, headers=own).status_code == 201


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://testserver.evil.example"])
def test_a_page_of_another_site_changes_nothing(person: Person, origin: str | None) -> None:
    ada = person()
    item = ada.post("/api/items", json={"text": "buy milk"}).json()["id"]
    del ada.headers["origin"]
    headers = {} if origin is None else {"Origin": origin}
    for method, path, body in (
        ("POST", "/api/items", {"text": "x"}),
        ("PATCH", f"/api/items/{item}", {"done": True}),
        ("DELETE", f"/api/items/{item}", None),
        ("POST", "/api/links", {"name": "x", "until": "2030-01-01T00:00:00Z", "branch": "0" * 32}),
        ("POST", "/api/sign-out", None),
    ):
        assert code(ada.request(method, path, json=body, headers=headers)) == (403, "cross_site"), path
    assert texts(ada) == ["buy milk"]


def test_a_form_of_another_site_signs_nobody_in(app: TestClient) -> None:
    body = b'{"address": "mallory@example.org", "password": "correct horse battery staple"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = app.post("/api/sign-in", content=body, headers={"Content-Type": kind})
        assert code(answer) == (415, "unsupported_media_type")
        assert "set-cookie" not in answer.headers


def test_signing_out_kills_the_cookie_and_not_the_other_browser_or_the_links(
    person: Person, app: TestClient
) -> None:
    ada = person()
    link, _ = linked(ada)
    stolen, address = ada.cookies["todo-session"], user(ada)
    other = app.post("/api/sign-in", json={"address": address, "password": PASSWORD}).cookies["todo-session"]
    app.cookies.clear()
    answer = ada.post("/api/sign-out")
    assert answer.status_code == 204
    assert not ada.cookies, "the browser has forgotten both"
    dead = refused_soon(lambda: app.get("/api/items", headers={"Cookie": f"todo-session={stolen}"}))
    assert code(dead) == (401, "invalid_token")
    assert app.get("/api/items", headers={"Cookie": f"todo-session={other}"}).json()["owner"] == address
    assert app.get("/api/items", headers=bearer(link)).json()["owner"] == address


def test_a_wrong_password_and_a_taken_address_are_said_as_the_service_says_them(
    person: Person, app: TestClient
) -> None:
    address = user(person())
    wrong = app.post("/api/sign-in", json={"address": address, "password": "not this one"})
    unknown = app.post("/api/sign-in", json={"address": "nobody@example.org", "password": "not this one"})
    assert code(wrong) == code(unknown) == (401, "invalid_credentials")
    assert wrong.json() == unknown.json(), "nobody learns who has an account by a sign-in"
    taken = app.post("/api/accounts", json={"address": address, "password": PASSWORD})
    assert code(taken) == (409, "conflict")
    short = app.post("/api/accounts", json={"address": "bob@example.org", "password": "short"})
    assert code(short) == (400, "bad_request")
    assert not any("set-cookie" in answer.headers for answer in (wrong, unknown, taken, short))


def test_sign_ins_and_new_accounts_are_counted_by_the_address_of_who_tries(
    environment: dict[str, str], service: LocalService
) -> None:
    """The service's limits are those of each visitor, not of the app, if it believes the app's X-Forwarded-For."""
    seen: list[tuple[str | None, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers.get("x-forwarded-for"), request.headers.get("authorization")))
        return httpx.Response(429, json={"code": "rate_limited"}, headers={"Retry-After": "7"})

    class NoVerifier:
        async def verify(self, *_: object) -> None:
            raise AssertionError

    asked = httpx.AsyncClient(base_url=service.url, transport=httpx.MockTransport(answer))
    app = todo.create_app(
        NoVerifier(),  # type: ignore[arg-type]
        asked,
        Store(Path(environment["TODO_DATABASE"])),
        own_token="",
        https=False,
    )
    browser = TestClient(app, client=("192.0.2.7", 4711))
    for path in ("/api/sign-in", "/api/accounts"):
        refused = browser.post(path, json={"address": "a@example.org", "password": "x"})
        assert (*code(refused), refused.headers["retry-after"]) == (429, "rate_limited", "7")
    assert seen == [("192.0.2.7", None), ("192.0.2.7", None)], "and an account is made as anybody's"


def test_a_service_that_is_away_is_a_503_for_a_sign_in_and_nothing_for_the_list(
    person: Person, app: TestClient
) -> None:
    ada = person()
    address = user(ada)
    state = app.app.state  # type: ignore[attr-defined]
    service, state.service = state.service, httpx.AsyncClient(base_url="http://127.0.0.1:9", timeout=2)
    try:
        answer = ada.post("/api/sign-in", json={"address": address, "password": PASSWORD})
        assert code(answer) == (503, "unavailable")
        assert ada.post("/api/items", json={"text": "buy milk"}).status_code == 201
        assert texts(ada) == ["buy milk"]
    finally:
        state.service = service


# Links


def test_a_link_reads_the_list_and_nothing_else(person: Person, app: TestClient) -> None:
    ada = person()
    item = ada.post("/api/items", json={"text": "buy milk"}).json()["id"]
    link, _ = linked(ada)
    shown = app.get("/api/items", headers=bearer(link)).json()
    assert (shown["owner"], [one["text"] for one in shown["items"]]) == (user(ada), ["buy milk"])
    for method, path, body in (
        ("POST", "/api/items", {"text": "x"}),
        ("PATCH", f"/api/items/{item}", {"done": True}),
        ("DELETE", f"/api/items/{item}", None),
        ("GET", "/api/links", None),
        ("GET", "/api/sharing", None),
    ):
        answer = app.request(method, path, json=body, headers=bearer(link))
        assert code(answer) == (403, "caveats_unsatisfied"), path
        assert {one["predicate"] for one in answer.json()["failures"]} == {"scope = list:read"}
    assert texts(ada) == ["buy milk"]


def test_the_token_for_links_reads_for_two_weeks_and_is_given_to_a_session_only(
    person: Person, service: LocalService, app: TestClient
) -> None:
    ada = person()
    token = Macaroon.decode(ada.get("/api/sharing").json()["token"])
    with Client(service.url) as client:
        authority = client.verify(token, audience="todo", scope="list:read")
    assert authority.scopes == ("list:read",)
    assert authority.expires_at is not None
    assert authority.expires_at <= datetime.now(UTC) + todo.LONGEST_LINK
    with Client(service.url) as client:
        script = client.login(user(ada), PASSWORD, audience="todo", scope="list:*")
    assert code(app.get("/api/sharing", headers=bearer(script))) == (400, "bad_request")


def test_a_revoked_link_is_refused_and_its_siblings_and_the_session_live_on(
    person: Person, app: TestClient
) -> None:
    ada = person()
    (first, number), (second, _) = linked(ada), linked(ada)
    narrower = first.attenuate(Note("handed on"))
    assert ada.delete(f"/api/links/{number}").status_code == 204
    assert ada.delete(f"/api/links/{number}").status_code == 204, "once more changes nothing"
    dead = refused_soon(lambda: app.get("/api/items", headers=bearer(first)))
    assert code(dead) == (401, "invalid_token")
    assert code(app.get("/api/items", headers=bearer(narrower))) == (401, "invalid_token")
    assert app.get("/api/items", headers=bearer(second)).status_code == 200
    assert ada.get("/api/items").status_code == 200
    assert [link["revoked"] for link in ada.get("/api/links").json()["links"]] == [False, True]


def test_the_list_of_links_holds_no_token(person: Person, environment: dict[str, str]) -> None:
    ada = person()
    link, _ = linked(ada)
    assert set(ada.get("/api/links").json()["links"][0]) == {"id", "name", "until", "revoked"}
    with sqlite3.connect(environment["TODO_DATABASE"]) as db:
        kept = "\n".join(db.iterdump())
    assert branch_id(link.wire.signature).hex() in kept
    assert "cav1_" not in kept
    assert link.encode().removeprefix("cav1_")[40:80] not in kept
    assert PASSWORD not in kept


@pytest.mark.parametrize(
    ("name", "until", "branch"),
    [
        ("Grace", "2026-01-01T00:00:00Z", "0" * 32),
        ("Grace", "2126-01-01T00:00:00Z", "0" * 32),
        ("Grace", "soon", "0" * 32),
        ("Grace", "9999-12-31T23:59:59-12:00", "0" * 32),
        ("Grace", "2026-12-32T00:00:00Z", "0" * 32),
        ("", None, "0" * 32),
        ("G" * 61, None, "0" * 32),
        ("Grace", None, "0" * 31),
        ("Grace", None, "A" * 32),
        ("Grace", None, "0" * 32 + "\n"),
        ("Grace\n", None, 7),
    ],
    ids=["past", "far", "words", "zone", "day", "nameless", "long", "short", "capitals", "newline", "number"],
)
def test_what_is_no_link_is_a_400(person: Person, name: str, until: str | None, branch: object) -> None:
    ada = person()
    until = until or Expires.after(timedelta(days=1), now=datetime.now(UTC)).value
    answer = ada.post("/api/links", json={"name": name, "until": until, "branch": branch})
    assert code(answer) == (400, "bad_request")
    assert ada.get("/api/links").json() == {"links": []}


# Scripts


def test_a_script_has_the_same_endpoints_with_a_token_in_a_header(
    person: Person, app: TestClient, service: LocalService
) -> None:
    ada = person()
    with Client(service.url) as client:
        token = client.login(user(ada), PASSWORD, audience="todo", scope="list:read list:write")
    assert app.post("/api/items", json={"text": "from a script"}, headers=bearer(token)).status_code == 201
    assert texts(ada) == ["from a script"]
    reads = token.attenuate(Scope("list:read"))
    assert app.get("/api/items", headers={"X-Auth-Token": reads.encode()}).status_code == 200
    assert code(app.post("/api/items", json={"text": "x"}, headers=bearer(reads)))[0] == 403
    assert app.post("/api/sign-out", headers=bearer(reads)).status_code == 204
    refused_soon(lambda: app.get("/api/items", headers=bearer(reads)))
    assert app.get("/api/items", headers=bearer(token)).status_code == 200


def test_a_cookie_and_a_header_are_two_credentials(person: Person) -> None:
    ada = person()
    link, _ = linked(ada)
    assert code(ada.get("/api/items", headers=bearer(link))) == (400, "two_credentials")


def test_a_token_for_another_app_or_in_the_address_is_refused(
    person: Person, app: TestClient, service: LocalService
) -> None:
    address = user(person())
    with Client(service.url) as client:
        account = client.login(address, PASSWORD)
        other = client.login(address, PASSWORD, audience="notes", scope="*")
    assert code(app.get("/api/items", headers=bearer(account)))[0] in (401, 403)
    assert code(app.get("/api/items", headers=bearer(other)))[0] in (401, 403)
    assert code(app.get(f"/api/items?token={other.encode()}")) == (400, "bad_request")


def test_the_app_s_own_token_revokes_and_does_nothing_else(
    environment: dict[str, str], service: LocalService, person: Person
) -> None:
    address = user(person())
    headers = bearer(environment["TODO_TOKEN"])
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as http:
        for method, path, body in (
            ("POST", "/v1/users", {"username": "eve", "password": PASSWORD}),
            ("GET", "/v1/users", None),
            ("POST", f"/v1/users/{address}/disable", {}),
            ("POST", "/v1/clients", {"name": "x", "users": [address], "audiences": ["todo"], "scope": "*"}),
            ("GET", "/v1/keys", None),
            ("GET", "/v1/revocations", None),
        ):
            assert http.request(method, path, json=body).status_code == 403, path


def test_an_own_token_that_has_ended_is_not_the_visitor_s_fault(person: Person, app: TestClient) -> None:
    ada = person()
    link, number = linked(ada)
    state = app.app.state  # type: ignore[attr-defined]
    token, state.own_token = state.own_token, "cav1_ended"
    try:
        assert code(ada.delete(f"/api/links/{number}")) == (503, "unavailable")
    finally:
        state.own_token = token
    assert app.get("/api/items", headers=bearer(link)).status_code == 200
    assert [one["revoked"] for one in ada.get("/api/links").json()["links"]] == [False]


# Bad input


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"text": 1}',
        b"\xff",
        b'{"text": ""}',
        b'{"text": " "}',
        b'{"text": "\\ud800"}',
        b"[" * 9000,
        b'{"text": "a\\nb"}',
        b'{"text": "' + b"x" * 301 + b'"}',
    ],
    ids=["empty", "list", "number", "binary", "nothing", "blank", "surrogate", "deep", "lines", "long"],
)
def test_an_item_is_a_line_of_text(person: Person, body: bytes) -> None:
    ada = person()
    answer = ada.post("/api/items", content=body, headers={"Content-Type": "application/json"})
    assert code(answer) == (400, "bad_request")
    assert texts(ada) == []


def test_a_body_that_is_too_large_is_not_read_to_its_end(person: Person) -> None:
    body = b'{"text": "' + b" " * todo.LARGEST_BODY + b'x"}'
    answer = person().post("/api/items", content=body, headers={"Content-Type": "application/json"})
    assert code(answer) == (413, "too_large")


def test_done_is_a_boolean(person: Person) -> None:
    ada = person()
    item = ada.post("/api/items", json={"text": "buy milk"}).json()["id"]
    assert code(ada.patch(f"/api/items/{item}", json={"done": 1})) == (400, "bad_request")
    assert code(ada.patch("/api/items/x", json={"done": True})) == (404, "not_found")
    assert code(ada.put(f"/api/items/{item}", json={"done": True})) == (405, "method_not_allowed")


def test_there_are_so_many_items_and_links_and_no_more(tmp_path: Path, person: Person) -> None:
    store, now, end = Store(tmp_path / "todo.db"), "2026-12-01T00:00:00Z", "2026-12-04T23:59:59Z"
    for number in range(MOST_ITEMS):
        store.add_item("ada", f"item {number}")
    with pytest.raises(TooMany):
        store.add_item("ada", "one more")
    store.add_item("bob", "his first")
    link = {"name": "Grace", "until": end, "token_id": "t", "branch": "b"}
    for _ in range(MOST_LINKS):
        number = store.add_link("ada", link, now)
        store.mark_revoked("ada", number)
    with pytest.raises(TooMany):
        store.add_link("ada", link, now)
    store.add_link("ada", {**link, "until": "2026-12-20T00:00:00Z"}, end)
    assert len(store.links("ada", end)) == 1, "those that have ended are forgotten"
    ada = person()
    for _ in range(3):
        ada.post("/api/items", json={"text": "x"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.MOST_ITEMS", 3)
        assert code(ada.post("/api/items", json={"text": "x"})) == (409, "conflict")
