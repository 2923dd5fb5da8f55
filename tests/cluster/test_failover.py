"""A failover to a database that is behind: another history, which nobody has to be told of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from caveats_client.verifiers.local import LocalVerifier
from tests.support.cluster import (
    POSTGRES,
    Cluster,
    accepted,
    authorized,
    cluster,
    private_postgres,
    shared_database,
    sql,
    until,
)
from tests.support.service import basic, bearer, narrow


def revoke(nodes: Cluster, at: int, token: str) -> None:
    answer = nodes.clients[at].post("/v1/revocations", json={"presented": True}, headers=bearer(token))
    assert answer.status_code == 201, answer.text


def written(nodes: Cluster, at: int) -> None:
    """Once this node can write again."""
    until(lambda: nodes.clients[at].get("/readyz").status_code == 200, 30)


def status_of(verifier: LocalVerifier) -> tuple[int, int]:
    status = verifier.status()
    return status.epoch, status.position


def _everything_is_heeded(nodes: Cluster, verifiers: list[LocalVerifier], tokens: dict[str, str]) -> None:
    """What was revoked before and after; also at nodes and verifiers that had read further than the new database."""
    for number in range(3):  # the sequences that the lost ones had
        revoke(nodes, number % 2, tokens[f"later {number}"])
    dead = [token for name, token in tokens.items() if name != "live"]
    for http in nodes.clients:
        until(lambda http=http: not any(authorized(http, token) for token in dead), 10)
        assert authorized(http, tokens["live"])
    for verifier in verifiers:
        until(lambda verifier=verifier: not any(accepted(verifier, token) for token in dead), 15)
        until(lambda verifier=verifier: accepted(verifier, tokens["live"]), 15)


def _tokens(nodes: Cluster) -> dict[str, str]:
    names = ("before", *(f"{when} {n}" for when in ("lost", "later") for n in range(3)), "live")
    return {name: nodes.issue(0) for name in names}


@pytest.mark.timeout(180)
def test_after_a_failover_to_a_standby_that_was_behind_nothing_that_was_revoked_lives(tmp_path: Path) -> None:
    with private_postgres() as primary, private_postgres(primary, waits=False) as standby:
        both = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://caveats@{both}/caveats?target_session_attrs=read-write"
        with cluster(tmp_path, url) as nodes, nodes.attach(0) as one, nodes.attach(1) as two:
            tokens = _tokens(nodes)
            revoke(nodes, 0, tokens["before"])
            old = nodes.rotate(0, now=True).json()["id"]
            until(lambda: not accepted(one, tokens["before"]) and not accepted(two, tokens["before"]))
            until(
                lambda: sql(standby.url, "SELECT count(*) FROM master_keys WHERE state = 'active'")[0][0] == 1
            )
            until(lambda: sql(standby.url, "SELECT revocation_sequence FROM meta")[0][0] == 1)
            for statement in ("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"):
                sql(standby.url, statement)
            until(lambda: not sql(standby.url, "SELECT 1 FROM pg_stat_wal_receiver"), 20)
            for number in range(3):
                revoke(nodes, number % 2, tokens[f"lost {number}"])
            lost_key = nodes.rotate(1, now=True).json()["id"]
            under_lost_key = nodes.issue(1)
            before = [status_of(verifier) for verifier in (one, two)]
            until(lambda: min(status_of(verifier)[1] for verifier in (one, two)) == 4)
            primary.kill()
            standby.promote()
            for at in range(2):
                written(nodes, at)
            _everything_is_heeded(nodes, [one, two], tokens)
            for verifier, (epoch, _) in zip((one, two), before, strict=True):
                assert verifier.status().epoch > epoch
            # A key that the new database does not know, and the ones that are made now.
            assert lost_key not in nodes.keys(0)
            assert old in nodes.keys(0)
            made = nodes.rotate(0, now=True).json()["id"]
            assert made != lost_key
            token = nodes.issue(0)
            for http in nodes.clients:
                until(lambda http=http: authorized(http, token))
                assert not authorized(http, under_lost_key)
            for verifier in (one, two):
                until(lambda verifier=verifier: accepted(verifier, token))
                until(lambda verifier=verifier: not accepted(verifier, under_lost_key))


@pytest.fixture
def copies() -> Iterator[tuple[str, str]]:
    """An empty database, and the name of one that a copy may have."""
    with shared_database() as url:
        name = urlsplit(url).path[1:]
        yield url, f"{name}_copy"
        sql(POSTGRES, f"DROP DATABASE IF EXISTS {name}_copy WITH (FORCE)")


@pytest.mark.timeout(180)
def test_a_database_that_was_put_back_under_running_nodes_is_another_history(
    copies: tuple[str, str], tmp_path: Path
) -> None:
    """As by a dump of before, or a copy, without anybody saying so. A node that has started since knows of nothing lost."""
    url, copy = copies
    name = urlsplit(url).path[1:]
    maintenance = urlunsplit(urlsplit(POSTGRES)._replace(path="/postgres"))
    ends = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    with cluster(tmp_path, url) as nodes, nodes.attach(0) as one, nodes.attach(1) as two:
        tokens = _tokens(nodes)
        revoke(nodes, 0, tokens["before"])
        until(lambda: not accepted(one, tokens["before"]) and not accepted(two, tokens["before"]))

        def swap(*statements: str) -> None:
            sql(maintenance, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            sql(maintenance, ends)
            time.sleep(0.3)
            for statement in statements:
                sql(maintenance, statement)
            sql(maintenance, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        swap(f"CREATE DATABASE {copy} TEMPLATE {name}")
        for at in range(2):
            written(nodes, at)
        for number in range(3):
            revoke(nodes, number % 2, tokens[f"lost {number}"])
        until(lambda: min(status_of(verifier)[1] for verifier in (one, two)) == 4)
        swap(f"DROP DATABASE {name} WITH (FORCE)", f"ALTER DATABASE {copy} RENAME TO {name}")
        for at in range(2):
            written(nodes, at)
        _everything_is_heeded(nodes, [one, two], tokens)


def test_a_revoked_copy_that_only_a_node_knows_is_written_again(
    copies: tuple[str, str], tmp_path: Path
) -> None:
    """A node reads that the database has lost entries, in the same history: then that is over, too."""
    url, _ = copies
    with cluster(tmp_path, url) as nodes, nodes.attach(1) as verifier:
        token = nodes.issue(0)
        copy = narrow(token, "scope = photos:read")
        revoke(nodes, 0, copy)
        body = {"user": "admin"}
        answer = nodes.clients[0].post(
            "/v1/revocations", json=body, headers=basic("admin", "admin's password")
        )
        assert answer.is_success
        until(lambda: not accepted(verifier, copy) and not accepted(verifier, token))
        epoch = verifier.status().epoch
        sql(url, "DELETE FROM revocations")
        sql(url, "UPDATE meta SET revocation_sequence = 0")
        until(lambda: sql(url, "SELECT count(*) FROM revocations")[0][0] == 2)
        until(lambda: verifier.status().epoch > epoch)
        nodes.nodes[1].stop()
        nodes.restart(1)
        for http in nodes.clients:
            assert not authorized(http, copy)
            assert not authorized(http, token)
