"""The bodies of the service's answers as dataclasses, in the order of `calls`. How one is read: `members`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from caveats import Failure, Macaroon
from caveats_client.api.members import (
    Body,
    FlagOrFalse,
    Member,
    Members,
    NumberOrZero,
    Scopes,
    TextOrEmpty,
    any_base64,
    number,
    text,
    text_or_empty,
)

# Tokens


@dataclass(frozen=True, slots=True)
class Issued(Body):
    """A new token, and what the service says about it."""

    token: Macaroon
    token_id: str
    user: str
    audience: str
    scopes: Scopes
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRecord(Body):
    """The service's record of a labelled token: enough to find and revoke it, without the token itself."""

    token_id: str
    note: str
    scopes: Scopes
    audience: str
    issued_at: datetime
    expires_at: datetime
    """Of its latest renewal."""
    last_used_at: datetime | None
    """The last time that the service verified it; None if never."""
    status: TextOrEmpty = ""
    """`live`, `expired` or `revoked`; empty from a service that does not say it."""
    revoked_by: str | None = None
    """`id`, `copy`, `user`, `key` or `parent`: what ended the token before its time."""
    revoked_at: datetime | None = None
    """None also where it is not known."""
    revoked_copies: NumberOrZero = 0
    """How many narrower copies of it are revoked by themselves."""
    unreported_use: FlagOrFalse = False
    """Whether apps may verify it by themselves, which nobody reports: then its last use may have been later."""


@dataclass(frozen=True, slots=True)
class TokenPage(Body):
    """A page of a user's labelled tokens. `next`: where the next page begins; None on the last page."""

    tokens: tuple[TokenRecord, ...]
    next: str | None


# Verification


@dataclass(frozen=True, slots=True)
class JudgedCaveat(Body):
    """One caveat, and whether the request satisfies it. If not: `reason` says why, `hint` what would satisfy it."""

    index: int
    kind: str
    predicate: str
    added_by: str
    satisfied: bool
    reason: TextOrEmpty
    hint: TextOrEmpty


@dataclass(frozen=True, slots=True)
class Verification(Body):
    """The verification of an authentic, live token: its user, and the result of each caveat."""

    granted: bool
    user: str
    token_id: str
    audience: str
    scopes: Scopes
    expires_at: datetime | None
    caveats: tuple[JudgedCaveat, ...]
    branches: tuple[str, ...]
    """The branch ids of the chain, in hex; the last one is the presented copy's."""

    @property
    def failures(self) -> tuple[JudgedCaveat, ...]:
        """The caveats that refuse."""
        return tuple(caveat for caveat in self.caveats if not caveat.satisfied)


@dataclass(frozen=True, slots=True)
class NotLive(Body):
    """The result for a token that is not authentic or not live. `code`: the service's name for the error."""

    granted: ClassVar[Literal[False]] = False
    code: str


def read_result(members: Members) -> Verification | NotLive:
    """One result of several. For a token that is not live, the service gives only the code."""
    return NotLive.read(members) if members.get("token_id") is None else Verification.read(members)


def read_failure(members: Members) -> Failure:
    """A judged caveat as a `caveats.Failure`; without `reason` and `hint` where it is satisfied."""
    return Failure(
        number(members, "index"),
        text(members, "kind"),
        text(members, "predicate"),
        text(members, "added_by"),
        text_or_empty(members, "reason"),
        text_or_empty(members, "hint"),
    )


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """The user and the scopes of a live token."""

    user: str
    token_id: str
    audience: str
    scopes: tuple[str, ...]
    expires_at: datetime | None


# Revocations


@dataclass(frozen=True, slots=True)
class RevocationEntry(Body):
    """A revocation. `kind` is `token`, `branch` or `user`, and says which of the other members are set."""

    sequence: int
    kind: str
    token_id: str | None
    branch_id: str | None
    user: str | None
    expires_at: datetime
    issued_up_to: datetime | None = None
    """Only in a `user` entry: tokens issued after this time are not revoked."""
    already: str | None = None
    """Why nothing was written, since what was to be revoked is dead: `revoked` by this entry, or `expired` for good, with
    sequence 0."""


@dataclass(frozen=True, slots=True)
class RevocationPage(Body):
    """Revocations in the order of their sequences. `resync`: some may be missing; read again from 0."""

    epoch: int
    last_sequence: int
    resync: bool
    revocations: tuple[RevocationEntry, ...]


# Users, groups, agents


@dataclass(frozen=True, slots=True)
class UserRecord(Body):
    """An account. `scopes`: the widest scope of its tokens."""

    username: str
    is_admin: bool
    scopes: Scopes
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class UserPage(Body):
    """A page of accounts. `next`: where the next page begins; None on the last page."""

    users: tuple[UserRecord, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class GroupRecord(Body):
    """A group of users."""

    name: str
    members: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GroupPage(Body):
    """A page of groups. `next`: where the next page begins; None on the last page."""

    groups: tuple[GroupRecord, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class AgentRecord(Body):
    """A program that signs in with a key. `public_key`: X25519, 32 bytes."""

    agent_id: str
    username: str
    public_key: bytes
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AgentPage(Body):
    """A page of agents. `next`: where the next page begins; None on the last page."""

    agents: tuple[AgentRecord, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ClientRecord(Body):
    """A site that issues tokens for its users. `scopes`: the most that these allow. `longest_life`: seconds, of each."""

    client_id: str
    name: str
    users: tuple[str, ...]
    groups: tuple[str, ...]
    audiences: tuple[str, ...]
    scopes: Scopes
    longest_life: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewClientRecord(ClientRecord):
    """A client that was just added. `client_secret`: it is in no other answer."""

    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientPage(Body):
    """A page of clients. `next`: where the next page begins; None on the last page."""

    clients: tuple[ClientRecord, ...]
    next: str | None


# Sessions


@dataclass(frozen=True, slots=True)
class Session(Body):
    """A browser's session. `cookie`: `name=value`, a live credential."""

    user: str
    token_id: str
    scopes: Scopes
    expires_at: datetime
    cookie: str = field(repr=False)


# Verifiers, keys, third parties, operations


@dataclass(frozen=True, slots=True)
class VerifierRecord(Body):
    """A registered verifier, and the service's public key that it trusts. Both keys are text in base64url."""

    verifier_id: str
    audience: str
    name: str
    public_key: str
    service_public_key: str
    created_at: datetime
    revoked_at: datetime | None
    following: FlagOrFalse = False
    """Whether it has a stream of the feed open, at the process that answers."""
    last_read_at: datetime | None = None
    """When it was last given a page of the feed there."""
    entries_behind: int | None = None
    """How many entries of the feed it was not given yet."""


@dataclass(frozen=True, slots=True)
class KeyRecord(Body):
    """The state of a master key: `published`, `active`, `verifying` or `retired`; not the key itself."""

    key_id: Annotated[str, Member(text, "id")]
    state: str
    created_at: datetime
    activated_at: datetime | None
    verifying_since: datetime | None
    retire_after: datetime | None
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class MinuteCount(Body):
    """The requests that one process of the service has answered in a minute. `refused` and `failed` are among `requests`."""

    at: datetime
    requests: int
    refused: int
    failed: int


@dataclass(frozen=True, slots=True)
class DischargeInfo(Body):
    """A third party's X25519 public key, 32 bytes, and the newest protocol version that it speaks."""

    public_key: Annotated[bytes, Member(any_base64, "PublicKey")]
    version: Annotated[int, Member(number, "Version")]


@dataclass(frozen=True, slots=True)
class About(Body):
    """The name and version of the service."""

    service: str
    version: str
