"""The store: everything that the service remembers, behind one value.

    users        create_user get_user list_users count_users
                 set_password replace_hash disable_user enable_user set_admin
    keys         list_keys publish_key activate_key retire_key
    labels       add_labelled_token get_labelled_token list_labelled_tokens mark_used prune_labelled_tokens
    revocations  revoke_token revoke_branch revoke_user page_revocations live_revocations prune_revocations
    audit        list_audit
    here         migrate ping facts set_seal_canary bump_epoch checkpoint backup integrity_problems close

Methods take `now` (aware) and, if they change anything, `actor`: who is named in the audit row that is
written in the same transaction. They return frozen values (`records`) and raise `StoreError`s (`errors`);
whatever goes wrong in the driver or on the disk is `StoreUnavailable`, and then nothing was changed.
"""

import asyncio
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import select, update

from . import audit
from .audit import Audit
from .backup import Progress, backup_database, integrity_problems
from .database import whole
from .errors import StoreUnavailable
from .keys import Keys
from .labels import Labels
from .migrate import prepare_file, upgrade
from .revocations import Revocations
from .schema import meta
from .users import Users


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says of itself. `seal_canary` is None until the first start has sealed one."""

    instance_id: str
    epoch: int
    revocation_sequence: int
    seal_canary: bytes | None = field(repr=False)


class Store(Users, Keys, Labels, Revocations, Audit):
    """One database: `Store(sqlite_url(path))`, `await migrate()` at start, `await close()` at the end."""

    @whole
    async def migrate(self) -> None:
        """Create or upgrade the schema; `SchemaTooNew` if a newer version has been here."""
        try:
            await asyncio.to_thread(prepare_file, self.path, self._patience)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"{self.path} cannot be opened: {error}") from error
        async with self.write() as connection:
            await connection.run_sync(upgrade)

    @whole
    async def ping(self) -> None:
        """Return if the store can be read now; otherwise `StoreUnavailable`."""
        await self.facts()

    @whole
    async def facts(self) -> Facts:
        """The instance's id, the revocation epoch and sequence, the seal's canary."""
        async with self.read() as connection:
            row = (await connection.execute(select(meta))).one()
            return Facts(row.instance_id, row.epoch, row.revocation_sequence, row.seal_canary)

    @whole
    async def set_seal_canary(self, canary: bytes) -> bytes:
        """Keep this canary unless there is one; returns the one that is kept."""
        async with self.write() as connection:
            await connection.execute(
                update(meta).where(meta.c.seal_canary.is_(None)).values(seal_canary=canary)
            )
            kept = (await connection.execute(select(meta.c.seal_canary))).scalar_one()
            return bytes(kept)

    @whole
    async def bump_epoch(self, *, now: datetime, actor: str) -> int:
        """Make every follower of the feed load everything anew; returns the new epoch."""
        async with self.write_alone() as connection:
            moved = await connection.execute(
                update(meta).values(epoch=meta.c.epoch + 1).returning(meta.c.epoch)
            )
            epoch = int(moved.scalar_one())
            await audit.record(
                connection, at=now, actor=actor, action="revocation.bump_epoch", subject="", epoch=epoch
            )
            return epoch

    async def backup(self, target: Path, *, progress: Progress | None = None) -> None:
        """A whole copy (0600) while the service runs; `BackupExists` if the name is taken."""
        await asyncio.to_thread(backup_database, self.path, target, progress)

    async def integrity_problems(self) -> tuple[str, ...]:
        """What is wrong with the database; nothing if it is whole."""
        try:
            return await asyncio.to_thread(integrity_problems, self.path)
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path} cannot be checked: {error}") from error
