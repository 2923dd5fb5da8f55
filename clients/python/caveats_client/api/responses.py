"""What the service says, as values: every response body in one file. Knows JSON members, knows no HTTP.

Each shape reads itself from the members of a JSON object and raises `WrongShape` for what is missing or of
another type. Members that it does not know are left alone, so that an older client serves a newer service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, Self, TypeVar

from caveats import CaveatsError, Failure, Macaroon

Members = Mapping[str, Any]
T = TypeVar("T")


class WrongShape(ValueError):
    """A member is missing or of another type. Names the member, never its value."""


# One member


def member(members: object, name: str, kind: type[T]) -> T:
    """The member `name`, of type `kind`."""
    value = members.get(name) if isinstance(members, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WrongShape(f"no {name}, or not as expected")
    return value


def optional(members: Members, name: str, read: Callable[[Members, str], T]) -> T | None:
    """The member `name` as `read` reads it; None where it is missing or null."""
    return None if members.get(name) is None else read(members, name)


def text(members: Members, name: str) -> str:
    """A text."""
    return member(members, name, str)


def number(members: Members, name: str) -> int:
    """A whole number."""
    return member(members, name, int)


def flag(members: Members, name: str) -> bool:
    """A truth value."""
    return member(members, name, bool)


def moment(members: Members, name: str) -> datetime:
    """A time with its zone."""
    try:
        value = datetime.fromisoformat(text(members, name))
    except ValueError:
        raise WrongShape(f"{name} is not a time") from None
    if value.tzinfo is None:
        raise WrongShape(f"{name} has no time zone")
    return value


def scopes(members: Members, name: str) -> tuple[str, ...]:
    """Scope patterns, written with one space between."""
    return tuple(text(members, name).split())


def rows(members: Members, name: str, read: Callable[[Members], T]) -> tuple[T, ...]:
    """A list of objects."""
    return tuple(read(member({"row": row}, "row", dict)) for row in member(members, name, list))


# Tokens


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh token, and what is known about it."""

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
    """What the service keeps of a labelled token: enough to find and revoke it, nothing to present."""

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
    """One caveat and whether the request satisfies it; if not, what it had and what would pass."""

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
    """An authentic, live token, judged: whose it is, and what each caveat says of the request."""

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
    """One of several tokens that is not authentic, or not alive any more. `code` is the service's word for it."""

    granted: ClassVar[Literal[False]] = False
    code: str

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to one of several questions."""
        return cls(text(members, "code"))


def read_result(members: Members) -> Verification | NotLive:
    """One result of several: of a token that is not live nothing is told but the code."""
    return NotLive.read(members) if members.get("token_id") is None else Verification.read(members)


def read_failure(members: Members) -> Failure:
    """A caveat that refused; reason and hint may be missing where nothing needs explaining."""
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
    """Whom a token speaks for, as far as the service is concerned."""

    user: str
    token_id: str
    audience: str
    scopes: tuple[str, ...]
    expires_at: datetime | None


# Revocations, users, keys


@dataclass(frozen=True, slots=True)
class RevocationEntry:
    """A revocation as it was written: `kind` is `token`, `branch` or `user`, and says which of the rest count."""

    sequence: int
    kind: str
    token_id: str | None
    branch_id: str | None
    user: str | None
    expires_at: datetime

    @classmethod
    def read(cls, members: Members) -> Self:
        """From the answer to a revocation."""
        return cls(
            number(members, "sequence"),
            text(members, "kind"),
            optional(members, "token_id", text),
            optional(members, "branch_id", text),
            optional(members, "user", text),
            moment(members, "expires_at"),
        )


@dataclass(frozen=True, slots=True)
class UserRecord:
    """An account. `scopes`: the most that its tokens may have."""

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
class KeyRecord:
    """A master key's life: `published`, `active`, `verifying`, `retired`. Never the key."""

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
