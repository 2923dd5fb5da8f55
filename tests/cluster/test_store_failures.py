"""The store hangs, or dies and comes back, under load: verification goes on, writes say when to try again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from caveats_client.verifiers.local import LocalVerifier
from tests.support.cluster import (
    AUDIENCE,
    Cluster,
    Load,
    PrivatePostgres,
    accepted,
    at_once,
    authorized,
    cluster,
    private_postgres,
    sql,
    until,
)
from tests.support.service import ADMIN_PASSWORD, basic, bearer, narrow

SOON = 4.0
"""Seconds. An answer takes two on a quiet machine: 1.5 until the database is given up, and a password to hash."""


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
                "/v1/revocations",
                json={"presented": True},
                headers=bearer(narrow(nodes._admin, f"note = {time.time_ns()}")),
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


class Traffic:
    """Verification and writes at both nodes, and what became of them."""

    def __init__(self, nodes: Cluster) -> None:
        self.nodes = nodes
        self.token = nodes.issue(0)
        self.revoked: list[str] = []
        self.labelled: list[str] = []
        self.written: list[float] = []
        self.refused: list[int] = []
        self._numbers = iter(range(10**6))
        self._changing = threading.Lock()

    def verify(self, verifier: LocalVerifier) -> None:
        for http in self.nodes.clients:
            assert authorized(http, self.token)
        assert accepted(verifier, self.token)

    def write(self) -> None:
        with self._changing:
            number = next(self._numbers)
        http = self.nodes.clients[number % 2]
        copy = narrow(self.token, f"note = copy {number}")
        answers = (
            http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy)),
            http.post("/v1/tokens", json={"note": f"label {number}"}, headers=bearer(self.nodes._admin)),
        )
        for answer, keep in zip(answers, (self.revoked, self.labelled), strict=True):
            assert answer.status_code in (201, 503), answer.text
            if answer.status_code == 201:
                keep.append(copy if keep is self.revoked else answer.json()["token_id"])
                self.written.append(time.monotonic())
            else:
                assert int(answer.headers["retry-after"]) >= 1
                self.refused.append(number)

    def goes_through(self, failure: Callable[[], None]) -> None:
        """No verification fails meanwhile, and writes are back within 5 s of what `failure` ends with."""
        with (
            self.nodes.attach(0) as verifier,
            Load(*[lambda: self.verify(verifier)] * 2, per_second=30) as verifying,
            Load(*[self.write] * 3, per_second=30) as writing,
        ):
            time.sleep(1)
            failure()
            back = time.monotonic()
            until(lambda: any(at > back for at in self.written), 10)
            resumed = min(at for at in self.written if at > back) - back
            time.sleep(1)
        print(
            f"{len(self.revoked)} revocations and {len(self.labelled)} labels acknowledged, "
            f"{len(self.refused)} refused; {verifying.done} verifications; writes back after {resumed:.2f} s"
        )
        assert verifying.failures == []
        assert writing.failures == []
        assert self.refused
        assert resumed <= 5

    def is_all_kept(self, url: str) -> None:
        """What was acknowledged is there: at both nodes, after a restart of one, and in the database."""
        nodes = self.nodes
        nodes.nodes[1].stop()
        nodes.restart(1)
        for http in nodes.clients:
            assert authorized(http, self.token)
            assert not [copy for copy in self.revoked if authorized(http, copy)]
        kept = {row["token_id"] for row in sql(url, "SELECT token_id FROM labelled_tokens")}
        assert set(self.labelled) <= kept
        sequences = [row["sequence"] for row in sql(url, "SELECT sequence FROM revocations ORDER BY 1")]
        assert sequences == list(range(1, len(sequences) + 1))
        with nodes.attach(1) as verifier:
            assert accepted(verifier, self.token)
            assert not [copy for copy in self.revoked if accepted(verifier, copy)]


def test_a_store_that_is_killed_and_restarted_costs_no_verification_and_nothing_acknowledged(
    nodes: Cluster, postgres: PrivatePostgres
) -> None:
    traffic = Traffic(nodes)

    def killed_and_restarted() -> None:
        postgres.kill()
        time.sleep(1.5)
        postgres.start()

    traffic.goes_through(killed_and_restarted)
    traffic.is_all_kept(postgres.url)


def test_113_a_primary_that_is_killed_and_its_standby_promoted_cost_nothing_acknowledged(
    tmp_path: Path,
) -> None:
    """With synchronous replication, and both servers in the address, as libpq has it."""
    with private_postgres() as primary, private_postgres(primary) as standby:
        both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://caveats@{both}/caveats?target_session_attrs=read-write"
        with cluster(tmp_path, url) as nodes:
            traffic = Traffic(nodes)

            def failed_over() -> None:
                primary.kill()
                time.sleep(1.5)
                standby.promote()

            traffic.goes_through(failed_over)
            traffic.is_all_kept(standby.url)
