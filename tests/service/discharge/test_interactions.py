"""Interactions: the page, its decision, those who wait for it, the form, and agents."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest
from structlog.testing import capture_logs

from caveats import Bundle, Macaroon, PrivateKey
from caveats.bakery import BakeryMacaroon, collect, encode_binaries, encode_header
from caveats_service.discharge.secrets import approve_secret
from caveats_service.storage import Decision
from tests.support.discharge import (
    BAKERY_3,
    Browser,
    ask,
    denied,
    heading,
    info,
    macaroon,
    ours,
    predicates,
    sent_to,
    ticket,
    token_fields,
    waited,
)
from tests.support.service import Clock, Service, User, admin_token, bearer, cli, execute, new_user, problem

NO = (401, "permission denied")
GONE = (404, "not found")


def begun(service: Service, identifier: bytes, headers: dict[str, str] | None = None) -> tuple[str, str, str]:
    """The addresses of the page, of the token and of the discharge itself."""
    told = info(ask(service, identifier, headers))
    window = told["InteractionMethods"]["browser-window"]
    assert window["VisitURL"] == told["VisitURL"]
    return told["VisitURL"], window["WaitTokenURL"], told["WaitURL"]


def members(service: Service, name: str, *users: User) -> None:
    with service.client() as http:
        body = {"members": [user.username for user in users]}
        answer = http.put(f"/v1/groups/{name}", json=body, headers=bearer(admin_token(service)))
    assert answer.status_code == 200, answer.text


# signing in


def test_whoever_signs_in_on_the_page_is_whom_the_discharge_is_for(service: Service, user: User) -> None:
    asked = ticket(service, "is-authenticated-user")
    visit, wait_token, wait = begun(service, asked)
    page = Browser(service).read(visit)
    assert (page.status_code, heading(page)) == (200, "Sign in")
    assert heading(Browser(service).decide(visit, user)) == "Done"
    again = ask(service, asked, **token_fields(waited(service, wait_token)))
    assert predicates(again)[0] == f"declared username {user.username}"
    assert waited(service, wait).content == again.content
    assert heading(Browser(service).read(visit)) == "Done"


def test_the_page_loads_nothing_runs_nothing_and_is_framed_by_nobody(service: Service) -> None:
    visit, _, _ = begun(service, ticket(service, "is-authenticated-user"))
    page = Browser(service).read(visit)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<script" not in page.text
    assert not re.findall(r"\s(?:on\w+|style|src|href)=", page.text)
    assert "set-cookie" not in Browser(service).decide(visit, None).headers


def test_what_others_wrote_is_escaped_on_the_page(service: Service) -> None:
    visit, _, _ = begun(service, ticket(service, "is-member-of <script>alert(1)</script>"))
    page = Browser(service).read(visit).text
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_decides_nothing(
    service: Service, user: User, headers: dict[str, str]
) -> None:
    visit, _, _ = begun(service, ticket(service, "is-authenticated-user"))
    answer = Browser(service).decide(visit, user, **headers)
    assert (answer.status_code, heading(answer)) == (403, "A page of another site may not do this")
    assert heading(Browser(service).read(visit)) == "Sign in"


def test_a_wrong_password_decides_nothing_and_is_counted(start: Callable[..., Service]) -> None:
    service = start(login_limit_account="3/minute")
    user = new_user(service)
    visit, _, _ = begun(service, ticket(service, "is-authenticated-user"))
    wrong = User(service, user.username, "wrong password")
    seen = [Browser(service).decide(visit, wrong) for _ in range(4)]
    assert [page.status_code for page in seen] == [403, 403, 403, 429]
    assert "www-authenticate" not in seen[0].headers  # browsers would ask in a window of their own
    assert "No such user" in seen[0].text
    assert "wrong password" not in seen[0].text
    assert heading(seen[0]) == "Sign in"


def test_a_session_signs_in_by_one_click_and_never_by_none(service: Service, user: User) -> None:
    with service.client() as http:
        body = {"username": user.username, "password": user.password}
        cookie = http.post("/v1/session", json=body).headers["set-cookie"].partition(";")[0]
    visit, _, wait = begun(service, ticket(service, "is-authenticated-user"))
    browser = Browser(service, cookie)
    assert f"You are signed in as <strong>{user.username}</strong>" in browser.read(visit).text
    assert heading(Browser(service).read(visit)) == "Sign in"
    assert heading(browser.decide(visit, None)) == "Done"
    assert predicates(waited(service, wait))[0] == f"declared username {user.username}"


def test_whoever_is_not_asked_for_may_sign_in_as_somebody_else(service: Service, user: User) -> None:
    other = new_user(service)
    visit, _, wait = begun(service, ours(service, f"signed-in = {user.username}"))
    page = Browser(service).decide(visit, other)
    assert (page.status_code, heading(page)) == (403, "Sign in")
    assert f"{other.username} has signed in" in page.text
    assert heading(Browser(service).decide(visit, user)) == "Done"
    assert predicates(waited(service, wait))[0] == f"user = {user.username}"


def test_what_is_denied_stays_denied(service: Service, user: User) -> None:
    asked = ticket(service, "is-authenticated-user")
    visit, wait_token, wait = begun(service, asked)
    assert heading(Browser(service).decide(visit, user, "deny")) == "Denied"
    assert heading(Browser(service).decide(visit, user, "allow")) == "Denied"
    assert denied(waited(service, wait_token)) == denied(waited(service, wait)) == NO


@pytest.mark.parametrize("fields", [{}, {"decision": "perhaps"}, {"decision": "allow"}], ids=str)
def test_a_form_without_a_decision_or_a_person_decides_nothing(
    service: Service, fields: dict[str, str]
) -> None:
    visit, _, _ = begun(service, ticket(service, "is-authenticated-user"))
    with service.client() as http:
        answer = http.post(f"/{visit}", data=fields, headers={"Origin": service.url})
    assert answer.status_code in (400, 403, 415)
    assert answer.headers["content-type"].startswith("text/html")
    assert heading(Browser(service).read(visit)) == "Sign in"


def test_an_address_that_leads_nowhere_says_so(service: Service) -> None:
    nowhere = "A" * 43
    assert Browser(service).read(f"discharge/visit/{nowhere}").status_code == 404
    for path in ("wait", "wait-token", "form"):
        assert denied(waited(service, f"discharge/{path}/{nowhere}")) == GONE
    assert Browser(service).decide(f"discharge/visit/{nowhere}", None).status_code == 404


def test_the_pages_address_does_not_lead_to_what_the_asker_gets(service: Service, user: User) -> None:
    asked = ticket(service, "is-authenticated-user")
    visit, wait_token, _ = begun(service, asked)
    Browser(service).decide(visit, user)
    secret = visit.rpartition("/")[2]
    assert denied(waited(service, f"discharge/wait-token/{secret}")) == GONE
    assert denied(waited(service, f"discharge/wait/{secret}")) == GONE
    sent = approve_secret(secret)
    assert denied(waited(service, f"discharge/wait-token/{sent}")) == GONE
    assert denied(waited(service, f"discharge/wait/{sent}")) == GONE
    token = token_fields(waited(service, wait_token))
    other = ticket(service, "is-authenticated-user")
    assert denied(ask(service, other, **token)) == NO  # for this ticket only
    assert denied(ask(service, asked, **{**token, "token64": b64encode(bytes(32)).decode()})) == NO
    assert denied(ask(service, asked, **{**token, "token-kind": "agent"})) == NO
    assert denied(ask(service, asked, **{**token, "token-kind": "x"})) == (400, "bad request")
    assert ask(service, asked, **token).status_code == 200


def test_older_programs_find_the_methods_at_the_pages_address(service: Service) -> None:
    visit, _, _ = begun(service, ticket(service, "is-authenticated-user"))
    with service.client() as http:
        answer = http.get(f"/{visit}", headers={"Accept": "application/json"})
    login = visit.replace("visit", "agent-login")
    assert answer.json() == {"interactive": f"/{visit}", "agent": f"/{login}"}


def test_what_is_asked_the_oldest_way_has_no_methods(service: Service) -> None:
    told = info(ask(service, ticket(service, "<is-authenticated-user")))
    assert set(told) == {"VisitURL", "WaitURL"}


ELSEWHERE = [
    "//evil.example",
    "/\\evil.example",
    "https:evil.example",
    "https://good.example.evil",
    "https://good.example@evil",
    "/x\r\nLocation: https://evil.example",
    "javascript:alert(1)",
    "https://evil\u3002example",
    "HTTPS://Evil.example",
]


@pytest.mark.parametrize("there", ELSEWHERE)
def test_102_no_page_leads_anywhere_else_whatever_it_is_told_to_return_to(
    service: Service, user: User, there: str
) -> None:
    """There is no way back to a site from here, so there is no list of sites: nothing of that kind is looked at."""
    names = ("return_to", "redirect_uri", "next", "url")
    asked = ticket(service, "is-authenticated-user")
    visit, _, _ = begun(service, asked)
    secret = visit.rpartition("/")[2]
    pages = [visit, f"discharge/approve/{approve_secret(secret)}", "discharge/visit/nowhere", ""]
    query = dict.fromkeys(names, there)
    form = {"username": user.username, "password": user.password, "decision": "allow", **query}
    with service.client() as http:
        answers = [http.get(f"/{page}", params=query) for page in pages]
        answers += [
            http.post(f"/{page}", params=query, data=form, headers={"Origin": service.url})
            for page in pages[:3]
        ]
    for answer in answers:
        assert answer.headers.get("refresh", "5") == "5", "this page itself again, and no other"
        assert "evil" not in answer.text.lower()
    decided = answers[len(pages) : len(pages) + 2]
    assert [answer.headers["location"].lstrip("/") for answer in decided] == pages[:2]
    for answer in answers:
        assert (300 <= answer.status_code < 400) is ("location" in answer.headers) is (answer in decided)


# approving


def test_a_second_person_of_the_group_approves_and_never_the_asker(service: Service) -> None:
    ann, bob, eve = new_user(service), new_user(service), new_user(service)
    name = f"g{ann.username}"
    members(service, name, ann, bob)
    asked = ours(service, "signed-in = *", f"approved-by = {name}")
    visit, wait_token, wait = begun(service, asked)
    browser = Browser(service)
    assert "This page is for you alone" in browser.read(visit).text
    approve = sent_to(browser.decide(visit, ann))
    for somebody, decision in ((ann, "allow"), (ann, "deny"), (eve, "allow"), (eve, "deny")):
        refused = browser.decide(approve, somebody, decision)
        assert (refused.status_code, heading(refused)) == (403, "Approve")
    assert f"{ann.username} at 127.0.0.1 asks for your approval" in browser.read(approve).text
    assert denied(ask(service, asked, **{"token64": "AAAA", "token-kind": "browser-window"})) == NO
    assert heading(browser.decide(approve, bob)) == "Done"
    assert heading(browser.read(visit)) == heading(browser.read(approve)) == "Done"
    answer = ask(service, asked, **token_fields(waited(service, wait_token)))
    assert predicates(answer)[0] == f"user = {ann.username}"
    assert waited(service, wait).content == answer.content


def test_an_approval_says_in_log_and_audit_who_from_where_and_what(service: Service) -> None:
    ann, bob = new_user(service), new_user(service)
    name = f"g{ann.username}"
    members(service, name, ann, bob)
    visit, _, _ = begun(service, ours(service, "signed-in = *", f"approved-by = {name}"))
    browser = Browser(service)
    with capture_logs() as logged:
        approve = sent_to(browser.decide(visit, ann))
        assert heading(browser.decide(approve, bob)) == "Done"
    events = [line for line in logged if line["event"].startswith("interaction_")]
    assert [(line["event"], line["user"]) for line in events] == [
        ("interaction_asked", ann.username),
        ("interaction_approved", bob.username),
        ("interaction_granted", bob.username),
    ]
    told = [
        entry
        for entry in reversed(service.run(service.runtime.store.audit.list(limit=100)))
        if entry.action.startswith("interaction.") and entry.actor in (ann.username, bob.username)
    ]
    assert [entry.action.partition(".")[2] for entry in told] == ["ask", "approve", "granted"]
    for said in (*events, *(entry.detail for entry in told)):
        assert said["address"] == "127.0.0.1"
        assert said["conditions"] == f"signed-in = *; approved-by = {name}"


def test_whoever_was_sent_to_approve_never_becomes_the_asker(service: Service) -> None:
    """Not before the asker has signed in, not after, and not by the asker's page with what they were sent."""
    ann, bob = new_user(service), new_user(service)
    members(service, f"g{ann.username}", ann, bob)
    visit, _, wait = begun(service, ours(service, f"approved-by = g{ann.username}"))
    browser, sent = Browser(service), approve_secret(visit.rpartition("/")[2])
    approve = f"discharge/approve/{sent}"
    assert heading(browser.read(approve)) == "Not yet"
    for decision in ("allow", "deny"):
        early = browser.decide(approve, bob, decision)
        assert (early.status_code, heading(early)) == (403, "Not yet")
    assert heading(browser.read(visit)) == "Sign in"
    assert browser.decide(f"discharge/visit/{sent}", bob).status_code == 404
    for path in (visit.replace("visit", "approve"), approve[:-1], f"{approve}A"):
        assert browser.decide(path, bob).status_code == 404
    assert sent_to(browser.decide(visit, ann)) == f"{service.url}/{approve}"
    assert heading(browser.decide(approve, bob)) == "Done"
    assert predicates(waited(service, wait))[0] == f"user = {ann.username}"


def test_the_asker_s_page_approves_nothing_and_shows_what_to_send(service: Service) -> None:
    ann, bob = new_user(service), new_user(service)
    members(service, f"g{ann.username}", ann, bob)
    visit, _, wait = begun(service, ours(service, f"approved-by = g{ann.username}"))
    browser = Browser(service)
    approve = sent_to(browser.decide(visit, ann))
    for somebody, decision in ((bob, "allow"), (bob, "deny"), (ann, "allow")):
        refused = browser.decide(visit, somebody, decision)
        assert refused.status_code == 403
        assert sent_to(refused) == approve
    assert 'value="allow"' not in browser.read(visit).text
    assert visit not in browser.read(approve).text
    assert heading(browser.decide(visit, ann, "deny")) == "Denied"
    assert heading(browser.decide(approve, bob)) == "Denied"
    assert denied(waited(service, wait)) == NO


def test_of_two_who_sign_in_to_ask_at_once_one_does(service: Service) -> None:
    people = [new_user(service) for _ in range(4)]
    members(service, f"g{people[0].username}", *people)
    visit, _, wait = begun(service, ours(service, f"approved-by = g{people[0].username}"))
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda who: Browser(service).decide(visit, who), people))
    assert sorted(page.status_code for page in seen) == [200, 403, 403, 403]
    (first,) = [who for who, page in zip(people, seen, strict=True) if page.status_code == 200]
    (approve,) = {sent_to(page) for page in seen}
    second = next(who for who in people if who != first)
    assert heading(Browser(service).decide(approve, second)) == "Done"
    assert predicates(waited(service, wait))[0] == f"user = {first.username}"


def test_where_the_ticket_says_who_asks_nobody_else_signs_in_to_ask(service: Service) -> None:
    ann, bob = new_user(service), new_user(service)
    members(service, f"g{ann.username}", bob)
    asked = ours(service, f"signed-in = {ann.username}", f"approved-by = g{ann.username}")
    visit, _, wait = begun(service, asked)
    refused = Browser(service).decide(visit, bob)
    assert (refused.status_code, heading(refused)) == (403, "Sign in")
    approve = sent_to(Browser(service).decide(visit, ann))
    assert heading(Browser(service).decide(approve, bob)) == "Done"
    assert predicates(waited(service, wait))[0] == f"user = {ann.username}"


def test_what_to_send_is_at_the_service_s_public_address(start: Callable[..., Service]) -> None:
    service = start(public_url="https://auth.example")
    ann = new_user(service)
    asked = ours(service, "approved-by = ops", location="https://auth.example")
    told = info(ask(service, asked, bearer(ann.token())))
    page = Browser(service).read(told["VisitURL"])
    assert sent_to(page).startswith("https://auth.example/discharge/approve/")


def test_an_asker_who_is_known_already_waits_for_the_other_person_only(service: Service) -> None:
    ann, bob = new_user(service), new_user(service)
    name = f"g{ann.username}"
    members(service, name, bob)
    asked = ours(service, f"approved-by = {name}")
    told = info(ask(service, asked, bearer(ann.token())))
    assert set(told["InteractionMethods"]) == {"browser-window"}
    approve = sent_to(Browser(service).read(told["VisitURL"]))
    assert heading(Browser(service).read(approve)) == "Approve"
    assert heading(Browser(service).decide(approve, bob)) == "Done"
    assert predicates(waited(service, told["WaitURL"]))[0] == f"user = {ann.username}"


def test_an_approval_counts_only_while_whoever_gave_it_is_in_the_group(service: Service) -> None:
    """Also after the decision: what is handed out is judged anew."""
    ann, bob = new_user(service), new_user(service)
    name = f"g{ann.username}"
    members(service, name, bob)
    asked = ours(service, f"approved-by = {name}")
    told = info(ask(service, asked, bearer(ann.token())))
    Browser(service).decide(sent_to(Browser(service).read(told["VisitURL"])), bob)
    assert waited(service, told["WaitURL"]).status_code == 200
    members(service, name)
    assert denied(waited(service, told["WaitURL"])) == NO
    members(service, name, bob)
    with service.client() as http:
        http.post(f"/v1/users/{bob.username}/disable", headers=bearer(admin_token(service)))
    assert denied(waited(service, told["WaitURL"])) == NO


def test_two_groups_need_one_person_each_whoever_comes_last(service: Service) -> None:
    ann, bob, cat = new_user(service), new_user(service), new_user(service)
    first, second = f"g{ann.username}", f"h{ann.username}"
    members(service, first, bob)
    members(service, second, cat)
    asked = ours(service, f"approved-by = {first}", f"approved-by = {second}")
    told = info(ask(service, asked, bearer(ann.token())))
    approve = sent_to(Browser(service).read(told["VisitURL"]))
    once = Browser(service).decide(approve, bob)
    assert heading(once) == "Waiting for approval"
    assert "You have approved this. Somebody else still has to" in once.text
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda who: Browser(service).decide(approve, who), [bob, cat, bob, cat]))
    assert waited(service, told["WaitURL"]).status_code == 200


@pytest.mark.slow
def test_35_a_hundred_polls_and_approvals_at_once_are_one_decision_that_all_read_alike(
    start: Callable[..., Service], database: dict[str, Any]
) -> None:
    service = start(password_queue=200, **database)
    ann = new_user(service)
    people = [new_user(service) for _ in range(4)]
    members(service, "ops", *people)
    asked = ours(service, "approved-by = ops")
    told = info(ask(service, asked, bearer(ann.token())))
    wait_token = told["InteractionMethods"]["browser-window"]["WaitTokenURL"]
    approve = sent_to(Browser(service).read(told["VisitURL"]))
    with ThreadPoolExecutor(100) as pool:
        tokens = [pool.submit(waited, service, wait_token) for _ in range(40)]
        answers = [pool.submit(waited, service, told["WaitURL"]) for _ in range(40)]
        pages = [
            pool.submit(Browser(service).decide, approve, people[n % 4], ("allow", "deny")[n // 15])
            for n in range(20)
        ]
        assert {page.result().status_code for page in pages} == {200}
        assert len({heading(page.result()) for page in pages} - {"Approve"}) == 1
        assert len({token.result().content for token in tokens}) == 1
        assert len({answer.result().content for answer in answers}) == 1
        (answer,) = {answer.result().content for answer in answers}
    assert waited(service, told["WaitURL"]).content == answer
    done = [entry.action for entry in service.run(service.runtime.store.audit.list(limit=1000))]
    assert done.count("interaction.granted") + done.count("interaction.denied") == 1


# waiting


def test_a_decision_ends_the_wait(service: Service, user: User) -> None:
    visit, wait_token, _ = begun(service, ticket(service, "is-authenticated-user"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waited, service, wait_token)
        Browser(service).decide(visit, user)
        assert waiting.result(5).json()["kind"] == "browser-window"


@pytest.mark.slow
def test_a_decision_on_another_node_ends_the_wait(
    start: Callable[..., Service], database: dict[str, Any]
) -> None:
    one, other = start(**database), start(**database)
    user = new_user(one)
    visit, wait_token, _ = begun(one, ticket(one, "is-authenticated-user"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waited, one, wait_token)
        assert heading(Browser(other).decide(visit, user)) == "Done"
        assert waiting.result(5).content == waited(other, wait_token).content


def test_a_lost_reply_is_polled_again_until_its_time_is_up(
    start: Callable[..., Service], clock: Clock
) -> None:
    service = start(now=clock)
    user = new_user(service)
    asked = ticket(service, "is-authenticated-user")
    visit, wait_token, wait = begun(service, asked)
    Browser(service).decide(visit, user)
    first, answer = waited(service, wait_token), waited(service, wait)
    clock.forward(minutes=4, seconds=59)
    assert waited(service, wait_token).content == first.content
    assert waited(service, wait).content == answer.content
    assert ask(service, asked, **token_fields(first)).content == answer.content
    clock.forward(seconds=1)
    assert denied(waited(service, wait_token)) == denied(waited(service, wait)) == GONE
    assert denied(ask(service, asked, **token_fields(first))) == NO


def test_nobody_waits_longer_than_there_is_time_to_decide(
    start: Callable[..., Service], clock: Clock
) -> None:
    service = start(now=clock)
    visit, wait_token, _ = begun(service, ticket(service, "is-authenticated-user"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waited, service, wait_token)
        clock.forward(minutes=10)
        assert denied(waiting.result(5)) == GONE
    assert Browser(service).read(visit).status_code == 404


def test_those_who_wait_do_not_hold_up_the_end(start: Callable[..., Service]) -> None:
    service = start()
    _, wait_token, _ = begun(service, ticket(service, "is-authenticated-user"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waited, service, wait_token)
        threading.Event().wait(0.3)
        service.call(service.runtime.take_leave)
        assert waiting.result(5).status_code == 503


def test_interactions_are_bounded_by_address_and_in_number(start: Callable[..., Service]) -> None:
    service = start(interaction_limit_address="2/minute")
    asked = ticket(service, "is-authenticated-user")
    assert [ask(service, asked).status_code for _ in range(3)] == [401, 401, 429]
    assert int(ask(service, asked).headers["retry-after"]) > 0


def test_interactions_are_bounded_in_number(start: Callable[..., Service]) -> None:
    service = start(max_interactions=2)
    asked = ticket(service, "is-authenticated-user")
    assert [ask(service, asked).status_code for _ in range(3)] == [401, 401, 503]


def test_nothing_that_leads_to_an_interaction_is_in_the_database_or_the_log(
    start: Callable[..., Service], tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    service = start()
    user = new_user(service)
    asked = ticket(service, "is-authenticated-user")
    visit, wait_token, wait = begun(service, asked)
    approve = approve_secret(visit.rpartition("/")[2])
    Browser(service).read(f"discharge/approve/{approve}")
    Browser(service).decide(visit, user)
    token = token_fields(waited(service, wait_token))["token64"]
    signature = macaroon(waited(service, wait)).wire.signature
    execute(tmp_path, "PRAGMA wal_checkpoint(FULL)")
    held = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    held += "".join(capfd.readouterr()).encode()
    made = [approve, *(path.rpartition("/")[2] for path in (visit, wait))]
    raw = [b64decode(secret.replace("-", "+").replace("_", "/") + "=") for secret in made]
    for needle in (*(s.encode() for s in made), *raw, token.encode(), b64decode(token), signature):
        assert needle not in held
    assert b"interaction.granted" in held


# the form


def test_the_form_is_for_programs_that_ask_themselves(service: Service, user: User) -> None:
    asked = ticket(service, "is-authenticated-user")
    url = info(ask(service, asked))["InteractionMethods"]["form"]["url"]
    schema = waited(service, url).json()["schema"]
    assert set(schema) == {"username", "password"}
    assert schema["password"]["secret"] is True
    with service.client() as http:
        wrong = {"form": {"username": user.username, "password": "wrong password"}}
        assert denied(http.post(f"/{url}", json=wrong)) == NO
        right = {"form": {"username": user.username, "password": user.password}}
        assert denied(http.post(f"/{url}", json=right, headers={"Origin": "https://evil.example"})) == NO
        for _ in range(2):  # a lost reply is asked for again
            token = http.post(f"/{url}", json=right).json()["token"]
            assert token["kind"] == "form"
        assert denied(http.post(f"/{url}", json={"form": {}})) == (400, "bad request")
        other = new_user(service)
        late = {"form": {"username": other.username, "password": other.password}}
        assert denied(http.post(f"/{url}", json=late)) == NO
    answer = ask(service, asked, **{"token64": token["value"], "token-kind": "form"})
    assert predicates(answer)[0] == f"declared username {user.username}"


# what ends the credential that somebody has taken part with


def change_password(service: Service, user: User, token: str) -> None:
    body = {"password": user.password, "new_password": "another password"}
    with service.client() as http:
        http.put(f"/v1/users/{user.username}/password", json=body).raise_for_status()
    user.password = "another password"


def disable(service: Service, user: User, token: str) -> None:
    with service.client() as http:
        http.post(f"/v1/users/{user.username}/disable", headers=bearer(admin_token(service)))


def disable_and_enable(service: Service, user: User, token: str) -> None:
    disable(service, user, token)
    with service.client() as http:
        http.post(f"/v1/users/{user.username}/enable", headers=bearer(admin_token(service)))


def revoke_all(service: Service, user: User, token: str) -> None:
    with service.client() as http:
        headers = bearer(admin_token(service))
        http.post("/v1/revocations", json={"user": user.username}, headers=headers).raise_for_status()


def revoke_the_token(service: Service, user: User, token: str) -> None:
    with service.client() as http:
        http.post("/v1/revocations", json={"token": token}).raise_for_status()


def retire_the_key(service: Service, user: User, token: str) -> None:
    key_id = Macaroon.decode(token).identifier.decode().split(".")[1]
    cli(service.settings.data_dir.parent, "keys", "rotate", "--now")
    cli(service.settings.data_dir.parent, "keys", "retire", key_id, "--force")


ENDINGS = [change_password, disable, disable_and_enable, revoke_all, revoke_the_token]
Ending = Callable[[Service, User, str], None]


def approval_asked(service: Service, token: str, approver: User) -> tuple[str, str]:
    """The approvers' page, and where the asker waits who has this token."""
    name = f"g{approver.username}"
    members(service, name, approver)
    told = info(ask(service, ours(service, f"approved-by = {name}"), bearer(token)))
    return sent_to(Browser(service).read(told["VisitURL"])), told["WaitURL"]


@pytest.mark.parametrize("decided", [False, True], ids=["before the decision", "before it is fetched"])
@pytest.mark.parametrize("of_token", ["itself", "its parent"])
@pytest.mark.parametrize("end", [*ENDINGS, pytest.param(retire_the_key, marks=pytest.mark.slow)])
def test_a_discharge_is_not_handed_out_once_the_credential_that_asked_for_it_has_ended(
    start: Callable[..., Service], end: Ending, of_token: str, decided: bool
) -> None:
    service = start()
    ann, bob = new_user(service), new_user(service)
    token = parent = ann.token()
    if of_token == "its parent":
        with service.client() as http:
            token = http.post("/v1/tokens", json={}, headers=bearer(parent)).json()["token"]
    approve, wait = approval_asked(service, token, bob)
    if decided:
        assert heading(Browser(service).decide(approve, bob)) == "Done"
        assert waited(service, wait).status_code == 200
    end(service, ann, parent)
    if not decided:
        assert heading(Browser(service).decide(approve, bob)) != "Done"
        assert service.run(_decision(service, wait)) is Decision.OPEN
    else:
        assert denied(waited(service, wait)) == NO


def test_a_discharge_that_was_asked_for_with_a_renewal_ends_with_its_own_branch_as_well(
    start: Callable[..., Service],
) -> None:
    """The one that `Authenticated.branches` tells an app."""
    service = start()
    ann, bob = new_user(service), new_user(service)
    with service.client() as http:
        headers = bearer(ann.token(expires_in="1h"))
        body = {"expires_in": "2h"}
        token = http.post("/v1/tokens/renew", json=body, headers=headers).json()["token"]
        approve, wait = approval_asked(service, token, bob)
        renewed = service.runtime.tokens.verifier.authenticate(token)
        assert renewed.identified is not None
        target = {"token_id": renewed.identified.token_id, "branch_id": renewed.branches()[-1].hex()}
        http.post("/v1/revocations", json=target, headers=bearer(admin_token(service))).raise_for_status()
    assert heading(Browser(service).decide(approve, bob)) != "Done"
    assert service.run(_decision(service, wait)) is Decision.OPEN


async def _decision(service: Service, wait: str) -> Decision:
    return (await service.runtime.decisions.of_wait(wait.rpartition("/")[2])).decision


@pytest.mark.parametrize("end", ENDINGS[:-1])
@pytest.mark.parametrize("by", ["password", "form"])
def test_a_discharge_for_whoever_signed_in_with_a_password_ends_with_that_password(
    service: Service, user: User, end: Ending, by: str
) -> None:
    asked = ticket(service, "is-authenticated-user")
    told = info(ask(service, asked))
    if by == "password":
        assert heading(Browser(service).decide(told["VisitURL"], user)) == "Done"
    else:
        body = {"form": {"username": user.username, "password": user.password}}
        with service.client() as http:
            http.post(f"/{told['InteractionMethods']['form']['url']}", json=body).raise_for_status()
    assert waited(service, told["WaitURL"]).status_code == 200
    end(service, user, "")
    assert denied(waited(service, told["WaitURL"])) == NO


def test_a_discharge_for_whoever_came_with_a_session_ends_with_the_session(
    service: Service, user: User
) -> None:
    with service.client() as http:
        answer = http.post("/v1/session", json={"username": user.username, "password": user.password})
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        told = info(ask(service, ticket(service, "is-authenticated-user")))
        assert heading(Browser(service, cookie).decide(told["VisitURL"], None)) == "Done"
        assert waited(service, told["WaitURL"]).status_code == 200
        http.delete("/v1/session", headers={"Cookie": cookie, "Origin": service.url}).raise_for_status()
    assert denied(waited(service, told["WaitURL"])) == NO


@pytest.mark.parametrize("end", ENDINGS[:-1])
def test_an_approval_counts_only_while_the_credential_that_gave_it_is_good(
    service: Service, end: Ending
) -> None:
    ann, bob = new_user(service), new_user(service)
    approve, wait = approval_asked(service, ann.token(), bob)
    assert heading(Browser(service).decide(approve, bob)) == "Done"
    end(service, bob, "")
    assert denied(waited(service, wait)) == NO


def test_what_is_begun_with_a_new_password_right_after_the_change_goes_on(
    service: Service, user: User
) -> None:
    change_password(service, user, "")
    told = info(ask(service, ticket(service, "is-authenticated-user")))
    assert heading(Browser(service).decide(told["VisitURL"], user)) == "Done"
    assert waited(service, told["WaitURL"]).status_code == 200


@pytest.mark.slow
def test_what_one_node_began_another_does_not_complete_for_a_credential_that_has_ended(
    start: Callable[..., Service], database: dict[str, Any]
) -> None:
    one, other = start(**database), start(**database)
    user = new_user(one)
    visit, _, wait = begun(one, ticket(one, "is-authenticated-user"))
    assert heading(Browser(other).decide(visit, user)) == "Done"
    assert waited(other, wait).status_code == 200
    change_password(one, user, "")
    assert denied(waited(other, wait)) == denied(waited(one, wait)) == NO


def test_a_discharge_for_an_asker_whose_token_has_expired_is_not_handed_out(
    start: Callable[..., Service], clock: Clock
) -> None:
    service = start(now=clock)
    ann, bob = new_user(service), new_user(service)
    approve, wait = approval_asked(service, ann.token(expires_in=60), bob)
    clock.forward(seconds=61)
    assert heading(Browser(service).decide(approve, bob)) != "Done"
    assert service.run(_decision(service, wait)) is Decision.OPEN


def test_a_discharge_for_an_agent_that_was_removed_is_not_handed_out(service: Service, user: User) -> None:
    """The older way: the agent signs in, then waits for its discharge."""
    key = agent(service, user)
    told = info(ask(service, ticket(service, "is-authenticated-user")))
    login = f"/{told['VisitURL']}".replace("/visit/", "/agent-login/")
    body = {"username": user.username, "public_key": b64encode(key.public_key).decode()}
    with service.client() as http:
        asked = http.post(login, json=body, headers=BAKERY_3).json()["Info"]["Macaroon"]
        cookie = {"Cookie": f"macaroon-agent={encode_header(completed_by(asked, key))}"}
        assert http.post(login, json=body, headers={**BAKERY_3, **cookie}).json() == {"agent_login": True}
        assert waited(service, told["WaitURL"]).status_code == 200
        agents = http.get("/v1/agents?limit=1000", headers=bearer(admin_token(service))).json()["agents"]
        agent_id = next(one["agent_id"] for one in agents if one["username"] == user.username)
        http.delete(f"/v1/agents/{agent_id}", headers=bearer(admin_token(service))).raise_for_status()
    assert denied(waited(service, told["WaitURL"])) == NO


# agents


def test_all_of_it_works_on_either_database(start: Callable[..., Service], database: dict[str, Any]) -> None:
    service = start(**database)
    ann, bob = new_user(service), new_user(service)
    members(service, "ops", bob)
    asked = ours(service, "signed-in = *", "approved-by = ops")
    visit, wait_token, wait = begun(service, asked)
    approve = sent_to(Browser(service).decide(visit, ann))
    assert heading(Browser(service).decide(approve, bob)) == "Done"
    answer = ask(service, asked, **token_fields(waited(service, wait_token)))
    assert answer.content == waited(service, wait).content
    key = agent(service, ann)
    asked = ticket(service, "is-authenticated-user")
    token = signed(challenge(service, asked, ann, key), key)
    assert predicates(ask(service, asked, **token))[0] == f"declared username {ann.username}"


def agent(service: Service, user: User) -> PrivateKey:
    key = PrivateKey.generate()
    with service.client() as http:
        body = {"username": user.username, "public_key": b64encode(key.public_key).decode()}
        answer = http.post("/v1/agents", json=body, headers=bearer(admin_token(service)))
    assert answer.status_code == 201, answer.text
    return key


def challenge(service: Service, asked: bytes, user: User, key: PrivateKey) -> httpx.Response:
    url = info(ask(service, asked))["InteractionMethods"]["agent"]["login-url"]
    with service.client() as http:
        query = {"username": user.username, "public-key": b64encode(key.public_key).decode()}
        return http.get(f"/{url}", params=query, headers=BAKERY_3)


def signed(answer: httpx.Response, key: PrivateKey) -> dict[str, str]:
    """An agent's token: what `collect` makes of the challenge with the key."""
    assert answer.status_code == 200, answer.text
    completed = encode_binaries(completed_by(answer.json()["macaroon"], key))
    return {"token64": b64encode(completed).decode(), "token-kind": "agent"}


def completed_by(members: dict[str, Any], key: PrivateKey) -> Bundle:
    collecting = collect(BakeryMacaroon.from_members(members), key)
    try:
        next(collecting)
    except StopIteration as done:
        return done.value.bind()
    raise AssertionError("another third party is asked")


def test_an_agents_token_is_for_one_ticket_and_a_minute(start: Callable[..., Service], clock: Clock) -> None:
    service = start(now=clock)
    user = new_user(service)
    key = agent(service, user)
    asked, other = (ticket(service, "is-authenticated-user") for _ in range(2))
    token = signed(challenge(service, asked, user, key), key)
    assert predicates(ask(service, asked, **token))[0] == f"declared username {user.username}"
    assert denied(ask(service, other, **token)) == NO
    clock.forward(seconds=60)
    assert denied(ask(service, asked, **token)) == NO


def test_only_the_holder_of_the_key_signs_in_as_an_agent(service: Service, user: User) -> None:
    key, asked = agent(service, user), ticket(service, "is-authenticated-user")
    answer = challenge(service, asked, user, key)
    bare = BakeryMacaroon.from_members(answer.json()["macaroon"]).macaroon.to_bytes()
    for data in (bare, b"", b"garbage", bare + bare, bytes(70_00)):
        token = {"token64": b64encode(data).decode(), "token-kind": "agent"}
        assert denied(ask(service, asked, **token)) in (NO, (400, "bad request"))
    assert denied(challenge(service, asked, new_user(service), key)) == NO
    assert denied(challenge(service, asked, user, PrivateKey.generate())) == NO
    with service.client() as http:
        for query in ("", "?public-key=x", f"?public-key={'A' * 43}&username=x", "?username=%00"):
            assert denied(http.get(f"/discharge/agent/{'A' * 43}{query}")) in (NO, (400, "bad request"))


def test_agents_are_for_administrators(service: Service, http: httpx.Client, user: User, admin: str) -> None:
    key = b64encode(bytes(range(32))).decode()
    body = {"username": user.username, "public_key": key, "name": "ci"}
    assert problem(http.post("/v1/agents", json=body)) == (401, "credential_required")
    assert http.post("/v1/agents", json=body, headers=bearer(user.token())).status_code == 403
    made = http.post("/v1/agents", json=body, headers=bearer(admin))
    assert made.status_code == 201
    assert problem(http.post("/v1/agents", json=body, headers=bearer(admin))) == (409, "conflict")
    listed = http.get("/v1/agents?limit=1000", headers=bearer(admin)).json()
    assert made.json() in listed["agents"]
    agent_id = made.json()["agent_id"]
    assert http.delete(f"/v1/agents/{agent_id}", headers=bearer(user.token())).status_code == 403
    assert http.delete(f"/v1/agents/{agent_id}", headers=bearer(admin)).status_code == 204
    assert problem(http.delete(f"/v1/agents/{agent_id}", headers=bearer(admin))) == (404, "not_found")
    no_point = b64encode(b"\1" + bytes(31)).decode()
    for wrong in (
        {"public_key": "x"},
        {"public_key": "A" * 43},
        {"public_key": no_point},
        {"username": "A B"},
    ):
        answer = http.post("/v1/agents", json={**body, **wrong}, headers=bearer(admin))
        assert problem(answer) == (400, "bad_request")
    assert json.dumps(listed)
