"""Keys that another database has under the same ids: taken up by a node that runs, and confused with none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from caveats.revocation import open_rows, prove_reader
from tests.support.service import ADMIN_PASSWORD, Service, basic, bearer, execute, new_user, rows, until

ADMIN = basic("admin", ADMIN_PASSWORD)


def made_anew(folder: Path, service: Service, key_id: str) -> None:
    """The key of this id gives way to another one, as in a database that never had it and then made one.

    A service of this version makes no key under an id that another one had; one of before has done so.
    """
    execute(folder, "DELETE FROM master_keys WHERE key_id = ?", key_id)
    execute(folder, "UPDATE master_keys SET state = 'active'")
    with service.client(headers=ADMIN) as http:
        answer = http.post("/v1/keys/rotate", json={"now": True})
        assert answer.json()["id"] == key_id, answer.text


@pytest.mark.parametrize("retired_before", [False, True])
def test_a_key_made_anew_under_an_old_id_is_taken_up_by_every_node(
    start: Callable[..., Service], tmp_path: Path, *, retired_before: bool
) -> None:
    """For tokens, for tokens that came of others, and for the feed; what was under the old key is dead."""
    one, two = start(), start()
    user = new_user(one)
    with one.client(headers=ADMIN) as http:
        assert http.post("/v1/keys/rotate", json={"now": True}).json()["id"] == "k2"
        old = user.token()
        child = http.post("/v1/tokens", json={}, headers=bearer(old)).json()["token"]
        for node in (one, two):
            with node.client() as at:
                assert at.get("/v1/authorize", headers=bearer(old)).status_code == 200
                assert at.get("/v1/authorize", headers=bearer(child)).status_code == 200
    if retired_before:
        execute(tmp_path, "UPDATE master_keys SET state = 'verifying' WHERE key_id = 'k2'")
        for node in (one, two):
            node.run(node.runtime.master_keys.refresh())
    before = one.runtime.master_keys.keyring.export("photos")
    made_anew(tmp_path, one, "k2")
    new = user.token()
    for node in (one, two):
        with node.client() as http:
            assert http.get("/v1/authorize", headers=bearer(new)).status_code == 200 or until(
                lambda http=http: http.get("/v1/authorize", headers=bearer(new)).status_code == 200, 5
            )
            for text in (old, child):
                assert http.get("/v1/authorize", headers=bearer(text)).status_code == 401
            keys = node.runtime.master_keys.keyring.export("photos")
            assert keys.keys[-1].secret != before.keys[-1].secret
            proof = {"X-Feed-Proof": prove_reader(keys.keys[-1], datetime.now(UTC))}
            answer = http.get("/v1/revocations/feed", params={"audience": "photos"}, headers=proof)
            for line in answer.text.splitlines():
                open_rows(line, keys)


def test_after_a_new_epoch_no_key_id_is_made_that_a_lost_history_may_have(
    start: Callable[..., Service],
) -> None:
    service = start()
    epoch = service.runtime.feed.epoch
    with service.client(headers=ADMIN) as http:
        newest = max(int(row["id"][1:]) for row in http.get("/v1/keys").json()["keys"])
        service.run(service.runtime.store.revocations.bump_epoch(now=service.runtime.now(), actor="x"))
        until(lambda: service.runtime.feed.epoch > epoch)
        made = http.post("/v1/keys/rotate", json={"now": True}).json()["id"]
    assert int(made[1:]) > newest + 1000
    assert rows(service.settings.data_dir.parent, "SELECT count(*) FROM master_keys WHERE key_id = ?", made)
