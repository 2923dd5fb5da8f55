"""The lock on the use of a database, and the children that a plug-in forks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from caveats_service.storage.engines.file_lock import FileLock
from caveats_service.storage.errors import DatabaseInUse


def test_a_child_that_lives_on_does_not_keep_the_database_in_use(tmp_path: Path) -> None:
    database = tmp_path / "caveats.db"
    lock = FileLock.shared(database)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            lock.release()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
        finally:
            os._exit(0)
    try:
        os.read(ready[0], 1)
        with pytest.raises(DatabaseInUse):
            FileLock.exclusive(database)
        lock.release()
        lock.release()
        FileLock.exclusive(database).release()
    finally:
        os.write(go[1], b"x")
        assert os.waitpid(child, 0)[1] == 0
