"""One damaged row stops nothing else: not the start, not the commands that repair it. It is named, loudly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from caveats import PrivateKey
from caveats.token import encode_base64
from caveats_service.runtime import ServiceRuntime
from caveats_service.settings import Settings
from caveats_service.storage.encryption import SealKeyError
from tests.support.service import (
    ADMIN_PASSWORD,
    GENEROUS,
    Service,
    admin_token,
    basic,
    bearer,
    cli,
    execute,
    new_user,
    problem,
    serving,
)

DAMAGES = {
    "a flipped bit": "UPDATE master_keys SET sealed = CAST(substr(sealed, 1, 40) || 'x' AS BLOB) WHERE key_id = ?",
    "cut off": "UPDATE master_keys SET sealed = substr(sealed, 1, 20) WHERE key_id = ?",
    "empty": "UPDATE master_keys SET sealed = x'' WHERE key_id = ?",
    "of another row": "UPDATE master_keys SET sealed = (SELECT sealed FROM master_keys WHERE key_id <> ?)",
}


def rotate(service: Service, *, now: bool = True) -> str:
    with service.client(headers=basic("admin", ADMIN_PASSWORD)) as http:
        return str(http.post("/v1/keys/rotate", json={"now": now}).json()["id"])


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_key_that_only_verifies_is_left_out_named_and_retired_by_force(
    tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path) as service:
        user = new_user(service)
        under_k1 = user.token()
        rotate(service)
        under_k2 = user.token()
    execute(tmp_path, damage, "k1")
    for _ in range(2):  # at every start
        capfd.readouterr()
        with serving(tmp_path) as service, service.client() as http:
            assert "key_damaged" in capfd.readouterr().out
            ready = http.get("/readyz")
            assert ready.status_code == 200
            assert ready.json()["damaged"] == ["master key k1"]
            assert http.get("/v1/authorize", headers=bearer(under_k2)).status_code == 200
            assert http.get("/v1/authorize", headers=bearer(under_k1)).status_code == 401
            assert http.get("/v1/keys", headers=basic("admin", ADMIN_PASSWORD)).status_code == 200
            issued = http.post("/v1/tokens", headers=bearer(under_k2), json={"scope": "a:b"})
            assert issued.status_code == 201
    listed = cli(tmp_path, "keys", "list")
    assert "verifying (damaged)" in listed.stdout
    assert "damaged: " in listed.stderr
    assert '"verifying"' in cli(tmp_path, "keys", "list", "--json").stdout
    assert cli(tmp_path, "keys", "retire", "k1", expect=1).stderr.startswith(
        "caveats-service: tokens under k1"
    )
    cli(tmp_path, "keys", "retire", "k1", "--force")
    with serving(tmp_path) as service, service.client() as http:
        assert "damaged" not in http.get("/readyz").json()
        assert http.get("/v1/authorize", headers=bearer(under_k2)).status_code == 200
    assert "damaged" not in cli(tmp_path, "keys", "list").stdout


def test_a_damaged_active_key_stops_the_start_and_says_how_it_is_repaired(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        user = new_user(service)
    execute(tmp_path, DAMAGES["cut off"], "k1")
    runtime = ServiceRuntime(Settings.load(data_dir=tmp_path / "data", **GENEROUS))
    with pytest.raises(
        SealKeyError, match=r"keys rotate --now`, then `caveats-service keys retire k1 --force"
    ):
        asyncio.run(runtime.start())
    assert "active (damaged)" in cli(tmp_path, "keys", "list").stdout
    cli(tmp_path, "keys", "rotate", "--now")
    cli(tmp_path, "keys", "retire", "k1", "--force")
    with serving(tmp_path) as service, service.client() as http:
        assert http.get("/readyz").json() == {"status": "ready", "active_key": "k2"}
        user.service = service
        assert http.get("/v1/authorize", headers=bearer(user.token())).status_code == 200


def test_a_damaged_published_key_never_issues_and_the_next_rotation_replaces_it(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        rotate(service, now=False)
    execute(tmp_path, DAMAGES["cut off"], "k2")
    with serving(tmp_path, key_propagation="0s") as service, service.client() as http:
        assert http.get("/readyz").json()["damaged"] == ["master key k2"]
        service.run(service.runtime.master_keys.tend())
        assert http.get("/readyz").json()["active_key"] == "k1"
        assert "damaged" in cli(tmp_path, "keys", "list").stdout
        assert rotate(service) == "k3"
        assert http.get("/readyz").json() == {"status": "ready", "active_key": "k3"}


def test_a_verifier_or_agent_with_a_damaged_key_is_named_and_can_be_removed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such as one of low order, which was taken once."""
    key = encode_base64(PrivateKey.generate().public_key)
    with serving(tmp_path) as service, service.client(headers=bearer(admin_token(service))) as http:
        body = {"audience": "photos", "public_key": key}
        verifier = http.post("/v1/verifiers", json=body).json()["verifier_id"]
        whole = http.post("/v1/verifiers", json=body).json()["verifier_id"]
        agent = http.post("/v1/agents", json={"username": "admin", "public_key": key}).json()["agent_id"]
    execute(tmp_path, "UPDATE verifiers SET public_key = zeroblob(32) WHERE verifier_id = ?", verifier)
    execute(tmp_path, "UPDATE agents SET public_key = zeroblob(32)")
    with serving(tmp_path) as service, service.client(headers=basic("admin", ADMIN_PASSWORD)) as http:
        assert capfd.readouterr().out.count("row_damaged") == 2
        assert http.get("/readyz").json()["damaged"] == [f"verifier {verifier}", f"agent {agent}"]
        assert problem(http.get(f"/v1/verifiers/{verifier}/keys")) == (409, "conflict")
        assert http.get(f"/v1/verifiers/{whole}/keys").status_code == 200
        assert http.delete(f"/v1/verifiers/{verifier}").status_code == 204
        cli(tmp_path, "agents", "remove", agent)
    with serving(tmp_path) as service, service.client() as http:
        assert "damaged" not in http.get("/readyz").json()


def test_a_damaged_reply_is_a_conflict_and_not_an_error_of_the_service(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    service = start()
    headers = {"Idempotency-Key": "12345678"}
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    with service.client() as http:
        assert http.post("/v1/tokens", json=body, headers=headers).status_code == 201
        assert http.post("/v1/tokens", json=body, headers=headers).status_code == 201
        execute(tmp_path, "UPDATE idempotency SET sealed_reply = x'00'")
        assert problem(http.post("/v1/tokens", json=body, headers=headers)) == (409, "conflict")
        assert http.post("/v1/tokens", json=body, headers={"Idempotency-Key": "87654321"}).status_code == 201


@pytest.mark.parametrize(
    "key", [b"", bytes(31), bytes(32), bytes([1]) + bytes(31), bytes([0xEC]) + bytes([0xFF]) * 31]
)
def test_a_public_key_that_cannot_be_used_is_not_registered(service: Service, admin: str, key: bytes) -> None:
    """Too short, zero, or of low order."""
    with service.client(headers=bearer(admin)) as http:
        for path, rest in (("verifiers", {"audience": "photos"}), ("agents", {"username": "admin"})):
            answer = http.post(f"/v1/{path}", json={**rest, "public_key": encode_base64(key)})
            assert problem(answer) == (400, "bad_request")
