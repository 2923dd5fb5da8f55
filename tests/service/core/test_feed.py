"""The feed's own lists: what waits for a listener who does not keep up, and what is kept of each audience."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from caveats import TokenRevocation, new_token_id
from caveats.revocation import Page
from caveats_service.core import feed as feeds
from caveats_service.core.feed import Broadcast, Reader
from tests.support.service import Service, bearer, execute, narrow, new_user, rows, until

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_a_listener_who_does_not_keep_up_is_let_go(service: Service) -> None:
    def listen() -> tuple[int, list[str | None]]:
        broadcast = Broadcast(service.runtime.feed.signing_key)
        slow = broadcast.subscribe(Reader("photos", "k1"))
        for n in range(2 * feeds._BEHIND):
            broadcast.publish(Page(1, n, n + 1, n + 1, NOW, ("k1",)))
        return len(broadcast), [slow.lines.get_nowait() for _ in range(slow.lines.qsize())]

    listeners, lines = service.call(listen)
    assert listeners == 0
    assert (len(lines), lines[-1]) == (feeds._BEHIND, None)


def test_the_keys_of_ever_new_audiences_do_not_pile_up(service: Service) -> None:
    feed = service.runtime.feed

    def ask() -> int:
        for n in range(feeds._MOST_AUDIENCES + 10):
            feed.signing_key(f"app-{n}")
        return len(feed._signing_keys)

    assert service.call(ask) <= feeds._MOST_AUDIENCES


def test_the_last_uses_that_wait_to_be_written_are_bounded(
    start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caveats_service.core.verifying._MOST_USES", 3)
    monkeypatch.setattr("caveats_service.runtime._TEND_EVERY", 3600.0)  # nothing is written meanwhile
    service = start()
    user = new_user(service)
    with service.client() as http:
        for n in range(5):
            token = user.token(note=f"label {n}")
            assert http.get("/v1/tokens", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert service.call(lambda: len(service.runtime.tokens.uses)) == 3


# Reading the store


def test_two_loads_at_once_forget_nothing_that_is_revoked_meanwhile(start: Callable[..., Service]) -> None:
    """The node that answered a revocation heeds it from then on, however often it is about to read everything."""
    service = start()
    feed, store = service.runtime.feed, service.runtime.store
    users = [new_user(service) for _ in range(8)]
    tokens = [user.token() for user in users]
    page = store.revocations.page

    async def slowly(after: int, **given: int) -> object:
        found = await page(after, **given)
        await asyncio.sleep(0.02)
        return found

    store.revocations.page = slowly  # type: ignore[method-assign, assignment]

    async def loads() -> None:
        for _ in range(8):
            await asyncio.gather(feed.load(), feed.load(), feed.follow())

    loading = asyncio.run_coroutine_threadsafe(loads(), service.loop)
    with service.client() as http:
        dead: list[str] = []
        for token in tokens:
            answer = http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
            assert answer.status_code == 201
            dead.append(token)
            for one in dead:
                assert http.get("/v1/authorize", headers=bearer(one)).status_code == 401
        loading.result(60)
        for one in dead:
            assert http.get("/v1/authorize", headers=bearer(one)).status_code == 401
    assert feed.head is not None
    assert feed.head.upto == len(tokens)


def test_in_another_epoch_what_this_node_knows_to_be_revoked_is_written_again(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    """Before anybody is told of that epoch; what has expired, and what the store has, is not."""
    service = start()
    feed = service.runtime.feed
    user, other = new_user(service), new_user(service)
    token, kept, whole = user.token(), user.token(), other.token()
    told: list[int] = []
    publish = feed._publish
    feed._publish = lambda page: (told.append(len(_revoked(tmp_path))), publish(page))  # type: ignore[method-assign, assignment, func-returns-value]
    with service.client() as http:
        for text in (kept, narrow(token, "note = a copy")):
            assert http.post("/v1/revocations", json={"presented": True}, headers=bearer(text)).is_success
        body = {"user": other.username}
        assert http.post("/v1/revocations", json=body, headers=bearer(whole)).is_success
        gone = TokenRevocation(new_token_id(NOW), datetime.now(UTC) - timedelta(hours=3))
        service.call(lambda: feed.revocation_set.add(gone))
        execute(tmp_path, "DELETE FROM revocations WHERE sequence > 1")
        execute(tmp_path, "UPDATE meta SET revocation_sequence = 1, epoch = epoch + 1")
        told.clear()
        epoch = feed.epoch
        until(lambda: feed.epoch > epoch)
        assert told[0] == 3
        assert http.get("/v1/authorize", headers=bearer(narrow(token, "note = a copy"))).status_code == 401
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
        assert http.get("/v1/authorize", headers=bearer(whole)).status_code == 401
    assert [row[0] for row in _revoked(tmp_path)] == [1, 2, 3]
    assert {row[1] for row in _revoked(tmp_path)[1:]} == {"service"}


@pytest.mark.parametrize("lost", ["entries", "the epoch as well"])
def test_a_store_that_has_lost_what_a_node_has_read_begins_another_epoch(
    start: Callable[..., Service], tmp_path: Path, lost: str
) -> None:
    """One that no reader has heard of, also where the store's own epoch has fallen back."""
    service = start()
    feed = service.runtime.feed
    token = new_user(service).token()
    if lost == "the epoch as well":
        before = feed.epoch
        now = datetime.now(UTC) + timedelta(days=1)
        service.run(service.runtime.store.revocations.bump_epoch(now=now, actor="x"))
        until(lambda: feed.epoch > before)
    with service.client() as http:
        assert http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).is_success
        until(lambda: feed.head is not None and feed.head.upto == 1)
        heard = feed.epoch
        execute(tmp_path, "DELETE FROM revocations")
        execute(tmp_path, "UPDATE meta SET revocation_sequence = 0")
        if lost == "the epoch as well":
            execute(tmp_path, "UPDATE meta SET epoch = 1")
        until(lambda: feed.epoch > heard)
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 401
    assert len(_revoked(tmp_path)) == 1


def _revoked(folder: Path) -> list[tuple[int, str]]:
    return [tuple(row) for row in rows(folder, "SELECT sequence, revoked_by FROM revocations ORDER BY 1")]
