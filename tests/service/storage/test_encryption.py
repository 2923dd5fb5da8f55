"""Sealing: what is sealed opens in its own place, under its own key, or not at all."""

from __future__ import annotations

import base64
import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caveats_service.settings import Settings
from caveats_service.storage.encryption import (
    SealKey,
    SealKeyError,
    check_canary,
    load_seal_key,
    seal,
    seal_canary,
    unseal,
)
from tests.support.forks import living_child

PURPOSE = "master key"
KEY = SealKey(bytes(range(32)))
OTHER = SealKey(bytes(range(1, 33)))
TEXT = base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()


def settings_in(folder: Path, **more: object) -> Settings:
    return Settings.load(data_dir=folder, **more)


@given(st.binary(max_size=64), st.integers(0, 2**63), st.text(max_size=8), st.text(max_size=8))
def test_what_was_sealed_for_a_place_opens_there(
    plain: bytes, row_id: int, key_id: str, purpose: str
) -> None:
    sealed = seal(KEY, plain, row_id=row_id, key_id=key_id, purpose=purpose)
    assert unseal(KEY, sealed, row_id=row_id, key_id=key_id, purpose=purpose) == plain


@pytest.mark.parametrize(
    ("key", "row_id", "key_id", "purpose"),
    [
        (OTHER, 1, "k1", PURPOSE),
        (KEY, 2, "k1", PURPOSE),
        (KEY, 1, "k2", PURPOSE),
        (KEY, 1, "k1", "canary"),
        (KEY, 1, "k1m", PURPOSE[1:]),
    ],
    ids=["other-key", "other-row", "other-key-id", "other-purpose", "shifted-boundary"],
)
def test_a_seal_does_not_open_under_another_key_or_in_another_place(
    key: SealKey, row_id: int, key_id: str, purpose: str
) -> None:
    sealed = seal(KEY, b"secret", row_id=1, key_id="k1", purpose=PURPOSE)
    with pytest.raises(SealKeyError):
        unseal(key, sealed, row_id=row_id, key_id=key_id, purpose=purpose)


def test_any_flipped_bit_or_cut_refuses() -> None:
    sealed = seal(KEY, b"s", row_id=1, key_id="k1", purpose=PURPOSE)
    flipped = [
        sealed[:at] + bytes([sealed[at] ^ 1 << bit]) + sealed[at + 1 :]
        for at in range(len(sealed))
        for bit in range(8)
    ]
    for spoiled in [*flipped, *(sealed[:length] for length in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(SealKeyError):
            unseal(KEY, spoiled, row_id=1, key_id="k1", purpose=PURPOSE)


def test_no_two_seals_share_a_nonce() -> None:
    seals = {seal(KEY, b"", row_id=1, key_id="k1", purpose=PURPOSE)[1:25] for _ in range(10_000)}
    assert len(seals) == 10_000


def test_the_canary_shows_a_wrong_seal_key() -> None:
    canary = seal_canary(KEY)
    check_canary(KEY, canary)
    with pytest.raises(SealKeyError):
        check_canary(OTHER, canary)


@pytest.mark.parametrize(
    "secret", [b"", bytes(31), bytes(32), bytes(33), b"x" * 31, b"x" * 33, None, "x" * 32]
)
def test_what_is_no_key_never_becomes_one(secret: object) -> None:
    with pytest.raises(SealKeyError):
        SealKey(secret)  # type: ignore[arg-type]


def test_a_seal_key_shows_nothing_of_itself() -> None:
    for shown in (repr(KEY), str(KEY), f"{KEY}", repr([KEY]), repr({"k": KEY})):
        assert TEXT not in shown
        assert "\\x01\\x02" not in shown


def test_the_first_start_makes_the_file_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "new" / "data")
    first = load_seal_key(settings, database_exists=False)
    assert stat.S_IMODE(settings.seal_key_path.stat().st_mode) == 0o600
    assert load_seal_key(settings, database_exists=True).to_text() == first.to_text()
    assert load_seal_key(settings, database_exists=False).to_text() == first.to_text()
    assert [path.name for path in settings.data_dir.iterdir()] == ["seal.key"]


def test_first_starts_at_the_same_time_agree_on_one_key(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(load_seal_key(settings, database_exists=False).to_text())
        )
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1


def test_a_missing_file_beside_a_database_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SealKeyError, match="CAVEATS_SEAL_KEY_FILE"):
        load_seal_key(settings_in(tmp_path), database_exists=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("database_exists", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        TEXT[:-1].encode(),
        TEXT.encode() + b"A",
        TEXT.encode() + b"=",
        TEXT.encode() + b"\n\n",
        TEXT.encode() + b"\r\n",
        b" " + TEXT.encode(),
        TEXT[:-1].encode() + b"+",
        TEXT[:-1].encode() + b"9",
        TEXT[:-1].encode() + b"\xff",
        b"A" * 43,
        bytes(range(32)),
        b"A" * 100_000,
    ],
    ids=[
        *("empty", "newline", "short", "long", "padded", "two-newlines", "crlf", "space", "std-alphabet"),
        *("spare-bits", "not-ascii", "all-zero", "raw-bytes", "huge"),
    ],
)
def test_a_file_that_holds_no_key_is_refused_and_left_alone(
    tmp_path: Path, content: bytes, *, database_exists: bool
) -> None:
    path = tmp_path / "seal.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SealKeyError) as refused:
        load_seal_key(settings_in(tmp_path), database_exists=database_exists)
    assert TEXT[:-1] not in str(refused.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o777])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "seal.key"
    path.write_text(TEXT + "\n")
    path.chmod(mode)
    with pytest.raises(SealKeyError, match="chmod 600"):
        load_seal_key(settings_in(tmp_path), database_exists=True)


@pytest.mark.parametrize("mode", [0o600, 0o400])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_file_that_holds_a_key_is_read(tmp_path: Path, mode: int, end: str) -> None:
    path = tmp_path / "seal.key"
    path.write_text(TEXT + end)
    path.chmod(mode)
    assert load_seal_key(settings_in(tmp_path), database_exists=True).to_text() == TEXT


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path, make: type[object]) -> None:
    make(tmp_path / "seal.key", 0o600)  # type: ignore[call-arg]
    with pytest.raises(SealKeyError):
        load_seal_key(settings_in(tmp_path), database_exists=True)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SealKeyError):
        load_seal_key(settings_in(tmp_path / "file" / "data"), database_exists=False)


def test_the_environment_gives_the_key_and_no_file_is_made(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, seal_key=TEXT)
    assert load_seal_key(settings, database_exists=False).to_text() == TEXT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", TEXT[:-1], TEXT + "=", "A" * 43, f" {TEXT}"])
def test_a_bad_key_in_the_environment_is_refused_although_there_is_a_file(tmp_path: Path, text: str) -> None:
    load_seal_key(settings_in(tmp_path), database_exists=False)
    with pytest.raises(SealKeyError):
        load_seal_key(settings_in(tmp_path, seal_key=text), database_exists=True)


# As Kubernetes mounts a secret


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize(
    ("mode", "owner", "group", "accepted"),
    [
        (0o440, 0, 2000, True),
        (0o400, 12345, 2000, True),
        (0o640, 0, 2000, True),
        (0o444, 0, 2000, False),
        (0o460, 0, 2000, False),
        (0o440, 12345, 2000, False),
        (0o440, 0, 12345, True),
    ],
)
def test_a_key_on_a_secret_volume_is_read_by_a_process_of_its_group(
    mode: int, owner: int, group: int, *, accepted: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "seal.key"
        path.write_text(TEXT + "\n")
        os.chown(path, owner, group)
        path.chmod(mode)
        settings = settings_in(Path(folder) / "data", seal_key_file=path)

        def begin() -> None:
            os.setgroups([2000])
            os.setgid(12345)
            os.setuid(12345)
            try:
                said = load_seal_key(settings, database_exists=True).to_text()
            except SealKeyError as error:
                said = str(error)
            assert said == TEXT if accepted else "can be read by others" in said and "0440" in said

        with living_child(begin):
            pass


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (TEXT + "\r\n", "CR LF"),
        (TEXT + "=\n", "has padding"),
        (base64.b64encode(b"\xfb\xff" + bytes(30)).decode().rstrip("="), "standard base64"),
        (base64.b64encode(b"\xfb\xff" + bytes(30)).decode() + "\r\n", "CR LF.*padding.*standard base64"),
        ("\ufeff" + TEXT, "byte order mark"),
        (f'"{TEXT}"', "in quotes"),
        (bytes(range(32)).hex(), "hexadecimal"),
    ],
)
def test_a_file_and_a_variable_with_a_malformed_key_say_which_fault_it_has(
    tmp_path: Path, content: str, fault: str
) -> None:
    path = tmp_path / "seal.key"
    path.write_bytes(content.encode())
    path.chmod(0o600)
    with pytest.raises(SealKeyError, match=f"{path}: the seal key .*{fault}") as refused:
        load_seal_key(settings_in(tmp_path), database_exists=True)
    assert "\n" not in str(refused.value)
    with pytest.raises(SealKeyError, match=f"CAVEATS_SEAL_KEY: the seal key .*{fault}"):
        load_seal_key(settings_in(tmp_path, seal_key=content), database_exists=True)


def test_another_seal_key_is_named_in_plain_words() -> None:
    with pytest.raises(SealKeyError, match=r"CAVEATS_SEAL_KEY_FILE") as refused:
        check_canary(OTHER, seal_canary(KEY))
    assert "canary" not in str(refused.value)
