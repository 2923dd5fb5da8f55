"""`caveats verifier ...` and the file it makes, against the real service."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from caveats import PrivateKey, new_token_id
from caveats.token import decode_base64, encode_base64
from caveats_client.cli.app import app
from caveats_client.client import Client
from caveats_client.verifiers.local import LocalVerifier
from caveats_client.verifiers.registration import Registration, RegistrationError
from tests.support.local import World, context, now, world_in

Caveats = Callable[..., Result]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    with world_in(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture
def caveats(world: World) -> Caveats:
    def run(*arguments: str, admin: bool = True) -> Result:
        environment = {"CAVEATS_URL": world.url}
        if admin:
            environment["CAVEATS_TOKEN"] = world._admin
        return CliRunner().invoke(app, list(arguments), env=environment, prog_name="caveats")

    return run


@pytest.mark.slow
def test_an_app_is_made_registered_verifies_is_listed_and_revoked(
    world: World, caveats: Caveats, tmp_path: Path
) -> None:
    file = tmp_path / "photos.verifier"
    made = caveats("verifier", "init", str(file), admin=False)
    assert made.exit_code == 0, made.output
    public_key = made.stdout.strip()
    assert decode_base64(public_key) == Registration.load(file).public_key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "caveats verifier register" in made.stderr

    done = caveats("verifier", "register", str(file), "--audience", "photos", "--name", "photos, eu-1")
    assert done.exit_code == 0, done.output
    verifier_id = done.stdout.strip()
    assert Registration.load(file).identity.verifier_id == verifier_id
    with LocalVerifier.from_file(file) as verifier:
        assert verifier.verify(world.token(), context()).user == "admin"

    listed = caveats("verifier", "list")
    assert listed.exit_code == 0
    row = next(line for line in listed.stdout.splitlines() if verifier_id in line)
    assert "photos, eu-1" in row
    rows = {row["verifier_id"]: row for row in json.loads(caveats("verifier", "list", "--json").stdout)}
    assert rows[verifier_id]["public_key"] == public_key
    assert rows[verifier_id]["revoked_at"] is None

    assert caveats("verifier", "revoke", verifier_id).exit_code == 0
    rows = {row["verifier_id"]: row for row in json.loads(caveats("verifier", "list", "--json").stdout)}
    assert rows[verifier_id]["revoked_at"] is not None


def _key(*, dash: bool) -> str:
    while True:
        key = encode_base64(PrivateKey.generate().public_key)
        if key.startswith("-") is dash:
            return key


@pytest.mark.parametrize("dash", [False, True])
def test_a_public_key_is_registered_without_the_file(caveats: Caveats, dash: bool) -> None:
    key = _key(dash=dash)
    done = caveats("verifier", "register", "--audience", "photos", "--", key)
    assert done.exit_code == 0, done.output
    assert "pins the service's public key" in done.stderr
    said = json.loads(caveats("verifier", "register", "--audience", "thumbs", "--json", "--", key).stdout)
    assert (said["audience"], said["name"], said["public_key"]) == ("thumbs", "thumbs", key)
    assert len(decode_base64(said["service_public_key"])) == 32


def test_init_never_prints_what_would_be_taken_for_an_option() -> None:
    assert not any(encode_base64(Registration.generate().public_key).startswith("-") for _ in range(500))


def test_init_speaks_json_and_never_overwrites_a_key(caveats: Caveats, tmp_path: Path) -> None:
    file = tmp_path / "photos.verifier"
    said = json.loads(caveats("verifier", "init", str(file), "--json").stdout)
    assert said["file"] == str(file)
    before = file.read_bytes()
    again = caveats("verifier", "init", str(file))
    assert again.exit_code == 2
    assert "exists" in again.stderr
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["photos.verifier"]
    nowhere = caveats("verifier", "init", str(tmp_path / "no" / "folder"))
    assert nowhere.exit_code == 2


@pytest.mark.parametrize("app_argument", ["photos.verifier", "AAAA", "?", encode_base64(bytes(31))])
def test_neither_a_file_nor_a_key_is_wrong_usage(app_argument: str, caveats: Caveats) -> None:
    done = caveats("verifier", "register", app_argument, "--audience", "photos")
    assert done.exit_code == 2
    assert "neither a file nor a public key: it has" in done.stderr


def test_a_file_that_is_none_of_ours_is_said_before_anything_is_asked(
    caveats: Caveats, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "file").chmod(0o600)
    done = caveats("verifier", "register", str(tmp_path / "file"), "--audience", "photos", admin=False)
    assert done.exit_code == 2
    assert "not a verifier's file" in done.stderr


def test_only_administrators_register_and_only_what_is_an_audience(
    world: World, caveats: Caveats, tmp_path: Path
) -> None:
    caveats("verifier", "init", str(tmp_path / "v"))
    refused = caveats("verifier", "register", str(tmp_path / "v"), "--audience", "PHOTOS")
    assert refused.exit_code == 2
    nobody = CliRunner().invoke(
        app,
        [
            "verifier",
            "register",
            str(tmp_path / "v"),
            "--audience",
            "photos",
            "--token",
            world.token(audience="default", scope="photos:*"),
        ],
        env={"CAVEATS_URL": world.url},
    )
    assert nobody.exit_code == 4
    assert Registration.load(tmp_path / "v").verifier_id == ""
    assert caveats("verifier", "list", admin=False).exit_code == 3


def test_nobody_to_revoke(caveats: Caveats) -> None:
    assert caveats("verifier", "revoke", new_token_id(now())).exit_code == 5
    assert caveats("verifier", "revoke", "../keys").exit_code == 2


def test_none_registered_is_said(caveats: Caveats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "send", lambda *_: ())
    listed = caveats("verifier", "list")
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert "no verifiers" in listed.stderr


def test_a_registration_that_cannot_be_written_down_says_its_id(
    caveats: Caveats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caveats("verifier", "init", str(tmp_path / "v"))

    def full(*_: Any, **__: Any) -> None:
        raise RegistrationError("cannot write it")

    monkeypatch.setattr(Registration, "save", full)
    done = caveats("verifier", "register", str(tmp_path / "v"), "--audience", "photos")
    assert done.exit_code == 1
    assert "registered as 01" in done.stderr


@pytest.mark.parametrize("command", ["init", "register", "list", "revoke"])
def test_each_command_has_help(command: str, caveats: Caveats) -> None:
    shown = caveats("verifier", command, "-h")
    assert shown.exit_code == 0
    assert "caveats verifier" in shown.stdout


# The file


def complete() -> Registration:
    return Registration.generate().registered(
        url="https://auth.example",
        audience="photos",
        verifier_id=new_token_id(now()),
        service_public_key=PrivateKey.generate().public_key,
    )


def test_a_registration_reads_back_as_it_was(tmp_path: Path) -> None:
    for registration in (Registration.generate(), complete()):
        registration.save(tmp_path / "v")
        assert Registration.load(str(tmp_path / "v")) == registration
        assert registration.private_key.secret.hex() not in repr(registration)
        assert encode_base64(registration.private_key.secret) not in repr(registration)


@pytest.mark.parametrize(
    "wrong",
    [
        {"service_public_key": b"short"},
        {"service_public_key": bytes(32)},
        {"audience": "PHOTOS"},
        {"verifier_id": "7"},
        {"url": ""},
    ],
    ids=str,
)
def test_a_registration_of_another_form_is_refused(wrong: dict[str, Any]) -> None:
    given = {
        "url": "https://auth.example",
        "audience": "photos",
        "verifier_id": new_token_id(now()),
        "service_public_key": PrivateKey.generate().public_key,
        **wrong,
    }
    with pytest.raises(RegistrationError):
        Registration.generate().registered(**given)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"version": 2}',
        '{"version": 1, "private_key": "AAAA", "verifier_id": ""}',
        "[" * 100_000,
    ],
    ids=["empty", "null", "list", "object", "another version", "a short key", "deep"],
)
def test_a_file_of_another_form_is_refused_without_showing_it(content: str, tmp_path: Path) -> None:
    (tmp_path / "v").write_text(content)
    (tmp_path / "v").chmod(0o600)
    with pytest.raises(RegistrationError, match="not a verifier's file"):
        Registration.load(tmp_path / "v")


def test_a_file_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    complete().save(tmp_path / "v")
    (tmp_path / "v").chmod(0o640)
    with pytest.raises(RegistrationError, match="chmod 600"):
        Registration.load(tmp_path / "v")
    with pytest.raises(RegistrationError, match="cannot read"):
        Registration.load(tmp_path / "nowhere")
    with pytest.raises(RegistrationError, match=r"not a file|cannot read"):
        Registration.load(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete().save(tmp_path / "v")
    before = (tmp_path / "v").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegistrationError, match="No space"):
        complete().save(tmp_path / "v")
    assert (tmp_path / "v").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
