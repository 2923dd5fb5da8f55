"""A lock on the use of a SQLite database: shared by the services that use it, exclusive for a restore.

Knows only the file `<database>.lock`. The kernel releases the lock when the process ends, also by a kill.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from caveats.forks import in_children
from caveats_service.storage.errors import DatabaseInUse
from caveats_service.storage.files import create_if_missing

if TYPE_CHECKING:
    from pathlib import Path


class FileLock:
    """A lock that is held until `release`. A child that a plug-in forks lets go of it, so that it ends with this process."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle
        in_children(self, FileLock.release)

    @classmethod
    def shared(cls, database: Path) -> FileLock:
        """Lock as one of several users; `DatabaseInUse` while a restore holds the lock."""
        return cls._locked(database, fcntl.LOCK_SH, "the database is being restored")

    @classmethod
    def exclusive(cls, database: Path) -> FileLock:
        """Lock as the only user; `DatabaseInUse` while a service holds the lock."""
        return cls._locked(database, fcntl.LOCK_EX, "a service is running on this database: stop it first")

    @classmethod
    def _locked(cls, database: Path, mode: int, refusal: str) -> FileLock:
        path = database.with_name(f"{database.name}.lock")
        create_if_missing(path)
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise DatabaseInUse(refusal) from error
        except OSError:
            os.close(handle)
            raise
        return cls(handle)

    def release(self) -> None:
        """Release the lock."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
