"""Passwords that an administrator has set for once: they sign in to nothing but their own change, wherever one is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from caveats_service.discharge import protocol
from tests.support.discharge import Browser, ask, heading, info, predicates, ticket, token_fields, waited
from tests.support.service import (
    PASSWORD,
    Service,
    User,
    admin_token,
    basic,
    bearer,
    cli,
    new_user,
    problem,
    rows,
)

ONCE, NEW = "given by the admin", "chosen by themselves"
REQUIRED = (403, "password_change_required")


@pytest.fixture
def once(service: Service) -> User:
    """A user whose password was set for once."""
    user = new_user(service)
    set_once(service, user)
    return user


def set_once(service: Service, user: User) -> None:
    body = {"new_password": ONCE, "must_change_password": True}
    with service.client(headers=bearer(admin_token(service))) as http:
        answer = http.put(f"/v1/users/{user.username}/password", json=body)
        assert answer.status_code == 204, answer.text
    user.password = ONCE


def change(http: httpx.Client, user: User, new: str, **headers: str) -> httpx.Response:
    body = {"new_password": new} if headers else {"password": user.password, "new_password": new}
    return http.put(f"/v1/users/{user.username}/password", json=body, headers=headers)


ENDPOINTS = [
    ("POST", "/v1/tokens", {}),
    ("GET", "/v1/tokens", None),
    ("GET", "/v1/tokens/x", None),
    ("POST", "/v1/revocations", {"user": "x"}),
    ("GET", "/v1/users", None),
    ("POST", "/v1/users", {"username": "x", "password": PASSWORD}),
    ("DELETE", "/v1/users/x", None),
    ("GET", "/v1/keys", None),
    ("GET", "/v1/revocations", None),
    ("POST", "/v1/agents", {"username": "x", "public_key": "x"}),
    ("GET", "/v1/groups", None),
    ("GET", "/v1/verifiers", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ENDPOINTS, ids=lambda v: v if isinstance(v, str) else "")
def test_no_endpoint_takes_it_as_basic(
    http: httpx.Client, once: User, method: str, path: str, body: Any
) -> None:
    answer = http.request(method, path, json=body, headers=basic(once.username, once.password))
    assert problem(answer) == REQUIRED
    assert "token" not in answer.json()
    assert ONCE not in answer.text


@pytest.mark.parametrize("path", ["/v1/tokens", "/v1/session"])
def test_it_gives_no_token_and_no_session_and_the_new_one_gives_both(
    http: httpx.Client, once: User, path: str
) -> None:
    asked = {"username": once.username, "password": once.password}
    refused = http.post(path, json=asked)
    assert problem(refused) == REQUIRED
    assert "set-cookie" not in refused.headers
    assert change(http, once, NEW).status_code == 204
    assert problem(http.post(path, json=asked)) == (401, "invalid_credentials")
    assert http.post(path, json={**asked, "password": NEW}).status_code == 201


def test_a_wrong_password_is_told_nothing_of_it(http: httpx.Client, once: User) -> None:
    answer = http.post("/v1/tokens", json={"username": once.username, "password": "a wrong one"})
    assert problem(answer) == (401, "invalid_credentials")


def test_it_is_changed_to_another_one_only(http: httpx.Client, once: User) -> None:
    answer = change(http, once, ONCE)
    assert problem(answer) == (400, "bad_request")
    assert "another" in answer.json()["detail"]
    assert problem(change(http, once, ONCE, **basic(once.username, ONCE))) == (400, "bad_request")
    assert change(http, once, NEW, **basic(once.username, ONCE)).status_code == 204
    once.password = NEW
    assert once.token()
    assert change(http, once, NEW).status_code == 204  # of one's own accord, anything goes


def test_what_was_issued_before_it_was_set_is_dead(service: Service, http: httpx.Client) -> None:
    user = new_user(service)
    token = user.token()
    made = http.post("/v1/session", json={"username": user.username, "password": user.password})
    cookie = made.headers["Set-Cookie"].partition(";")[0]
    http.cookies.clear()
    set_once(service, user)
    for path in ("/v1/tokens", "/v1/tokens/renew"):
        assert problem(http.post(path, json={}, headers=bearer(token))) == (401, "invalid_token")
    assert problem(http.get("/v1/session", headers={"Cookie": cookie})) == (401, "invalid_token")


def test_an_account_can_be_made_with_one_by_an_administrator_only(
    service: Service, http: httpx.Client
) -> None:
    body = {"username": "newcomer", "password": ONCE, "must_change_password": True}
    assert problem(http.post("/v1/users", json=body)) == (403, "forbidden")
    made = http.post("/v1/users", json=body, headers=bearer(admin_token(service)))
    assert made.json()["must_change_password"] is True
    newcomer = User(service, "newcomer", ONCE)
    assert problem(http.get("/v1/tokens", headers=basic("newcomer", ONCE))) == REQUIRED
    assert change(http, newcomer, NEW).status_code == 204
    listed = http.get("/v1/users?limit=1000", headers=bearer(admin_token(service))).json()["users"]
    assert {one["must_change_password"] for one in listed if one["username"] == "newcomer"} == {False}


@pytest.mark.slow
def test_an_administrator_with_one_administers_nothing(start: Callable[..., Service]) -> None:
    service = start()
    folder = service.settings.data_dir.parent
    arguments = ("--admin", "--must-change", "--password-stdin")
    cli(folder, "users", "add", "root2", *arguments, stdin=f"{ONCE}\n")
    with service.client(headers=basic("root2", ONCE)) as http:
        assert problem(http.get("/v1/users")) == REQUIRED
        assert problem(http.post("/v1/keys/rotate", json={})) == REQUIRED
    assert "must be changed" in cli(folder, "users", "list").stdout
    cli(folder, "users", "passwd", "root2", "--password-stdin", stdin=f"{NEW}\n")
    assert User(service, "root2", NEW).token(scope="caveats:admin")
    said = cli(folder, "users", "passwd", "root2", "--must-change", "--password-stdin", stdin=f"{ONCE}\n")
    assert "to be changed at the next sign-in" in said.stderr
    with service.client(headers=basic("root2", ONCE)) as http:
        assert problem(http.get("/v1/users")) == REQUIRED
    assert not [row for row in rows(folder, "SELECT detail FROM audit") if ONCE in row[0] or NEW in row[0]]


# third parties


def begun(service: Service) -> tuple[str, str]:
    told = info(ask(service, ticket(service, "is-authenticated-user")))
    return told["VisitURL"], told["InteractionMethods"]["browser-window"]["WaitTokenURL"]


def test_the_page_asks_for_a_new_password_and_goes_on_with_it(service: Service, once: User) -> None:
    asked = ticket(service, "is-authenticated-user")
    told = info(ask(service, asked))
    visit, wait_token = told["VisitURL"], told["InteractionMethods"]["browser-window"]["WaitTokenURL"]
    browser = Browser(service)
    assert 'name="new_password"' not in browser.read(visit).text
    page = browser.decide(visit, once)
    assert (page.status_code, heading(page)) == (403, "Sign in")
    assert 'name="new_password"' in page.text
    assert "administrator has set this password" in page.text
    for wrong, said in ((ONCE, "another password"), ("short", "at least")):
        page = browser.decide(visit, once, fields={"new_password": wrong})
        assert said in page.text
        assert 'name="new_password"' in page.text
        assert ONCE not in page.text
    assert heading(browser.decide(visit, once, fields={"new_password": NEW})) == "Done"
    again = ask(service, asked, **token_fields(waited(service, wait_token)))
    assert predicates(again)[0] == f"declared username {once.username}"
    once.password = NEW
    assert once.token()


def test_a_new_password_beside_a_wrong_one_changes_nothing(service: Service, user: User) -> None:
    visit, _ = begun(service)
    wrong = User(service, user.username, "not the password")
    page = Browser(service).decide(visit, wrong, fields={"new_password": NEW})
    assert page.status_code == 403
    assert user.token()


def test_the_form_of_programs_refuses_it_and_says_why(service: Service, once: User) -> None:
    told = info(ask(service, ticket(service, "is-authenticated-user")))
    form = told["InteractionMethods"][protocol.FORM]["url"]
    body = {"form": {"username": once.username, "password": once.password}}
    with service.client() as http:
        answer = http.post(form if form.startswith("http") else f"/{form}", json=body)
    assert answer.status_code == 401  # what bakeries call any refusal
    assert "token" not in answer.json()
    assert "caveats passwd" in answer.text
