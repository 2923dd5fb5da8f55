"""The tables, in types that SQLite and PostgreSQL share. Times are integer milliseconds since 1970, UTC.

Knows no queries. A change here needs a new file in `migrations/versions` (a test compares the two).
Nothing per issued token is kept: only labelled ones have a row, and only revoked ones have an entry.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator

from caveats import KeyState, MalformedCaveat, Parent
from caveats_service.storage.errors import BadText
from caveats_service.storage.records import Decision, Issued, ShownCredential

_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EXACT = 2**32 * 1000
"""Milliseconds, until 2106: up to here a float of seconds is exact to the millisecond, and twice as fast."""


def moment(number: int) -> datetime:
    """The time that a column of type `Moment` holds as this number of milliseconds since 1970."""
    if 0 <= number < _EXACT:
        return datetime.fromtimestamp(number / 1000, UTC)
    return _1970 + timedelta(0, 0, 0, number)


def milliseconds(moment: datetime) -> int:
    """The number of milliseconds since 1970 that a column of type `Moment` holds for this aware time."""
    return (moment - _1970) // _MILLISECOND


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as whole milliseconds (rounded down)."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To the database."""
        del dialect
        return None if value is None else milliseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        del dialect
        return None if value is None else moment(value)


class PlainText(TypeDecorator[str]):
    """Text that every database keeps, or `BadText`. The check stands here for each text that reaches a query."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        if value is not None and ((not value.isascii() and not _is_utf8(value)) or "\0" in value):
            raise BadText
        return value

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """From the database. SQLite keeps bytes and numbers in a column of text as well."""
        del dialect
        if value is not None and not isinstance(value, str):
            raise TypeError("not a text")
        return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Enumerated(TypeDecorator[Enum]):
    """A member of an enumeration, kept as its value."""

    impl = Text
    cache_ok = True

    def __init__(self, members: type[Enum]) -> None:
        super().__init__()
        self.members = members

    def process_bind_param(self, value: Enum | None, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> Enum | None:
        """From the database."""
        del dialect
        return None if value is None else self.members(value)


class Json(TypeDecorator[Any]):
    """A dictionary or a tuple of what JSON has, kept as its text."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[dict[str, Any] | tuple[Any, ...]]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        return None if value is None else json.dumps(value, sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """From the database."""
        del dialect
        return None if value is None else self.kind(json.loads(value))


class Credentials(TypeDecorator[tuple[ShownCredential, ...]]):
    """Credentials that were shown, kept as JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[ShownCredential, ...] | None, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        return None if value is None else json.dumps([_credential_members(one) for one in value])

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[ShownCredential, ...] | None:
        """From the database."""
        del dialect
        return None if value is None else tuple(map(_credential, json.loads(value)))


class Lineage(TypeDecorator[tuple[Parent, ...]]):
    """A token and those that it was issued against, kept as JSON: the values of `parent` caveats."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Parent, ...] | None, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        return None if value is None else json.dumps([each.value for each in value])

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[Parent, ...] | None:
        """From the database."""
        del dialect
        if value is None:
            return None
        try:
            return tuple(map(Parent.parse, json.loads(value)))
        except MalformedCaveat:
            raise ValueError("not a lineage") from None


class IssuedTimes(TypeDecorator[Issued]):
    """How late tokens were issued, kept as JSON: milliseconds since 1970 by the milliseconds of the longest life."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Issued | None, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        if value is None:
            return None
        return json.dumps({str(life // _MILLISECOND): milliseconds(at) for life, at in value.latest.items()})

    def process_result_value(self, value: str | None, dialect: Dialect) -> Issued | None:
        """From the database."""
        del dialect
        if value is None:
            return None
        return Issued({int(life) * _MILLISECOND: moment(at) for life, at in json.loads(value).items()})


def _credential_members(shown: ShownCredential) -> dict[str, Any]:
    times = {
        name: None if at is None else milliseconds(at)
        for name, at in (
            ("password_changed_at", shown.password_changed_at),
            ("expires_at", shown.expires_at),
        )
    }
    return {
        "username": shown.username,
        "lineage": shown.lineage,
        "agent_key": None if shown.agent_key is None else shown.agent_key.hex(),
        "after_sequence": shown.after_sequence,
        **times,
    }


def _credential(members: dict[str, Any]) -> ShownCredential:
    changed_at, expires_at, key = (members[k] for k in ("password_changed_at", "expires_at", "agent_key"))
    return ShownCredential(
        members["username"],
        None if changed_at is None else moment(changed_at),
        tuple(members["lineage"]),
        None if expires_at is None else moment(expires_at),
        None if key is None else bytes.fromhex(key),
        members["after_sequence"],
    )


# SQLite numbers rows by itself only in a column of exactly INTEGER.
Counter = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

# One row (id 1), which `Database.exclusive_write` locks first. On PostgreSQL a trigger (migration 0002) notifies the
# channel "caveats" when one of its counters moves. `history`: what the server calls the history that the counters belong
# to; NULL until it is named. `key_floor`: no key of this history has a smaller or the same number, or one that another made.
meta = Table(
    "meta",
    metadata,
    Column(
        "id", Integer, CheckConstraint("id = 1", name="meta_one_row"), primary_key=True, autoincrement=False
    ),
    Column("instance_id", PlainText, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("revocation_sequence", BigInteger, nullable=False),
    Column("revocation_floor", BigInteger, nullable=False),
    Column("seal_canary", LargeBinary),
    Column("key_sequence", BigInteger, nullable=False, server_default=text("0")),
    Column("history", PlainText),
    Column("issued", IssuedTimes, nullable=False, server_default=text("'{}'")),
    Column("key_floor", Integer, nullable=False, server_default=text("0")),
)

users = Table(
    "users",
    metadata,
    Column("username", PlainText, primary_key=True),
    Column("password_hash", PlainText, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("scope", PlainText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("disabled_at", Moment),
    Column("password_changed_at", Moment, nullable=False),
)

# The names of deleted accounts: no user and no group gets one again.
deleted_users = Table(
    "deleted_users",
    metadata,
    Column("username", PlainText, primary_key=True),
    Column("deleted_at", Moment, nullable=False),
)

master_keys = Table(
    "master_keys",
    metadata,
    Column("row_id", Integer, primary_key=True, autoincrement=False),
    Column("key_id", PlainText, nullable=False, unique=True),
    Column("state", Enumerated(KeyState), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("activated_at", Moment),
    Column("verifying_since", Moment),
    Column("retire_after", Moment),
    Column("retired_at", Moment),
    CheckConstraint("state IN ('published', 'active', 'verifying', 'retired')", name="master_keys_state"),
)
for _state in ("active", "published"):
    _only = text(f"state = '{_state}'")
    Index(
        f"master_keys_one_{_state}",
        master_keys.c.state,
        unique=True,
        sqlite_where=_only,
        postgresql_where=_only,
    )

labelled_tokens = Table(
    "labelled_tokens",
    metadata,
    Column("token_id", PlainText, primary_key=True),
    Column("username", PlainText, ForeignKey("users.username", name="labelled_tokens_user"), nullable=False),
    Column("note", PlainText, nullable=False),
    Column("scope", PlainText, nullable=False),
    Column("audience", PlainText, nullable=False),
    Column("issued_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("last_used_at", Moment),
    Column("lineage", Lineage, nullable=False, server_default=text("'[]'")),
)
Index("labelled_tokens_by_user", labelled_tokens.c.username, labelled_tokens.c.token_id)
Index("labelled_tokens_by_expiry", labelled_tokens.c.expires_at)

revocations = Table(
    "revocations",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", PlainText, nullable=False),
    Column("token_id", PlainText),
    Column("branch_id", LargeBinary),
    Column("username", PlainText),
    Column("issued_up_to", Moment),
    Column("expires_at", Moment, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_by", PlainText, nullable=False),
    Column("reason", PlainText, nullable=False),
    CheckConstraint(
        "(kind = 'token' AND token_id IS NOT NULL AND branch_id IS NULL"
        " AND username IS NULL AND issued_up_to IS NULL)"
        " OR (kind = 'branch' AND token_id IS NOT NULL AND length(branch_id) = 16"
        " AND username IS NULL AND issued_up_to IS NULL)"
        " OR (kind = 'user' AND token_id IS NULL AND branch_id IS NULL"
        " AND username IS NOT NULL AND issued_up_to IS NOT NULL)",
        name="revocations_target",
    ),
)
Index("revocations_by_branch", revocations.c.token_id, revocations.c.branch_id)
Index("revocations_by_user", revocations.c.username)
Index("revocations_by_expiry", revocations.c.expires_at)

audit = Table(
    "audit",
    metadata,
    Column("id", Counter, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("actor", PlainText, nullable=False),
    Column("action", PlainText, nullable=False),
    Column("subject", PlainText, nullable=False),
    Column("detail", Json(dict), nullable=False),
)

verifiers = Table(
    "verifiers",
    metadata,
    Column("verifier_id", PlainText, primary_key=True),
    Column("audience", PlainText, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", PlainText, nullable=False),
    Column("revoked_at", Moment),
    CheckConstraint("length(public_key) = 32", name="verifiers_public_key"),
)
Index("verifiers_by_audience", verifiers.c.audience, verifiers.c.verifier_id)

# The service's own keys besides the master keys, sealed.
service_keys = Table(
    "service_keys",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

# Replies under idempotency keys. The digest is an HMAC of the request.
idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", PlainText, primary_key=True),
    Column("key", PlainText, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("sealed_reply", LargeBinary, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    CheckConstraint("length(digest) = 32", name="idempotency_digest"),
)
Index("idempotency_by_expiry", idempotency.c.expires_at)

groups = Table(
    "groups",
    metadata,
    Column("name", PlainText, primary_key=True),
    Column("created_at", Moment, nullable=False),
)

group_members = Table(
    "group_members",
    metadata,
    Column("group_name", PlainText, ForeignKey("groups.name", name="group_members_group"), primary_key=True),
    Column("username", PlainText, ForeignKey("users.username", name="group_members_user"), primary_key=True),
)
Index("group_members_by_user", group_members.c.username, group_members.c.group_name)

agents = Table(
    "agents",
    metadata,
    Column("agent_id", PlainText, primary_key=True),
    Column("username", PlainText, ForeignKey("users.username", name="agents_user"), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", PlainText, nullable=False),
    CheckConstraint("length(public_key) = 32", name="agents_public_key"),
)
Index("agents_by_key", agents.c.public_key, unique=True)

# Questions to people. The hashes are of secrets that travel in URLs and of the token that the asker gets.
interactions = Table(
    "interactions",
    metadata,
    Column("visit_hash", LargeBinary, primary_key=True),
    Column("wait_hash", LargeBinary, nullable=False),
    Column("token_hash", LargeBinary, nullable=False),
    Column("identifier", LargeBinary, nullable=False),
    Column("payload", LargeBinary),
    Column("client_ip", PlainText, nullable=False),
    Column("asker", PlainText),
    Column("approvers", Json(tuple), nullable=False),
    Column("decision", Enumerated(Decision), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("decided_at", Moment),
    Column("credentials", Credentials, nullable=False, server_default=text("'[]'")),
    CheckConstraint("decision IN ('open', 'granted', 'denied')", name="interactions_decision"),
)
Index("interactions_by_wait", interactions.c.wait_hash, unique=True)
Index("interactions_by_token", interactions.c.token_hash, unique=True)
Index("interactions_by_expiry", interactions.c.expires_at)

# Attempts under way, and those that have failed and still count, for CAVEATS_LIMITS=database. The key is an HMAC.
attempts = Table(
    "attempts",
    metadata,
    Column("attempt", PlainText, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("failed", Boolean, nullable=False),
    Column("expires_at", Moment, nullable=False),
)
Index("attempts_by_key", attempts.c.key, attempts.c.expires_at)
Index("attempts_by_expiry", attempts.c.expires_at)

# Sites that issue tokens for users who are signed in there. All that one has issued names its lineage as its parent.
clients = Table(
    "clients",
    metadata,
    Column("client_id", PlainText, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("lineage", PlainText, nullable=False),
    Column("users", Json(tuple), nullable=False),
    Column("groups", Json(tuple), nullable=False),
    Column("audiences", Json(tuple), nullable=False),
    Column("scope", PlainText, nullable=False),
    Column("longest_life", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("created_by", PlainText, nullable=False),
    CheckConstraint("length(secret_hash) = 32", name="clients_secret_hash"),
)
Index("clients_by_name", clients.c.name, unique=True)
