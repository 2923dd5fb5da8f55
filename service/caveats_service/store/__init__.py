"""What the service remembers: the only place with SQL.

`from caveats_service.store import Store, sqlite_url`; see `store.py` for its operations.
"""

from .backup import Restored, restore_database
from .database import database_exists, sqlite_url
from .errors import (
    BackupDamaged,
    BackupError,
    BackupExists,
    DatabaseExists,
    DatabaseInUse,
    KeyConflict,
    KeyInUse,
    LabelExists,
    SchemaError,
    SchemaTooNew,
    StoreError,
    StoreUnavailable,
    UnknownMasterKey,
    UnknownUser,
    UserExists,
)
from .records import (
    AuditEntry,
    KeyState,
    LabelledToken,
    MasterKey,
    Revocation,
    RevocationKind,
    RevocationPage,
    User,
    UserChange,
)
from .store import Facts, Store

__all__ = [
    "AuditEntry",
    "BackupDamaged",
    "BackupError",
    "BackupExists",
    "DatabaseExists",
    "DatabaseInUse",
    "Facts",
    "KeyConflict",
    "KeyInUse",
    "KeyState",
    "LabelExists",
    "LabelledToken",
    "MasterKey",
    "Restored",
    "Revocation",
    "RevocationKind",
    "RevocationPage",
    "SchemaError",
    "SchemaTooNew",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "UnknownMasterKey",
    "UnknownUser",
    "User",
    "UserChange",
    "UserExists",
    "database_exists",
    "restore_database",
    "sqlite_url",
]
