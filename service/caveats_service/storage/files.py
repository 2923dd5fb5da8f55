"""Files that are either whole on disk or not there, and that never replace another.

Knows bytes and paths. Must not know what the files are for. A file that root makes beside those of a service belongs to
the service's user, who could not open it otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


@contextlib.contextmanager
def temporary_beside(target: Path, *, like: Path | None = None) -> Iterator[Path]:
    """A new empty file (0600) in the folder of `target`. It is deleted at the end, unless it was renamed.

    `like`: see `take_after`.
    """
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        if like is not None:
            take_after(handle, like)
    finally:
        os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(target: Path) -> list[Path]:
    """The temporary files for `target` that a killed process has left behind, or that another one is writing."""
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.*.tmp*"))


def create_if_missing(path: Path) -> None:
    """Make an empty file (0600) if there is none, for the owner of its folder if root makes it."""
    with contextlib.suppress(FileExistsError):
        os.close(open_new(path))


def open_new(path: Path) -> int:
    """A handle of a new file (0600), for the owner of its folder if root makes it. Raises `FileExistsError`."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        take_after(handle, path.parent)
    except BaseException:
        os.close(handle)
        raise
    return handle


def take_after(handle: int, like: Path) -> None:
    """Give an open file that this process has just made the mode of the file `like`, and as root its owner.

    Of a folder it takes the owner only. The handle is of a new file: nobody can put a link to another one in its place.
    """
    model = like.stat()
    if os.geteuid() == 0:
        os.fchown(handle, model.st_uid, model.st_gid)
    if stat.S_ISREG(model.st_mode):
        os.fchmod(handle, stat.S_IMODE(model.st_mode))


def keep_under(existing: Path, second: Path) -> None:
    """Give a file a second name, so that the first can be given away and is never free. Raises `OSError`.

    Without hard links (some network and FAT mounts) it is renamed: then there is no file of the first name for a moment.
    """
    try:
        os.link(existing, second)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        existing.rename(second)


def place(temporary: Path, target: Path) -> None:
    """Give a finished file its name, durably. Raises `FileExistsError` if there is one, also one made meanwhile."""
    sync_file(temporary)
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # Without hard links (some network and FAT mounts) there is a window between look and rename.
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        temporary.rename(target)
    else:
        temporary.unlink()
    sync_folder(target.parent)


def sync_file(path: Path) -> None:
    """Return once the file's bytes are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Return once the names in the folder are on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
