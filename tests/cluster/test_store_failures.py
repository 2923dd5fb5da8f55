"""The store hangs, or dies and comes back, under load: verification goes on, writes say when to try again."""

import threading
import time
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from cluster_support import (
    AUDIENCE,
    Cluster,
    Load,
    PrivatePostgres,
    accepted,
    at_once,
    authorized,
    cluster,
    sql,
    until,
)
from service_support import ADMIN_PASSWORD, basic, bearer, narrow

SOON = 2.0


@pytest.fixture(scope="module")
def nodes(postgres: PrivatePostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes on the private server."""
    with cluster(tmp_path_factory.mktemp("nodes"), postgres.url) as running:
        yield running


def write_of(nodes: Cluster, what: str) -> httpx.Response:
    """One request that has to be written down, or cannot be answered without the store."""
    http = nodes.clients[WRITES.index(what) % 2]
    admin = bearer(nodes._admin)
    match what:
        case "revoke":
            return http.post(
                "/v1/revocations", headers=bearer(narrow(nodes._admin, f"note = {time.time_ns()}"))
            )
        case "issue with a label":
            return http.post("/v1/tokens", json={"note": "a label"}, headers=admin)
        case "issue once":
            return http.post(
                "/v1/tokens", json={}, headers={**admin, "Idempotency-Key": f"once-{time.time_ns()}"}
            )
        case "sign in":
            return http.post("/v1/tokens", json={}, headers=basic("admin", ADMIN_PASSWORD))
        case "rotate":
            return http.post("/v1/keys/rotate", json={}, headers=admin)
        case "register":
            body = {"username": f"user{time.time_ns()}", "password": "correct horse"}
            return http.post("/v1/users", json=body)
    raise AssertionError(what)


WRITES = ("revoke", "issue with a label", "rotate", "issue once", "sign in", "register")


def test_while_the_store_hangs_verification_goes_on_and_writes_are_told_to_come_back(
    nodes: Cluster, postgres: PrivatePostgres
) -> None:
    token = nodes.issue(0)
    fresh_key = nodes.issue(1)
    slowest = 0.0

    def verify() -> None:
        nonlocal slowest
        for http in nodes.clients:
            begun = time.monotonic()
            assert authorized(http, token)
            body = {"token": fresh_key, "audience": AUDIENCE, "scope": "photos:read"}
            assert http.post("/v1/verify", json=body).json()["granted"]
            slowest = max(slowest, time.monotonic() - begun)
        assert accepted(verifier, token)

    with nodes.attach(1) as verifier, Load(verify, per_second=40) as load:
        postgres.pause()
        try:
            for _ in range(2):  # while connections are at hand, and when none is left

                def write(what: str) -> tuple[str, int, str | None, float]:
                    begun = time.monotonic()
                    answer = write_of(nodes, what)
                    return (
                        what,
                        answer.status_code,
                        answer.headers.get("retry-after"),
                        time.monotonic() - begun,
                    )

                for what, status, retry_after, took in at_once(
                    *(
                        lambda what=what: write(what) for what in (*WRITES, *WRITES[:4] * 6)
                    )  # more than connections
                ):
                    assert (what, status) == (what, 503)
                    assert retry_after is not None
                    assert int(retry_after) >= 1
                    assert took <= SOON, f"{what} took {took:.2f} s"
            for http in nodes.clients:
                assert http.get("/healthz").status_code == 200
                assert http.get("/readyz").status_code == 503
            asked = load.done
        finally:
            postgres.resume()
        took = until(lambda: all(write_of(nodes, what).is_success for what in WRITES), 10)
    print(f"verified {asked} times meanwhile, the slowest in {slowest:.3f} s; writes back after {took:.2f} s")
    assert load.failures == []
    assert asked > 40
    assert slowest < SOON
    assert took <= 5


def test_a_store_that_is_killed_and_restarted_costs_no_verification_and_nothing_acknowledged(
    nodes: Cluster, postgres: PrivatePostgres
) -> None:
    token = nodes.issue(0)
    revoked: list[str] = []
    labelled: list[str] = []
    written: list[float] = []
    refused: list[int] = []
    numbers = iter(range(10**6))
    changing = threading.Lock()

    def verify() -> None:
        for http in nodes.clients:
            assert authorized(http, token)
        assert accepted(verifier, token)

    def write() -> None:
        with changing:
            number = next(numbers)
        http = nodes.clients[number % 2]
        copy = narrow(token, f"note = copy {number}")
        answers = (
            http.post("/v1/revocations", headers=bearer(copy)),
            http.post("/v1/tokens", json={"note": f"label {number}"}, headers=bearer(nodes._admin)),
        )
        for answer, keep in zip(answers, (revoked, labelled), strict=True):
            assert answer.status_code in (201, 503), answer.text
            if answer.status_code == 201:
                keep.append(copy if keep is revoked else answer.json()["token_id"])
                written.append(time.monotonic())
            else:
                assert int(answer.headers["retry-after"]) >= 1
                refused.append(number)

    with (
        nodes.attach(0) as verifier,
        Load(verify, verify, per_second=30) as verifying,
        Load(write, write, write, per_second=30) as writing,
    ):
        time.sleep(1)
        postgres.kill()
        killed = time.monotonic()
        time.sleep(1.5)
        postgres.start()
        back = time.monotonic()
        until(lambda: any(at > back for at in written), 10)
        resumed = min(at for at in written if at > back) - back
        time.sleep(1)
    print(
        f"{len(revoked)} revocations and {len(labelled)} labels acknowledged, {len(refused)} refused; "
        f"{verifying.done} verifications; writes back {resumed:.2f} s after the store, "
        f"which was away for {back - killed:.1f} s"
    )
    assert verifying.failures == []
    assert writing.failures == []
    assert refused
    assert resumed <= 5
    # What was acknowledged is there: at both nodes, after a restart of one, and in the database.
    nodes.nodes[1].stop()
    nodes.restart(1)
    for http in nodes.clients:
        assert authorized(http, token)
        assert not [copy for copy in revoked if authorized(http, copy)]
    kept = {row["token_id"] for row in sql(postgres.url, "SELECT token_id FROM labelled_tokens")}
    assert set(labelled) <= kept
    sequences = [row["sequence"] for row in sql(postgres.url, "SELECT sequence FROM revocations ORDER BY 1")]
    assert sequences == list(range(1, len(sequences) + 1))
    with nodes.attach(1) as verifier:
        assert accepted(verifier, token)
        assert not [copy for copy in revoked if accepted(verifier, copy)]
