"""`caveats-service users import`: all or none, and whoever was imported signs in and gets a hash of ours."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from pathlib import Path

import bcrypt
import pytest

from tests.support.service import (
    COMMAND,
    User,
    bearer,
    cli,
    command,
    environment,
    execute,
    problem,
    rows,
    serving,
)
from tests.support.typed import at_terminal

PASSWORD = "correct horse"
BCRYPT = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
DJANGO = b64encode(hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"salt", 1000)).decode()
FILE = f"""username,password,password_hash,admin,scope,disabled,must_change
ann,,{BCRYPT},true,,,
bea,,pbkdf2_sha256$1000$salt${DJANGO},,photos:*,,
cy,{PASSWORD},,,,,true
dan,{PASSWORD},,,,true,
"""
NAMES = {"ann", "bea", "cy", "dan"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cli(tmp_path, "migrate")
    cli(tmp_path, "users", "add", "root", "--admin", "--password-stdin", stdin="root's password\n")
    (tmp_path / "users.csv").write_text(FILE)
    return tmp_path


def users(folder: Path) -> dict[str, str]:
    return dict(rows(folder, "SELECT username, password_hash FROM users"))


@pytest.mark.slow
def test_whoever_was_imported_signs_in_and_gets_a_hash_of_ours(folder: Path) -> None:
    said = cli(folder, "users", "import", str(folder / "users.csv")).stderr
    assert said == "added 4 accounts\n"
    assert set(users(folder)) == {"root", *NAMES}
    with serving(folder) as service, service.client() as http:
        assert User(service, "ann", PASSWORD).issue(scope="caveats:admin")
        assert User(service, "bea", PASSWORD).issue()["scope"] == "photos:*"
        for name, code in (("cy", "password_change_required"), ("dan", "invalid_credentials")):
            answer = http.post("/v1/tokens", json={"username": name, "password": PASSWORD})
            assert problem(answer)[1] == code
        assert problem(http.post("/v1/tokens", json={"username": "ann", "password": "correct"}))[0] == 401
        for name in ("ann", "bea"):
            assert users(folder)[name].startswith("$argon2id$v=19$m=8,t=1,p=1$")
            token = User(service, name, PASSWORD).token(scope="photos:*")
            assert http.get("/v1/authorize?scope=photos:read", headers=bearer(token)).status_code == 200
    actions = [row for row in rows(folder, "SELECT actor, action, subject FROM audit") if row[2] in NAMES]
    assert {("operator", "user.create", name) for name in NAMES} <= set(actions)
    written = json.dumps(rows(folder, "SELECT detail, subject FROM audit"))
    assert not [secret for secret in (PASSWORD, BCRYPT, DJANGO) if secret in written]


@pytest.mark.parametrize(
    "line",
    ["eve,short,,,,,", f"eve,,{BCRYPT.replace('$04$', '$31$')},,,,", "root,password1,,,,,"],
    ids=["a short password", "a hash that costs hours", "a name that is taken"],
)
def test_one_wrong_line_and_nothing_is_imported(folder: Path, line: str) -> None:
    (folder / "users.csv").write_text(FILE + line + "\n")
    done = cli(folder, "users", "import", str(folder / "users.csv"), expect=1)
    assert done.stdout == ""
    assert done.stderr.startswith("caveats-service: line 6: ")
    assert done.stderr.endswith("nothing was imported: 1 error\n")
    assert set(users(folder)) == {"root"}
    for secret in (PASSWORD, BCRYPT, DJANGO, "short"):
        assert secret not in done.stderr
    told = json.loads(cli(folder, "users", "import", str(folder / "users.csv"), "--json", expect=1).stderr)
    assert [error["line"] for error in told["errors"]] == [6]


def test_a_dry_run_finds_what_is_wrong_and_changes_nothing(folder: Path) -> None:
    said = cli(folder, "users", "import", str(folder / "users.csv"), "--dry-run").stderr
    assert said == "would add 4 accounts\n"
    assert set(users(folder)) == {"root"}
    text = "username,password\nroot,password1\n"
    done = cli(folder, "users", "import", "-", "--dry-run", stdin=text, expect=1)
    assert "line 2: a user has this name" in done.stderr


@pytest.mark.slow
def test_who_is_there_already_is_left_out_as_they_are_if_that_is_asked_for(folder: Path) -> None:
    before = users(folder)["root"]
    text = '{"username": "ROOT", "password": "password1"}\n{"username": "eve", "password": "password1"}\n'
    done = cli(folder, "users", "import", "-", "--skip-existing", "--json", stdin=text)
    assert json.loads(done.stdout) == {"dry_run": False, "added": ["eve"], "skipped": ["root"]}
    assert users(folder)["root"] == before
    again = cli(folder, "users", "import", "-", "--skip-existing", stdin=text)
    assert again.stderr == "added 0 accounts, left out 2 that are there already\n"


@pytest.mark.slow
def test_a_name_that_nobody_gets_again_is_an_error_even_then(folder: Path) -> None:
    cli(folder, "users", "add", "gone", "--password-stdin", stdin="password1\n")
    cli(folder, "users", "delete", "gone", "--force")
    cli(folder, "groups", "set", "ops")
    text = "username,password\nops,password1\ngone,password1\n"
    done = cli(folder, "users", "import", "-", "--skip-existing", stdin=text, expect=1)
    assert "line 2: a group has this name" in done.stderr
    assert "line 3: a user had this name and was deleted" in done.stderr


@pytest.mark.slow
def test_ten_thousand_are_added_at_once(folder: Path) -> None:
    text = "username,password_hash\n" + "".join(f"user{n},{BCRYPT}\n" for n in range(10_000))
    done = command(folder, "users", "import", "-", "--json", stdin=text)
    assert len(json.loads(done.stdout)["added"]) == 10_000
    assert len(users(folder)) == 10_001


@pytest.mark.slow
def test_at_a_terminal_a_bar_shows_how_far_it_is(folder: Path) -> None:
    text = "username,password\n" + "".join(f"user{n},password{n}\n" for n in range(20))
    (folder / "plain.csv").write_text(text)
    shown, code = at_terminal(
        [*COMMAND, "users", "import", str(folder / "plain.csv")], {**environment(folder), "TERM": "xterm"}
    )
    assert code == 0
    assert "hashing passwords" in shown
    assert "added 20 accounts" in shown
    piped = command(folder, "users", "import", str(folder / "plain.csv"), "--skip-existing")
    assert piped.stderr == "added 0 accounts, left out 20 that are there already\n"


@pytest.mark.slow
def test_a_hash_that_turned_hostile_in_the_database_costs_no_more_than_a_wrong_password(folder: Path) -> None:
    with serving(folder) as service, service.client() as http:
        hostile = "imported:" + BCRYPT.replace("$04$", "$31$")
        execute(folder, "UPDATE users SET password_hash = ? WHERE username = 'root'", hostile)
        answer = http.post("/v1/tokens", json={"username": "root", "password": PASSWORD}, timeout=10)
        assert problem(answer) == (401, "invalid_credentials")
