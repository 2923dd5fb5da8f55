"""The store: one database and a repository for each kind of thing that the service remembers.

Knows which repositories there are, and no SQL. Operations take `now` (aware) and, if they change anything,
`actor`: the name in the audit row, which is written in the same transaction. They return frozen values (`records`) and
raise a `StoreError` (`errors`); a failure of the driver, the disk or the network is `StoreUnavailable`. Operations that
take `once` (an `Idempotency`) keep their reply, and raise `AlreadyDone` with it when they are repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_service.storage.engines.change_stream import ChangeStream
from caveats_service.storage.engines.postgres import CONNECTIONS
from caveats_service.storage.engines.transactions import Database
from caveats_service.storage.repositories.agents import AgentRepository
from caveats_service.storage.repositories.attempts import AttemptRepository
from caveats_service.storage.repositories.audit import AuditRepository
from caveats_service.storage.repositories.clients import ClientRepository
from caveats_service.storage.repositories.credentials import CredentialRepository
from caveats_service.storage.repositories.damage import DamageRepository
from caveats_service.storage.repositories.fates import FateRepository
from caveats_service.storage.repositories.groups import GroupRepository
from caveats_service.storage.repositories.idempotency import ReplyRepository
from caveats_service.storage.repositories.instance import InstanceRepository
from caveats_service.storage.repositories.interactions import InteractionRepository
from caveats_service.storage.repositories.keys import KeyRepository
from caveats_service.storage.repositories.labels import LabelRepository
from caveats_service.storage.repositories.revocations import RevocationRepository
from caveats_service.storage.repositories.users import UserRepository
from caveats_service.storage.repositories.verifiers import VerifierRepository

if TYPE_CHECKING:
    from datetime import timedelta

    from sqlalchemy import URL


class Store(Database):
    """One database: `Store(url)`, `await migrate()` at start, `await close()` at the end.

    `url`: `sqlite:///path`, `sqlite_url(path)` or `postgresql://user@host:port/database`. Only `backup` differs: it
    raises `BackupElsewhere` for PostgreSQL.
    """

    def __init__(
        self, url: URL | str, *, patience: timedelta | None = None, connections: int = CONNECTIONS
    ) -> None:
        super().__init__(url, patience=patience, connections=connections)
        self.users = UserRepository(self)
        self.groups = GroupRepository(self)
        self.agents = AgentRepository(self)
        self.clients = ClientRepository(self)
        self.credentials = CredentialRepository(self)
        self.keys = KeyRepository(self)
        self.labels = LabelRepository(self)
        self.fates = FateRepository(self)
        self.revocations = RevocationRepository(self)
        self.verifiers = VerifierRepository(self)
        self.interactions = InteractionRepository(self)
        self.replies = ReplyRepository(self)
        self.attempts = AttemptRepository(self)
        self.audit = AuditRepository(self)
        self.damage = DamageRepository(self)
        self.instance = InstanceRepository(self)
        self.changes = ChangeStream(self)
