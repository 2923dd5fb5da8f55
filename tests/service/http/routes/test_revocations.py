"""POST /v1/revocations: whoever holds a copy may kill it, a user their tokens, an administrator anything; no more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.service import (
    ADMIN_PASSWORD,
    Service,
    User,
    admin_of,
    admin_token,
    basic,
    bearer,
    narrow,
    new_user,
    problem,
    rows,
    until,
)


def live(http: httpx.Client, token: str) -> bool:
    return http.get("/v1/authorize", headers=bearer(token)).status_code in (200, 403)


def revoke(http: httpx.Client, credential: str | None = None, **target: str) -> httpx.Response:
    headers = bearer(credential) if credential else {}
    return http.post("/v1/revocations", json=target, headers=headers)


def branches(http: httpx.Client, token: str) -> list[str]:
    return list(http.post("/v1/verify", json={"token": token}).json()["branches"])


def test_a_copy_dies_with_all_that_descends_from_it_and_nothing_else(http: httpx.Client, user: User) -> None:
    original = user.token()
    copy = narrow(original, "note = a copy")
    further = narrow(copy, "note = further")
    sibling = narrow(original, "note = a sibling")
    for _ in range(3):
        assert all(live(http, t) for t in (original, copy, further, sibling))
    answer = revoke(http, copy)
    assert answer.status_code == 201
    assert answer.json()["kind"] == "branch"
    assert [live(http, t) for t in (original, copy, further, sibling)] == [True, False, False, True]


def test_a_copy_may_be_named_in_the_body_instead(http: httpx.Client, user: User) -> None:
    original = user.token()
    copy = narrow(original, "note = a copy")
    assert revoke(http, token=copy).status_code == 201
    assert not live(http, copy)
    assert live(http, original)


@pytest.mark.parametrize(
    "caveats",
    [
        ["expires = 2020-01-01T00:00:00Z"],
        ["client-ip = 192.0.2.1"],
        ["scope = photos:read", "method = GET", "path = /nowhere"],
        ["acme/x = 1"],
        ["user = somebody-else"],
    ],
)
def test_a_copy_that_can_do_nothing_else_can_still_be_killed(
    http: httpx.Client, user: User, caveats: list[str]
) -> None:
    copy = narrow(user.token(), *caveats)
    assert revoke(http, copy).status_code == 201
    assert problem(http.post("/v1/verify", json={"token": copy})) == (401, "invalid_token")


def test_repeating_a_revocation_changes_nothing(service: Service, http: httpx.Client, user: User) -> None:
    token = user.token()
    copy = narrow(token, "note = a copy")
    first = revoke(http, token=copy).json()
    assert revoke(http, token=copy).json() == first
    assert revoke(http, copy).json() == first
    branch = first["branch_id"]
    again = revoke(http, token, token_id=first["token_id"], branch_id=branch)
    assert again.json() == first
    admin = admin_token(service)
    whole = [revoke(http, admin, token_id=first["token_id"]).json() for _ in range(3)]
    assert whole[0] == whole[1] == whole[2]
    assert whole[0]["kind"] == "token"


def test_of_a_hundred_at_once_all_succeed_and_one_entry_is_left(
    service: Service, http: httpx.Client, user: User
) -> None:
    issued = user.issue(note="ci")
    whole = user.token()

    def once(_: int) -> int:
        return revoke(http, whole, token_id=issued["token_id"]).status_code

    with ThreadPoolExecutor(25) as pool:
        assert set(pool.map(once, range(100))) == {201}
    folder = service.settings.data_dir.parent
    query = "SELECT count(*) FROM revocations WHERE token_id = ?"
    assert rows(folder, query, issued["token_id"]) == [(1,)]


def test_a_revocation_holds_in_every_encoding(http: httpx.Client, user: User) -> None:
    token = user.token()
    revoke(http, token)
    bare = token.removeprefix("cav1_")[:-6]
    assert not live(http, bare)


UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ({"token_id": "x"}, 404),
        ({"token_id": UNKNOWN}, 404),
        ({"token_id": UNKNOWN.lower()}, 404),
        ({"token_id": UNKNOWN, "branch_id": "00" * 16}, 403),
        ({"token_id": UNKNOWN, "branch_id": "zz"}, 400),
        ({"token_id": UNKNOWN, "branch_id": "AA" * 16}, 400),
        ({"branch_id": "00" * 16}, 400),
        ({"user": "nobody"}, 403),
        ({"user": "No Body"}, 400),
        ({"user": "admin"}, 403),
        ({"token": "nonsense"}, 401),
        ({"token_id": UNKNOWN, "user": "x"}, 400),
        ({"reason": "x"}, 400),
    ],
)
def test_what_is_not_ones_own_or_not_there_is_not_revoked(
    http: httpx.Client, user: User, target: dict[str, str], status: int
) -> None:
    assert revoke(http, user.token(), **target).status_code == status
    assert revoke(http, **target).status_code in (status, 401)


@pytest.mark.parametrize("credential", ["admin", "caveats:admin", "caveats:*", "basic"])
def test_an_administrator_may_revoke_anything(service: Service, credential: str) -> None:
    user = new_user(service)
    issued = [user.issue() for _ in range(3)]
    scope = {"admin": "* caveats:*"}.get(credential, credential)
    headers = (
        basic("admin", ADMIN_PASSWORD)
        if credential == "basic"
        else bearer(admin_of(service).token(scope=scope))
    )
    with service.client() as http:
        branch = branches(http, issued[0]["token"])[-1]
        targets: list[dict[str, str]] = [
            {"token_id": issued[0]["token_id"], "branch_id": branch},
            {"token_id": issued[1]["token_id"]},
            {"user": user.username},
        ]
        for one, target in zip(issued, targets, strict=True):
            assert live(http, one["token"])
            answer = http.post("/v1/revocations", json=target, headers=headers)
            assert answer.status_code == 201, answer.text
            assert not live(http, one["token"])
        answer = http.delete(f"/v1/tokens/{UNKNOWN}", headers=headers)
        assert answer.status_code == 204
        far = http.delete("/v1/tokens/7ZZZZZZZZZZZZZZZZZZZZZZZZZ", headers=headers)
        assert far.status_code == 204
        assert http.post("/v1/revocations", json={"user": "nobody"}, headers=headers).status_code == 404


def test_an_administrators_token_without_the_scope_is_anybodys(service: Service, http: httpx.Client) -> None:
    plain = admin_of(service).token()
    victim = new_user(service).issue(note="ci")
    assert revoke(http, plain, token_id=victim["token_id"]).status_code == 404
    assert revoke(http, plain, user=victim["user"]).status_code == 403
    assert live(http, victim["token"])


def test_all_of_ones_own_die_at_once_and_the_next_one_lives(http: httpx.Client, user: User) -> None:
    tokens = [user.token(), user.token(audience="default", note="n"), narrow(user.token(), "note = x")]
    assert revoke(http, tokens[0], user=user.username).status_code == 201
    assert not any(live(http, t) for t in tokens)
    assert live(http, user.token())


def test_the_feed_pages_for_administrators(service: Service, http: httpx.Client, user: User) -> None:
    head = http.get("/v1/revocations?after=0&limit=1", headers=bearer(admin_token(service))).json()
    for _ in range(3):
        revoke(http, user.token())
    admin = bearer(admin_token(service))
    page = http.get(f"/v1/revocations?after={head['last_sequence']}&limit=2", headers=admin).json()
    assert [row["sequence"] for row in page["revocations"]] == [
        head["last_sequence"] + 1,
        head["last_sequence"] + 2,
    ]
    assert page["last_sequence"] == head["last_sequence"] + 3
    assert page["resync"] is False
    ahead = http.get(f"/v1/revocations?after={page['last_sequence'] + 5}", headers=admin).json()
    assert ahead["resync"] is True
    for query in ("after=x", "after=-1", f"after={2**53 + 1}", "limit=5001", "after=1e3", "after=%D9%A1"):
        assert problem(http.get(f"/v1/revocations?{query}", headers=admin)) == (400, "bad_request")
    assert problem(http.get("/v1/revocations", headers=bearer(user.token()))) == (403, "caveats_unsatisfied")


def test_another_node_knows_within_a_second(start: Callable[..., Service]) -> None:
    one, two = start(), start()
    user = new_user(one)
    with one.client() as first, two.client() as second:
        delays = []
        for _ in range(5):
            token = user.token()
            assert live(second, token)
            revoke(first, token)
            assert not live(first, token)
            delays.append(until(lambda token=token: not live(second, token)))  # type: ignore[misc]
        token = user.token()
        assert live(second, token)
        revoke(first, token, user=user.username)
        delays.append(until(lambda: not live(second, token)))
    assert max(delays) < 1


def test_a_burst_of_revocations_elsewhere_is_followed_to_its_end(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    one, two = start(), start()
    user = new_user(one)
    with one.client() as first, two.client() as second:
        tokens = [user.token() for _ in range(60)]
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda t: revoke(first, t), tokens))
        until(lambda: not any(live(second, t) for t in tokens[-3:]), 2)
        assert not any(live(second, t) for t in tokens)


def test_a_restart_remembers(start: Callable[..., Service], tmp_path: Path) -> None:
    from tests.support.service import serving

    with serving(tmp_path) as before, before.client() as http:
        user = new_user(before)
        token, copy = user.token(), narrow(user.token(), "note = copy")
        revoke(http, token)
        revoke(http, copy)
    with serving(tmp_path) as after, after.client() as http:
        assert not live(http, token)
        assert not live(http, copy)
        assert live(http, User(after, user.username, user.password).token())


def test_a_child_that_a_slower_node_issued_after_its_users_end_dies_as_well(
    start: Callable[..., Service],
) -> None:
    """Else a stolen token could be exchanged, in the moment before its death is known everywhere, for one that lives."""
    one, two = start(), start()
    user = new_user(one)
    stolen = user.token()

    async def stop_following() -> None:
        two.runtime._tasks[0].cancel()

    two.run(stop_following())
    with one.client() as first, two.client() as second:
        revoke(first, stolen, user=user.username)
        child = second.post("/v1/tokens", json={}, headers=bearer(stolen)).json()["token"]
        grandchild = second.post("/v1/tokens", json={}, headers=bearer(child)).json()["token"]
        for token in (stolen, child, grandchild):
            assert not live(first, token)


@pytest.mark.slow
def test_verifying_costs_the_same_beside_many_revocations(service: Service, user: User) -> None:
    import timeit
    from datetime import timedelta

    from caveats import Context, RevocationSet, TokenRevocation, Verifier, new_token_id
    from caveats_service.core.clock import utc_now

    def cost(entries: int) -> float:
        now = utc_now()
        revoked = RevocationSet(
            TokenRevocation(new_token_id(now), now + timedelta(days=1)) for _ in range(entries)
        )
        verifier = Verifier(service.runtime.master_keys.keyring, revocations=revoked, cache_entries=0)
        token, context = user.token(), Context(now=now)
        return min(timeit.repeat(lambda: verifier.verify(token, context), number=200, repeat=7))

    few, many = cost(10), cost(100_000)
    assert many < few * 10  # a look at every entry would cost ten thousand times as much


def test_a_revoked_administrators_token_on_a_warm_cache_is_a_401(
    service: Service, http: httpx.Client
) -> None:
    token = admin_of(service).token(scope="* caveats:*")
    for _ in range(3):
        assert http.get("/v1/keys", headers=bearer(token)).status_code == 200
    revoke(http, token)
    assert problem(http.get("/v1/keys", headers=bearer(token))) == (401, "invalid_token")


def test_a_token_deleted_by_itself_is_dead_in_every_copy_and_renewal(http: httpx.Client, user: User) -> None:
    issued = user.issue()
    renewed = http.post("/v1/tokens/renew", headers=bearer(issued["token"])).json()["token"]
    copies = [issued["token"], renewed, narrow(issued["token"], "note = a"), narrow(renewed, "note = b")]
    child = http.post("/v1/tokens", json={}, headers=bearer(copies[3])).json()["token"]
    assert http.delete(f"/v1/tokens/{issued['token_id']}", headers=bearer(renewed)).status_code == 204
    assert not any(live(http, token) for token in (*copies, child))
