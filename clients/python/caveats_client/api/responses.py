"""The bodies of the service's answers as values, in the order of `calls`. Knows JSON members, knows no HTTP.

Each value reads itself from the members of a JSON object and raises `WrongShape` for a member that is missing or of
another type. Members that it does not know are ignored, so that an older client understands a newer service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache, partial
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

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


def texts(members: Members, name: str) -> tuple[str, ...]:
    """The member `name`, a list of texts."""
    return tuple(member({name: each}, name, str) for each in member(members, name, list))


def text_or_empty(members: Members, name: str) -> str:
    """The member `name`, a text; empty if it is missing or null."""
    return optional(members, name, text) or ""


def token(members: Members, name: str) -> Macaroon:
    """The member `name`, a token."""
    try:
        return Macaroon.decode(text(members, name))
    except CaveatsError:
        raise WrongShape(f"{name} is not a token") from None


def public_key(members: Members, name: str) -> bytes:
    """The member `name`, a key in any base64, as bakeries write it."""
    return binary(members, name, decode_any_base64)


# One body


class Member(NamedTuple):
    """How a field is read where its type does not say it, and the member's name if it is another than the field's."""

    read: Callable[[Members, str], Any]
    name: str | None = None


Scopes = Annotated[tuple[str, ...], Member(scopes, "scope")]
TextOrEmpty = Annotated[str, Member(text_or_empty)]
_BY_TYPE: dict[Any, Callable[[Members, str], Any]] = {
    str: text,
    int: number,
    bool: flag,
    bytes: binary,
    datetime: moment,
    Macaroon: token,
    tuple[str, ...]: texts,
}


class Body:
    """A value that reads itself from the members of a JSON object: each field by its type."""

    __slots__ = ()

    @classmethod
    def read(cls, members: Members) -> Self:
        """The value. Raises `WrongShape`."""
        return cls(*(read(members, name) for name, read in _fields(cls)))  # type: ignore[arg-type]  # a class is hashable


@cache
def _fields(body: type[Body]) -> tuple[tuple[str, Callable[[Members, str], Any]], ...]:
    """The member's name and the reader of each field."""
    hints = get_type_hints(body, include_extras=True)
    found = [(each.name, _member(hints[each.name])) for each in fields(body)]  # type: ignore[arg-type]
    return tuple((member.name or name, member.read) for name, member in found)


def _member(kind: Any) -> Member:
    if kind in _BY_TYPE:
        return Member(_BY_TYPE[kind])
    arguments = get_args(kind)
    if get_origin(kind) is Annotated:
        return next(each for each in arguments if isinstance(each, Member))
    if get_origin(kind) is tuple:
        return Member(partial(rows, read=arguments[0].read))
    return Member(partial(optional, read=_member(arguments[0]).read))  # `X | None`


# Tokens


@dataclass(frozen=True, slots=True)
class Issued(Body):
    """A new token, and what the service says of it."""

    token: Macaroon
    token_id: str
    user: str
    audience: str
    scopes: Scopes
    issued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRecord(Body):
    """What the service keeps of a labelled token: enough to find and revoke it, not the token itself."""

    token_id: str
    note: str
    scopes: Scopes
    audience: str
    issued_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class TokenPage(Body):
    """Some of the caller's labelled tokens. `next`: where the following page begins; None at the end."""

    tokens: tuple[TokenRecord, ...]
    next: str | None


# Verification


@dataclass(frozen=True, slots=True)
class JudgedCaveat(Body):
    """One caveat, and whether the request satisfies it; if not, `reason` and `hint`: what it had, what would pass."""

    index: int
    kind: str
    predicate: str
    added_by: str
    satisfied: bool
    reason: TextOrEmpty
    hint: TextOrEmpty


@dataclass(frozen=True, slots=True)
class Verification(Body):
    """The verification of an authentic, live token: whose it is, and what each caveat says of the request."""

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
    """One of several tokens that is not authentic or not live. `code`: the service's stable word for it."""

    granted: ClassVar[Literal[False]] = False
    code: str


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
        text_or_empty(members, "reason"),
        text_or_empty(members, "hint"),
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
class RevocationEntry(Body):
    """A revocation. `kind` is `token`, `branch` or `user`, and says which of the other members are set."""

    sequence: int
    kind: str
    token_id: str | None
    branch_id: str | None
    user: str | None
    expires_at: datetime
    issued_up_to: datetime | None = None
    """Of a `user` entry: tokens issued later live."""


@dataclass(frozen=True, slots=True)
class RevocationPage(Body):
    """Revocations in the order they were written. `resync`: some may be missing, so begin again at 0."""

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
    """Some of the accounts. `next`: where the following page begins; None at the end."""

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
    """Some of the groups. `next`: where the following page begins; None at the end."""

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
    """Some of the agents. `next`: where the following page begins; None at the end."""

    agents: tuple[AgentRecord, ...]
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
    """A registered verifier, and the service's public key, which it pins. Both keys are base64url texts."""

    verifier_id: str
    audience: str
    name: str
    public_key: str
    service_public_key: str
    created_at: datetime
    revoked_at: datetime | None


def read_verifiers(members: Members) -> tuple[VerifierRecord, ...]:
    """From the list of verifiers."""
    return rows(members, "verifiers", VerifierRecord.read)


def read_box(members: Members) -> bytes:
    """From the answer to a verifier that asks for its keys."""
    return binary(members, "box")


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


def read_keys(members: Members) -> tuple[KeyRecord, ...]:
    """From the list of keys."""
    return rows(members, "keys", KeyRecord.read)


def read_results(members: Members) -> tuple[Verification | NotLive, ...]:
    """From the answer to several questions, in the order asked."""
    return rows(members, "results", read_result)


@dataclass(frozen=True, slots=True)
class DischargeInfo(Body):
    """A third party's X25519 public key, 32 bytes, and the newest protocol version that it speaks."""

    public_key: Annotated[bytes, Member(public_key, "PublicKey")]
    version: Annotated[int, Member(number, "Version")]


def read_public_key(members: Members) -> bytes:
    """From the answer of `/publickey`."""
    return public_key(members, "PublicKey")


@dataclass(frozen=True, slots=True)
class About(Body):
    """What answers at the service's address."""

    service: str
    version: str
