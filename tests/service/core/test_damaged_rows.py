"""Rows of SQLite that hold what their columns cannot: the rest goes on, they are named, and a command removes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caveats import PrivateKey
from caveats.token import encode_base64
from tests.support.service import (
    ADMIN_PASSWORD,
    admin_token,
    basic,
    bearer,
    cli,
    command,
    execute,
    new_user,
    problem,
    rows,
    serving,
)

DAMAGES = [
    ("users", "created_at", "'yesterday'"),
    ("users", "created_at", "9223372036854775807"),
    ("users", "password_hash", "x'00ff'"),
    ("users", "is_admin", "'maybe'"),
    ("users", "disabled_at", "'never'"),
    ("groups", "created_at", "1.5"),
    ("verifiers", "created_at", "x'00'"),
    ("verifiers", "revoked_at", "'x'"),
    ("agents", "created_by", "x'00'"),
    ("labelled_tokens", "expires_at", "'soon'"),
    ("audit", "detail", "'{'"),
]


pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database with a row in each table; the damaged one of `users` is bob."""
    key = encode_base64(PrivateKey.generate().public_key)
    with serving(tmp_path) as service, service.client(headers=bearer(admin_token(service))) as http:
        http.post("/v1/users", json={"username": "bob", "password": "correct horse"})
        http.post("/v1/verifiers", json={"audience": "photos", "public_key": key})
        http.post("/v1/agents", json={"username": "bob", "public_key": key})
        with service.client() as bob:
            body = {"username": "bob", "password": "correct horse", "note": "ci"}
            assert bob.post("/v1/tokens", json=body).status_code == 201
    cli(tmp_path, "groups", "set", "staff", "bob")
    return tmp_path


@pytest.mark.parametrize(("table", "column", "value"), DAMAGES)
def test_a_damaged_row_stops_nothing_else_is_named_and_can_be_removed(
    folder: Path, table: str, column: str, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    only = " WHERE username = 'bob'" if table == "users" else ""
    execute(folder, f"UPDATE {table} SET {column} = {value}{only}")
    with serving(folder) as service, service.client(headers=basic("admin", ADMIN_PASSWORD)) as http:
        assert "row_damaged" in capfd.readouterr().out
        ready = http.get("/readyz")
        assert ready.status_code == 200
        assert any(one.startswith(f"{table} ") and column in one for one in ready.json()["damaged"])
        assert http.post("/v1/tokens", json={"scope": "photos:read"}).status_code == 201
        assert http.get("/v1/users").status_code == 200
        assert new_user(service).token()
        with service.client() as bob:
            signed_in = bob.post("/v1/tokens", json={"username": "bob", "password": "correct horse"})
        expected = (500, "internal") if table == "users" and column != "is_admin" else None
        assert expected is None or problem(signed_in) == expected
    listed = json.loads(cli(folder, "damage", "list", "--json").stdout)
    assert {row["table"] for row in listed} == {table}
    assert all(column in row["columns"] for row in listed)
    for row in listed:
        cli(folder, "damage", "remove", table, str(row["row"]))
    assert json.loads(cli(folder, "damage", "list", "--json").stdout) == []
    assert cli(folder, "damage", "remove", table, "1", expect=1).stderr.count("\n") == 1
    with serving(folder) as service, service.client() as http:
        assert "damaged" not in http.get("/readyz").json()


def test_an_account_that_is_removed_is_revoked_before(folder: Path) -> None:
    execute(folder, "UPDATE users SET scope = x'00' WHERE username = 'bob'")
    ((row,),) = rows(folder, "SELECT rowid FROM users WHERE username = 'bob'")
    cli(folder, "damage", "remove", "users", str(row))
    assert rows(folder, "SELECT count(*) FROM revocations WHERE username = 'bob'") == [(1,)]
    for table in ("agents", "group_members", "labelled_tokens"):
        assert rows(folder, f"SELECT count(*) FROM {table} WHERE username = 'bob'") == [(0,)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("token_id", "x'00'"),
        ("expires_at", "'never'"),
        ("expires_at", "9223372036854775807"),
        ("created_at", "1.5"),
    ],
)
def test_a_damaged_revocation_stops_the_start_since_it_may_have_revoked_any_token(
    folder: Path, column: str, value: str
) -> None:
    with serving(folder) as service, service.client(headers=bearer(admin_token(service))) as http:
        assert http.post("/v1/revocations", json={"presented": True}).status_code == 201
        execute(folder, f"UPDATE revocations SET {column} = {value}")
        service.run(service.runtime._look_for_damage())
        ready = http.get("/readyz")
        assert problem(ready) == (503, "unavailable")
        assert "damaged revocations: 1" in ready.json()["detail"]
    done = command(folder, "serve", expect=1)
    assert "the damaged revocations 1 have revoked is not known" in done.stderr
    assert "Traceback" not in done.stderr
    ((row,),) = rows(folder, "SELECT rowid FROM revocations")
    cli(folder, "damage", "remove", "revocations", str(row))
    with serving(folder) as service, service.client() as http:
        assert http.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("meta", "issued", "'{'"),
        ("meta", "issued", "x'00'"),
        ("service_keys", "sealed", "'abc'"),
        ("master_keys", "created_at", "'yesterday'"),
    ],
)
def test_damage_in_what_every_start_needs_is_said_in_one_line(
    folder: Path, table: str, column: str, value: str
) -> None:
    execute(folder, f"UPDATE {table} SET {column} = {value}")
    done = command(folder, "serve", expect=1)
    assert f"a row of {table} is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert column in cli(folder, "damage", "list").stdout


def test_an_active_key_whose_row_is_damaged_is_replaced_by_a_rotation(folder: Path) -> None:
    execute(folder, "UPDATE master_keys SET created_at = 'yesterday'")
    assert "keys rotate --now" in command(folder, "serve", expect=1).stderr
    cli(folder, "keys", "rotate", "--now")
    with serving(folder) as service, service.client() as http:
        assert http.get("/readyz").status_code == 200
        assert admin_token(service)
