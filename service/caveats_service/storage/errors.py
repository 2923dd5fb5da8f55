"""What the store can answer besides a result.

    StoreError
    ├── StoreUnavailable     try again later: not reached, locked for too long, disk full, not migrated
    │   └── TransactionAborted  ... and the store has tried a few times itself
    ├── SchemaError          this database is not for this program
    │   └── SchemaTooNew     ... because a newer version of it has been here
    ├── UserExists · UnknownUser
    ├── GroupExists · UnknownGroup
    ├── AgentExists · UnknownAgent
    ├── UnknownInteraction · InteractionsFull
    ├── LabelExists
    ├── UnknownMasterKey · UnknownVerifier
    ├── KeyConflict          the key is not in a state that allows this, or another node was faster
    │   └── KeyInUse         ... because tokens under it may still live; can be forced
    ├── AlreadyDone          this very request has been answered before; here is that answer
    ├── IdempotencyConflict  another request has been answered under this key
    └── BackupError          a backup or restore that was refused before anything was changed
        ├── DatabaseInUse · DatabaseExists · BackupExists
        ├── BackupDamaged
        └── BackupElsewhere  ... because this database has its own tools

None of them carries a password hash, a sealed key or a statement's parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class StoreError(Exception):
    """The root of the family."""


class StoreUnavailable(StoreError):
    """The store cannot answer now. The edge answers 503.

    Nothing was changed, unless the connection was lost in the very moment of the commit: then nobody can tell,
    and repeating the operation under the same idempotency key is what finds out.
    """


class TransactionAborted(StoreUnavailable):
    """The database undid the transaction: others were in its way, or its connection was lost before the commit."""


class SchemaError(StoreError):
    """The database does not hold what this program expects; an operator must look."""


class SchemaTooNew(SchemaError):
    """A newer version of the service has migrated this database; this one must not touch it."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"the database has schema {found}, this version knows up to {known}: start the newer version, "
            "or restore a backup made before the upgrade"
        )
        self.found = found
        self.known = known


class UserExists(StoreError):
    """The name is taken."""


class UnknownUser(StoreError):
    """There is no such user."""


class GroupExists(StoreError):
    """The name is a user's already."""


class UnknownGroup(StoreError):
    """There is no such group."""


class AgentExists(StoreError):
    """The public key is an agent's already."""


class UnknownAgent(StoreError):
    """There is no such agent."""


class UnknownInteraction(StoreError):
    """There is no such interaction, or it has expired."""

    def __init__(self) -> None:
        super().__init__("there is no such interaction, or its time is up")


class InteractionsFull(StoreError):
    """There are as many interactions as are kept at a time."""


class LabelExists(StoreError):
    """A labelled token with this id is already there."""


class UnknownMasterKey(StoreError):
    """There is no master key with this id."""


class UnknownVerifier(StoreError):
    """There is no verifier with this id."""


class KeyConflict(StoreError):
    """The key's state does not allow the step, or another node has taken it first."""


class KeyInUse(KeyConflict):
    """Tokens under this key may be alive until `until`; `labelled` of them are known by label."""

    def __init__(self, key_id: str, until: datetime, labelled: int) -> None:
        super().__init__(
            f"tokens under {key_id} may be alive until {until:%Y-%m-%dT%H:%M:%SZ} ({labelled} labelled)"
        )
        self.key_id = key_id
        self.until = until
        self.labelled = labelled


class AlreadyDone(StoreError):
    """The operation was done before under this idempotency key: `sealed_reply` is what was answered then."""

    def __init__(self, sealed_reply: bytes) -> None:
        super().__init__("this request has been answered before")
        self.sealed_reply = sealed_reply


class IdempotencyConflict(StoreError):
    """The idempotency key belongs to another request."""


class BackupError(StoreError):
    """A backup or restore that was refused."""


class BackupExists(BackupError):
    """The backup's path is taken; a backup never overwrites."""


class BackupDamaged(BackupError):
    """The backup is not a whole, consistent database of this service."""


class DatabaseInUse(BackupError):
    """A service is running on the database."""


class DatabaseExists(BackupError):
    """There is a database already; it is replaced only when that is asked for."""


class BackupElsewhere(BackupError):
    """The database is a server's: it has its own tools for this."""
