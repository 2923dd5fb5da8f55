"""The long-poll of the feed: answered when there is news of revocations, of keys or of the epoch, or when time is up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

import httpx2 as httpx
import pytest

from caveats import AudienceKey, MasterKey, MasterKeyring, PrivateKey
from caveats.revocation import Page, entry_of, open_rows, prove_reader
from caveats.token import encode_base64
from caveats_service.core.feed import Reader
from caveats_service.http.routes.feed import _sealed_pages
from tests.support.service import ADMIN_PASSWORD, Service, basic, bearer, new_user, problem, until

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
        assert (
            http.post("/v1/revocations", json={"presented": True}, headers=bearer(user.token())).status_code
            == 201
        )

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


@pytest.mark.slow
def test_a_poll_without_news_is_answered_when_its_time_is_up(own: Service) -> None:
    begun = time.monotonic()
    page = poll(own, 1, after=0)
    assert time.monotonic() - begun >= 1
    assert page.upto == page.last == 0


def reader(service: Service, audience: str) -> dict[str, str]:
    """The proof of an app of this audience."""
    keys = service.runtime.master_keys.keyring.export(audience)
    return {"X-Feed-Proof": prove_reader(keys.keys[-1], datetime.now(UTC))}


@pytest.mark.slow
def test_streams_and_polls_are_bounded_and_one_audience_takes_half(start: Callable[..., Service]) -> None:
    service = start(max_feed_readers=4)
    events = {"Accept": "text/event-stream"}
    held: list[Iterator[bytes]] = []
    with service.client() as http, contextlib.ExitStack() as open_streams:

        def stream(audience: str) -> httpx.Response:
            headers = {**reader(service, audience), **events}
            asked = http.stream("GET", "/v1/revocations/feed", params={"audience": audience}, headers=headers)
            answer = open_streams.enter_context(asked)
            if answer.status_code == 200:
                held.append(answer.iter_bytes())  # a stream whose iterator is gone is closed
                next(held[-1])
            else:
                answer.read()
            return answer

        def polled(audience: str, wait: int) -> httpx.Response:
            params = {"audience": audience, "wait": wait}
            return http.get("/v1/revocations/feed", params=params, headers=reader(service, audience))

        assert [stream("photos").status_code for _ in range(2)] == [200, 200]
        assert problem(stream("photos")) == (503, "unavailable")
        assert problem(polled("photos", 1)) == (503, "unavailable")
        assert polled("photos", 0).status_code == 200, "what does not wait takes no place"
        assert [stream("thumbs").status_code, polled("thumbs", 1).status_code] == [200, 200]
        assert stream("music").status_code == 200
        assert problem(stream("video")) == (503, "unavailable"), "all places are taken"
        open_streams.close()
        until(lambda: not service.runtime.feed._readers)
        assert stream("photos").status_code == 200


def test_a_reader_who_leaves_before_the_first_byte_leaves_nothing_behind(own: Service) -> None:
    head = (
        "GET /v1/revocations/feed?audience=photos HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
        f"X-Feed-Proof: {reader(own, 'photos')['X-Feed-Proof']}\r\n\r\n"
    )
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", own.port), timeout=5) as connection:
            connection.sendall(head.encode())
    until(lambda: own.call(lambda: not own.runtime.feed._readers and not len(own.runtime.feed._broadcast)))


def shown(key: AudienceKey) -> dict[str, str]:
    return {"X-Feed-Proof": prove_reader(key, datetime.now(UTC))}


def retire_by_force(service: Service, key_id: str) -> None:
    with service.client(headers=ADMIN) as http:
        assert http.post(f"/v1/keys/{key_id}/retire", json={"force": True}).is_success


def test_a_stream_ends_when_the_key_that_admitted_it_is_retired_by_force_on_every_node(
    start: Callable[..., Service],
) -> None:
    """What is revoked afterwards is told to nobody who has shown that key; who has shown another reads on."""
    nodes = (start(), start())
    old = nodes[0].runtime.master_keys.keyring.export("photos").keys[0]
    with nodes[0].client(headers=ADMIN) as http:
        assert http.post("/v1/keys/rotate", json={"now": True}).is_success
    new = nodes[0].runtime.master_keys.keyring.export("photos").keys[-1]
    for node in nodes:
        node.run(node.runtime.master_keys.refresh())
    events = {"Accept": "text/event-stream"}
    user = new_user(nodes[0])
    token = user.token()
    with ExitStack() as streams:
        opened = [
            streams.enter_context(
                streams.enter_context(node.client()).stream(
                    "GET", "/v1/revocations/feed?audience=photos", headers={**shown(key), **events}
                )
            ).iter_lines()
            for node in nodes
            for key in (old, new)
        ]
        for lines in opened:
            assert next(lines).startswith("id: ")
        retire_by_force(nodes[0], "k1")
        until(lambda: all(node.runtime.master_keys.keyring.key_ids == ("k2",) for node in nodes), 2)
        with nodes[0].client() as http:
            body = {"user": user.username}
            assert http.post("/v1/revocations", json=body, headers=bearer(token)).is_success
        deadline = time.monotonic() + 20
        for lines in (opened[0], opened[2]):
            for line in lines:
                assert user.username not in line
                assert time.monotonic() < deadline, "the stream goes on"
        for lines in (opened[1], opened[3]):
            assert any(user.username in line for line in lines)


def test_a_poll_that_waits_is_refused_when_its_key_is_retired_by_force(own: Service) -> None:
    old = own.runtime.master_keys.keyring.export("photos").keys[0]
    with own.client(headers=ADMIN) as http:
        assert http.post("/v1/keys/rotate", json={"now": True}).is_success
    head = own.runtime.feed.head
    assert head is not None
    until(lambda: own.runtime.feed.head.keys == ("k1", "k2"))  # type: ignore[union-attr]
    params: dict[str, str | int] = {"audience": "photos", "wait": LONG, "epoch": head.epoch}
    begun = time.monotonic()
    with ThreadPoolExecutor(1) as pool, own.client(timeout=LONG + 30) as http:
        answer = pool.submit(http.get, "/v1/revocations/feed", params=params, headers=shown(old))
        until(lambda: own.runtime.feed._readers.total() == 1)
        retire_by_force(own, "k1")
        assert problem(answer.result()) == (403, "forbidden")
    assert time.monotonic() - begun < LONG - 5


def test_a_key_that_is_retired_while_the_feed_is_read_ends_the_answer(own: Service) -> None:
    """A reader that is slow, or a stream that has not begun yet."""
    runtime = own.runtime
    reader = Reader("photos", "k1")
    runtime.master_keys.keyring = MasterKeyring([MasterKey("k2", b"k" * 32)])

    async def lines() -> list[str]:
        found = [line async for line in runtime.feed.subscribe(reader).follow()]
        return found + [line async for _, line in _sealed_pages(runtime.feed, reader, 0, None)]

    assert own.run(asyncio.wait_for(lines(), 10)) == []


def register(service: Service, audience: str) -> str:
    key = encode_base64(PrivateKey(b"v" * 32).public_key)
    with service.client(headers=ADMIN) as http:
        answer = http.post("/v1/verifiers", json={"audience": audience, "public_key": key})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["verifier_id"])


@pytest.mark.slow
def test_a_stream_ends_on_every_node_when_its_verifier_is_removed_and_none_begins(
    start: Callable[..., Service],
) -> None:
    nodes = (start(), start())
    gone, kept, other = (
        register(nodes[0], "photos"),
        register(nodes[0], "photos"),
        register(nodes[0], "video"),
    )
    key = nodes[0].runtime.master_keys.keyring.export("photos").keys[0]

    def asked(verifier_id: str) -> dict[str, str]:
        return {**shown(key), "X-Feed-Verifier": verifier_id, "Accept": "text/event-stream"}

    user = new_user(nodes[0])
    token = user.token()
    url = "/v1/revocations/feed?audience=photos"
    with ExitStack() as streams:
        clients = [streams.enter_context(node.client()) for node in nodes]
        opened = [
            streams.enter_context(client.stream("GET", url, headers=asked(verifier))).iter_lines()
            for client in clients
            for verifier in (gone, kept)
        ]
        for lines in opened:
            assert next(lines).startswith("id: ")
        with nodes[0].client(headers=ADMIN) as http:
            assert http.delete(f"/v1/verifiers/{gone}").is_success
        until(lambda: all(len(node.runtime.feed._broadcast) == 1 for node in nodes))
        with nodes[0].client() as http:
            http.post("/v1/revocations", json={"user": user.username}, headers=bearer(token))
        deadline = time.monotonic() + 20
        for lines in (opened[0], opened[2]):
            for line in lines:
                assert user.username not in line
                assert time.monotonic() < deadline, "the stream goes on"
        for lines in (opened[1], opened[3]):
            assert any(user.username in line for line in lines)
        for client in clients:
            for verifier in (gone, other, "nobody", "'"):
                assert problem(client.get(url, headers=asked(verifier))) == (403, "forbidden")


def progress(service: Service, verifier_id: str) -> tuple[bool, bool, int | None]:
    """Whether the verifier follows, whether it has read at all, and how many entries it lacks."""
    with service.client(headers=ADMIN) as http:
        rows = http.get("/v1/verifiers").json()["verifiers"]
    row = next(row for row in rows if row["verifier_id"] == verifier_id)
    return row["following"], row["last_read_at"] is not None, row["entries_behind"]


def test_the_list_of_verifiers_says_how_far_each_has_read(own: Service) -> None:
    mine, other = register(own, "photos"), register(own, "photos")
    user = new_user(own)
    named = {**reader(own, "photos"), "X-Feed-Verifier": mine}
    with own.client() as http:
        assert progress(own, mine) == (False, False, None)
        assert http.get("/v1/revocations/feed?audience=photos", headers=named).status_code == 200
        assert progress(own, mine) == (False, True, 0)
        body = {"user": user.username}
        assert http.post("/v1/revocations", json=body, headers=bearer(user.token())).status_code == 201
        until(lambda: progress(own, mine) == (False, True, 1))
        events = {**reader(own, "photos"), "X-Feed-Verifier": mine, "Accept": "text/event-stream"}
        with http.stream("GET", "/v1/revocations/feed?audience=photos", headers=events) as stream:
            lines = stream.iter_lines()
            next(lines)
            until(lambda: progress(own, mine) == (True, True, 0))
    until(lambda: progress(own, mine)[0] is False)
    assert progress(own, other) == (False, False, None)


def test_how_far_a_removed_verifier_has_read_is_forgotten(own: Service) -> None:
    """Whoever registers and removes verifiers again and again makes no list grow."""
    kept, gone = register(own, "photos"), register(own, "photos")
    with own.client() as http, own.client(headers=ADMIN) as admin:
        for verifier in (kept, gone):
            named = {**reader(own, "photos"), "X-Feed-Verifier": verifier}
            assert http.get("/v1/revocations/feed?audience=photos", headers=named).status_code == 200
        assert set(own.runtime.feed._read_by) == {kept, gone}
        events = {**reader(own, "photos"), "X-Feed-Verifier": kept, "Accept": "text/event-stream"}
        with http.stream("GET", "/v1/revocations/feed?audience=photos", headers=events):
            until(lambda: progress(own, kept)[0])
            assert admin.delete(f"/v1/verifiers/{gone}").status_code in (200, 204)
            until(lambda: set(own.runtime.feed._read_by) == {kept})
