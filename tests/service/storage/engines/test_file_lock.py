"""The lock on the use of a database, and the children that a plug-in forks."""

from __future__ import annotations

from pathlib import Path

import pytest

from caveats_service.storage.engines.file_lock import FileLock
from caveats_service.storage.errors import DatabaseInUse
from tests.support.forks import living_child


def test_a_child_that_lives_on_does_not_keep_the_database_in_use(tmp_path: Path) -> None:
    database = tmp_path / "caveats.db"
    lock = FileLock.shared(database)
    with living_child(lock.release):
        with pytest.raises(DatabaseInUse):
            FileLock.exclusive(database)
        lock.release()
        lock.release()
        FileLock.exclusive(database).release()
