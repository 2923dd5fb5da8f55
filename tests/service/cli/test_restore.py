"""A restore: the database before or the backup, never neither; with its seal key; and what comes back is said."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from caveats import PrivateKey
from caveats.token import encode_base64
from tests.support.service import (
    ADMIN_PASSWORD,
    COMMAND,
    admin_token,
    basic,
    bearer,
    cli,
    command,
    environment,
    new_user,
    rows,
    serving,
)

NOBODY = 65534


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, and a backup (`b`) after which much has changed. `names` says what."""
    folder = tmp_path_factory.mktemp("world")
    key = encode_base64(PrivateKey.generate().public_key)
    names = {}
    with serving(folder) as service, service.client(headers=bearer(admin_token(service))) as http:
        users = [new_user(service) for _ in range(5)]
        disabled, changed, demoted, member, deleted = (user.username for user in users)
        token = users[1].issue()
        cli(folder, "users", "admin", demoted)
        cli(folder, "groups", "set", "staff", member)
        verifier = http.post("/v1/verifiers", json={"audience": "photos", "public_key": key}).json()
        agent = http.post("/v1/agents", json={"username": "admin", "public_key": key}).json()
        cli(folder, "backup", str(folder / "b"))
        http.post("/v1/revocations", json={"token_id": token["token_id"]})
        http.post(f"/v1/users/{disabled}/disable")
        http.delete(f"/v1/users/{deleted}")
        cli(folder, "users", "passwd", changed, "--password-stdin", stdin="another password\n")
        cli(folder, "users", "admin", demoted, "--revoke")
        cli(folder, "groups", "remove", "staff", member)
        http.delete(f"/v1/verifiers/{verifier['verifier_id']}")
        http.delete(f"/v1/agents/{agent['agent_id']}")
        names = {
            "added": new_user(service).username,
            "token_id": token["token_id"],
            "verifier": verifier["verifier_id"],
            "agent": agent["agent_id"],
            "disabled": disabled,
            "deleted": deleted,
            "changed": changed,
            "demoted": demoted,
            "member": member,
        }
    cli(folder, "keys", "rotate", "--now")
    cli(folder, "keys", "retire", "k1", "--force")
    (folder / "names").write_text(json.dumps(names))
    return folder


@pytest.fixture
def folder(world: Path, tmp_path: Path) -> Path:
    shutil.copytree(world, tmp_path / "w")
    return tmp_path / "w"


def users(folder: Path) -> set[str]:
    return {name for (name,) in rows(folder, "SELECT username FROM users")}


def names(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "names").read_text())
    return found


@pytest.mark.slow
def test_a_restore_says_what_it_brings_back_and_what_is_gone(folder: Path) -> None:
    said = cli(folder, "restore", str(folder / "b"), "--force").stderr
    name = names(folder)
    for expected in (
        "the last change in the backup was at 20",
        "retired since, and verifies again (retire it by force): master key k1\n",
        "not in the backup, and tokens under it are dead: master key k2\n",
        f"revoked since, and good again: token {name['token_id']}\n",
        f"disabled since, and may sign in again: user {name['disabled']}\n",
        f"deleted since, and there again with all they had: user {name['deleted']}\n",
        f"with the password of then, which was changed since: user {name['changed']}\n",
        f"administrator no more since, and again one: user {name['demoted']}\n",
        f"added since, and gone: user {name['added']}\n",
        f"removed since, and given keys again: verifier {name['verifier']}\n",
        f"removed since, and signs in again: agent {name['agent']}\n",
        f"removed since, and again in it: member of the group {name['member']} in staff\n",
        "revocations made after the backup are not in it",
    ):
        assert expected in said
    assert name["disabled"] in said.partition("all that was issued to them")[2].splitlines()[0]
    with serving(folder) as service, service.client() as http:
        assert http.get("/readyz").json()["active_key"] == "k1"


@pytest.mark.slow
def test_a_restore_of_what_has_not_changed_has_nothing_to_say(folder: Path) -> None:
    cli(folder, "backup", str(folder / "c"))
    said = cli(folder, "restore", str(folder / "c"), "--force").stderr
    assert "since" not in said


def test_a_backup_of_another_seal_key_replaces_nothing(folder: Path) -> None:
    path = folder / "data" / "caveats.db"
    before = path.read_bytes()
    (folder / "data" / "seal.key").unlink()
    done = cli(folder, "restore", str(folder / "b"), "--force", expect=1)
    assert "no seal key" in done.stderr
    other = cli(folder, "restore", str(folder / "b"), "--force", expect=1, SEAL_KEY=encode_base64(b"k" * 32))
    assert "another seal key, and nothing was replaced" in other.stderr
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["caveats.db", "caveats.db.lock"]


def test_a_backup_is_restored_into_a_new_place_with_its_seal_key(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    assert "no seal key" in cli(target, "restore", str(folder / "b"), expect=1).stderr
    assert not target.exists()
    (target / "data").mkdir(parents=True, mode=0o700)
    shutil.copy(folder / "data" / "seal.key", target / "data")
    said = cli(target, "restore", str(folder / "b")).stderr
    assert "the last change in the backup was at 20" in said
    assert names(folder)["added"] not in users(target)


def restoring(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "restore", str(folder / "b"), "--force"],
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def killed_at(step: int, *arguments: str, folder: Path) -> bool:
    """Run a command in a process that kills itself before its so-manieth change to a folder. Whether it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*given: Any, **named: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*given, **named)

            return wrapped

        try:
            for name in ("link", "fsync", "rename", "replace", "unlink"):
                setattr(os, name, counted(getattr(os, name)))
            cli(folder, *arguments, expect=0)
        except BaseException:  # nothing of pytest may go on in the child
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    ending = os.waitstatus_to_exitcode(status)
    assert ending in (0, -signal.SIGKILL)
    return ending != 0


@pytest.mark.slow
@pytest.mark.parametrize("logs", [True, False])
def test_a_restore_that_is_killed_at_any_step_leaves_one_whole_database(folder: Path, *, logs: bool) -> None:
    """With and without a log beside the database, which a service that was killed leaves."""
    name = names(folder)["added"]
    before = shutil.copytree(folder / "data", folder / "before")
    seen = set()
    for at in range(1, 100):
        shutil.rmtree(folder / "data")
        shutil.copytree(before, folder / "data")
        if logs:
            crash(folder)
        killed = killed_at(at, "restore", str(folder / "b"), "--force", folder=folder)
        found = users(folder)
        seen.add(name in found)
        assert "admin" in found
        assert ("late" in found) == (logs and name in found)
        if not killed:
            break
    assert at > 5
    assert seen == {True, False}


def crash(folder: Path) -> None:
    """Write something that stands in the log only, and die."""
    code = (
        "import os, sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('PRAGMA journal_mode=WAL')\n"
        "c.execute(\"INSERT INTO users VALUES ('late', 'h', 0, '*', 1, NULL, 1)\")\nc.commit()\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder / "data" / "caveats.db")], check=True)
    assert (folder / "data" / "caveats.db-wal").stat().st_size > 0


@pytest.mark.slow
def test_a_restore_that_is_killed_at_any_moment_is_followed_by_a_start_on_a_whole_database(
    folder: Path,
) -> None:
    name = names(folder)["added"]
    before = shutil.copytree(folder / "data", folder / "before")
    pick = random.Random(3)
    for _ in range(4):
        shutil.rmtree(folder / "data")
        shutil.copytree(before, folder / "data")
        running = restoring(folder)
        time.sleep(pick.uniform(0.3, 2.0))
        running.kill()
        running.wait()
        with serving(folder) as service, service.client(headers=basic("admin", ADMIN_PASSWORD)) as http:
            assert service.runtime.first_admin is None
            assert http.get("/v1/users").status_code == 200
        assert {name, "admin"} & users(folder)
    cli(folder, "restore", str(folder / "b"), "--force")
    assert [file.name for file in (folder / "data").iterdir() if file.name.endswith(".tmp")] == []


@pytest.mark.parametrize("left", [".caveats.db.abc.tmp", "caveats.db.before-restore-20261130T000000Z"])
def test_after_an_interrupted_restore_no_start_makes_an_empty_database(folder: Path, left: str) -> None:
    """Into a new place, or of a version that was not so careful."""
    (folder / "data" / "caveats.db").rename(folder / "data" / left)
    for arguments in (["serve"], ["migrate"], ["users", "list"]):
        done = cli(folder, *arguments, expect=1)
        assert "restore" in done.stderr or arguments == ["users", "list"]
        assert not (folder / "data" / "caveats.db").exists()
    cli(folder, "restore", str(folder / "b"))
    assert "admin" in users(folder)


def test_a_backup_that_is_killed_leaves_nothing_under_its_name(folder: Path) -> None:
    at = 1
    while killed_at(at, "backup", str(folder / "c"), folder=folder):
        if (folder / "c").exists():  # it was finished, and dies on the way out
            break
        at += 1
    assert at > 1
    with closing(sqlite3.connect(folder / "c")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["backup", "c"], ["restore", "b", "--force"]], ids=["backup", "restore"]
)
def test_a_full_disk_changes_nothing_and_is_called_so(folder: Path, arguments: list[str]) -> None:
    code = (
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (64_000, resource.RLIM_INFINITY))\n"
        "from caveats_service.cli import main\nmain()"
    )
    before = (folder / "data" / "caveats.db").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "failed" in done.stderr
    assert "damaged" not in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "data" / "caveats.db").read_bytes() == before
    assert not [file.name for file in folder.rglob("*.tmp")]
    assert not (folder / "c").exists()


def cut(backup: Path) -> None:
    os.truncate(backup, 20_000)


def foreign(backup: Path) -> None:
    backup.unlink()
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def newer(backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def no_file(backup: Path) -> None:
    backup.unlink()


def a_folder(backup: Path) -> None:
    backup.unlink()
    backup.mkdir()


@pytest.mark.parametrize("spoil", [cut, foreign, newer, no_file, a_folder])
def test_what_is_no_backup_of_this_version_is_refused_in_one_line(folder: Path, spoil: object) -> None:
    spoil(folder / "b")  # type: ignore[operator]
    before = (folder / "data" / "caveats.db").read_bytes()
    done = cli(folder, "restore", str(folder / "b"), "--force", expect=1)
    assert done.stderr.count("\n") == 1
    assert (folder / "data" / "caveats.db").read_bytes() == before


def test_a_database_that_another_program_has_open_is_not_replaced(folder: Path) -> None:
    path = folder / "data" / "caveats.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("SELECT count(*) FROM users").fetchone()
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM users").fetchone()
        done = cli(folder, "restore", str(folder / "b"), "--force", expect=1)
    assert "another program has the database open" in done.stderr
    assert names(folder)["added"] in users(folder)


def test_a_database_behind_a_link_is_replaced_where_it_is(folder: Path) -> None:
    elsewhere = folder / "volume"
    elsewhere.mkdir()
    (folder / "data" / "caveats.db").rename(elsewhere / "real.db")
    (folder / "data" / "caveats.db").symlink_to(elsewhere / "real.db")
    cli(folder, "restore", str(folder / "b"), "--force")
    assert (folder / "data" / "caveats.db").is_symlink()
    assert names(folder)["added"] not in users(folder)
    assert [file.name for file in elsewhere.iterdir() if "before-restore" in file.name]


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@as_root
@pytest.mark.slow
def test_what_root_does_leaves_the_files_to_the_services_user(folder: Path) -> None:
    data = folder / "data"
    (data / "caveats.db.lock").unlink()
    for file in (data, *data.iterdir()):
        os.chown(file, NOBODY, NOBODY)
    (data / "caveats.db").chmod(0o640)
    crash(folder)
    command(folder, "users", "list")
    command(folder, "restore", str(folder / "b"), "--force")
    restored = (data / "caveats.db").stat()
    assert stat.S_IMODE(restored.st_mode) == 0o640
    command(folder, "users", "add", "x", "--password-stdin", stdin="password1\n")
    assert {file.stat().st_uid for file in data.iterdir()} == {NOBODY}
    assert {file.stat().st_gid for file in data.iterdir()} == {NOBODY}


@as_root
@pytest.mark.slow
def test_what_root_makes_first_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, NOBODY, NOBODY)
    data.chmod(0o700)
    command(tmp_path, "migrate")
    command(tmp_path, "users", "add", "x", "--password-stdin", stdin="password1\n")
    assert {file.name for file in data.iterdir()} >= {"caveats.db", "caveats.db.lock", "seal.key"}
    assert {file.stat().st_uid for file in data.iterdir()} == {NOBODY}


@as_root
def test_root_gives_nothing_away_that_a_link_points_to(tmp_path: Path) -> None:
    """The owner of the folder may put links into it."""
    data, precious = tmp_path / "data", tmp_path / "precious"
    data.mkdir()
    precious.write_text("")
    os.chown(data, NOBODY, NOBODY)
    (data / "caveats.db.lock").symlink_to(precious)
    cli(tmp_path, "migrate")
    assert precious.stat().st_uid == 0
