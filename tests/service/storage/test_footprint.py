"""What issuing leaves behind: nothing, however many tokens; a label leaves one row, a revocation one entry."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caveats_service.core.issuing import IssueRequest, bounds_of_user, plan
from tests.support.service import Service, bearer, narrow, new_user, rows

pytestmark = pytest.mark.slow


def size(service: Service) -> dict[str, int]:
    """The database, its log folded in."""
    assert service.run(service.runtime.store.checkpoint())
    return {p.name: p.stat().st_size for p in service.settings.data_dir.iterdir()}


def contents(folder: Path) -> dict[str, int]:
    with contextlib.closing(sqlite3.connect(folder / "data" / "caveats.db")) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {
            table: connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for table in tables
        }


def test_ten_thousand_tokens_leave_not_a_byte(start: Callable[..., Service], tmp_path: Path) -> None:
    service = start()
    user = new_user(service)
    runtime = service.runtime
    before, held = size(service), contents(tmp_path)

    async def mint(count: int) -> None:
        bounds = bounds_of_user(user.username, "*", is_admin=False)
        for _ in range(count):
            now = runtime.now()
            planned = plan(IssueRequest(), bounds, runtime.lives, runtime.checkers, now=now)
            issued = await runtime.issuer.issue(planned, actor=user.username, now=now)
        await runtime.tokens.authenticate(issued.macaroon.encode())

    for _ in range(2):  # none of them takes as long as a test waits
        service.run(mint(5_000))
    assert (size(service), contents(tmp_path)) == (before, held)


def test_thousands_of_tokens_over_http_in_every_way_leave_not_a_byte(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    service = start()
    user = new_user(service)
    whole = user.token()
    copy = narrow(whole, "scope = photos:*")
    before, held = size(service), contents(tmp_path)

    def some(_: int) -> None:
        with service.client() as http:
            for n in range(100):
                http.post("/v1/tokens", json={"username": user.username, "password": user.password})
                child = http.post("/v1/tokens", json={"audience": "photos"}, headers=bearer(whole))
                renewed = http.post("/v1/tokens/renew", headers=bearer(copy))
                assert (child.status_code, renewed.status_code) == (201, 200)
                http.get("/v1/authorize?scope=photos:read", headers=bearer(renewed.json()["token"]))
                http.post("/v1/verify", json={"token": child.json()["token"], "audience": "photos"})
                http.get("/v1/authorize", headers=bearer(f"nonsense{n}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(some, range(4)))
    service.run(service.runtime.tokens.write_uses())
    assert (size(service), contents(tmp_path)) == (before, held)


def test_a_label_is_one_row_and_a_revocation_one_entry(start: Callable[..., Service], tmp_path: Path) -> None:
    service = start()
    user = new_user(service)
    held = contents(tmp_path)
    with service.client() as http:
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(user.token(note="ci")))
    after = contents(tmp_path)
    assert {table: after[table] - held[table] for table in after if after[table] != held[table]} == {
        "labelled_tokens": 1,
        "revocations": 1,
        "audit": 2,
    }


def test_what_has_ended_is_forgotten(timed, clock, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    user = new_user(timed)
    with timed.client() as http:
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(user.token(note="ci")))
    clock.forward(days=91)
    timed.run(timed.runtime._tend())
    assert rows(tmp_path, "SELECT count(*) FROM labelled_tokens") == [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM revocations") == [(0,)]
    assert len(timed.runtime.feed.revocation_set) == 0
