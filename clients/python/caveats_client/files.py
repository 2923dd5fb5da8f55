"""Private files: only their owner can read them, and a write replaces the whole file.

Knows files, modes and locks. Does not know what a file contains, and no error shows it.
A crash while a file is written leaves the old file or the new one, never a part of one.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from caveats.file_modes import is_readable_by_others
from caveats.forks import in_children

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO


class NotPrivate(Exception):
    """Users other than the owner can use the file, or it is no regular file. The message names it and says why."""


class NotAFile(NotPrivate):
    """A folder, a pipe or a device is at the path."""


class ReadableByOthers(NotPrivate):
    """The mode of the file lets others read or write it: they may know its content."""


def open_regular(path: Path) -> BinaryIO:
    """A regular file, opened for reading. Raises `NotAFile`, `OSError`."""
    # Non-blocking: otherwise, opening a named pipe waits for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise NotAFile(f"{path} is not a file")
    return file


def read_private(path: Path, *, largest: int, any_owner: bool = False) -> bytes:
    """The content of a private file. Raises `NotPrivate`, `ReadableByOthers`, `OSError`.

    `largest`: bytes. Raises `ValueError` for a larger file.
    `any_owner`: the file may belong to another user, as when a container's root reads a file of its host's user.
    """
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        if os.name == "posix":
            own_groups = {os.getegid(), *os.getgroups()}
            if is_readable_by_others(status, user=os.geteuid(), groups=own_groups):
                raise ReadableByOthers(f"{path} can be read by others")
            if status.st_uid != os.geteuid() and not any_owner:
                raise NotPrivate(f"{path} belongs to somebody else")
        data = file.read(largest + 1)
        if len(data) > largest:
            raise ValueError(f"{path} is larger than {largest} bytes")
        return data


def real_path(path: Path) -> Path:
    """Where the symbolic links at `path` lead; `path` itself if it is none, or one that leads nowhere."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_private(path: Path, parts: Iterable[bytes], *, new: bool = False) -> None:
    """Write `parts`, one after another, as the whole content of `path`, with mode 0600. Raises `OSError`.

    A symbolic link stays one: the file that it leads to is replaced. `new`: never replace a file. Raises
    `FileExistsError`.
    """
    if not new:
        path = real_path(path)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if new:
            os.link(aside, path)  # unlike a rename, a link never replaces a file
            aside.unlink()
        else:
            aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # only then is the new name on the disk
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class FileLock:
    """A lock on a file, until `release`. The children of this process have no part in it: they neither keep nor release it."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle
        in_children(self, FileLock.release)

    def release(self) -> None:
        """Close this process's descriptor of the file. The lock is released when the process that took it does so."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def lock(path: Path, *, wait: bool) -> FileLock | None:
    """An exclusive lock on the file `path`. Makes the file if it is missing.

    None if another process has the lock and `wait` is False. Where the platform has no locks, every caller gets one.
    Raises `OSError`.
    """
    from filelock import lock_descriptor  # noqa: PLC0415  # few of those who use this module lock a file

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    taken = FileLock(handle)
    try:
        has_it = lock_descriptor(handle, blocking=wait)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSYS:
            return taken
        taken.release()
        raise
    if not has_it:
        taken.release()
        return None
    return taken
