"""What the service remembers, on SQLite or PostgreSQL. The only room with SQL; must not know HTTP or opened keys.

The rest of the service imports from here: `from caveats_service.storage import Store`.
Reading order: `store` (what there is), `records` (what it returns), `errors` (what it raises), `tables`,
`repositories/` (the queries), `engines/` (the two databases, and nowhere else), `encryption` and `open` (the seal key
beside the database), `files`; `migrations/` holds the steps from one schema to the next.
"""

from __future__ import annotations

from caveats_service.storage.engines.backup import Restored, restore_database
from caveats_service.storage.engines.change_stream import Change, ChangeKind
from caveats_service.storage.engines.sqlite import database_exists, sqlite_url
from caveats_service.storage.errors import (
    AgentExists,
    AlreadyDone,
    BackupDamaged,
    BackupElsewhere,
    BackupError,
    BackupExists,
    DatabaseExists,
    DatabaseInUse,
    GroupExists,
    IdempotencyConflict,
    InteractionsFull,
    KeyConflict,
    KeyInUse,
    LabelExists,
    SchemaError,
    SchemaTooNew,
    StoreError,
    StoreUnavailable,
    TransactionAborted,
    UnknownAgent,
    UnknownGroup,
    UnknownInteraction,
    UnknownMasterKey,
    UnknownUser,
    UnknownVerifier,
    UserExists,
)
from caveats_service.storage.records import (
    Agent,
    AuditEntry,
    Decision,
    Group,
    Idempotency,
    Interaction,
    LabelledToken,
    RevocationPage,
    RevocationRecord,
    SealedKey,
    User,
    UserChange,
    VerifierApp,
)
from caveats_service.storage.repositories.instance import DatabaseFacts
from caveats_service.storage.store import Store

__all__ = [
    "Agent",
    "AgentExists",
    "AlreadyDone",
    "AuditEntry",
    "BackupDamaged",
    "BackupElsewhere",
    "BackupError",
    "BackupExists",
    "Change",
    "ChangeKind",
    "DatabaseExists",
    "DatabaseFacts",
    "DatabaseInUse",
    "Decision",
    "Group",
    "GroupExists",
    "Idempotency",
    "IdempotencyConflict",
    "Interaction",
    "InteractionsFull",
    "KeyConflict",
    "KeyInUse",
    "LabelExists",
    "LabelledToken",
    "Restored",
    "RevocationPage",
    "RevocationRecord",
    "SchemaError",
    "SchemaTooNew",
    "SealedKey",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "TransactionAborted",
    "UnknownAgent",
    "UnknownGroup",
    "UnknownInteraction",
    "UnknownMasterKey",
    "UnknownUser",
    "UnknownVerifier",
    "User",
    "UserChange",
    "UserExists",
    "VerifierApp",
    "database_exists",
    "restore_database",
    "sqlite_url",
]
