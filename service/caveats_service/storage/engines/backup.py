"""Copies of a SQLite database: taken while the service runs, restored while it does not.

Knows files, SQLite's backup interface and the tables `meta` and `audit` by name, where a restore is recorded. At every
moment of a restore there is a whole database under the name: the one before, or the new one. A
copy holds sealed keys and password hashes, so its mode is 0600; it does not hold the seal key, which must be kept
elsewhere. These functions block: call them from a thread.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from caveats_service.storage.engines import migrate
from caveats_service.storage.engines.comparison import differences, last_change
from caveats_service.storage.engines.engine import KEYS_OF_A_HISTORY
from caveats_service.storage.engines.file_lock import FileLock
from caveats_service.storage.errors import (
    BackupDamaged,
    BackupExists,
    DatabaseExists,
    DatabaseInUse,
    SchemaError,
    StoreUnavailable,
)
from caveats_service.storage.files import (
    keep_under,
    leftovers,
    place,
    sync_file,
    sync_folder,
    temporary_beside,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats_service.storage.engines.engine import Progress

_PAGES_A_STEP = 256
_COMPANIONS = ("-wal", "-shm", "-journal")
_ASIDE = ".before-restore-"
_NOT_A_DATABASE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_IN_USE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore: the new epoch, and the path that the database before it has now.

    `last_change`: when the backup was last written to. `differences`: what it brings back and loses, compared with the
    database before, a sentence each.
    """

    epoch: int
    set_aside: Path | None
    last_change: datetime | None
    differences: tuple[str, ...]


def backup_database(database: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy a database in use into one consistent file.

    Raises `BackupExists` if there is a file at `target`, `BackupDamaged`, `StoreUnavailable`.
    """
    if target.exists():
        raise BackupExists(f"{target} exists; a backup never overwrites")
    try:
        with temporary_beside(target) as temporary:
            _copy(database, temporary, progress)
            _check_whole(temporary)
            place(temporary, target)
    except FileExistsError as error:
        raise BackupExists(f"{target} exists; a backup never overwrites") from error
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"the backup failed: {error}") from error


def restore_database(
    backup: Path,
    database: Path,
    *,
    now: datetime,
    actor: str,
    force: bool = False,
    check_canary: Callable[[bytes], None] | None = None,
) -> Restored:
    """Replace a database that no service uses with a backup. The database before is kept under another name.

    `check_canary` is given the canary of the backup's seal key, before anything is replaced; what it raises ends the restore.

    The epoch of the revocation feed becomes greater than that of either database, and at least the seconds of
    `now`, so that every follower of the feed notices, also after a second restore of the same backup.
    Raises `DatabaseInUse`, `DatabaseExists` (without `force`), `BackupDamaged`, `StoreUnavailable`.
    """
    if not backup.is_file():
        raise BackupDamaged(f"{backup} is not a file")
    try:
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock.exclusive(database)
        try:
            if database.exists() and not force:
                raise DatabaseExists(
                    f"{database} exists; it is replaced only on request, and then kept aside"
                )
            return _replace(backup, database.resolve(), now, actor, check_canary)
        finally:
            lock.release()
    except OSError as error:
        raise StoreUnavailable(f"the restore failed: {error}") from error


def interrupted_restore(database: Path) -> Path | None:
    """What a restore that was killed has left of a database that is not there; None if it is there, or there was none."""
    database = database.resolve()
    if database.exists():
        return None
    kept = sorted(database.parent.glob(f"{glob.escape(database.name)}{_ASIDE}*"))
    return next(iter([*kept, *leftovers(database)]), None)


def integrity_problems(database: Path) -> tuple[str, ...]:
    """The problems that SQLite finds in the file; empty if it is whole."""
    with contextlib.closing(_connect(database)) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        found += [
            f"{table} row {row} points to a missing {parent}"
            for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check")
        ]
    return tuple(problem for problem in found if problem != "ok")


def _replace(
    backup: Path, database: Path, now: datetime, actor: str, check_canary: Callable[[bytes], None] | None
) -> Restored:
    for leftover in leftovers(database):  # of a restore that was killed: the lock says that no other one runs
        leftover.unlink(missing_ok=True)
    like = database if database.exists() else database.parent
    with temporary_beside(database, like=like) as temporary:
        try:
            _copy(backup, temporary, None)
            _check_whole(temporary)
            canary = _canary_of(temporary)
            if check_canary is not None and canary is not None:
                check_canary(canary)
            written_at = last_change(temporary)
            _check_ours(temporary)
            lost = differences(temporary, database, now) if _fold(database) else ()
            epoch = _move_epoch_on(temporary, _epoch_of(database), now, actor)
        except sqlite3.Error as error:
            if _code(error) in _NO_ROOM:
                raise StoreUnavailable(f"the restore failed, and nothing was replaced: {error}") from error
            raise BackupDamaged(f"{backup} cannot be read: {error}") from error
        set_aside = _put(temporary, database, now)
    return Restored(epoch, set_aside, written_at, lost)


def _fold(database: Path) -> bool:
    """Fold the logs of a database into its file, which then stands alone. False if it is missing or cannot be read.

    Raises `DatabaseInUse` if another program has it open, which the lock does not show.
    """
    if not database.exists():
        return False
    try:
        with contextlib.closing(_connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if _code(error) in _IN_USE:
            raise DatabaseInUse("another program has the database open: close it first") from error
        if _code(error) not in _NOT_A_DATABASE:
            raise
        return False
    return True


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _copy(source: Path, target: Path, progress: Progress | None) -> None:
    with (
        contextlib.closing(_connect(source)) as reader,
        contextlib.closing(sqlite3.connect(target)) as writer,
    ):
        # One snapshot for all steps: otherwise every write by somebody else starts the copy again.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()

        def report(_status: int, remaining: int, total: int) -> None:
            if progress is not None:
                progress(total - remaining, total)

        reader.backup(writer, pages=_PAGES_A_STEP, progress=report, sleep=0)
        reader.execute("ROLLBACK")
        # One file, complete in itself, without a log beside it.
        writer.execute("PRAGMA journal_mode=DELETE")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)


def _check_whole(copy: Path) -> None:
    try:
        problems = integrity_problems(copy)
    except sqlite3.DatabaseError as error:
        if _code(error) in _NO_ROOM:
            raise
        raise BackupDamaged(f"the copy cannot be read: {error}") from error
    if problems:
        raise BackupDamaged(f"the copy is damaged: {problems[0]}")


def _check_ours(copy: Path) -> None:
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(copy), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            if migrate.revision_of(connection) is None:
                raise BackupDamaged("the backup is an empty database")
            migrate.upgrade(connection)  # what a restore writes down has its columns in the newest schema
    except SchemaError as error:
        raise BackupDamaged(f"the backup is not for this program: {error}") from error
    except DBAPIError as error:
        raise (error.orig if isinstance(error.orig, sqlite3.Error) else error) from error


def _canary_of(copy: Path) -> bytes | None:
    """The canary of the seal key; None in a database in which there are no keys yet, or which is none of ours."""
    with contextlib.closing(_connect(copy)) as connection:
        try:
            row = connection.execute("SELECT seal_canary FROM meta").fetchone()
        except sqlite3.OperationalError:
            return None
    return None if row is None or row[0] is None else bytes(row[0])


def _move_epoch_on(copy: Path, other: int, now: datetime, actor: str) -> int:
    with contextlib.closing(_connect(copy)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        (epoch,) = connection.execute("SELECT epoch FROM meta").fetchone()
        moved = max(int(epoch) + 1, other + 1, int(now.timestamp()))
        passed_over = KEYS_OF_A_HISTORY * (1 + secrets.randbelow(100))  # keys that were made after the backup
        connection.execute(
            "UPDATE meta SET epoch = ?, key_floor = key_floor + ?, history = NULL", (moved, passed_over)
        )
        connection.execute(
            "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, 'database.restore', '', ?)",
            (int(now.timestamp() * 1000), actor, json.dumps({"epoch": moved})),
        )
        connection.execute("COMMIT")
    return moved


def _epoch_of(database: Path) -> int:
    """The epoch of the database to be replaced, its log included; 0 if it is missing or cannot be read."""
    if not database.exists():
        return 0
    try:
        with contextlib.closing(_connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return int(connection.execute("SELECT epoch FROM meta").fetchone()[0])
    except (sqlite3.Error, TypeError):
        return 0


def _put(temporary: Path, database: Path, now: datetime) -> Path | None:
    """Put a finished file in the place of the database, in one step. Returns the name that the one before has now.

    Logs that stand beside it, of a database that is damaged or missing, are moved away before: SQLite would write them
    into the new one.
    """
    stem = f"{database.name}{_ASIDE}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names = itertools.chain([stem], (f"{stem}.{n}" for n in itertools.count(2)))
    aside = next(path for path in map(database.with_name, names) if not path.exists())
    sync_file(temporary)
    existed = database.exists()
    for companion in _COMPANIONS:
        part = Path(f"{database}{companion}")
        if part.exists():
            part.rename(f"{aside}{companion}")
    if existed:
        keep_under(database, aside)
    temporary.replace(database)
    sync_folder(database.parent)
    return aside if existed else None
