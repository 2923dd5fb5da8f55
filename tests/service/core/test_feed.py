"""The feed's own lists: what waits for a listener who does not keep up, and what is kept of each audience."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from caveats.revocation import Page
from caveats_service.core import feed as feeds
from caveats_service.core.feed import Broadcast, Reader
from tests.support.service import Service, new_user

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
