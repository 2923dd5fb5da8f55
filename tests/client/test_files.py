"""Private files: for their owner only, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from caveats_client import files
from tests.support.forks import living_child

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_what_is_written_is_read_and_its_owners_alone(path: Path) -> None:
    files.write_private(path, [b"one ", b"two"])
    assert files.read_private(path, largest=7) == b"one two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(path) == ["secret"]


def test_the_mode_does_not_depend_on_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        files.write_private(path, [b"x"])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_whole_and_a_failure_leaves_the_old_one(path: Path) -> None:
    files.write_private(path, [b"old"])

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        files.write_private(path, broken())
    assert path.read_bytes() == b"old"
    assert names(path) == ["secret"]


def test_a_new_file_takes_no_others_place(path: Path) -> None:
    files.write_private(path, [b"first"], new=True)
    with pytest.raises(FileExistsError):
        files.write_private(path, [b"second"], new=True)
    assert path.read_bytes() == b"first"
    assert names(path) == ["secret"]


def test_more_than_the_limit_is_not_read(path: Path) -> None:
    files.write_private(path, [b"12345"])
    assert files.read_private(path, largest=5) == b"12345"
    with pytest.raises(ValueError, match="larger than 4 bytes"):
        files.read_private(path, largest=4)


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_what_others_can_use_is_refused(path: Path, mode: int) -> None:
    files.write_private(path, [b"x"])
    path.chmod(mode)
    with pytest.raises(files.ReadableByOthers):
        files.read_private(path, largest=1)


@posix_only
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root gives files away")
def test_another_users_file_is_refused_unless_any_owner_will_do(path: Path) -> None:
    files.write_private(path, [b"x"])
    os.chown(path, 12345, -1)
    with pytest.raises(files.NotPrivate, match="belongs to somebody else"):
        files.read_private(path, largest=1)
    assert files.read_private(path, largest=1, any_owner=True) == b"x"


@posix_only
def test_a_pipe_is_refused_without_waiting_for_a_writer(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(files.NotPrivate, match="is not a file"):
        files.open_regular(path)


def test_a_missing_file_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_private(path, largest=1)


@posix_only
def test_a_lock_is_one_holders_until_it_is_closed(path: Path) -> None:
    first = files.lock(path, wait=False)
    assert first is not None
    assert files.lock(path, wait=False) is None
    first.release()
    again = files.lock(path, wait=True)
    assert again is not None
    again.release()
    again.release()
    assert files.lock(path, wait=False) is not None


@posix_only
def test_a_child_of_a_fork_neither_keeps_nor_releases_the_lock(path: Path) -> None:
    held = files.lock(path, wait=False)
    assert held is not None
    with living_child(held.release):
        assert files.lock(path, wait=False) is None, "the child released its parent's lock"
        held.release()
        assert files.lock(path, wait=False) is not None, "the child that lives on kept the lock"


@posix_only
def test_the_end_of_a_child_does_not_release_the_lock(path: Path) -> None:
    held = files.lock(path, wait=False)
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert held is not None
    assert files.lock(path, wait=False) is None
