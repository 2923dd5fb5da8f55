"""Who uses a SQLite database: a lock on the file beside it, shared by services, exclusive for a restore.

Knows the lock file only. The kernel drops the lock with the process, so no stale one is left behind by a kill.
"""

import fcntl
import os
from pathlib import Path

from caveats_service.storage.errors import DatabaseInUse


class FileLock:
    """A held lock, until `leave`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    @classmethod
    def shared(cls, database: Path) -> "FileLock":
        """Be one of the users of this database."""
        return cls._locked(database, fcntl.LOCK_SH, "the database is being restored")

    @classmethod
    def exclusive(cls, database: Path) -> "FileLock":
        """Be the only one; `DatabaseInUse` if anyone is there."""
        return cls._locked(database, fcntl.LOCK_EX, "a service is running on this database: stop it first")

    @classmethod
    def _locked(cls, database: Path, mode: int, refusal: str) -> "FileLock":
        handle = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise DatabaseInUse(refusal) from error
        except OSError:
            os.close(handle)
            raise
        return cls(handle)

    def leave(self) -> None:
        """Be gone."""
        os.close(self._handle)
