"""POST /v1/revocations: whoever holds a copy may kill it, a user their tokens, an administrator anything; no more."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from caveats import (
    Bundle,
    Expires,
    Identifier,
    Macaroon,
    Parent,
    PrivateKey,
    Revoked,
    ThirdParty,
    new_token_id,
)
from caveats import User as UserCaveat
from caveats_service.core.clock import utc_now
from tests.support.service import (
    ADMIN_PASSWORD,
    Clock,
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
    return http.post("/v1/revocations", json=target or {"presented": True}, headers=headers)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


# Nothing is written for what is dead already


def written(service: Service) -> list[Any]:
    """The numbers of revocations and of audit rows about them."""
    folder = service.settings.data_dir.parent
    return [
        rows(folder, "SELECT count(*) FROM revocations"),
        rows(folder, "SELECT count(*) FROM audit WHERE action LIKE 'revocation.%'"),
    ]


@pytest.mark.parametrize(
    ("dead_of", "kind"),
    [("the copy above", "branch"), ("the token", "token"), ("its user", "user"), ("its parent", "branch")],
)
def test_nothing_is_written_for_what_is_revoked_already(
    service: Service, http: httpx.Client, dead_of: str, kind: str
) -> None:
    user = new_user(service)
    token = user.token()
    copy = narrow(token, "note = a copy")
    below = narrow(copy, "note = below")
    if dead_of == "its parent":
        below = narrow(http.post("/v1/tokens", json={}, headers=bearer(copy)).json()["token"], "note = below")
    branch = branches(http, below)[-1]
    cause: dict[str, Any] = {
        "the copy above": lambda: revoke(http, copy),
        "the token": lambda: revoke(http, admin_token(service), token_id=token_id_of(token)),
        "its user": lambda: revoke(http, token, user=user.username),
        "its parent": lambda: revoke(http, copy),
    }
    entry = cause[dead_of]().json()
    before = written(service)
    for text in (below, *(narrow(below, f"note = {n}") for n in range(3)), below):
        answer = revoke(http, token=text)
        assert answer.status_code == 201
        assert answer.json() == {**entry, "already": "revoked"}
        assert answer.json()["kind"] == kind
    if dead_of == "the token":
        by_id = revoke(http, admin_token(service), token_id=token_id_of(below), branch_id=branch)
        assert by_id.json() == {**entry, "already": "revoked"}
    assert written(service) == before


def token_id_of(token: str) -> str:
    identifier = Macaroon.decode(token).unverified_identifier
    assert identifier is not None
    return identifier.token_id


def test_nothing_is_written_for_a_copy_that_has_expired_for_good(timed: Service, clock: Clock) -> None:
    with timed.client() as http:
        token = new_user(timed).token()
        copy = narrow(token, f"expires = {clock() + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}")
        child = http.post("/v1/tokens", json={}, headers=bearer(copy)).json()["token"]
        clock.forward(minutes=16)
        before = written(timed)
        for text in (copy, narrow(copy, "note = below"), child, narrow(child, "note = below")):
            answer = revoke(http, token=text)
            assert answer.status_code == 201
            assert (answer.json()["already"], answer.json()["sequence"]) == ("expired", 0)
        assert written(timed) == before


def test_a_copy_that_has_expired_by_a_clock_that_is_ahead_is_revoked(
    start: Callable[..., Service], clock: Clock
) -> None:
    service = start(now=clock, monotonic=lambda: 0.0)
    with service.client() as http:
        copy = narrow(
            new_user(service).token(), f"expires = {clock() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        )
        clock.forward(days=1)
        assert revoke(http, token=copy).json()["already"] is None
        clock.forward(days=-1)
        assert not live(http, copy)


def test_a_copy_that_has_expired_by_a_clock_that_the_database_does_not_share_is_revoked(
    start: Callable[..., Service], clock: Clock
) -> None:
    """A node that started with a clock that is ahead, so that its monotonic clock shows nothing."""
    service = start(now=clock)
    right = clock()

    async def server_time() -> datetime:
        return right

    with service.client() as http:
        token = new_user(service).token()
        expiry = f"expires = {clock() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        copy, another = narrow(token, expiry), narrow(token, expiry, "note = another")
        service.runtime.store.instance.server_time = server_time  # type: ignore[method-assign]
        clock.forward(days=1)
        assert revoke(http, token=copy).json()["already"] is None
        clock.forward(days=-1)
        assert not live(http, copy)
        clock.forward(days=1)
        right = clock()
        assert revoke(http, token=another).json()["already"] == "expired"


def test_an_expired_token_is_not_dead_while_it_may_have_been_renewed(timed: Service, clock: Clock) -> None:
    with timed.client() as http:
        token = new_user(timed).token()
        clock.forward(hours=7)
        renewed = http.post("/v1/tokens/renew", headers=bearer(token)).json()["token"]
        clock.forward(hours=2)
        assert live(http, renewed)
        assert revoke(http, token=token).json()["already"] is None
        assert not live(http, renewed)


def test_a_copy_is_kept_until_its_holders_expiry_and_not_longer(timed: Service, clock: Clock) -> None:
    def kept(answer: httpx.Response) -> timedelta:
        assert answer.json()["already"] is None
        return datetime.fromisoformat(answer.json()["expires_at"]) - clock()

    with timed.client() as http:
        token = new_user(timed).token()
        expiry = f"expires = {clock() + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
        copy = narrow(token, expiry, f"expires = {clock() + timedelta(minutes=9):%Y-%m-%dT%H:%M:%SZ}")
        assert timedelta(minutes=4) < kept(revoke(http, copy)) <= timedelta(minutes=5)
        by_id = narrow(token, expiry, "note = by id")
        body = {"token_id": token_id_of(token), "branch_id": branches(http, by_id)[-1]}
        assert timedelta(minutes=4) < kept(revoke(http, by_id, **body)) <= timedelta(minutes=5)
        child = http.post("/v1/tokens", json={}, headers=bearer(token)).json()["token"]
        assert timedelta(hours=7) < kept(revoke(http, child)) <= timedelta(hours=8)
        assert kept(revoke(http, token)) > timedelta(days=89)


# A holder's revocations of copies are bounded


def copies(token: str, count: int, note: str = "copy") -> list[str]:
    return [narrow(token, f"note = {note} {n}") for n in range(count)]


@pytest.mark.slow
def test_copies_of_one_token_are_revoked_at_a_bounded_rate_and_the_token_whenever(
    start: Callable[..., Service],
) -> None:
    service = start(revoke_limit_token="3/hour")
    user = new_user(service)
    with service.client() as http:
        token, other, third = user.token(), user.token(), user.token()
        some = copies(token, 4)
        assert [revoke(http, copy).status_code for copy in some] == [201, 201, 201, 429]
        refused = revoke(http, some[3])
        assert problem(refused) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
        assert "revoke the copy that these were made from, or the whole token" in refused.json()["detail"]
        assert live(http, some[3])
        by_id = {"token_id": token_id_of(token), "branch_id": branches(http, some[3])[-1]}
        assert revoke(http, token, **by_id).status_code == 429  # the same by its id
        assert revoke(http, token=some[0]).status_code == 201  # nothing new
        assert revoke(http, narrow(other, "note = another token")).status_code == 201
        assert revoke(http, admin_token(service), **by_id).status_code == 201
        assert revoke(http, token).status_code == 201
        assert not live(http, token)
        assert [revoke(http, copy).status_code for copy in copies(third, 4)] == [201, 201, 201, 429]
        assert revoke(http, third, user=user.username).status_code == 201
        assert not live(http, third)


@pytest.mark.slow
def test_what_is_issued_against_a_token_counts_as_its_copies_do(start: Callable[..., Service]) -> None:
    """Else a copy that cannot be revoked any more is exchanged, and what came of it revoked, without end."""
    service = start(revoke_limit_token="3/hour")
    user = new_user(service)

    def exchanged(token: str) -> str:
        return str(http.post("/v1/tokens", json={}, headers=bearer(token)).json()["token"])

    with service.client() as http:
        token = user.token()
        children = [exchanged(exchanged(token)) for _ in range(4)]
        assert [revoke(http, child).status_code for child in children] == [201, 201, 201, 429]
        assert revoke(http, narrow(token, "note = a copy")).status_code == 429
        assert revoke(http, token).status_code == 201
        assert not any(live(http, child) for child in children)


@pytest.mark.slow
def test_copies_from_one_address_are_revoked_at_a_bounded_rate_and_whole_tokens_whenever(
    start: Callable[..., Service],
) -> None:
    service = start(revoke_limit_address="3/day", trusted_proxies="127.0.0.0/8")
    user = new_user(service)
    with service.client(headers={"X-Forwarded-For": "192.0.2.1"}) as http:
        tokens = [user.token() for _ in range(5)]
        answers = [revoke(http, narrow(token, "note = a copy")) for token in tokens[:4]]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        assert "whole token" in answers[3].json()["detail"]
        app = user.token(audience="photos")
        assert (
            revoke(http, app).status_code == 429
        )  # whoever has the keys of photos makes as many as they like
        assert all(revoke(http, token).status_code == 201 for token in tokens)
        assert revoke(http, user.token(), user=user.username).status_code == 201
        assert not live(http, app)
    with service.client(headers={"X-Forwarded-For": "198.51.100.1"}) as elsewhere:
        assert revoke(elsewhere, narrow(user.token(), "note = a copy")).status_code == 201


def test_so_many_copies_of_one_token_are_kept_revoked_and_the_token_can_be_revoked_whenever(
    start: Callable[..., Service],
) -> None:
    service = start(max_revoked_branches=3)
    user = new_user(service)
    with service.client() as http:
        token = user.token()
        above = narrow(token, "note = above")
        some = copies(above, 4)
        assert [revoke(http, copy).status_code for copy in some] == [201, 201, 201, 409]
        refused = revoke(http, some[3])
        assert problem(refused) == (409, "too_many_branches")
        assert "revoke the copy that these were made from, or the whole token" in refused.json()["detail"]
        assert revoke(http, token=some[0]).status_code == 201  # nothing new
        by_id = {"token_id": token_id_of(token), "branch_id": branches(http, some[3])[-1]}
        assert revoke(http, admin_token(service), **by_id).status_code == 201
        assert revoke(http, narrow(user.token(), "note = another token")).status_code == 201
        assert revoke(http, token).status_code == 201
        assert not live(http, above)


def test_a_parent_that_a_holder_names_is_not_counted_against(start: Callable[..., Service]) -> None:
    service = start(revoke_limit_token="3/hour")
    with service.client() as http:
        victims = new_user(service).token()
        parent = f"parent = k1 {token_id_of(victims)}"
        for token in (new_user(service).token() for _ in range(4)):
            assert revoke(http, token=narrow(token, parent)).status_code == 201
        assert revoke(http, token=narrow(victims, "note = a copy")).status_code == 201


@pytest.mark.parametrize("by", ["token id", "parent"])
@pytest.mark.parametrize("bound", [{"revoke_limit_token": "4/hour"}, {"max_revoked_branches": 4}])
def test_what_an_app_writes_into_its_tokens_keeps_no_copy_of_an_accounts_token_from_being_revoked(
    start: Callable[..., Service], bound: dict[str, Any], by: str
) -> None:
    service = start(**bound)
    user = new_user(service)
    keyring = service.runtime.master_keys.keyring

    def forged(token_id: str, n: int) -> str:
        """What an app with the keys of its audience can make."""
        parent = [Parent("k1", token_id, ())] if by == "parent" else []
        caveats = (UserCaveat("admin"), Expires.after(timedelta(days=1), now=utc_now()), *parent)
        own_id = token_id if by == "token id" else new_token_id(utc_now())
        identifier = Identifier("k1", "photos", own_id, len(caveats))
        return narrow(
            Macaroon.mint(keyring.root_key(identifier), identifier, caveats=caveats).encode(), f"note = {n}"
        )

    with service.client() as http:
        token = user.token()
        answers = [revoke(http, token=forged(token_id_of(token), n)).status_code for n in range(6)]
        assert 201 in answers
        for copy in copies(token, 2):
            assert revoke(http, token=copy).status_code == 201
            assert not live(http, copy)


def test_a_browser_whose_old_session_can_not_be_revoked_signs_in_all_the_same(
    start: Callable[..., Service],
) -> None:
    service = start(revoke_limit_token="1/hour")
    user = new_user(service)
    with service.client() as http:
        session = {"username": user.username, "password": user.password}
        cookie = http.post("/v1/session", json=session).cookies["__Host-caveats-session"]
        old = [narrow(cookie, f"note = {n}") for n in range(2)]
        for text in old:
            http.cookies.clear()
            headers = {"Cookie": f"__Host-caveats-session={text}", "Origin": str(http.base_url).rstrip("/")}
            assert http.post("/v1/session", json=session, headers=headers).status_code == 201
        assert [live(http, text) for text in old] == [False, True]


# tokens that a third party has not agreed to


@pytest.mark.parametrize("discharge", ["none", "another's"])
@pytest.mark.parametrize("how", ["header", "body", "token_id", "its branch", "delete"])
def test_whoever_finds_a_token_that_is_not_discharged_may_revoke_it(
    service: Service, http: httpx.Client, user: User, how: str, discharge: str
) -> None:
    whole = user.token()
    third = ThirdParty("https://third.example", PrivateKey.generate().public_key)
    macaroon = Macaroon.decode(whole).require_discharge(third, "is-member = yes")
    token = macaroon.encode()
    if discharge == "another's":
        token = Bundle(macaroon, (Macaroon.mint(bytes([1]) * 32, b"of another ticket"),)).encode()
    verifier = service.runtime.tokens.verifier
    seen = service.call(lambda: verifier.introspect(token, even_undischarged=True))
    if how in ("token_id", "delete"):  # a narrowed copy, which this is, does not kill the whole
        http_call = http.delete if how == "delete" else http.post
        path = f"/v1/tokens/{seen.token_id}" if how == "delete" else "/v1/revocations"
        body = {} if how == "delete" else {"json": {"token_id": seen.token_id}}
        assert http_call(path, headers=bearer(token), **body).status_code in (401, 403, 404)
        assert live(http, whole)
        return
    bodies = {
        "header": {},
        "body": {"token": token},
        "its branch": {"token_id": seen.token_id, "branch_id": seen.branches[-1].hex()},
    }
    answer = revoke(http, None if how == "body" else token, **bodies[how])
    assert answer.status_code == 201, answer.text
    assert answer.json()["branch_id"] == seen.branches[-1].hex()
    with pytest.raises(Revoked):
        service.call(lambda: verifier.introspect(token, even_undischarged=True))
    assert live(http, whole)


def test_a_whole_token_that_is_not_discharged_is_revoked_by_its_id(
    service: Service, http: httpx.Client
) -> None:
    """The issuer itself asked for a third party: an app may, with its own keys."""
    key = service.runtime.master_keys.keyring.export("photos").keys[0]
    identifier = Identifier(key.key_id, "photos", new_token_id(utc_now()), 3)
    third = ThirdParty("https://third.example", PrivateKey.generate().public_key)
    expires = Expires.after(timedelta(hours=1), now=utc_now())
    macaroon = Macaroon.mint(
        key.root_key(identifier.encode()), identifier, caveats=(UserCaveat("alice"), expires)
    )
    token = macaroon.require_discharge(third, "is-member = yes").encode()
    assert http.delete(f"/v1/tokens/{identifier.token_id}", headers=bearer(token)).status_code == 204
    verifier = service.runtime.tokens.verifier
    with pytest.raises(Revoked):
        service.call(lambda: verifier.introspect(token, even_undischarged=True))


def test_a_changed_token_that_is_not_discharged_is_revoked_by_nobody(http: httpx.Client, user: User) -> None:
    third = ThirdParty("https://third.example", PrivateKey.generate().public_key)
    macaroon = Macaroon.decode(user.token()).require_discharge(third, "is-member = yes")
    forged = Macaroon(macaroon.wire._replace(signature=bytes(32))).encode()
    assert problem(revoke(http, forged)) == (401, "invalid_token")
    assert problem(revoke(http, None, token=forged)) == (401, "invalid_token")


def test_nothing_but_its_end_is_had_for_a_token_that_is_not_discharged(
    http: httpx.Client, user: User
) -> None:
    third = ThirdParty("https://third.example", PrivateKey.generate().public_key)
    token = Macaroon.decode(user.token()).require_discharge(third, "is-member = yes").encode()
    assert revoke(http, token, user=user.username).status_code == 401
    for method, path in (("POST", "/v1/tokens"), ("POST", "/v1/tokens/renew"), ("GET", "/v1/tokens")):
        answer = http.request(method, path, headers=bearer(token))
        assert answer.status_code == 401, path


def test_a_token_whose_key_was_retired_is_dead_everywhere_and_needs_no_revocation(
    start: Callable[..., Service],
) -> None:
    """By itself it cannot be told from a forgery: 401. Its account may still name it by its id."""
    service = start()
    user = new_user(service)
    issued = user.issue(note="lost")
    with service.client() as http:
        admin = basic("admin", ADMIN_PASSWORD)
        assert http.post("/v1/keys/rotate", json={"now": True}, headers=admin).status_code in (200, 201)
        retired = http.post("/v1/keys/k1/retire", json={"force": True}, headers=admin)
        assert retired.status_code == 200, retired.text
        held = bearer(issued["token"])
        presented = http.post("/v1/revocations", json={"presented": True}, headers=held)
        assert problem(presented) == (401, "invalid_token")
        assert http.get("/v1/authorize", headers=held).status_code == 401
        named = http.post(
            "/v1/revocations",
            json={"token_id": issued["token_id"]},
            headers=basic(user.username, user.password),
        )
        assert named.status_code == 201, named.text
