"""Master keys over HTTP and by themselves: published, waited for, active, retired; by hand, by age, by two at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Macaroon
from tests.support.service import (
    ADMIN_PASSWORD,
    Clock,
    Service,
    User,
    admin_token,
    basic,
    bearer,
    new_user,
    problem,
    rows,
    until,
)


def key_of(token: str) -> str:
    identifier = Macaroon.decode(token).unverified_identifier
    assert identifier is not None
    return identifier.key_id


def states(http: httpx.Client) -> dict[str, str]:
    return {row["id"]: row["state"] for row in http.get("/v1/keys").json()["keys"]}


@pytest.fixture
def keys(timed: Service) -> Any:
    with timed.client(headers=basic("admin", ADMIN_PASSWORD)) as http:
        yield http


def tend(service: Service) -> None:
    service.run(service.runtime.master_keys.tend())


def test_the_first_start_has_one_active_key(keys: httpx.Client) -> None:
    assert keys.get("/v1/keys").json() == {
        "keys": [
            {
                "id": "k1",
                "state": "active",
                "created_at": "2026-11-21T12:00:00Z",
                "activated_at": "2026-11-21T12:00:00Z",
                "verifying_since": None,
                "retire_after": None,
                "retired_at": None,
            }
        ]
    }


def test_a_new_key_waits_until_all_can_have_it_before_it_issues(
    timed: Service, clock: Clock, keys: httpx.Client
) -> None:
    user = new_user(timed)
    old = user.token()
    answer = keys.post("/v1/keys/rotate")
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (201, "k2", "published")
    assert key_of(user.token()) == "k1"
    clock.forward(seconds=59)
    tend(timed)
    assert key_of(user.token()) == "k1"
    clock.forward(seconds=1)
    tend(timed)
    assert states(keys) == {"k1": "verifying", "k2": "active"}
    new = user.token()
    assert key_of(new) == "k2"
    for token in (old, new):
        assert keys.get("/v1/authorize", headers=bearer(token)).status_code == 200


def test_a_second_rotation_while_one_waits_is_the_same(keys: httpx.Client) -> None:
    assert [keys.post("/v1/keys/rotate").json()["id"] for _ in range(3)] == ["k2", "k2", "k2"]


def test_a_rotation_may_be_at_once(timed: Service, keys: httpx.Client) -> None:
    user = new_user(timed)
    assert keys.post("/v1/keys/rotate", json={"now": True}).json()["state"] == "active"
    assert key_of(user.token()) == "k2"
    assert states(keys) == {"k1": "verifying", "k2": "active"}


def test_a_key_in_use_is_retired_only_by_force_and_then_its_tokens_are_dead(
    timed: Service, clock: Clock, keys: httpx.Client
) -> None:
    user = new_user(timed)
    old = [user.token(note=f"n{n}") for n in range(3)]
    keys.post("/v1/keys/rotate", json={"now": True})
    new = user.token()
    answer = keys.post("/v1/keys/k1/retire")
    assert problem(answer) == (409, "key_in_use")
    assert answer.json()["labelled_tokens"] == 3
    assert answer.json()["until"] == "2027-02-19T12:00:00Z"
    assert keys.get("/v1/authorize", headers=bearer(old[0])).status_code == 200
    assert keys.post("/v1/keys/k1/retire", json={"force": True}).json()["state"] == "retired"
    for token in old:
        assert problem(keys.get("/v1/authorize", headers=bearer(token))) == (401, "invalid_token")
    assert keys.get("/v1/authorize", headers=bearer(new)).status_code == 200
    assert keys.post("/v1/keys/k1/retire").status_code == 200


def test_a_retired_key_is_gone_from_the_disk(timed: Service, keys: httpx.Client) -> None:
    folder = timed.settings.data_dir.parent
    ((sealed,),) = rows(folder, "SELECT sealed FROM master_keys WHERE key_id = 'k1'")
    keys.post("/v1/keys/rotate", json={"now": True})
    keys.post("/v1/keys/k1/retire", json={"force": True})
    assert rows(folder, "SELECT length(sealed) FROM master_keys WHERE key_id = 'k1'") == [(0,)]
    for file in timed.settings.data_dir.iterdir():
        assert sealed not in file.read_bytes()


@pytest.mark.parametrize(
    ("key_id", "expected"),
    [
        ("k1", (409, "conflict")),
        ("k9", (404, "not_found")),
        ("x", (404, "not_found")),
        ("%2e%2e", (404, "not_found")),
    ],
)
def test_what_is_active_or_not_there_is_not_retired(
    keys: httpx.Client, key_id: str, expected: tuple[int, str]
) -> None:
    assert problem(keys.post(f"/v1/keys/{key_id}/retire", json={"force": True})) == expected


def test_a_key_whose_last_token_has_ended_is_retired_by_itself(
    timed: Service, clock: Clock, keys: httpx.Client
) -> None:
    keys.post("/v1/keys/rotate", json={"now": True})
    clock.forward(days=29)
    tend(timed)
    assert states(keys)["k1"] == "verifying"
    clock.forward(days=61)
    tend(timed)
    assert states(keys)["k1"] == "retired"


@pytest.mark.slow
def test_an_old_key_is_replaced_by_itself_and_no_token_is_refused_meanwhile(
    timed: Service, clock: Clock, keys: httpx.Client
) -> None:
    user = new_user(timed)
    used = set()
    tokens: list[str] = []
    for _ in range(30):
        clock.forward(hours=60)
        tend(timed)
        tokens = [*tokens[-5:], user.token(expires_in="12d")]
        used.add(key_of(tokens[-1]))
        for token in tokens[-4:]:
            assert keys.get("/v1/authorize", headers=bearer(token)).status_code == 200
    assert len(used) == 3


def test_two_nodes_that_find_the_key_too_old_replace_it_once(
    start: Callable[..., Service], clock: Clock, tmp_path: Path
) -> None:
    one, two = start(now=clock), start(now=clock)
    clock.forward(days=31)
    for _ in range(3):
        for node in (one, two):
            tend(node)
        assert len(rows(tmp_path, "SELECT 1 FROM master_keys")) == 2
        clock.forward(minutes=2)
    assert {tuple(r) for r in rows(tmp_path, "SELECT key_id, state FROM master_keys")} == {
        ("k1", "verifying"),
        ("k2", "active"),
    }


@pytest.mark.slow
def test_two_nodes_that_rotate_at_once_leave_one_active_key(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    nodes = [start(), start()]
    user = new_user(nodes[0])
    with ThreadPoolExecutor(8) as pool:

        def rotate(n: int) -> int:
            with nodes[n % 2].client(headers=basic("admin", ADMIN_PASSWORD)) as http:
                return http.post("/v1/keys/rotate", json={"now": True}).status_code

        answers = list(pool.map(rotate, range(16)))
    assert set(answers) <= {201, 409}
    assert 201 in answers
    assert rows(tmp_path, "SELECT count(*) FROM master_keys WHERE state = 'active'") == [(1,)]
    assert rows(tmp_path, "SELECT count(*) FROM master_keys WHERE state = 'published'") == [(0,)]
    del user


@pytest.mark.slow
def test_a_token_under_a_key_that_a_node_has_not_seen_is_accepted_there_at_once(
    start: Callable[..., Service],
) -> None:
    one, two = start(), start()
    user = new_user(one)
    admin = basic("admin", ADMIN_PASSWORD)
    with one.client(headers=admin) as first, two.client() as second:
        for _ in range(10):
            first.post("/v1/keys/rotate", json={"now": True})
            token = user.token()
            assert second.get("/v1/authorize", headers=bearer(token)).status_code == 200


@pytest.mark.slow
def test_a_retired_key_is_dead_on_other_nodes_within_five_seconds(start: Callable[..., Service]) -> None:
    one, two = start(), start()
    token = new_user(one).token()
    admin = basic("admin", ADMIN_PASSWORD)
    with one.client(headers=admin) as first, two.client() as second:
        assert second.get("/v1/authorize", headers=bearer(token)).status_code == 200
        first.post("/v1/keys/rotate", json={"now": True})
        first.post("/v1/keys/k1/retire", json={"force": True})
        assert first.get("/v1/authorize", headers=bearer(token)).status_code == 401
        assert until(lambda: second.get("/v1/authorize", headers=bearer(token)).status_code == 401) < 5


def forged(key_id: str) -> str:
    from caveats import Expires, Identifier, Scope, User, new_token_id
    from caveats_service.core.clock import utc_now

    identifier = Identifier(key_id, "default", new_token_id(utc_now()), 3)
    return Macaroon.mint(
        b"k" * 32, identifier, caveats=[User("admin"), Expires.after(_hour(), now=utc_now()), Scope("*")]
    ).encode()


def _hour() -> Any:
    from datetime import timedelta

    return timedelta(hours=1)


def test_many_tokens_under_unknown_keys_cost_few_looks_into_the_store(start: Callable[..., Service]) -> None:
    service = start()
    node = service.runtime
    looks: list[int] = []
    listed = node.store.keys.list

    async def counted() -> Any:
        looks.append(1)
        await asyncio.sleep(0.01)
        return await listed()

    node.store.keys.list = counted  # type: ignore[method-assign]

    async def ask(names: list[str]) -> list[bool]:
        return await asyncio.gather(*(node.master_keys.refresh_for(name) for name in names))

    assert not any(service.run(ask(["k77"] * 100)))
    assert len(looks) <= 2
    assert not any(service.run(ask(["k77"] * 100)))
    assert len(looks) <= 2
    assert not any(service.run(ask([f"k{n}" for n in range(100, 1100)])))
    assert len(looks) <= 6
    with service.client() as http:
        for n in range(40):
            assert http.get("/v1/authorize", headers=bearer(forged(f"k{n + 2000}"))).status_code == 401
    assert len(looks) <= 60


def test_verification_goes_on_while_the_store_hangs(start: Callable[..., Service]) -> None:
    service = start()
    token = new_user(service).token()
    listed = service.runtime.store.keys.list
    hung = asyncio.Event()

    async def hangs() -> Any:
        await hung.wait()
        return await listed()

    service.runtime.store.keys.list = hangs  # type: ignore[method-assign]
    refresh = asyncio.run_coroutine_threadsafe(service.runtime.master_keys.refresh(), service.loop)
    with service.client() as http:
        for _ in range(20):
            assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
    service.loop.call_soon_threadsafe(hung.set)
    refresh.result(10)


def test_only_administrators_touch_keys(service: Service, http: httpx.Client, user: User) -> None:
    for method, path in (("GET", "/v1/keys"), ("POST", "/v1/keys/rotate"), ("POST", "/v1/keys/k1/retire")):
        assert problem(http.request(method, path)) == (401, "credential_required")
        assert problem(http.request(method, path, headers=bearer(user.token()))) == (
            403,
            "caveats_unsatisfied",
        )
        assert problem(http.request(method, path, headers=basic(user.username, user.password))) == (
            403,
            "forbidden",
        )


def test_no_key_leaves_through_the_list(service: Service, http: httpx.Client) -> None:
    text = http.get("/v1/keys", headers=bearer(admin_token(service))).text
    secrets = [master.secret for master in service.runtime.master_keys.keyring._masters.values()]
    import base64

    for secret in secrets:
        assert secret.hex() not in text
        assert base64.urlsafe_b64encode(secret).decode().rstrip("=") not in text
    assert "sealed" not in text


def test_who_rotated_is_in_the_audit_trail(timed: Service, keys: httpx.Client) -> None:
    keys.post("/v1/keys/rotate", json={"now": True})
    folder = timed.settings.data_dir.parent
    actors = rows(folder, "SELECT actor, action FROM audit WHERE subject = 'k2' ORDER BY id")
    assert actors == [("admin", "key.publish"), ("admin", "key.activate")]
