"""caveats-service: what an operator does on the machine itself, its exit codes, and that it speaks JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import httpx2 as httpx
import pytest

from caveats import AudienceKeyring, Context, Verifier
from caveats.token import encode_base64
from caveats_service.cli.app import app
from caveats_service.core.clock import utc_now
from tests.support.service import (
    ADMIN_PASSWORD,
    COMMAND,
    User,
    bearer,
    cli,
    command,
    environment,
    execute,
    new_user,
    process,
    rows,
    serving,
    until,
)
from tests.support.store import KINDS, new_place
from tests.support.typed import at_terminal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cli")
    cli(made, "migrate")
    cli(made, "users", "add", "root", "--admin", "--password-stdin", stdin="root's password\n")
    return made


@pytest.mark.parametrize(
    "arguments", [["--help"], ["serve", "--help"], ["users", "--help"], ["keys", "export", "--help"]]
)
def test_help_is_there_and_names_the_settings(folder: Path, arguments: list[str]) -> None:
    assert "Usage" in cli(folder, *arguments).stdout


def test_help_imports_nothing_that_only_a_command_needs() -> None:
    """It is printed in a tenth of a second then, instead of in one and a half."""
    heavy = {"asyncio", "caveats", "caveats_service.settings", "pydantic", "rich", "sqlalchemy", "uvicorn"}
    program = f"import sys; import caveats_service.cli.app; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def commands_of(found: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, one in found.commands.items():
        if isinstance(one, click.Group):
            yield from commands_of(one, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands_of(app)), ids=" ".join)
def test_every_line_of_the_table_is_a_command_with_help(folder: Path, path: tuple[str, ...]) -> None:
    assert f"caveats-service {' '.join(path)} " in cli(folder, *path, "--help").stdout


def test_the_version_is_the_distributions(folder: Path) -> None:
    assert cli(folder, "--version").stdout == f"caveats-service {version('caveats')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shells_completion_script_is_there(folder: Path, shell: str) -> None:
    assert "_CAVEATS_SERVICE_COMPLETE" in cli(folder, "completion", shell).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["serve", "--workers", "0"],
        ["serve", "--port", "x"],
        ["users", "add"],
        ["users", "add", "BAD NAME", "--password-stdin"],
        ["users", "add", "x", "--scope", "nonsense", "--password-stdin"],
        ["users", "delete", "root"],
        ["groups", "set", "BAD NAME"],
        ["keys", "export"],
        ["keys", "export", "--audience", "Photos"],
        ["backup"],
    ],
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str]) -> None:
    done = cli(folder, *arguments, expect=2)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "add", "root", "--password-stdin"],
        ["users", "add", "short", "--password-stdin"],
        ["users", "passwd", "nobody", "--password-stdin"],
        ["users", "disable", "nobody"],
        ["users", "enable", "nobody"],
        ["users", "delete", "nobody", "--force"],
        ["users", "delete", "root", "--force"],
        ["users", "admin", "nobody"],
        ["groups", "set", "ops", "nobody"],
        ["groups", "add", "nowhere", "root"],
        ["groups", "delete", "nowhere"],
        ["keys", "retire", "k1"],
        ["keys", "retire", "k9"],
        ["keys", "export", "--audience", "photos", "-o", "/proc/nowhere"],
        ["restore", "/nowhere"],
    ],
)
def test_what_does_not_work_is_exit_code_1_and_one_line(folder: Path, arguments: list[str]) -> None:
    stdin = "short\n" if arguments[2:3] == ["short"] else "password1\n"
    cli(folder, "keys", "list")
    done = cli(folder, *arguments, stdin=stdin, expect=1)
    assert done.stderr.startswith("caveats-service: ")
    assert done.stderr.count("\n") == 1
    assert "password1" not in done.stderr


def test_settings_are_all_listed(folder: Path) -> None:
    listed = json.loads(cli(folder, "settings", "--json").stdout)
    variables = {row["variable"] for row in listed}
    assert {"CAVEATS_DATA_DIR", "CAVEATS_OPEN_REGISTRATION", "CAVEATS_TRUSTED_PROXIES"} <= variables
    text = cli(folder, "settings").stdout
    assert all(variable in text for variable in variables)
    assert all(row["meaning"] for row in listed)


@pytest.mark.slow
def test_accounts_are_added_listed_changed_and_disabled(folder: Path) -> None:
    cli(folder, "users", "add", "alice", "--scope", "photos:*", "--password-stdin", stdin="password1\n")
    users = {row["username"]: row for row in json.loads(cli(folder, "users", "list", "--json").stdout)}
    assert set(users["alice"]) == {
        "username",
        "is_admin",
        "scope",
        "created_at",
        "disabled_at",
        "password_changed_at",
    }
    assert (users["alice"]["scope"], users["alice"]["is_admin"]) == ("photos:*", False)
    assert users["root"]["is_admin"] is True
    assert "alice" in cli(folder, "users", "list").stdout
    with serving(folder) as service, service.client() as http:
        alice = User(service, "alice", "password1")
        tokens = [alice.token()]
        cli(folder, "users", "passwd", "alice", "--password-stdin", stdin="password2\n")
        alice.password = "password2"
        _dies(http, tokens[-1])
        tokens.append(alice.token())
        cli(folder, "users", "disable", "alice")
        _dies(http, tokens[-1])
        assert http.post("/v1/tokens", json={"username": "alice", "password": "password2"}).status_code == 401
        cli(folder, "users", "enable", "alice")
        assert http.get("/v1/tokens", headers=bearer(alice.token(scope="photos:*"))).status_code == 403
        cli(folder, "users", "admin", "alice")
        assert alice.issue(scope="caveats:admin")["scope"] == "caveats:admin"


def test_a_deleted_account_is_gone_for_good(folder: Path) -> None:
    cli(folder, "users", "add", "leaver", "--password-stdin", stdin="password1\n")
    refused = cli(folder, "users", "delete", "leaver", expect=2).stderr
    assert "add --force" in refused
    assert "leaver" in cli(folder, "users", "list").stdout
    cli(folder, "users", "delete", "Leaver", "--force")
    assert "leaver" not in cli(folder, "users", "list").stdout
    again = cli(folder, "users", "add", "leaver", "--password-stdin", stdin="password1\n", expect=1)
    assert "never" in again.stderr or "not given again" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code"), [("n\n", 2), ("y\n", 0)])
def test_at_a_terminal_a_deletion_is_asked_about(folder: Path, answer: str, code: int) -> None:
    name = f"asked{code}"
    cli(folder, "users", "add", name, "--password-stdin", stdin="password1\n")
    asked = ("[y/N]", answer)
    shown, ended = at_terminal([*COMMAND, "users", "delete", name], environment(folder), asked)
    assert ended == code
    assert "This cannot be undone" in shown
    assert (name in cli(folder, "users", "list").stdout) == (code == 2)


def test_the_audit_trail_says_who_did_what_the_newest_first(folder: Path) -> None:
    cli(folder, "users", "add", "odd", "--password-stdin", stdin="password1\n")
    cli(folder, "users", "disable", "odd")
    rows = json.loads(cli(folder, "audit", "--limit", "3", "--json").stdout)
    assert [(row["actor"], row["action"], row["subject"]) for row in rows] == [
        ("operator", "revocation.user", "odd"),
        ("operator", "user.disable", "odd"),
        ("operator", "user.create", "odd"),
    ]
    assert set(rows[0]) == {"id", "at", "actor", "action", "subject", "detail"}
    assert "password1" not in json.dumps(rows)
    (older,) = json.loads(
        cli(folder, "audit", "--before", str(rows[2]["id"]), "--limit", "1", "--json").stdout
    )
    assert older["id"] < rows[2]["id"]
    table = cli(folder, "audit").stdout
    assert table.index("user.disable") < table.index("user.create")
    assert "is_admin=no" in table
    assert " reason= " not in table


def test_groups_are_set_changed_listed_and_deleted(folder: Path) -> None:
    for name in ("gina", "gus"):
        cli(folder, "users", "add", name, "--password-stdin", stdin="password1\n")
    assert cli(folder, "groups", "set", "staff", "gus", "gina").stderr == "staff: gina gus\n"
    assert cli(folder, "groups", "remove", "staff", "gus").stderr == "staff: gina\n"
    assert cli(folder, "groups", "add", "staff", "root").stderr == "staff: gina root\n"
    (row,) = json.loads(cli(folder, "groups", "list", "--json").stdout)
    assert (row["name"], row["members"], row["created_at"][-1]) == ("staff", ["gina", "root"], "Z")
    assert "gina root" in cli(folder, "groups", "list").stdout
    cli(folder, "groups", "delete", "staff")
    assert json.loads(cli(folder, "groups", "list", "--json").stdout) == []


def test_agents_are_added_listed_and_removed(folder: Path) -> None:
    cli(folder, "users", "add", "robot", "--password-stdin", stdin="password1\n")
    key = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08="
    assert cli(folder, "agents", "add", "robot", key, "--name", "ci").stderr.startswith("added ")
    (row,) = json.loads(cli(folder, "agents", "list", "--json").stdout)
    assert (row["username"], row["name"]) == ("robot", "ci")
    assert row["public_key"] == key.translate({43: 45, 47: 95}).rstrip("=")
    assert "robot" in cli(folder, "agents", "list").stdout
    cli(folder, "agents", "add", "robot", key, expect=1)
    cli(folder, "agents", "add", "nobody", key[:-2] + "0=", expect=1)
    cli(folder, "agents", "add", "robot", "x", expect=2)
    cli(folder, "agents", "remove", row["agent_id"])
    cli(folder, "agents", "remove", row["agent_id"], expect=1)
    assert json.loads(cli(folder, "agents", "list", "--json").stdout) == []


def _dies(http, token: str) -> None:  # type: ignore[no-untyped-def]

    assert until(lambda: http.get("/v1/authorize", headers=bearer(token)).status_code == 401) < 1


def test_keys_are_listed_rotated_retired_while_the_service_runs(tmp_path: Path) -> None:
    with serving(tmp_path) as service, service.client() as http:
        user = new_user(service)
        old = user.token()
        cli(tmp_path, "keys", "rotate")
        cli(tmp_path, "keys", "rotate", "--now")
        listed = json.loads(cli(tmp_path, "keys", "list", "--json").stdout)
        assert {row["key_id"]: row["state"] for row in listed} == {"k1": "verifying", "k2": "active"}
        assert "sealed" not in str(listed)
        assert cli(tmp_path, "keys", "retire", "k1", expect=1).stderr.count("may be alive") == 1
        cli(tmp_path, "keys", "retire", "k1", "--force")
        from tests.support.service import until

        until(lambda: http.get("/v1/authorize", headers=bearer(old)).status_code == 401)
        assert http.get("/v1/authorize", headers=bearer(user.token())).status_code == 200


def test_exported_keys_verify_what_the_service_issues_for_that_audience_only(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        user = new_user(service)
        out = tmp_path / "photos.keys"
        out.write_text("old")
        out.chmod(0o644)
        cli(tmp_path, "keys", "export", "--audience", "photos", "--output", str(out))
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        printed = cli(tmp_path, "keys", "export", "--audience", "photos").stdout
        assert json.loads(printed) == json.loads(out.read_text())
        verifier = Verifier(AudienceKeyring.from_json(json.loads(printed)), audience="photos")
        now = utc_now()
        assert verifier.verify(user.token(audience="photos"), Context(now=now)).user == user.username
        from caveats import Refused

        with pytest.raises(Refused):
            verifier.verify(user.token(), Context(now=now))


def test_who_exports_the_services_own_audience_is_warned(folder: Path) -> None:
    cli(folder, "keys", "list")
    done = cli(folder, "keys", "export", "--audience", "default", UNSAFE_SHARE_ACCOUNT_KEYS="true")
    assert "this service itself" in done.stderr
    assert "this service itself" not in cli(folder, "keys", "export", "--audience", "photos").stderr


def test_a_backup_taken_under_load_restores_whole_and_moves_the_epoch_on(tmp_path: Path) -> None:
    backups = [tmp_path / f"backup{n}.db" for n in range(2)]
    with serving(tmp_path) as service:
        user = new_user(service)
        acked: list[str] = []
        done = threading.Event()

        def load() -> None:
            with service.client() as http:
                while not done.is_set():
                    issued = user.issue(note=f"n{len(acked)}")
                    http.post("/v1/revocations", json={"presented": True}, headers=bearer(issued["token"]))
                    acked.append(issued["token_id"])

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        before = []
        for target in backups:
            before.append(list(acked))
            cli(tmp_path, "backup", str(target))
        done.set()
        for thread in threads:
            thread.join()
        cli(tmp_path, "backup", str(backups[0]), expect=1)
        cli(tmp_path, "restore", str(backups[0]), "--force", expect=1)
        last = user.token()
        epoch = service.runtime.feed.epoch
    assert all(stat.S_IMODE(target.stat().st_mode) == 0o600 for target in backups)
    assert cli(tmp_path, "restore", str(backups[1]), expect=1).stderr.count("exists") == 1
    out = cli(tmp_path, "restore", str(backups[1]), "--force").stderr
    assert "epoch is now" in out
    with serving(tmp_path) as service, service.client() as http:
        assert service.runtime.feed.epoch > epoch
        whole = User(service, user.username, user.password).token()
        kept = {row[0] for row in rows(tmp_path, "SELECT token_id FROM labelled_tokens")}
        assert set(before[1]) <= kept
        revoked = {row[0] for row in rows(tmp_path, "SELECT token_id FROM revocations")}
        assert set(before[1]) <= revoked
        assert http.get("/v1/authorize", headers=bearer(last)).status_code == 200
        assert http.get("/v1/tokens", headers=bearer(whole)).status_code == 200
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_restore_by_other_means_is_said_and_running_nodes_begin_anew(
    kind: str, tmp_path: Path
) -> None:
    """The database as it was before the second of two revocations: the node knows it, writes it again, and hears of the next."""
    async with new_place(kind, tmp_path) as place:
        given = {"DATABASE_URL": place.url, "SEAL_KEY": encode_base64(bytes(range(32)))}
        with process(tmp_path, **given) as node, node.client() as http:

            def live(token: str) -> bool:
                return http.get("/v1/authorize", headers=bearer(token)).status_code == 200

            body = {"username": "admin", "password": ADMIN_PASSWORD}
            tokens = [http.post("/v1/tokens", json=body).json()["token"] for _ in range(3)]
            for token in tokens[:2]:
                assert (
                    http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)).status_code
                    == 201
                )
            await place.execute("DELETE FROM revocations WHERE sequence = 2")
            await place.execute("UPDATE meta SET revocation_sequence = 1")
            done = await asyncio.to_thread(cli, tmp_path, "restored", **given)
            ((epoch,),) = await place.rows("SELECT epoch FROM meta")
            assert f"epoch is now {epoch}" in done.stderr
            assert epoch > 1
            for _ in range(200):
                if await place.rows("SELECT sequence FROM revocations ORDER BY sequence") == [(1,), (2,)]:
                    break
                await asyncio.sleep(0.1)
            answer = http.post("/v1/revocations", json={"presented": True}, headers=bearer(tokens[2]))
            assert (answer.status_code, answer.json()["sequence"]) == (201, 3)
            assert not any(map(live, tokens))
        begun = await place.rows("SELECT subject FROM audit WHERE action = 'revocation.bump_epoch'")
        assert set(begun) == {("",)}  # twice if the node noticed before it was said


def test_a_server_is_not_restored_from_a_file(tmp_path: Path) -> None:
    done = cli(tmp_path, "restore", "x", expect=1, DATABASE_URL="postgresql://127.0.0.1:1/d")
    assert "caveats-service restored" in done.stderr


def test_where_there_is_no_database_nothing_was_restored(tmp_path: Path) -> None:
    assert "no database" in cli(tmp_path, "restored", expect=1).stderr


@pytest.mark.slow
def test_a_database_in_use_is_not_restored_over(tmp_path: Path) -> None:
    with process(tmp_path):
        cli(tmp_path, "backup", str(tmp_path / "b.db"))
        done = cli(tmp_path, "restore", str(tmp_path / "b.db"), "--force", expect=1)
        assert "stop it first" in done.stderr


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    cli(tmp_path, "migrate")
    cli(tmp_path, "users", "add", "x", "--password-stdin", stdin="password1\n")
    bad = tmp_path / "bad.db"
    bad.write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    before = (tmp_path / "data" / "caveats.db").read_bytes()
    cli(tmp_path, "restore", str(bad), "--force", expect=1)
    assert (tmp_path / "data" / "caveats.db").read_bytes() == before


@pytest.mark.slow
def test_a_newer_schema_is_refused_clearly(tmp_path: Path) -> None:
    cli(tmp_path, "migrate")
    cli(tmp_path, "users", "add", "x", "--password-stdin", stdin="password1\n")
    execute(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    for done in (command(tmp_path, "serve", expect=1), cli(tmp_path, "keys", "list", expect=1)):
        assert "newer version" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_an_operator_does_is_in_the_audit_trail(folder: Path) -> None:
    actors = rows(folder, "SELECT DISTINCT actor FROM audit WHERE action LIKE 'user.%'")
    assert ("operator",) in actors


def test_the_admins_password_is_not_needed_from_the_command_line(folder: Path) -> None:
    assert ADMIN_PASSWORD not in cli(folder, "users", "list", "--json").stdout


@pytest.mark.slow
@pytest.mark.parametrize("what", ["passwd", "disable"])
def test_what_a_command_ends_is_dead_also_if_another_writer_held_the_database_meanwhile(
    tmp_path: Path, what: str
) -> None:
    """Tokens are asked for while the command waits for its turn: none outlives the answer of the command."""
    with serving(tmp_path) as service, service.client() as http:
        user = new_user(service)
        issued = [user.token()]
        held = sqlite3.connect(tmp_path / "data" / "caveats.db", isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        arguments = ["passwd", "--password-stdin"] if what == "passwd" else ["disable"]
        with ThreadPoolExecutor(1) as pool, contextlib.closing(held):
            done = pool.submit(
                cli,
                tmp_path,
                "users",
                arguments[0],
                user.username,
                *arguments[1:],
                stdin="another password\n",
            )
            ends = time.monotonic() + 1.2
            while time.monotonic() < ends:
                wish = {"username": user.username, "password": user.password}
                try:
                    issued.append(http.post("/v1/tokens", json=wish, timeout=0.3).json()["token"])
                except httpx.ReadTimeout:  # how late tokens are issued has to be written first, once a second
                    break
            held.execute("ROLLBACK")
            assert "all their tokens are revoked" in done.result(30).stderr
        service.run(service.runtime.feed.load())
        answers = {http.get("/v1/authorize", headers=bearer(token)).status_code for token in issued}
        assert answers == {401}


@pytest.mark.slow
def test_the_tokens_of_a_user_are_listed_and_revoked_one_by_one_or_all(tmp_path: Path) -> None:
    with serving(tmp_path) as service, service.client() as http:
        user = new_user(service)
        one, other = user.issue(note="one"), user.issue(note="two", audience="photos")
        http.get("/v1/authorize", headers=bearer(one["token"]))
        service.run(service.runtime.tokens.write_uses())

        def listed() -> list[dict[str, Any]]:
            return json.loads(cli(tmp_path, "users", "tokens", user.username, "--json").stdout)  # type: ignore[no-any-return]

        assert [row["token_id"] for row in listed()] == [other["token_id"], one["token_id"]]
        assert listed()[1]["last_used_at"] is not None
        cli(tmp_path, "users", "revoke", user.username.upper(), one["token_id"])
        cli(tmp_path, "users", "revoke", user.username, one["token_id"])
        assert [(row["status"], row["revoked_by"]) for row in listed()] == [("live", None), ("revoked", "id")]
        cli(tmp_path, "users", "revoke", user.username, "--all")
        assert [row["revoked_by"] for row in listed()] == ["user", "id"]
        shown = cli(tmp_path, "users", "tokens", user.username, COLUMNS="200").stdout
        assert re.search(r"revoked \S+ \S+, with all of the user's", shown)
        assert re.search(r"revoked \S+ \S+, by its id", shown)
        assert "not at the service" in shown
        for token in (one["token"], other["token"]):
            until(lambda token=token: http.get("/v1/authorize", headers=bearer(token)).status_code == 401)  # type: ignore[misc]
        assert http.get("/v1/authorize", headers=bearer(user.token())).status_code == 200
    written = rows(tmp_path, "SELECT action, actor FROM audit WHERE action LIKE 'revocation.%' ORDER BY id")
    assert written == [("revocation.token", "operator"), ("revocation.user", "operator")]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("tokens", "nobody"), 1, "no such user"),
        (("tokens", "no body"), 1, "a username has"),
        (("revoke", "root"), 2, "--all"),
        (("revoke", "root", "01KAJ5M3W8E2RZ6V8Q4T0N9XCD", "--all"), 2, "--all"),
        (("revoke", "root", "01KAJ5M3W8E2RZ6V8Q4T0N9XCD"), 1, "no labelled token"),
        (("revoke", "nobody", "01KAJ5M3W8E2RZ6V8Q4T0N9XCD"), 1, "no such user"),
        (("revoke", "nobody", "--all"), 1, "no such user"),
    ],
)
def test_what_names_no_token_of_a_user_revokes_nothing(
    folder: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    before = rows(folder, "SELECT * FROM revocations")
    assert words in cli(folder, "users", *arguments, expect=code).stderr
    assert rows(folder, "SELECT * FROM revocations") == before
