"""The errors of the store.

    StoreError
    ├── StoreUnavailable     try again later: not reached, locked for too long, not migrated
    │   ├── TransactionAborted  ... after the store has repeated it a few times
    │   │   └── DatabaseReadOnly   ... once the database takes writes
    │   ├── DatabaseFull        ... once its disk has room
    │   ├── DatabaseReplaced    ... once the file is back, or the service was started again
    │   └── StoreBroken         ... not even later: an operator must look at it
    │       └── RowDamaged      ... because of one row; others can be used
    ├── SchemaError          this database is not for this program
    │   ├── SchemaTooNew     ... because a newer version of it has been here
    │   └── SchemaTooOld     ... before it is migrated
    ├── UserExists · UnknownUser · NamesTaken
    ├── LastAdministrator    nobody else could administer: make another administrator first
    ├── GroupExists · UnknownGroup
    ├── AgentExists · UnknownAgent
    ├── ClientExists · UnknownClient
    ├── UnknownInteraction · InteractionsFull
    ├── LabelExists · LabelsFull
    ├── UnknownMasterKey · UnknownVerifier · UnknownRow
    ├── KeyConflict          the key is not in a state that allows this, or another node was faster
    │   └── KeyInUse         ... because tokens under it may still live; can be forced
    ├── BadValue             a value that the database cannot keep
    │   └── BadText          ... a text with a character that it cannot keep
    ├── AlreadyDone          this request has been answered before: the error holds that answer
    ├── IdempotencyConflict  the caller has used this key for another request
    └── BackupError          a backup or restore that was refused before anything was changed
        ├── DatabaseInUse · DatabaseExists · BackupExists
        ├── BackupDamaged
        └── BackupElsewhere  ... because the database server has its own tools

None of them carries a password hash, a sealed key or a statement's parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DontWrapMixin

from caveats.errors import reduce_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class StoreError(Exception):
    """The root of the family."""

    __reduce__ = reduce_error


class StoreUnavailable(StoreError):
    """The store cannot answer now. The edge answers 503.

    Nothing was changed, with one exception: if the connection was lost during the commit, the change may have
    happened. Repeat the operation under the same idempotency key to find out.
    """


class TransactionAborted(StoreUnavailable):
    """The transaction was rolled back: it conflicted with others, or its connection was lost before the commit."""


class DatabaseReadOnly(TransactionAborted):
    """The database takes no writes: a standby, read-only files, or an administrator has said so.

    It is repeated like a conflict, since another server of the same address may take them.
    """


class DatabaseFull(StoreUnavailable):
    """There is no room on the database's disk."""


class DatabaseReplaced(StoreUnavailable):
    """A file of the database was deleted, moved or replaced while it was open. What is written to it would be lost."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the file {name} was deleted, moved or replaced while the service runs: "
            "put it back, or stop the service and restore a backup"
        )


class StoreBroken(StoreUnavailable):
    """The database refuses the statement for good: rights, tables or columns that are missing, a damaged file.

    Trying again does not help, so the edge answers 500. The message is what the database said.
    """


class RowDamaged(StoreBroken):
    """A row holds what its columns cannot hold, so that nothing is done with it."""

    def __init__(self, table: str, remedy: str = "") -> None:
        super().__init__(
            f"a row of {table} is damaged: `caveats-service damage list` says which{'; ' * bool(remedy)}{remedy}"
        )


class SchemaError(StoreError):
    """The database is not one of this program. An operator must look at it."""


class SchemaTooNew(SchemaError):
    """A newer version of the service has migrated this database; this version must not use it."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"the database has schema {found}, this version knows up to {known}: start the newer version, "
            "or restore a backup made before the upgrade"
        )
        self.found = found
        self.known = known


class SchemaTooOld(SchemaError):
    """An older version of the service has made this database, and nobody has asked to migrate it."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(
            f"the database has schema {found}, this version wants {wanted}: "
            "run `caveats-service migrate` (after a backup) or `serve`"
        )
        self.found = found
        self.wanted = wanted


class UserExists(StoreError):
    """A user or a group has this name already."""


class UnknownUser(StoreError):
    """There is no such user."""


class NamesTaken(StoreError):
    """Of accounts that were to be added together, some have names that are taken. `why`: see `UserRepository.taken`."""

    def __init__(self, why: Mapping[str, str]) -> None:
        super().__init__(f"{len(why)} of the names are taken: nothing was added")
        self.why = why


class LastAdministrator(StoreError):
    """Nobody else can administer, so this account cannot be deleted."""

    def __init__(self, username: str) -> None:
        super().__init__(f"{username} is the last administrator: make another user one first")
        self.username = username


class GroupExists(StoreError):
    """A user has this name already."""


class UnknownGroup(StoreError):
    """There is no such group."""


class AgentExists(StoreError):
    """An agent has this public key already."""


class UnknownAgent(StoreError):
    """There is no such agent."""


class ClientExists(StoreError):
    """An issuing client has this name already."""


class UnknownClient(StoreError):
    """There is no such issuing client."""


class UnknownInteraction(StoreError):
    """There is no such interaction, or it has expired."""

    def __init__(self) -> None:
        super().__init__("there is no such interaction, or its time is up")


class InteractionsFull(StoreError):
    """The store keeps as many interactions as the settings allow."""


class LabelExists(StoreError):
    """There is a labelled token with this id already."""


class LabelsFull(StoreError):
    """The user has as many labelled tokens as the settings allow."""


class UnknownMasterKey(StoreError):
    """There is no master key with this id."""


class UnknownVerifier(StoreError):
    """There is no verifier with this id."""


class UnknownRow(StoreError):
    """There is no damaged row of this number."""


class KeyConflict(StoreError):
    """The key's state does not allow the step, or another node has taken it first."""


class KeyInUse(KeyConflict):
    """Tokens under this key may be alive until `until`. `labelled`: the number of labelled ones that are alive."""

    def __init__(self, key_id: str, until: datetime, labelled: int) -> None:
        super().__init__(
            f"tokens under {key_id} may be alive until {until:%Y-%m-%dT%H:%M:%SZ} ({labelled} labelled)"
        )
        self.key_id = key_id
        self.until = until
        self.labelled = labelled


class BadValue(StoreError, DontWrapMixin):
    """A value that does not fit its column: a number out of range, or a text too long for its index.

    The database's own message would repeat the value.
    """

    def __init__(self, message: str = "a number or a text is too large to be stored") -> None:
        super().__init__(message)


class BadText(BadValue):
    """A text with NUL, which PostgreSQL does not keep, or with half of a surrogate pair, which UTF-8 does not have.

    Nothing of such a name can be in the store. SQLAlchemy would wrap the error of a column's type.
    """

    def __init__(self) -> None:
        super().__init__("a text has a character that cannot be stored: NUL, or half of a surrogate pair")


class AlreadyDone(StoreError):
    """The operation was done before under this idempotency key. `sealed_reply`: the reply of that time."""

    def __init__(self, sealed_reply: bytes) -> None:
        super().__init__("this request has been answered before")
        self.sealed_reply = sealed_reply


class IdempotencyConflict(StoreError):
    """The caller has used the idempotency key for another request."""


class BackupError(StoreError):
    """A backup or restore that was refused."""


class BackupExists(BackupError):
    """There is a file at the backup's path. A backup never overwrites one."""


class BackupDamaged(BackupError):
    """The backup is not a whole, consistent database of this service."""


class DatabaseInUse(BackupError):
    """A service is running on the database, or a restore is replacing it."""


class DatabaseExists(BackupError):
    """There is a database already. A restore replaces it only with `force`."""


class BackupElsewhere(BackupError):
    """The database is PostgreSQL, which has its own tools for backups."""
