"""Users without a home folder, or with one that cannot be used: what needs no stored file works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caveats import Macaroon, Note
from caveats_client.cli.credentials import Credentials, CredentialsError, Login

NOBODY = "http://127.0.0.1:9"
PROGRAM = """
import pwd, sys
def nobody(_uid): raise KeyError("uid not found")
pwd.getpwuid = nobody
from {package}.cli import main
main()
"""
"""A program of a numeric user, as in a container: no entry for it in /etc/passwd."""
HOMES = {
    "no home": {},
    "a home that is not there": {"HOME": "/nonexistent"},
    "not a folder": {"HOME": "/dev/null"},
}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="homes are posix here")


def run(
    home: dict[str, str], folder: Path, *arguments: str, package: str = "caveats_client"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(package=package), *arguments],
        env={"PATH": os.environ["PATH"], **home}, cwd=folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)
def test_what_needs_no_stored_file_works(home: dict[str, str], token: Macaroon, tmp_path: Path) -> None:
    text = token.encode()
    narrower = run(home, tmp_path, "attenuate", "--note", "x", text)
    assert (narrower.stdout, narrower.stderr) == (token.attenuate(Note("x")).encode() + "\n", "")
    assert run(home, tmp_path, "inspect", text).returncode == 0
    assert run(home, tmp_path, "completion", "bash").returncode == 0
    assert run(home, tmp_path, "verifier", "init", "app.verifier").returncode == 0
    for command in (("whoami", text), ("verify", text), ("revoke", text), ("issue", "--token", text)):
        done = run(home, tmp_path, *command, "--url", NOBODY)
        assert (done.returncode, done.stdout) == (6, ""), done.stderr
        assert f"cannot reach {NOBODY}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["app.verifier"]


@pytest.mark.slow
@pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)
def test_what_needs_a_stored_file_says_so_in_one_line(home: dict[str, str], tmp_path: Path) -> None:
    commands = {("whoami", "--url", NOBODY): "not signed in", ("logout",): "not signed in"}
    if home == {"HOME": "/dev/null"}:
        commands = dict.fromkeys(commands, "credentials.json: Not a directory")
    if home != {"HOME": "/nonexistent"}:  # root could make it
        commands["login", "alice", "--url", NOBODY] = "credentials.json" if home else "set CAVEATS_CONFIG_DIR"
    for command, words in commands.items():
        done = run(home, tmp_path, *command)
        assert (done.returncode, done.stdout) == (3, "")
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_operator_needs_no_home(tmp_path: Path) -> None:
    for command in (("migrate",), ("keys", "list"), ("users", "list", "--json"), ("settings",)):
        done = run({}, tmp_path, *command, package="caveats_service")
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_operator_without_a_name_is_told_to_name_the_database_s_user(tmp_path: Path) -> None:
    given = {"CAVEATS_DATABASE_URL": "postgresql://127.0.0.1:9/caveats", "CAVEATS_SEAL_KEY": "A" * 43}
    done = run(given, tmp_path, "keys", "list", package="caveats_service")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "names no user" in done.stderr


def test_a_login_that_cannot_be_stored_is_refused_before_a_password_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CredentialsError, match="cannot write"):
        Credentials(tmp_path / "file" / "caveats").prepare()


def test_without_a_home_there_are_no_logins_and_none_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_uid: int) -> object:
        raise KeyError

    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    credentials = Credentials.here({})
    assert not credentials.usable().by_url
    for change in (
        credentials.prepare,
        lambda: credentials.save(Login(NOBODY, "alice", "cav1_x")),
        lambda: credentials.forget(NOBODY),
    ):
        with pytest.raises(CredentialsError, match="set CAVEATS_CONFIG_DIR"):
            change()
