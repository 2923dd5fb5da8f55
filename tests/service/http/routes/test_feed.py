"""The long-poll of the feed: answered when there is news of revocations, of keys or of the epoch, or when time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import httpx2 as httpx
import pytest

from caveats.revocation import Page, entry_of, open_rows, prove_reader
from tests.support.service import ADMIN_PASSWORD, Service, basic, bearer, new_user

ADMIN = basic("admin", ADMIN_PASSWORD)
LONG = 30


@pytest.fixture
def own(start: Callable[..., Service]) -> Service:
    return start()


def poll(service: Service, wait: int, **asked: int) -> Page:
    """The last page of the answer."""
    keys = service.runtime.master_keys.keyring.export("photos")
    headers = {"X-Feed-Proof": prove_reader(keys.keys[-1], datetime.now(UTC))}
    params = {"audience": "photos", "wait": wait, **asked}
    with service.client(timeout=LONG + 30) as http:
        answer = http.get("/v1/revocations/feed", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    keyring = service.runtime.master_keys.keyring.export("photos")
    page, rows = open_rows(answer.text.splitlines()[-1], keyring)
    return replace(page, entries=tuple(map(entry_of, rows)))


def until_answered(service: Service, change: Callable[[httpx.Client], None], **asked: int) -> Page:
    """Poll for long, and change something again and again until there is an answer; it came of a change."""
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool, service.client() as http:
        answer = pool.submit(poll, service, LONG, **asked)
        while not answer.done():
            change(http)
            time.sleep(0.2)
    assert time.monotonic() - begun < LONG - 5
    return answer.result()


def test_a_poll_is_answered_when_something_is_revoked(own: Service) -> None:
    user = new_user(own)

    def revoke(http: httpx.Client) -> None:
        assert http.post("/v1/revocations", headers=bearer(user.token())).status_code == 201

    assert until_answered(own, revoke, after=0).entries


def test_a_poll_is_answered_when_keys_change(own: Service) -> None:
    before = own.runtime.master_keys.keyring.key_ids

    def rotate(http: httpx.Client) -> None:
        assert http.post("/v1/keys/rotate", json={"now": True}, headers=ADMIN).status_code == 201

    page = until_answered(own, rotate, after=0, epoch=own.runtime.feed.epoch)
    assert set(page.keys) > set(before)
    assert page.entries == ()


def test_a_reader_of_another_epoch_does_not_wait(own: Service) -> None:
    begun = time.monotonic()
    page = poll(own, LONG, after=1000, epoch=own.runtime.feed.epoch + 1)
    assert time.monotonic() - begun < LONG - 5
    assert (page.epoch, page.after) == (own.runtime.feed.epoch, 0)


def test_a_poll_without_news_is_answered_when_its_time_is_up(own: Service) -> None:
    begun = time.monotonic()
    page = poll(own, 1, after=0)
    assert time.monotonic() - begun >= 1
    assert page.upto == page.last == 0
