from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from caveats_client.cli.credentials import Credentials, CredentialsDamaged, CredentialsError, Login, Logins

ALICE = Login("https://auth.example", "alice", "cav1_alice")
BOB = Login("http://127.0.0.1:8080", "bob", "cav1_bob", allow_http=True)

posix_only = pytest.mark.skipif(os.name != "posix", reason="permissions are posix here")


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / "deep" / "caveats")


def test_without_a_file_nobody_is_signed_in(credentials: Credentials) -> None:
    assert credentials.load() == Logins()
    assert credentials.load().find(None) is None


def test_a_login_is_found_under_its_address_only(credentials: Credentials) -> None:
    credentials.save(ALICE)
    credentials.save(BOB)
    logins = credentials.load()
    assert logins.find("https://auth.example") == ALICE
    assert logins.find("https://auth.example/") == ALICE
    assert logins.find("http://127.0.0.1:8080") == BOB
    assert logins.find("https://auth.example:8443") is None
    assert logins.find("http://auth.example") is None


def test_the_last_sign_in_is_the_current_one_and_after_a_sign_out_there_none_is(
    credentials: Credentials,
) -> None:
    credentials.save(ALICE)
    credentials.save(BOB)
    assert credentials.load().find(None) == BOB
    credentials.forget(BOB.url)
    assert credentials.load().find(None) is None
    assert credentials.load().find(ALICE.url) == ALICE
    credentials.save(BOB)
    credentials.forget(ALICE.url)
    assert credentials.load().find(None) == BOB
    credentials.forget(BOB.url)
    assert credentials.load() == Logins()


@posix_only
def test_file_and_folder_are_made_for_the_owner_alone(credentials: Credentials) -> None:
    before = os.umask(0)
    try:
        credentials.save(ALICE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(credentials.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(credentials.path.parent.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in credentials.path.parent.iterdir())


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610, 0o601])
def test_a_file_that_others_could_use_is_not_read(credentials: Credentials, mode: int) -> None:
    credentials.save(ALICE)
    credentials.path.chmod(mode)
    with pytest.raises(CredentialsError, match="chmod 600") as refused:
        credentials.load()
    assert "cav1_" not in str(refused.value)
    with pytest.raises(CredentialsError):
        credentials.save(BOB)


@posix_only
def test_what_is_no_file_is_refused_without_waiting(credentials: Credentials) -> None:
    credentials.path.parent.mkdir(parents=True)
    os.mkfifo(credentials.path, 0o600)
    with pytest.raises(CredentialsError, match="not a file"):
        credentials.load()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{}",
        "not json",
        '{"version": 2, "current": null, "logins": {}}',
        '{"version": 1, "current": null, "logins": []}',
        '{"version": 1, "current": null, "logins": {"https://a": {"username": 1, "token": "t"}}}',
        '{"version": 1, "current": null, "logins": {"https://a": {"username": "a"}}}',
        "[" * 100_000,
        '{"version": 1, "current": null, "logins": {"https://a": {"username": "a\\u001b", "token": "t"}}}',
        '{"version": 1, "current": [], "logins": {}}',
        "\0" * 100,
        "\x7fELF\udcff\udcfe",
        '{"version": 1, "current": "https://a", "logins": {"https://a": {"user',
        " " * 2_000_000,
    ],
    ids=range(16),
)
def test_a_damaged_file_is_refused_and_a_sign_in_sets_it_aside(
    credentials: Credentials, content: str
) -> None:
    """Nothing is lost: the file keeps its content and its mode."""
    credentials.path.parent.mkdir(parents=True)
    credentials.path.touch(0o600)
    written = content.encode("utf-8", "surrogateescape")
    for number in (1, 2):
        credentials.path.write_bytes(written)
        with pytest.raises(CredentialsDamaged, match="`caveats login` sets it aside"):
            credentials.load()
        with pytest.raises(CredentialsDamaged):
            credentials.forget(ALICE.url)
        assert credentials.usable() == Logins()
        assert credentials.path.read_bytes() == written
        aside = credentials.save(ALICE)
        assert aside == credentials.path.with_name(f"credentials.json.damaged-{number}")
        assert aside.read_bytes() == written
        assert stat.S_IMODE(aside.stat().st_mode) == stat.S_IMODE(credentials.path.stat().st_mode) == 0o600
        assert credentials.load().find(None) == ALICE


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_is_set_aside_too(credentials: Credentials, kind: str) -> None:
    credentials.path.parent.mkdir(parents=True)
    if kind == "folder":
        credentials.path.mkdir()
        (credentials.path / "inside").write_text("kept")
    elif kind == "pipe":
        os.mkfifo(credentials.path, 0o600)
    else:
        credentials.path.symlink_to(credentials.path.name)
    with pytest.raises(CredentialsDamaged):
        credentials.load()
    aside = credentials.save(ALICE)
    assert aside is not None
    assert os.path.lexists(aside)
    assert kind != "folder" or (aside / "inside").read_text() == "kept"
    assert credentials.load().find(None) == ALICE


def test_a_folder_that_cannot_be_one_is_said_before_a_password_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for action in (Credentials(tmp_path / "file").usable, lambda: Credentials(tmp_path / "file").save(ALICE)):
        with pytest.raises(CredentialsError, match="cannot") as caught:
            action()
        assert not isinstance(caught.value, CredentialsDamaged)


def test_a_current_login_that_is_gone_is_none() -> None:
    assert Logins({}, None).find(None) is None


def test_a_failed_write_leaves_the_file_as_it_was(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials.save(ALICE)
    before = credentials.path.read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CredentialsError, match="No space left"):
        credentials.save(BOB)
    assert credentials.path.read_bytes() == before
    assert sorted(each.name for each in credentials.path.parent.iterdir()) == [
        "credentials.json",
        "credentials.lock",
    ]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CredentialsError, match="cannot write"):
        Credentials(tmp_path / "file" / "caveats").save(ALICE)


@pytest.mark.slow
def test_many_processes_at_once_lose_no_login(credentials: Credentials) -> None:
    script = (
        "import sys; from pathlib import Path; from caveats_client.cli.credentials import Credentials, Login\n"
        "for i in range(5): Credentials(Path(sys.argv[1])).save(Login(f'https://{sys.argv[2]}-{i}', 'u', 't'))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(credentials.path.parent), f"host{n}"])
        for n in range(4)
    ]
    assert [process.wait() for process in running] == [0] * 4
    assert len(credentials.load().by_url) == 20


def test_no_token_shows_in_repr(credentials: Credentials) -> None:
    credentials.save(ALICE)
    assert "cav1_" not in repr(ALICE)
    assert "cav1_" not in repr(credentials.load())
    assert json.loads(credentials.path.read_text())["logins"][ALICE.url]["token"] == "cav1_alice"


def test_the_folder_is_the_one_in_the_environment_or_the_platforms(tmp_path: Path) -> None:
    assert Credentials.here({"CAVEATS_CONFIG_DIR": str(tmp_path)}).path == tmp_path / "credentials.json"
    assert Credentials.here({}).path.parent.name == "caveats"


@posix_only
def test_a_file_that_is_a_symbolic_link_stays_one(credentials: Credentials, tmp_path: Path) -> None:
    """As a person has it who keeps such files in a repository."""
    target = tmp_path / "dotfiles" / "caveats.json"
    target.parent.mkdir()
    credentials.path.parent.mkdir(parents=True)
    middle = tmp_path / "middle"
    middle.symlink_to(Path("dotfiles") / "caveats.json")
    credentials.path.symlink_to(middle)
    credentials.save(ALICE)  # a link that leads to nothing yet
    credentials.save(BOB)
    credentials.forget(ALICE.url)
    assert credentials.path.is_symlink()
    assert middle.is_symlink()
    assert Credentials(credentials.path.parent).load().find(None) == BOB
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(path.name for path in target.parent.iterdir()) == ["caveats.json"]


@posix_only
def test_of_a_damaged_file_behind_a_link_the_link_stays(credentials: Credentials, tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    target.touch(0o600)
    target.write_text("{")
    credentials.path.parent.mkdir(parents=True)
    credentials.path.symlink_to(target)
    assert credentials.save(ALICE) == tmp_path / "target.json.damaged-1"
    assert credentials.path.is_symlink()
    assert credentials.load().find(None) == ALICE
    assert (tmp_path / "target.json.damaged-1").read_text() == "{"
