"""The records that the store returns and takes: frozen values. Times are aware, UTC, whole milliseconds.

Knows no SQL. The fields of a record that is one row have the names of its columns. `repr` leaves out hashes and
sealed bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from caveats import KeyState, Parent, Revocation

_DIGEST_SIZE = 32
ISSUED_WITHIN = timedelta(seconds=1)
"""How much later than is written down a token may have been issued: so often a process writes it down at most."""


SET_ONCE = "once:"
"""What stands before the hash of a password that must be changed."""


@dataclass(frozen=True, slots=True)
class User:
    """An account. `scope`: scope patterns with one space between, the most that its tokens may have."""

    username: str
    password_hash: str = field(repr=False)
    is_admin: bool
    scope: str
    created_at: datetime
    disabled_at: datetime | None
    password_changed_at: datetime
    revoked_up_to: datetime | None = None
    """Up to when all that was issued to the user is revoked. Not in lists of users."""

    @property
    def must_change_password(self) -> bool:
        """Whether the password was set for once: it signs in to nothing but its own change."""
        return self.password_hash.startswith(SET_ONCE)

    @property
    def own_hash(self) -> str:
        """The hash to verify the password with."""
        return self.password_hash.removeprefix(SET_ONCE)

    @property
    def is_enabled(self) -> bool:
        """Whether this user may sign in and their tokens may live."""
        return self.disabled_at is None


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account that is to be added, with its password's hash."""

    username: str
    password_hash: str = field(repr=False)
    is_admin: bool = False
    scope: str = "*"
    is_disabled: bool = False
    must_change_password: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of users. `members`: their usernames in order, disabled users included."""

    name: str
    members: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Agent:
    """A program that signs in with a key for a user. `public_key`: X25519, 32 bytes."""

    agent_id: str
    username: str
    public_key: bytes
    name: str
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class IssuingClient:
    """A site that issues tokens for users who are signed in there: for whom, and at most what."""

    client_id: str
    name: str
    secret_hash: bytes = field(repr=False)
    """SHA-256 of the secret, 32 bytes."""
    lineage: str
    """The id that all it has issued names as its parent."""
    users: tuple[str, ...]
    groups: tuple[str, ...]
    audiences: tuple[str, ...]
    scope: str
    longest_life: int
    """Seconds, of each token."""
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class ShownCredential:
    """A credential with which somebody has taken part in an interaction. It names the credential and holds no secret."""

    username: str
    password_changed_at: datetime | None = None
    """Of the account, if a password was shown."""
    lineage: tuple[str, ...] = ()
    """If a token was shown: the token, then those that it was issued against, as values of `parent` caveats."""
    expires_at: datetime | None = None
    agent_key: bytes | None = None
    """X25519, 32 bytes, if an agent has signed in."""
    after_sequence: int | None = None
    """Where the feed of revocations stood when it was written down."""


class Decision(StrEnum):
    """The state of an interaction."""

    OPEN = "open"
    GRANTED = "granted"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Interaction:
    """A question to people. The store finds it by the hash (32 bytes) of one of its secrets; it keeps no secret."""

    visit_hash: bytes = field(repr=False)
    """The hash of the secret in the address of the approvers' page, which follows from that of the asker's page."""
    wait_hash: bytes = field(repr=False)
    """The hash of the secret in the address where the asker waits."""
    token_hash: bytes = field(repr=False)
    """The hash of the token that the asker gets there and sends when they ask again."""
    identifier: bytes = field(repr=False)
    """The identifier of the third-party caveat: the ticket, or its name if the ticket is the payload."""
    payload: bytes | None = field(repr=False)
    """The ticket, if it is sent apart from its name."""
    client_ip: str
    asker: str | None
    approvers: tuple[str, ...]
    decision: Decision
    created_at: datetime
    expires_at: datetime
    """From this time on the store does not find it."""
    decided_at: datetime | None = None
    credentials: tuple[ShownCredential, ...] = ()
    """What the asker and each approver have shown."""


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A master key at rest. `sealed`: its bytes, encrypted; empty once it is retired."""

    row_id: int
    key_id: str
    state: KeyState
    sealed: bytes = field(repr=False)
    created_at: datetime
    activated_at: datetime | None
    verifying_since: datetime | None
    retire_after: datetime | None
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class Issued:
    """How late tokens have been issued, all nodes and their clocks together."""

    latest: Mapping[timedelta, datetime]
    """The latest time in the id of a token, by the longest life that the settings gave it; see `ISSUED_WITHIN`."""

    def reach(self) -> datetime | None:
        """No token has a later time in its id. None if none was issued."""
        return max(self.latest.values()) + ISSUED_WITHIN if self.latest else None

    def longest_life(self, issued_at: datetime, life: timedelta) -> timedelta:
        """How long a token of that time can live. `life`: as the settings are now."""
        return max([life, *(other for other, at in self.latest.items() if issued_at <= at + ISSUED_WITHIN)])

    def last_end(self, at: datetime, life: timedelta) -> datetime:
        """When the last token has ended that was issued before, or until `at` with this life."""
        return max([at + life, *(issued + longest for longest, issued in self.latest.items())])

    def with_issue(self, life: timedelta, at: datetime) -> Issued:
        """As it is after a token was issued at that time, which can live so long."""
        return Issued({**self.latest, life: max(at, self.latest.get(life, at))})


@dataclass(frozen=True, slots=True)
class LabelledToken:
    """What is kept of a token with a note. It does not hold the token, and cannot be presented as one."""

    token_id: str
    username: str
    note: str
    scope: str
    audience: str
    issued_at: datetime
    expires_at: datetime
    """Of its latest renewal."""
    last_used_at: datetime | None = None
    lineage: tuple[Parent, ...] = ()
    """The token itself, with the branches of its issuer's chain, then those that it was issued against. Empty if an
    older version labelled it."""


class RevokedBy(StrEnum):
    """What ended a token before its time."""

    ID = "id"
    """It was revoked by its id: all copies of it."""
    COPY = "copy"
    """The token as it was issued was revoked as a copy, and so all that were made from it."""
    USER = "user"
    """Everything that its user had was revoked, as also when a password is set or an account is disabled."""
    KEY = "key"
    """The master key under which it was issued is retired."""
    PARENT = "parent"
    """A token that it was issued against was revoked, in one of these ways."""


@dataclass(frozen=True, slots=True)
class TokenFate:
    """What became of a token since it was issued. `revoked_at`: None also where it is not known."""

    revoked_by: RevokedBy | None = None
    revoked_at: datetime | None = None
    revoked_copies: int = 0
    """How many narrower copies of it are revoked by themselves."""


@dataclass(frozen=True, slots=True)
class RevocationRecord:
    """A revocation entry with its sequence in the feed, and when, by whom and why it was written."""

    sequence: int
    entry: Revocation
    created_at: datetime
    revoked_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """A part of the feed. The entries with sequences above `floor`, up to `last_sequence`, have not been pruned."""

    epoch: int
    last_sequence: int
    floor: int
    records: tuple[RevocationRecord, ...]
    read_at: datetime | None = field(default=None, compare=False)
    """What was revoked before is there: the time of the database's server; None if it has no clock of its own."""

    def must_resync(self, epoch: int, after_sequence: int) -> bool:
        """Whether a reader of this epoch and sequence may have missed an entry, and must load all live ones."""
        return epoch != self.epoch or not self.floor <= after_sequence <= self.last_sequence


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what and when, written in the transaction of the change."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row whose `columns` hold what they cannot hold. `name`: its key, as far as it can be read; `row`: its number."""

    table: str
    row: int
    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        """For people."""
        return f"{self.table} {self.name}: {', '.join(self.columns)}"


@dataclass(frozen=True, slots=True)
class UserChange:
    """A user after a change, and the revocation that was written with it; None if none was asked for."""

    user: User
    revocation: RevocationRecord | None


@dataclass(frozen=True, slots=True)
class VerifierApp:
    """An app that verifies locally. `public_key`: X25519, 32 bytes; the keys of its audience are encrypted for it."""

    verifier_id: str
    audience: str
    public_key: bytes
    name: str
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptLimit:
    """How many attempts count under a key (a hash) in a time."""

    key: bytes
    amount: int
    within: timedelta


@dataclass(frozen=True, slots=True)
class AttemptRefusal:
    """Why an attempt may not begin: as many as may have failed, or could with those that are under way.

    `retry_after`: seconds until one of the failures counts no more; None if others are under way.
    """

    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A request that its caller may send again, because the reply can get lost.

    `key`: the caller's choice; other callers may use the same one. `digest`: 32 bytes, of what they ask for.
    `seal_reply` makes the reply that is kept of the operation's result. It runs within the transaction, perhaps more
    than once, and must do no I/O.
    """

    caller: str
    key: str
    digest: bytes
    expires_at: datetime
    seal_reply: Callable[[Any], bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.digest) != _DIGEST_SIZE:
            raise ValueError(f"a digest has {_DIGEST_SIZE} bytes")
