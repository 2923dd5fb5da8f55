"""What dies takes along what came of it: whatever was issued against a token dies with that token's key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from ulid import ULID

from caveats import Expires, Identifier, Macaroon, MasterKeyring, Parent, Scope, User, new_token_id
from caveats_service.core.clock import utc_now
from tests.support.service import (
    ADMIN_PASSWORD,
    Clock,
    Service,
    basic,
    bearer,
    narrow,
    new_user,
    problem,
    rows,
    serving,
)

ADMIN = basic("admin", ADMIN_PASSWORD)
ENDPOINTS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/authorize?audience={audience}", None),
    ("POST", "/v1/tokens", {"scope": "*"}),
    ("POST", "/v1/tokens/renew", {"expires_in": "1h"}),
    ("GET", "/v1/tokens", None),
    ("POST", "/v1/revocations", {"presented": True}),
    ("GET", "/v1/revocations", None),
    ("GET", "/v1/users", None),
    ("POST", "/v1/keys/rotate", {}),
]


@pytest.fixture
def own(start: Callable[..., Service]) -> Service:
    return start()


@pytest.fixture
def http(own: Service) -> Any:
    with own.client() as client:
        yield client


def mint(keyring: MasterKeyring, key_id: str, audience: str, *more: Parent) -> str:
    """A token for administration as whoever has the master key of this id makes it."""
    caveats = (User("admin"), Expires.after(timedelta(hours=9), now=utc_now()), Scope("* caveats:*"), *more)
    identifier = Identifier(key_id, audience, new_token_id(utc_now()), len(caveats))
    return Macaroon.mint(keyring.root_key(identifier), identifier, caveats=caveats).encode()


def exchange(http: httpx.Client, token: str, **asked: Any) -> str:
    answer = http.post("/v1/tokens", json=asked, headers=bearer(token))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def admin(http: httpx.Client, path: str, body: Any) -> None:
    answer = http.post(path, json=body, headers=ADMIN)
    assert answer.is_success, answer.text


def is_dead(http: httpx.Client, token: str, audience: str) -> bool:
    """Whether every endpoint gives the uniform 401, whatever it reads the token with."""
    answers = [
        http.request(method, path.format(audience=audience), json=body, headers=bearer(token))
        for method, path, body in ENDPOINTS
    ]
    answers.append(http.get("/v1/session", headers={"Cookie": f"__Host-caveats-session={token}"}))
    answers.append(http.post("/v1/revocations", json={"token": token}))
    verdict = http.post("/v1/verify", json={"token": token, "audience": audience})
    return {problem(answer) for answer in (*answers, verdict)} == {(401, "invalid_token")}


@pytest.mark.slow
@pytest.mark.parametrize("audience", ["default", "photos"])
def test_what_was_issued_against_a_token_dies_with_the_key_that_is_retired_by_force(
    own: Service, http: httpx.Client, tmp_path: Path, audience: str
) -> None:
    """Every generation, exchanged while the key was active and while it only verified; also after a restart."""
    forged = mint(own.runtime.master_keys.keyring, "k1", audience)
    early = exchange(http, forged, scope="*")
    admin(http, "/v1/keys/rotate", {"now": True})
    child = exchange(http, forged, scope="*")
    grandchild = exchange(http, exchange(http, early, scope="*"), scope="*")
    good = mint(own.runtime.master_keys.keyring, "k2", audience)
    issued = [child, grandchild, Macaroon.decode(child).attenuate(b"note = narrower").encode()]
    for token in issued:
        assert http.get(f"/v1/authorize?audience={audience}", headers=bearer(token)).status_code == 200
    admin(http, "/v1/keys/k1/retire", {"force": True})
    revoked = len(rows(tmp_path, "SELECT 1 FROM revocations"))
    for token in (forged, early, *issued):
        assert is_dead(http, token, audience)
    assert exchange(http, exchange(http, good), scope="*")
    assert len(rows(tmp_path, "SELECT 1 FROM revocations")) == revoked  # what is dead already is not written
    with serving(tmp_path) as again, again.client() as later:
        for token in (forged, early, *issued):
            assert is_dead(later, token, audience)
        assert exchange(later, good)


def test_a_parents_key_that_this_node_has_not_seen_is_looked_for_as_the_tokens_own_is(
    own: Service, http: httpx.Client
) -> None:
    """Another node made the key a moment ago. One that nobody has is looked for once a second."""
    runtime = own.runtime
    looked: list[str] = []
    refresh = runtime.master_keys.refresh

    async def counted() -> None:
        looked.append("")
        await refresh()

    runtime.master_keys.refresh = counted  # type: ignore[method-assign]
    token = mint(runtime.master_keys.keyring, "k1", "default", Parent("k2", new_token_id(utc_now()), ()))
    own.run(
        runtime.store.keys.publish(
            runtime.master_keys._fresh,  # as another node would
            now=utc_now(),
            actor="x",
            replacing=None,
            first=False,
        )
    )
    assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
    assert looked
    orphan = mint(runtime.master_keys.keyring, "k1", "default", Parent("k9", new_token_id(utc_now()), ()))
    looked.clear()
    for _ in range(20):
        assert problem(http.get("/v1/authorize", headers=bearer(orphan))) == (401, "invalid_token")
    assert len(looked) < 20


@pytest.mark.parametrize("which", ["of its own chain", "that stays through renewals"])
def test_what_was_issued_against_a_renewal_dies_with_either_of_its_branches(
    timed: Service, clock: Clock, which: str
) -> None:
    """Of its own chain is the one that `Authenticated.branches` tells an app, which revokes as much at every verifier."""
    token = new_user(timed).token()
    verifier = timed.runtime.tokens.verifier
    with timed.client() as http:
        clock.forward(hours=1)
        renewed = str(http.post("/v1/tokens/renew", headers=bearer(token)).json()["token"])
        copy = narrow(renewed, "note = a copy")
        child = exchange(http, exchange(http, copy))
        own, stays = verifier.authenticate(copy).branches(), verifier.introspect(copy).branches
        assert own[-1] != stays[-1]
        branch = own[-1] if which == "of its own chain" else stays[-1]
        body = {"token_id": verifier.introspect(copy).token_id, "branch_id": branch.hex()}
        admin(http, "/v1/revocations", body)
        alive = [
            http.get("/v1/authorize", headers=bearer(text)).status_code for text in (renewed, copy, child)
        ]
    assert alive == [200, 401, 401]


# A token whose id claims a strange time: an app with its audience's keys can write any

LONG_AGO, LONG_HENCE = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


def id_of(millisecond: int) -> str:
    return str(ULID.from_bytes(millisecond.to_bytes(6, "big") + bytes(10)))


def claiming(keyring: MasterKeyring, millisecond: int, *caveats: Expires) -> str:
    """A token of audience photos whose id says that it was issued then."""
    identifier = Identifier("k1", "photos", id_of(millisecond), 1 + len(caveats))
    root_key = keyring.root_key(identifier)
    return Macaroon.mint(root_key, identifier, caveats=(User("alice"), *caveats)).encode()


@pytest.mark.slow
@pytest.mark.parametrize("by", ["text", "id"])
@pytest.mark.parametrize("lives_until", [None, datetime(2300, 1, 1, tzinfo=UTC)], ids=["without end", "2300"])
@pytest.mark.parametrize(
    "claimed",
    [
        pytest.param(0, id="1970"),
        pytest.param(1, id="a millisecond later"),
        pytest.param(1_787_500_000_000, id="as long ago as a token lives"),
        pytest.param(1_795_262_400_000, id="now"),
        pytest.param(1_795_262_400_001, id="a millisecond ahead"),
        pytest.param(17_000_000_000_000, id="2508"),
        pytest.param(2**48 - 1, id="10889"),
    ],
)
def test_a_revoked_token_stays_revoked_whatever_time_its_id_claims(
    timed: Service, clock: Clock, tmp_path: Path, *, claimed: int, lives_until: datetime | None, by: str
) -> None:
    expiry = () if lives_until is None else (Expires(lives_until),)
    token_id = id_of(claimed)
    token = claiming(timed.runtime.master_keys.keyring, claimed, *expiry)
    sibling = claiming(timed.runtime.master_keys.keyring, claimed + 1 if claimed < 2**48 - 1 else 7, *expiry)

    def live(http: httpx.Client, text: str) -> bool:
        asked = http.post("/v1/verify", json={"token": text, "audience": "photos"})
        return asked.status_code == 200 and bool(asked.json()["granted"])

    with timed.client() as http:
        assert live(http, token)
        branch = http.post("/v1/verify", json={"token": token, "audience": "photos"}).json()["branches"][-1]
        body = {"token_id": token_id, "branch_id": branch} if by == "id" else {"presented": True}
        assert http.post("/v1/revocations", json=body, headers=bearer(token)).status_code == 201
        assert not live(http, token)
        clock.forward(days=400)
        timed.run(timed.runtime.store.revocations.prune(now=clock(), actor="x"))
        timed.call(lambda: timed.runtime.feed.revocation_set.prune(clock()))
        assert not live(http, token)
    with serving(tmp_path, now=clock) as again, again.client() as http:
        assert not live(http, token)
        assert live(http, sibling)


@pytest.mark.parametrize("claimed", [LONG_AGO, LONG_HENCE], ids=["1970", "9999"])
def test_an_entry_for_an_id_that_cannot_be_believed_is_kept_for_the_longest_life_and_written_once_a_day(
    timed: Service, clock: Clock, tmp_path: Path, claimed: datetime
) -> None:
    token_id = new_token_id(claimed)
    with timed.client(headers=ADMIN) as http:
        for _ in range(3):
            answer = http.post("/v1/revocations", json={"token_id": token_id})
            assert answer.status_code == 201
            kept = datetime.fromisoformat(answer.json()["expires_at"]) - clock()
            assert timedelta(0) <= kept - timed.settings.longest_life <= timedelta(days=1)
            clock.forward(hours=3)
    assert len(rows(tmp_path, "SELECT 1 FROM revocations")) == 1


# A machine's clock that is ahead for a while


class Uptime:
    """Seconds that pass only when a test says so, whatever the time of day is."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize("days", [100, 40_000])
def test_a_service_whose_clock_jumps_and_comes_back_forgets_no_revocation_and_destroys_no_key(
    start: Callable[..., Service], clock: Clock, tmp_path: Path, days: int
) -> None:
    """Neither this node, nor the store, which all nodes share, nor what it tells verifiers."""
    uptime = Uptime()
    service = start(now=clock, monotonic=uptime)
    runtime = service.runtime
    user = new_user(service)
    with service.client() as http:
        token = user.token(note="ci")
        admin(http, "/v1/keys/rotate", {"now": True})
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
        clock.forward(days=days)
        for _ in range(2):
            uptime.seconds += 601
            service.run(runtime._tend())
        service.run(runtime.feed.load())
        for table, count in (("revocations", 1), ("labelled_tokens", 1)):
            assert rows(tmp_path, f"SELECT count(*) FROM {table}") == [(count,)]
        assert {row.state.value for row in runtime.master_keys.rows} == {"active", "verifying"}
        assert len(runtime.feed.revocation_set) == 1
        clock.forward(days=-days)
        assert problem(http.get("/v1/authorize", headers=bearer(token))) == (401, "invalid_token")
        uptime.seconds += 91 * 86400
        clock.forward(days=91)
        service.run(runtime._tend())
        assert rows(tmp_path, "SELECT count(*) FROM revocations") == [(0,)]


def test_a_node_whose_clock_differs_from_the_databases_removes_nothing(
    start: Callable[..., Service], clock: Clock, tmp_path: Path
) -> None:
    """Also if it was ahead from the start, so that the node's own monotonic clock shows nothing."""
    service = start(now=clock)
    runtime = service.runtime
    user = new_user(service)

    async def server_time() -> datetime:
        return right

    with service.client() as http:
        token = user.token(note="ci")
        admin(http, "/v1/keys/rotate", {"now": True})
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
        right = clock()
        runtime.store.instance.server_time = server_time  # type: ignore[method-assign]
        clock.forward(days=100)
        service.run(runtime._tend())
        assert rows(tmp_path, "SELECT count(*) FROM revocations") == [(1,)]
        assert {row.state.value for row in runtime.master_keys.rows} == {"active", "verifying"}
        right = clock()
        service.run(runtime._tend())
        assert rows(tmp_path, "SELECT count(*) FROM revocations") == [(0,)]
        assert {row.state.value for row in runtime.master_keys.rows} >= {"retired"}


def test_what_a_node_forgot_by_a_clock_that_was_ahead_at_its_start_is_read_again(
    start: Callable[..., Service], clock: Clock
) -> None:
    """The store still has it, which goes by the clock of the database or, on SQLite, by other processes'."""
    uptime = Uptime()
    service = start(now=clock, monotonic=uptime)
    runtime = service.runtime
    user = new_user(service)
    token = user.token()
    with service.client() as http:
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
        runtime.feed.revocation_set.prune(clock() + timedelta(days=100))
        assert http.get("/v1/authorize", headers=bearer(token)).status_code == 200
        clock.forward(days=100)
        uptime.seconds += 100 * 86400
        runtime.forgetting_time.went_back()
        clock.forward(days=-100)
        service.run(runtime._tend())
        assert problem(http.get("/v1/authorize", headers=bearer(token))) == (401, "invalid_token")


@pytest.mark.slow
def test_a_node_whose_clock_was_ahead_goes_on_telling_its_listeners_that_nothing_happened(
    start: Callable[..., Service], clock: Clock
) -> None:
    service = start(now=clock, monotonic=Uptime())
    clock.forward(days=100)
    service.run(service.runtime.feed.follow())
    clock.forward(days=-100)
    service.run(service.runtime.feed.follow())
    head = service.runtime.feed.head
    assert head is not None
    assert head.at == clock()
