"""Those who wait for a decision for longer than proxies wait for a byte: what keeps their connection, and what they get."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
import requests
from macaroonbakery import httpbakery

from caveats import Macaroon
from caveats.bakery import BakeryMacaroon
from caveats_client import Client, Interact
from tests.support.discharge import (
    Browser,
    FirstParty,
    ask,
    denied,
    info,
    macaroon,
    predicates,
    ticket,
    token_fields,
    waited,
)
from tests.support.service import Clock, Service, User, new_user

pytestmark = pytest.mark.slow

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
PATIENT = 2
"""Seconds that the proxy waits for a byte."""

needs_nginx = pytest.mark.skipif(
    NGINX is None, reason="nginx is not installed (Debian: apt-get install nginx-light)"
)
theirs = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
GONE = (404, "not found")
NO = (401, "permission denied")


def begun(service: Service, asked: bytes) -> tuple[str, str, str]:
    """The addresses of the page, of the token and of the discharge itself."""
    told = info(ask(service, asked))
    return told["VisitURL"], told["InteractionMethods"]["browser-window"]["WaitTokenURL"], told["WaitURL"]


@contextlib.contextmanager
def waiting(service: Service, *paths: str) -> Iterator[list[Future[httpx.Response]]]:
    """Polls of these, long enough already to have been sent a space."""
    with ThreadPoolExecutor(len(paths)) as pool:
        polls = [pool.submit(waited, service, path, timeout=20) for path in paths]
        time.sleep(1.5)
        yield polls


def test_whoever_waits_long_gets_spaces_and_then_the_same_json(start: Callable[..., Service]) -> None:
    service = start(poll_keepalive="1s")
    user, asked = new_user(service), ticket(service, "is-authenticated-user")
    visit, wait_token, wait = begun(service, asked)
    with waiting(service, wait_token, wait) as polls:
        Browser(service).decide(visit, user)
        token, discharge = (poll.result() for poll in polls)
    for late, path in ((token, wait_token), (discharge, wait)):
        assert late.status_code == 200
        assert late.headers["content-type"] == "application/json"
        assert late.headers["cache-control"] == "no-store"
        assert late.headers["x-accel-buffering"] == "no"
        assert late.content.startswith(b" ")
        assert late.content.lstrip(b" ") == waited(service, path).content
    assert predicates(ask(service, asked, **token_fields(token)))[0] == f"declared username {user.username}"
    assert macaroon(discharge)


def test_whoever_does_not_wait_long_gets_no_spaces_and_is_denied_by_the_status(
    start: Callable[..., Service],
) -> None:
    service = start(poll_keepalive="5s")
    user, asked = new_user(service), ticket(service, "is-authenticated-user")
    for decision, status in (("allow", 200), ("deny", 401)):
        visit, wait_token, wait = begun(service, asked)
        with waiting(service, wait_token, wait) as polls:
            Browser(service).decide(visit, user, decision)
            for poll in polls:
                assert poll.result().status_code == status
                assert poll.result().content.startswith(b"{")


def test_a_late_denial_is_told_to_whoever_asks_with_the_token_or_again(
    start: Callable[..., Service],
) -> None:
    service = start(poll_keepalive="1s")
    user, asked = new_user(service), ticket(service, "is-authenticated-user")
    visit, wait_token, wait = begun(service, asked)
    with waiting(service, wait_token, wait) as polls:
        Browser(service).decide(visit, user, "deny")
        token, discharge = (poll.result() for poll in polls)
    answer = ask(service, asked, **token_fields(token))
    assert (*denied(answer), answer.json()["Message"]) == (*NO, "it was denied")
    assert discharge.status_code == 200
    assert discharge.content.isspace()
    assert denied(waited(service, wait)) == denied(waited(service, wait_token)) == NO


def test_where_nothing_is_decided_in_time_a_late_answer_ends_with_nothing(
    start: Callable[..., Service], clock: Clock
) -> None:
    service = start(poll_keepalive="1s", now=clock)
    _, wait_token, wait = begun(service, ticket(service, "is-authenticated-user"))
    with waiting(service, wait_token, wait) as polls:
        clock.forward(minutes=10)
        assert all(poll.result().content.isspace() for poll in polls)
    assert denied(waited(service, wait)) == denied(waited(service, wait_token)) == GONE


def test_those_who_have_waited_long_do_not_hold_up_the_end_and_ask_again(
    start: Callable[..., Service],
) -> None:
    service = start(poll_keepalive="1s")
    _, wait_token, wait = begun(service, ticket(service, "is-authenticated-user"))
    with waiting(service, wait_token, wait) as polls:
        service.call(service.runtime.take_leave)
        assert all(poll.result(5).content.isspace() for poll in polls)
    assert waited(service, wait_token).status_code == 503


@pytest.mark.parametrize("bound", ["MAX_WAITERS", "MAX_PER_ADDRESS", "MAX_PER_DECISION"])
def test_there_are_places_for_so_many_and_then_a_503(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """One client, or one decision, cannot take the places of all."""
    from caveats_service.discharge import waiters as module

    service = start(poll_keepalive="1s", trusted_proxies="127.0.0.1")
    asked = ticket(service, "is-authenticated-user")
    (_, first, _), (_, second, _) = begun(service, asked), begun(service, asked)
    monkeypatch.setattr(module, bound, 1)
    elsewhere = {"X-Forwarded-For": "192.0.2.7"}
    rows = [(first, {}), (first, elsewhere), (second, {})]
    refused = {"MAX_WAITERS": rows, "MAX_PER_ADDRESS": [rows[0], rows[2]], "MAX_PER_DECISION": rows[:2]}[
        bound
    ]
    with (
        httpx.Client(base_url=service.url, timeout=5) as http,
        http.stream("GET", f"/{first}") as poll,
    ):
        spaces = poll.iter_raw()
        assert next(spaces) == b" "
        for path, headers in rows:
            with http.stream("GET", f"/{path}", headers=headers) as another:
                assert another.status_code == (503 if (path, headers) in refused else 200)


def test_whoever_hangs_up_is_forgotten(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more would be one too many, so long as somebody is taken to wait who does not."""
    from caveats_service.discharge import waiters as module

    service = start(poll_keepalive="1s")
    _, wait_token, _ = begun(service, ticket(service, "is-authenticated-user"))
    monkeypatch.setattr(module, "MAX_WAITERS", 1)
    with (
        httpx.Client(base_url=service.url, timeout=5) as http,
        http.stream("GET", f"/{wait_token}") as poll,
    ):
        spaces = poll.iter_raw()
        assert next(spaces) == b" "
        assert waited(service, wait_token).status_code == 503
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.ReadTimeout):
            if waited(service, wait_token, timeout=0.5).status_code == 503:
                time.sleep(0.1)
                continue
        break  # this one waits
    else:
        raise AssertionError("whoever hung up is waited for still")


# behind a proxy


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: not even kill -9 leaves a proxy behind


@contextlib.contextmanager
def nginx(folder: Path, service: Service, settings: str) -> Iterator[str]:
    """The address of an nginx before the service that cuts a connection on which nothing comes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    there = f"proxy_pass {service.url}; proxy_set_header Host $http_host; proxy_read_timeout {PATIENT}s; {settings}"
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; location / {{ {there} }} }} }}\n"
    )
    assert NGINX is not None
    command = [NGINX, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    running = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,  # noqa: PLW1509  # nothing but one system call between fork and exec
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(10)


def deciding_late(
    service: Service, user: User, decision: str, threads: list[threading.Timer]
) -> Callable[[str], None]:
    """A person who takes their time."""

    def opened(url: str) -> None:
        page = urlsplit(url).path.removeprefix("/")
        threads.append(threading.Timer(2 * PATIENT + 1, Browser(service).decide, [page, user, decision]))
        threads[-1].start()

    return opened


@needs_nginx
@theirs
@pytest.mark.slow
@pytest.mark.parametrize("settings", ["", "proxy_http_version 1.1;", "proxy_buffering off;"])
@pytest.mark.parametrize("condition", ["is-authenticated-user", "<is-authenticated-user"])
def test_the_released_bakery_client_outwaits_a_proxy_that_cuts_what_is_silent(
    start: Callable[..., Service], tmp_path: Path, settings: str, condition: str
) -> None:
    service = start(poll_keepalive="1s")
    user, threads = new_user(service), list[threading.Timer]()
    with nginx(tmp_path, service, settings) as proxy, FirstParty(service, condition, 3, proxy) as first:
        opened = deciding_late(service, user, "allow", threads)
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
        assert client.request("GET", first.url).status_code == 200
        assert f"declared username {user.username}" in first.granted[-1]
    assert len(threads) == 1


@needs_nginx
@theirs
@pytest.mark.slow
@pytest.mark.parametrize("condition", ["is-authenticated-user", "<is-authenticated-user"])
def test_the_released_bakery_client_is_denied_late_behind_a_proxy(
    start: Callable[..., Service], tmp_path: Path, condition: str
) -> None:
    service = start(poll_keepalive="1s")
    user, threads = new_user(service), list[threading.Timer]()
    with nginx(tmp_path, service, "") as proxy, FirstParty(service, condition, 3, proxy) as first:
        opened = deciding_late(service, user, "deny", threads)
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
        with pytest.raises((httpbakery.DischargeError, requests.JSONDecodeError)):
            client.request("GET", first.url)
        assert first.granted == []
    threads[0].join()


@needs_nginx
@theirs
@pytest.mark.slow
def test_without_a_sign_of_life_the_proxy_cuts_it(start: Callable[..., Service], tmp_path: Path) -> None:
    """Else the tests above would show nothing."""
    service = start(poll_keepalive="60s")
    user, threads = new_user(service), list[threading.Timer]()
    with (
        nginx(tmp_path, service, "") as proxy,
        FirstParty(service, "is-authenticated-user", 3, proxy) as first,
    ):
        opened = deciding_late(service, user, "allow", threads)
        client = httpbakery.Client(interaction_methods=[httpbakery.WebBrowserInteractor(open=opened)])
        with pytest.raises(httpbakery.InteractionError):
            client.request("GET", first.url)
    threads[0].join()


@needs_nginx
@pytest.mark.slow
@pytest.mark.parametrize("keepalive", ["1s", "60s"])
def test_our_own_client_outwaits_a_proxy_with_or_without(
    start: Callable[..., Service], tmp_path: Path, keepalive: str
) -> None:
    """It polls again for what was cut."""
    service = start(poll_keepalive=keepalive)
    user, threads = new_user(service), list[threading.Timer]()
    with nginx(tmp_path, service, "") as proxy, Client(service.url) as client:
        minted = BakeryMacaroon(Macaroon.mint(b"a root key", b"x"))
        asked = minted.require_discharge(client.third_party(proxy), "is-authenticated-user")
        interact = Interact(visit=deciding_late(service, user, "allow", threads))
        bundle = client.discharge(asked, allow=[proxy], allow_private=True, interact=interact)
        assert len(bundle.discharges) == 1
