"""The database as a whole: only `serve`, `migrate` and `restore` make one, and only the first two change its schema."""

# ruff: noqa: ASYNC220, ASYNC240  a test has its loop to itself and may block

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from alembic import command as alembic
from alembic.config import Config
from sqlalchemy import create_engine

from caveats.token import encode_base64
from caveats_service.storage.engines import migrate
from tests.support.service import COMMAND, cli, command, environment, execute, process, rows
from tests.support.store import new_place

OLD = "0003"
NEWEST = max(path.name[:4] for path in (migrate.LOCATION / "versions").glob("[0-9]*.py"))
WORK = [
    ["users", "list"],
    ["users", "add", "x", "--password-stdin"],
    ["users", "passwd", "x", "--password-stdin"],
    ["users", "disable", "x"],
    ["users", "enable", "x"],
    ["users", "admin", "x"],
    ["groups", "list"],
    ["groups", "set", "g"],
    ["groups", "add", "g", "x"],
    ["groups", "remove", "g", "x"],
    ["groups", "delete", "g"],
    ["agents", "list"],
    ["agents", "add", "x", encode_base64(b"k" * 32)],
    ["agents", "remove", "x"],
    ["keys", "list"],
    ["keys", "rotate"],
    ["keys", "retire", "k1"],
    ["keys", "export", "--audience", "photos"],
    ["audit"],
    ["restored"],
]
"""Every command that needs a database, but for `backup` and `migrate --check`."""


def old_database(folder: Path, revision: str = OLD) -> None:
    """A database as an older version has left it, beside its seal key."""
    cli(folder, "migrate")
    path = folder / "data" / "caveats.db"
    path.unlink()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrate.LOCATION))
        config.set_main_option("path_separator", "os")
        config.attributes.update(connection=connection, applied=None)
        alembic.upgrade(config, revision)
        connection.exec_driver_sql("INSERT INTO users VALUES ('alice', 'hash', 0, '*', 1, NULL, 1)")
    engine.dispose()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commands leave it alone, so that one is enough."""
    folder = tmp_path_factory.mktemp("old")
    old_database(folder)
    return folder


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newer")
    cli(folder, "migrate")
    execute(folder, "UPDATE alembic_version SET version_num = '9999'")
    return folder


def schema(folder: Path) -> str:
    return str(rows(folder, "SELECT version_num FROM alembic_version")[0][0])


@pytest.mark.parametrize("arguments", [*WORK, ["backup", "b"], ["migrate", "--check"]], ids=" ".join)
def test_where_there_is_no_database_no_command_makes_one(tmp_path: Path, arguments: list[str]) -> None:
    done = cli(tmp_path, *arguments, expect=1, stdin="password1\n")
    assert done.stderr.count("\n") == 1
    assert "there is no database" in done.stderr
    assert "migrate" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["users", "list"], ["restored"], ["backup", "b"]], ids=" ".join)
def test_a_file_with_nothing_in_it_is_no_database(tmp_path: Path, arguments: list[str]) -> None:
    """A first start that was killed leaves one."""
    (tmp_path / "data").mkdir()
    for content in (b"",):
        (tmp_path / "data" / "caveats.db").write_bytes(content)
        assert "there is no database" in cli(tmp_path, *arguments, expect=1).stderr
    cli(tmp_path, "migrate")
    assert schema(tmp_path) == NEWEST


@pytest.mark.slow
async def test_in_an_empty_postgresql_no_command_makes_tables(tmp_path: Path) -> None:
    async with new_place("postgresql", tmp_path) as place:
        done = command(
            tmp_path,
            *("users", "add", "x", "--password-stdin"),
            expect=1,
            stdin="password1\n",
            DATABASE_URL=place.url,
        )
        assert "there is no database of this service at CAVEATS_DATABASE_URL" in done.stderr
        assert await place.rows("SELECT 1 FROM pg_class WHERE relname = 'meta'") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", WORK, ids=" ".join)
def test_a_command_leaves_an_older_schema_alone_and_says_what_to_do(old: Path, arguments: list[str]) -> None:
    done = cli(old, *arguments, expect=1, stdin="password1\n")
    assert done.stderr == (
        f"caveats-service: the database has schema {OLD}, this version wants {NEWEST}: "
        "run `caveats-service migrate` (after a backup) or `serve`\n"
    )
    assert schema(old) == OLD


@pytest.mark.slow
def test_the_backup_before_an_upgrade_is_a_way_back(tmp_path: Path) -> None:
    """Neither the backup nor the look changes the schema, and the backup goes back as it was."""
    old_database(tmp_path)
    target = tmp_path / "before.backup"
    (tmp_path / "data" / "seal.key").rename(tmp_path / "seal.key")  # a backup needs none
    cli(tmp_path, "backup", str(target))
    checked = cli(tmp_path, "migrate", "--check")
    (tmp_path / "seal.key").rename(tmp_path / "data" / "seal.key")
    assert f"from schema {OLD} to {NEWEST}" in checked.stderr
    assert checked.stderr.count("would be done: ") == int(NEWEST) - int(OLD)
    assert schema(tmp_path) == OLD

    done = cli(tmp_path, "migrate")
    assert f"done: {NEWEST} " in done.stderr
    assert f"the database has schema {NEWEST}" in done.stderr
    assert [user["username"] for user in json.loads(cli(tmp_path, "users", "list", "--json").stdout)] == [
        "alice"
    ]
    assert "nothing to do" in cli(tmp_path, "migrate", "--check").stderr
    assert "done:" not in cli(tmp_path, "migrate").stderr

    cli(tmp_path, "restore", str(target), "--force")
    with contextlib.closing(sqlite3.connect(target)) as connection:  # what the older version would restore
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(OLD,)]


@pytest.mark.parametrize(
    "arguments", [*WORK, ["backup", "b"], ["migrate", "--check"], ["migrate"]], ids=" ".join
)
def test_a_newer_schema_is_one_clear_line_and_left_alone(newer: Path, arguments: list[str]) -> None:
    before = (newer / "data" / "caveats.db").read_bytes()
    done = cli(newer, *arguments, expect=1, stdin="password1\n")
    assert done.stderr.count("\n") == 1
    assert "schema 9999" in done.stderr
    assert "newer version" in done.stderr
    assert (newer / "data" / "caveats.db").read_bytes() == before
    assert not Path("b").exists()


@pytest.mark.slow
def test_a_service_that_runs_goes_on_while_its_database_is_migrated(tmp_path: Path) -> None:
    with process(tmp_path) as service, service.client() as http:
        assert "nothing to do" in cli(tmp_path, "migrate", "--check").stderr
        cli(tmp_path, "migrate")
        assert http.get("/readyz").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_processes_that_migrate_at_once_do_it_once(kind: str, tmp_path: Path) -> None:
    async with new_place(kind, tmp_path) as place:
        given = {"SEAL_KEY": encode_base64(bytes(range(32)))}
        if kind == "postgresql":
            given["DATABASE_URL"] = place.url
        running = [
            subprocess.Popen([*COMMAND, "migrate"], env=environment(tmp_path, **given)) for _ in range(3)
        ]
        assert [one.wait(60) for one in running] == [0, 0, 0]
        assert await place.rows("SELECT version_num FROM alembic_version") == [(NEWEST,)]
        assert await place.rows("SELECT count(*) FROM meta") == [(1,)]
