"""Connections to PostgreSQL: as many as the setting says, and a burst waits for those that the server gives."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from caveats import UserRevocation
from caveats_service.storage import Store, StoreUnavailable
from caveats_service.storage.engines import postgres
from tests.support.store import NOW, new_place


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Any]:
    async with new_place("postgresql", tmp_path) as place:
        store = place.store()
        await store.migrate()
        await store.users.create("alice", "hash", now=NOW, actor="a")
        await store.close()
        yield place


@pytest_asyncio.fixture
async def limited(place: Any) -> AsyncIterator[tuple[str, str]]:
    """A role that may have four connections, and the address for it."""
    role = f"caveats_test_{secrets.token_hex(6)}"
    await place.execute(
        f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 4; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
    )
    yield role, place.url.replace("//root@", f"//{role}@")
    await place.kill(f"usename = '{role}'")
    await place.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def burst(store: Store) -> None:
    await asyncio.gather(
        *(store.users.get("alice") for _ in range(60)),
        *(store.users.replace_hash("alice", "hash", "hash", now=NOW, actor="a") for _ in range(20)),
        *(store.revocations.revoke(UserRevocation(f"u{n}", NOW, NOW), now=NOW, actor="a") for n in range(20)),
        *(store.users.enable("alice", now=NOW, actor="a") for _ in range(10)),
    )


@pytest.mark.slow
async def test_a_process_has_no_more_connections_than_the_setting_says(place: Any) -> None:
    store = place.store(connections=3)
    most = 0
    follower = store.changes.follow()
    await anext(follower)
    work = asyncio.create_task(burst(store))
    while not work.done():
        ((now,),) = await place.rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        most = max(most, now)
        await asyncio.sleep(0)
    await work
    await follower.aclose()
    await store.close()
    assert 2 <= most <= 3


@pytest.mark.slow
async def test_a_burst_waits_for_the_connections_that_the_server_gives(
    limited: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    role, url = limited
    store = Store(url, patience=timedelta(seconds=20))
    follower = store.changes.follow()
    await anext(follower)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await burst(store)
    await follower.aclose()
    await store.close()
    assert f'too many connections for role "{role}"' in caplog.text


@pytest.mark.slow
async def test_connections_that_are_given_again_are_used_again(
    limited: tuple[str, str], place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_ASK_AGAIN", 0.2)
    role, url = limited
    store = Store(url, patience=timedelta(seconds=20))
    await burst(store)
    await place.execute(f"ALTER ROLE {role} CONNECTION LIMIT 50")
    await asyncio.sleep(0.5)
    async with asyncio.timeout(20):
        held = [store.read() for _ in range(10)]
        for one in held:
            await one.__aenter__()
        for one in held:
            await one.__aexit__(None, None, None)
    await store.close()


@pytest.mark.slow
async def test_where_the_server_gives_none_the_error_says_what_it_said(
    limited: tuple[str, str], place: Any
) -> None:
    role, url = limited
    await place.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    store = Store(url, patience=timedelta(seconds=1))
    for work in (store.ping(), store.users.enable("alice", now=NOW, actor="a")):
        with pytest.raises(StoreUnavailable, match="too many connections"):
            await work
    await store.close()
