"""The store: everything that the service remembers, behind one value.

    users        create_user get_user list_users count_users
                 set_password replace_hash disable_user enable_user set_admin
    groups       put_group get_group list_groups delete_group add_member remove_member groups_of
    agents       add_agent find_agent list_agents remove_agent
    interactions begin_interaction find_interaction take_part decide settled prune_interactions
    keys         list_keys publish_key activate_key retire_key service_key
    labels       add_labelled_token get_labelled_token list_labelled_tokens mark_used prune_labelled_tokens
    revocations  revoke_token revoke_branch revoke_user page_revocations live_rows prune_revocations
    verifiers    add_verifier get_verifier list_verifiers revoke_verifier
    replies      recall remember prune_replies
    changes      changes
    audit        list_audit
    here         exists migrate ping facts set_seal_canary bump_epoch checkpoint backup integrity_problems close

Methods take `now` (aware) and, if they change anything, `actor`: who is named in the audit row that is
written in the same transaction. They return frozen values (`records`) and raise `StoreError`s (`errors`);
whatever goes wrong in the driver, on the disk or on the way is `StoreUnavailable`. Methods that take `once`
(an `Idempotency`) remember what was answered, and answer a repetition with `AlreadyDone`.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import insert, select, update

from caveats_service.storage.engines.change_stream import ChangeStream
from caveats_service.storage.engines.engine import Progress
from caveats_service.storage.engines.migrate import upgrade
from caveats_service.storage.engines.transactions import operation, unhurried
from caveats_service.storage.repositories import audit
from caveats_service.storage.repositories.agents import Agents
from caveats_service.storage.repositories.audit import Audit
from caveats_service.storage.repositories.groups import Groups
from caveats_service.storage.repositories.idempotency import Replies
from caveats_service.storage.repositories.interactions import Interactions
from caveats_service.storage.repositories.keys import Keys
from caveats_service.storage.repositories.labels import Labels
from caveats_service.storage.repositories.revocations import Revocations
from caveats_service.storage.repositories.users import Users
from caveats_service.storage.repositories.verifiers import Verifiers
from caveats_service.storage.tables import meta, service_keys


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What the database says of itself. `seal_canary` is None until the first start has sealed one."""

    instance_id: str
    epoch: int
    revocation_sequence: int
    seal_canary: bytes | None = field(repr=False)


class Store(
    Users, Groups, Agents, Interactions, Keys, Labels, Revocations, Verifiers, Replies, ChangeStream, Audit
):
    """One database: `Store(url)`, `await migrate()` at start, `await close()` at the end.

    `url` is `sqlite:///path`, `sqlite_url(path)` or `postgresql://user@host:port/database`; nothing else
    depends on which it is, but that a server has its own tools for backups.
    """

    @operation
    async def exists(self) -> bool:
        """Whether there is a database already, migrated or not: then its seal key must exist as well."""
        with self._engine.failures():
            self._here()
            return await self._engine.exists()

    @unhurried
    async def migrate(self) -> None:
        """Create or upgrade the schema; `SchemaTooNew` if a newer version has been here."""
        with self._engine.failures():
            self._here()
            await self._engine.migrate(upgrade)

    @operation
    async def ping(self) -> None:
        """Return if the store can be read now; otherwise `StoreUnavailable`."""
        async with self.read() as connection:
            (await connection.execute(select(meta.c.id))).one()

    @operation
    async def facts(self) -> DatabaseFacts:
        """The instance's id, the revocation epoch and sequence, the seal's canary."""
        async with self.read() as connection:
            row = (await connection.execute(select(meta))).one()
            return DatabaseFacts(row.instance_id, row.epoch, row.revocation_sequence, row.seal_canary)

    @operation
    async def set_seal_canary(self, canary: bytes) -> bytes:
        """Keep this canary unless there is one; returns the one that is kept."""
        async with self.write() as connection:
            await connection.execute(
                update(meta).where(meta.c.seal_canary.is_(None)).values(seal_canary=canary)
            )
            kept = (await connection.execute(select(meta.c.seal_canary))).scalar_one()
            return bytes(kept)

    @operation
    async def service_key(self, name: str, sealed: bytes) -> bytes:
        """Keep this key of the service's own unless there is one of that name; returns the one that is kept."""
        query = select(service_keys.c.sealed).where(service_keys.c.name == name)
        async with self.exclusive_write() as connection:
            kept = (await connection.execute(query)).scalar_one_or_none()
            if kept is None:
                await connection.execute(insert(service_keys).values(name=name, sealed=sealed))
                kept = sealed
            return bytes(kept)

    @operation
    async def bump_epoch(self, *, now: datetime, actor: str) -> int:
        """Make every follower of the feed load everything anew; returns the new epoch.

        For after a restore: the epoch moves on, and to at least the seconds of `now`, so that followers notice
        also when the same backup is put back twice.
        """
        async with self.exclusive_write() as connection:
            before = (await connection.execute(select(meta.c.epoch))).scalar_one()
            epoch = max(int(before) + 1, int(now.timestamp()))
            await connection.execute(update(meta).values(epoch=epoch))
            await audit.record(
                connection, at=now, actor=actor, action="revocation.bump_epoch", subject="", epoch=epoch
            )
            return epoch

    async def backup(self, target: Path, *, progress: Progress | None = None) -> None:
        """A whole copy (0600) while the service runs; `BackupExists` if the name is taken."""
        await self._engine.backup(target, progress)

    async def integrity_problems(self) -> tuple[str, ...]:
        """What is wrong with the database; nothing if it is whole."""
        with self._engine.failures():
            return await self._engine.integrity_problems()
