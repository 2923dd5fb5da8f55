"""The bodies of the service's answers as values, in the order of `calls`. Knows JSON members, knows no HTTP.

Each value reads itself from the members of a JSON object and raises `WrongShape` for a member that is missing or of
another type. Members that it does not know are ignored, so that an older client understands a newer service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Self, TypeVar

from caveats import CaveatsError, Failure, Macaroon
from caveats.token import decode_any_base64, decode_base64

Members = Mapping[str, Any]
T = TypeVar("T")


class WrongShape(ValueError):
    """A member is missing or of another type. The message names the member, never its value."""


# One member


def member(members: object, name: str, kind: type[T]) -> T:
    """The member `name`, which is of type `kind`."""
    value = members.get(name) if isinstance(members, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WrongShape(f"no {name}, or not as expected")
    return value


def optional(members: Members, name: str, read: Callable[[Members, str], T]) -> T | None:
    """The member `name`, read by `read`; None if it is missing or null."""
    return None if members.get(name) is None else read(members, name)


def text(members: Members, name: str) -> str:
    """The member `name`, a text."""
    return member(members, name, str)


def number(members: Members, name: str) -> int:
    """The member `name`, a whole number."""
    return member(members, name, int)


def flag(members: Members, name: str) -> bool:
    """The member `name`, true or false."""
    return member(members, name, bool)


def moment(members: Members, name: str) -> datetime:
    """The member `name`, a time in ISO 8601 with its zone."""
    try:
        value = datetime.fromisoformat(text(members, name))
    except ValueError:
        raise WrongShape(f"{name} is not a time") from None
    if value.tzinfo is None:
        raise WrongShape(f"{name} has no time zone")
    return value


def binary(members: Members, name: str, decode: Callable[[str], bytes] = decode_base64) -> bytes:
    """The member `name`, bytes in base64; by default base64url without padding."""
    try:
        return decode(text(members, name))
    except (CaveatsError, ValueError):
        raise WrongShape(f"{name} is not base64") from None


def scopes(members: Members, name: str) -> tuple[str, ...]:
    """The member `name`, scope patterns with spaces between them."""
    return tuple(text(members, name).split())


def rows(members: Members, name: str, read: Callable[[Members], T]) -> tuple[T, ...]:
    """The member `name`, a list of objects, each read by `read`."""
    return tuple(read(member({"row": row}, "row", dict)) for row in member(members, name, list))


# Tokens


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token, and what the service says of it."""

    token: Macaroon
    token_id: str
    user: str
    audience: str
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to an issue or a renewal."""
        try:
            token = Macaroon.decode(text(members, "token"))
        except CaveatsError:
            raise WrongShape("token is not a token") from None
        return cls(
            token,
            text(members, "token_id"),
            text(members, "user"),
            text(members, "audience"),
            scopes(members, "scope"),
            moment(members, "issued_at"),
            moment(members, "expires_at"),
        )


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What the service keeps of a labelled token: enough to find and revoke it, not the token itself."""

    token_id: str
    note: str
    scopes: tuple[str, ...]
    audience: str
    issued_at: datetime
    expires_at: datetime
    last_used_at: datetime | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From a row of the list, or the answer for one."""
        return cls(
            text(members, "token_id"),
            text(members, "note"),
            scopes(members, "scope"),
            text(members, "audience"),
            moment(members, "issued_at"),
            moment(members, "expires_at"),
            optional(members, "last_used_at", moment),
        )


@dataclass(frozen=True, slots=True)
class TokenPage:
    """Some of the caller's labelled tokens. `next`: where the following page begins; None at the end."""

    tokens: tuple[TokenRecord, ...]
    next: str | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a list."""
        return cls(rows(members, "tokens", TokenRecord.read), optional(members, "next", text))


# Verification


@dataclass(frozen=True, slots=True)
class JudgedCaveat:
    """One caveat, and whether the request satisfies it; if not, `reason` and `hint`: what it had, what would pass."""

    index: int
    kind: str
    predicate: str
    added_by: str
    satisfied: bool
    reason: str
    hint: str

    @classmethod
    def read(cls, members: Members) -> Self:
        """From a row of a verification."""
        failure = read_failure(members)
        return cls(
            failure.index,
            failure.kind,
            failure.predicate,
            failure.added_by,
            flag(members, "satisfied"),
            failure.reason,
            failure.hint,
        )


@dataclass(frozen=True, slots=True)
class Verification:
    """The verification of an authentic, live token: whose it is, and what each caveat says of the request."""

    granted: bool
    user: str
    token_id: str
    audience: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    caveats: tuple[JudgedCaveat, ...]
    branches: tuple[str, ...]
    """The branch ids of the chain, in hex; the last one is the presented copy's."""

    @property
    def failures(self) -> tuple[JudgedCaveat, ...]:
        """The caveats that refuse."""
        return tuple(caveat for caveat in self.caveats if not caveat.satisfied)

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to one question."""
        return cls(
            flag(members, "granted"),
            text(members, "user"),
            text(members, "token_id"),
            text(members, "audience"),
            scopes(members, "scope"),
            optional(members, "expires_at", moment),
            rows(members, "caveats", JudgedCaveat.read),
            tuple(member({"branch": each}, "branch", str) for each in member(members, "branches", list)),
        )


@dataclass(frozen=True, slots=True)
class NotLive:
    """One of several tokens that is not authentic or not live. `code`: the service's stable word for it."""

    granted: ClassVar[Literal[False]] = False
    code: str

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to one of several questions."""
        return cls(text(members, "code"))


def read_result(members: Members) -> Verification | NotLive:
    """One result of several. Of a token that is not live the service tells the code alone."""
    return NotLive.read(members) if members.get("token_id") is None else Verification.read(members)


def read_failure(members: Members) -> Failure:
    """A judged caveat as a `caveats.Failure`; without `reason` and `hint` where it is satisfied."""
    return Failure(
        number(members, "index"),
        text(members, "kind"),
        text(members, "predicate"),
        text(members, "added_by"),
        optional(members, "reason", text) or "",
        optional(members, "hint", text) or "",
    )


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """Whom a live token speaks for."""

    user: str
    token_id: str
    audience: str
    scopes: tuple[str, ...]
    expires_at: datetime | None


# Revocations


@dataclass(frozen=True, slots=True)
class RevocationEntry:
    """A revocation. `kind` is `token`, `branch` or `user`, and says which of the other members are set."""

    sequence: int
    kind: str
    token_id: str | None
    branch_id: str | None
    user: str | None
    expires_at: datetime
    issued_up_to: datetime | None = None
    """Of a `user` entry: tokens issued later live."""

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a revocation, or a row of the list."""
        return cls(
            number(members, "sequence"),
            text(members, "kind"),
            optional(members, "token_id", text),
            optional(members, "branch_id", text),
            optional(members, "user", text),
            moment(members, "expires_at"),
            optional(members, "issued_up_to", moment),
        )


@dataclass(frozen=True, slots=True)
class RevocationPage:
    """Revocations in the order they were written. `resync`: some may be missing, so begin again at 0."""

    epoch: int
    last_sequence: int
    resync: bool
    revocations: tuple[RevocationEntry, ...]

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a list."""
        return cls(
            number(members, "epoch"),
            number(members, "last_sequence"),
            flag(members, "resync"),
            rows(members, "revocations", RevocationEntry.read),
        )


# Users, groups, agents


@dataclass(frozen=True, slots=True)
class UserRecord:
    """An account. `scopes`: the widest scope of its tokens."""

    username: str
    is_admin: bool
    scopes: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a registration, or a row of the list."""
        return cls(
            text(members, "username"),
            flag(members, "is_admin"),
            scopes(members, "scope"),
            moment(members, "created_at"),
            optional(members, "disabled_at", moment),
        )


@dataclass(frozen=True, slots=True)
class UserPage:
    """Some of the accounts. `next`: where the following page begins; None at the end."""

    users: tuple[UserRecord, ...]
    next: str | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a list."""
        return cls(rows(members, "users", UserRecord.read), optional(members, "next", text))


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group of users."""

    name: str
    members: tuple[str, ...]
    created_at: datetime

    @classmethod
    def read(cls, members: Members) -> Self:
        """From a row of the list, or the answer for one."""
        usernames = tuple(
            member({"member": each}, "member", str) for each in member(members, "members", list)
        )
        return cls(text(members, "name"), usernames, moment(members, "created_at"))


@dataclass(frozen=True, slots=True)
class GroupPage:
    """Some of the groups. `next`: where the following page begins; None at the end."""

    groups: tuple[GroupRecord, ...]
    next: str | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a list."""
        return cls(rows(members, "groups", GroupRecord.read), optional(members, "next", text))


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """A program that signs in with a key. `public_key`: X25519, 32 bytes."""

    agent_id: str
    username: str
    public_key: bytes
    name: str
    created_at: datetime

    @classmethod
    def read(cls, members: Members) -> Self:
        """From a row of the list, or the answer to a registration."""
        return cls(
            text(members, "agent_id"),
            text(members, "username"),
            binary(members, "public_key"),
            text(members, "name"),
            moment(members, "created_at"),
        )


@dataclass(frozen=True, slots=True)
class AgentPage:
    """Some of the agents. `next`: where the following page begins; None at the end."""

    agents: tuple[AgentRecord, ...]
    next: str | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a list."""
        return cls(rows(members, "agents", AgentRecord.read), optional(members, "next", text))


# Sessions


@dataclass(frozen=True, slots=True)
class Session:
    """A browser's session. `cookie`: `name=value`, a live credential."""

    user: str
    token_id: str
    scopes: tuple[str, ...]
    expires_at: datetime
    cookie: str = field(repr=False)

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a sign-in, or to a question about the session."""
        return cls(
            text(members, "user"),
            text(members, "token_id"),
            scopes(members, "scope"),
            moment(members, "expires_at"),
            text(members, "cookie"),
        )


# Verifiers, keys, third parties, operations


@dataclass(frozen=True, slots=True)
class VerifierRecord:
    """A registered verifier, and the service's public key, which it pins. Both keys are base64url texts."""

    verifier_id: str
    audience: str
    name: str
    public_key: str
    service_public_key: str
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a registration, or a row of the list."""
        return cls(
            text(members, "verifier_id"),
            text(members, "audience"),
            text(members, "name"),
            text(members, "public_key"),
            text(members, "service_public_key"),
            moment(members, "created_at"),
            optional(members, "revoked_at", moment),
        )


def read_verifiers(members: Members) -> tuple[VerifierRecord, ...]:
    """From the list of verifiers."""
    return rows(members, "verifiers", VerifierRecord.read)


def read_box(members: Members) -> bytes:
    """From the answer to a verifier that asks for its keys."""
    return binary(members, "box")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The state of a master key: `published`, `active`, `verifying` or `retired`; not the key itself."""

    key_id: str
    state: str
    created_at: datetime
    activated_at: datetime | None
    verifying_since: datetime | None
    retire_after: datetime | None
    retired_at: datetime | None

    @classmethod
    def read(cls, members: Members) -> Self:
        """From a row of the list, or the answer to a change."""
        return cls(
            text(members, "id"),
            text(members, "state"),
            moment(members, "created_at"),
            optional(members, "activated_at", moment),
            optional(members, "verifying_since", moment),
            optional(members, "retire_after", moment),
            optional(members, "retired_at", moment),
        )


def read_keys(members: Members) -> tuple[KeyRecord, ...]:
    """From the list of keys."""
    return rows(members, "keys", KeyRecord.read)


def read_results(members: Members) -> tuple[Verification | NotLive, ...]:
    """From the answer to several questions, in the order asked."""
    return rows(members, "results", read_result)


@dataclass(frozen=True, slots=True)
class DischargeInfo:
    """A third party's X25519 public key, 32 bytes, and the newest protocol version that it speaks."""

    public_key: bytes
    version: int

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer of `/discharge/info`."""
        return cls(read_public_key(members), number(members, "Version"))


def read_public_key(members: Members) -> bytes:
    """From the answer of `/publickey`."""
    return binary(members, "PublicKey", decode_any_base64)


@dataclass(frozen=True, slots=True)
class About:
    """What answers at the service's address."""

    service: str
    version: str

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer of `/`."""
        return cls(text(members, "service"), text(members, "version"))
