"""Two nodes on one PostgreSQL: any node answers anything, and what one learns the others know within a second."""

from __future__ import annotations

from statistics import median
from time import monotonic

import pytest

from tests.support.cluster import AUDIENCE, Cluster, accepted, at_once, authorized, seconds_until, sql, until
from tests.support.service import ADMIN_PASSWORD, basic, bearer, narrow


def test_nodes_that_start_at_once_on_an_empty_database_agree_on_one_key_and_one_admin(two: Cluster) -> None:
    states = [row["state"] for row in sql(two.database_url, "SELECT state FROM master_keys")]
    assert states.count("active") == 1
    assert states.count("published") == 0
    assert [tuple(row) for row in sql(two.database_url, "SELECT username FROM users")] == [("admin",)]
    assert two.keys(0) == two.keys(1)


def test_a_token_of_one_node_is_good_at_the_other(two: Cluster) -> None:
    for issued_at, asked_at in ((0, 1), (1, 0)):
        token = two.issue(issued_at)
        assert authorized(two.clients[asked_at], token)
        body = {"token": token, "audience": "photos", "scope": "photos:read"}
        assert two.clients[asked_at].post("/v1/verify", json=body).json()["granted"]


def test_what_is_revoked_at_one_node_is_refused_at_the_other_and_by_verifiers_within_a_second(
    two: Cluster,
) -> None:
    other_node, downstream = [], []
    with two.attach(1) as verifier:
        for _ in range(8):
            token = two.issue(0)
            copy = narrow(token, "note = a copy")
            for one in (token, copy):
                assert authorized(two.clients[1], one)
                assert accepted(verifier, one)
            assert (
                two.clients[0]
                .post("/v1/revocations", json={"presented": True}, headers=bearer(copy))
                .status_code
                == 201
            )
            acknowledged = monotonic()
            assert not authorized(two.clients[0], copy)  # the node itself: the very next request
            other_node.append(
                seconds_until(lambda copy=copy: not authorized(two.clients[1], copy), acknowledged, 5)
            )
            downstream.append(seconds_until(lambda copy=copy: not accepted(verifier, copy), acknowledged, 5))
            assert authorized(two.clients[1], token)
            assert accepted(verifier, token)
    print(f"other node: {median(other_node):.3f} s, verifier there: {median(downstream):.3f} s")
    assert max(other_node) <= 1
    assert max(downstream) <= 1


def test_an_account_deleted_at_one_node_is_dead_at_the_other_and_at_verifiers_within_a_second(
    two: Cluster,
) -> None:
    two.clients[0].post("/v1/users", json={"username": "leaver", "password": "correct horse"})
    wish = {"username": "leaver", "password": "correct horse", "audience": "photos"}
    token = two.clients[0].post("/v1/tokens", json=wish).json()["token"]
    with two.attach(1) as verifier:
        assert authorized(two.clients[1], token)
        assert accepted(verifier, token)
        admin = basic("admin", ADMIN_PASSWORD)
        assert two.clients[0].delete("/v1/users/leaver", headers=admin).status_code == 204
        acknowledged = monotonic()
        assert seconds_until(lambda: not authorized(two.clients[1], token), acknowledged, 5) <= 1
        assert seconds_until(lambda: not accepted(verifier, token), acknowledged, 5) <= 1
    assert two.clients[1].post("/v1/tokens", json=wish).status_code == 401
    taken = two.clients[1].post("/v1/users", json={"username": "leaver", "password": "another horse"})
    assert taken.status_code == 409


def test_what_an_issuing_client_has_issued_dies_with_it_everywhere_within_a_second(two: Cluster) -> None:
    bounds = {"name": "site", "users": ["admin"], "audiences": [AUDIENCE], "scope": "photos:*"}
    site = two.clients[0].post("/v1/clients", json=bounds, headers=two.admin()).json()
    secret = {name: site[name] for name in ("client_id", "client_secret")}
    wish = {**secret, "user": "admin", "scope": "photos:read"}
    token = two.clients[1].post("/v1/tokens", json=wish).json()["token"]
    with two.attach(1) as verifier:
        assert authorized(two.clients[1], token)
        assert accepted(verifier, token)
        gone = two.clients[0].delete(f"/v1/clients/{site['client_id']}", headers=two.admin())
        assert gone.status_code == 204
        acknowledged = monotonic()
        assert seconds_until(lambda: not authorized(two.clients[1], token), acknowledged, 5) <= 1
        assert seconds_until(lambda: not accepted(verifier, token), acknowledged, 5) <= 1
    assert two.clients[1].post("/v1/tokens", json=wish).status_code == 401


def test_a_key_that_was_forced_to_retire_is_dead_everywhere_within_five_seconds(two: Cluster) -> None:
    with two.attach(0) as here, two.attach(1) as there:
        token = two.issue(0)
        (key_id,) = [key for key, state in two.keys().items() if state == "active"]
        assert two.rotate(0, now=True).status_code == 201
        child = two.issue(1)  # against the admin's token, which is under the key that will be retired
        wish = {"audience": AUDIENCE, "scope": "photos:*"}
        signed_in = two.clients[1].post("/v1/tokens", json=wish, headers=basic("admin", ADMIN_PASSWORD))
        later = signed_in.json()["token"]
        for verifier in (here, there):
            assert accepted(verifier, token)
            until(lambda verifier=verifier: accepted(verifier, child), 2)
            until(lambda verifier=verifier: accepted(verifier, later), 2)  # `now` waits for nobody
        admin = bearer(
            two.clients[0]
            .post("/v1/tokens", json={"scope": "* caveats:*"}, headers=two.admin())
            .json()["token"]
        )
        path = f"/v1/keys/{key_id}/retire"
        refused = two.clients[0].post(path, json={}, headers=admin)
        assert (refused.status_code, refused.json()["code"]) == (409, "key_in_use")
        assert two.clients[0].post(path, json={"force": True}, headers=admin).status_code == 200
        retired = monotonic()
        assert not authorized(two.clients[0], token)
        for dead in (
            lambda: not authorized(two.clients[1], token),
            lambda: not accepted(here, token),
            lambda: not accepted(there, token),
            lambda: not authorized(two.clients[1], child),
            lambda: not accepted(here, child),
            lambda: not accepted(there, child),
        ):
            assert seconds_until(dead, retired, 5) <= 5
        print(f"dead everywhere after {monotonic() - retired:.3f} s")
        for verifier in (here, there):
            assert accepted(verifier, later)


def test_nodes_that_rotate_at_once_end_with_one_active_key(two: Cluster) -> None:
    admin = two.admin()
    for _ in range(5):
        answers = at_once(
            *(
                lambda http=http: http.post("/v1/keys/rotate", json={"now": True}, headers=admin)
                for http in two.clients
                for _ in range(2)
            )
        )
        statuses = {answer.status_code for answer in answers}
        assert 201 in statuses
        assert statuses <= {201, 409}  # 409: another was faster
        states = list(two.keys(0).values())
        assert states.count("active") == 1
        assert states.count("published") == 0
        assert two.keys(0) == two.keys(1)
        assert all(authorized(http, two.issue(at)) for at in (0, 1) for http in two.clients)


@pytest.mark.parametrize("asked", [{}, {"note": "ci"}], ids=["a token", "a labelled token"])
def test_an_issue_sent_again_to_another_node_answers_with_the_same_token(
    two: Cluster, asked: dict[str, str]
) -> None:
    headers = {**two.admin(), "Idempotency-Key": f"issue-once-{len(asked)}"}
    body = {"audience": "photos", "scope": "photos:*", **asked}
    answers = [http.post("/v1/tokens", json=body, headers=headers) for http in (*two.clients, *two.clients)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    at_the_same_moment = at_once(
        *(
            lambda http=http: http.post(
                "/v1/tokens", json=body, headers={**headers, "Idempotency-Key": f"issue-at-once-{len(asked)}"}
            )
            for http in two.clients
            for _ in range(3)
        )
    )
    assert {answer.status_code for answer in at_the_same_moment} == {201}
    assert len({answer.json()["token"] for answer in at_the_same_moment}) == 1
    other = two.clients[1].post("/v1/tokens", json={**body, "expires_in": "1h"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_a_revocation_sent_again_to_another_node_is_the_same_entry(two: Cluster) -> None:
    token = two.issue(0)
    answers = [
        http.post("/v1/revocations", json={"presented": True}, headers=bearer(token))
        for http in (*two.clients, *two.clients)
    ]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["sequence"] for answer in answers}) == 1


def test_a_label_made_at_one_node_is_listed_at_the_other(two: Cluster) -> None:
    admin = two.admin()
    made = two.clients[0].post("/v1/tokens", json={"note": "for the other node"}, headers=admin).json()
    listed = two.clients[1].get("/v1/tokens", headers=admin).json()["tokens"]
    assert made["token_id"] in {token["token_id"] for token in listed}
    assert two.clients[1].delete(f"/v1/tokens/{made['token_id']}", headers=admin).status_code == 204
    until(lambda: not authorized(two.clients[0], made["token"], "default"), 1)
