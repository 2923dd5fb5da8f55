"""Revocations: the three kinds of entry, as values and as the rows that feeds and files carry. Knows no keys, no I/O.

An entry is for a whole token, a branch of one (a copy and all that descends from it), or everything issued to a user
up to a moment. Each is kept until everything that it can hit has expired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from caveats.errors import MalformedCaveat
from caveats.kinds.base import check_value
from caveats.token.chain import BRANCH_ID_SIZE
from caveats.token.identifier import from_milliseconds, is_token_id, milliseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BRANCH = re.compile(rf"[0-9a-f]{{{2 * BRANCH_ID_SIZE}}}")
LAST_SECOND = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
"""The last second of the year 9999, counted from 1970: `datetime` has no later one."""


@dataclass(frozen=True, slots=True)
class TokenRevocation:
    """The whole token, with all its copies, is revoked. `expires_at`: when the last copy has expired."""

    kind: ClassVar[str] = "token"

    token_id: str
    expires_at: datetime

    def __post_init__(self) -> None:
        _check_token_id(self.token_id)
        _check_moments(self.expires_at)


@dataclass(frozen=True, slots=True)
class BranchRevocation:
    """A branch of the token is revoked: the copy with this branch id (16 bytes), and all that descends from it."""

    kind: ClassVar[str] = "branch"

    token_id: str
    branch_id: bytes
    expires_at: datetime

    def __post_init__(self) -> None:
        _check_token_id(self.token_id)
        if type(self.branch_id) is not bytes or len(self.branch_id) != BRANCH_ID_SIZE:
            raise MalformedCaveat(f"a branch id has {BRANCH_ID_SIZE} bytes")
        _check_moments(self.expires_at)


@dataclass(frozen=True, slots=True)
class UserRevocation:
    """Every token issued to this user up to and including `issued_up_to` (to the millisecond) is revoked."""

    kind: ClassVar[str] = "user"

    user: str
    issued_up_to: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        check_value(self.user)
        _check_moments(self.issued_up_to, self.expires_at)


Revocation = TokenRevocation | BranchRevocation | UserRevocation
Row = list[Any]
"""An entry in plain values, as in feeds and files: sequence, kind (t, b or u), expiry in seconds since 1970, token id
or user; for b also the branch id in hex, for u also `issued_up_to` in milliseconds since 1970."""


def _check_token_id(token_id: object) -> None:
    if not is_token_id(token_id):
        raise MalformedCaveat("a token id is a ULID, upper case")


def _check_moments(*moments: object) -> None:
    for moment in moments:
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise MalformedCaveat("a revocation's times are datetimes with a time zone")


def row_of(sequence: int, revocation: Revocation) -> Row:
    """The row of an entry. Its expiry is rounded up to the second."""
    expires = clamp_second(-int(-revocation.expires_at.timestamp() // 1))
    if isinstance(revocation, TokenRevocation):
        return [sequence, "t", expires, revocation.token_id]
    if isinstance(revocation, BranchRevocation):
        return [sequence, "b", expires, revocation.token_id, revocation.branch_id.hex()]
    up_to = milliseconds(revocation.issued_up_to)
    return [sequence, "u", expires, revocation.user, up_to]


def entry_of(row: Row) -> tuple[int, Revocation]:
    """The sequence and the entry of a row. Raises `MalformedCaveat` for a malformed row."""
    sequence, kind, expires, name, detail = read_row(row)
    until = _EPOCH + timedelta(seconds=expires)
    if kind == "t":
        return sequence, TokenRevocation(name, until)
    if kind == "b":
        return sequence, BranchRevocation(name, bytes.fromhex(detail), until)
    return sequence, UserRevocation(name, from_milliseconds(detail), until)


def read_row(row: Row) -> tuple[int, str, int, str, Any]:
    """The values of a row, checked: sequence, kind, expiry, name, detail. Raises `MalformedCaveat`."""
    try:
        sequence, kind, expires, name, *rest = row
    except (TypeError, ValueError):
        raise MalformedCaveat("not a revocation") from None
    if not (type(sequence) is int is type(expires) and sequence >= 0 <= expires <= LAST_SECOND):
        raise MalformedCaveat("a revocation must have a sequence and an expiry, whole numbers")
    detail = rest[0] if len(rest) == 1 else None
    if kind == "t" and not rest:
        _check_token_id(name)
    elif kind == "b" and type(detail) is str:
        _check_token_id(name)
        if _BRANCH.fullmatch(detail) is None:
            raise MalformedCaveat(f"a branch id has {BRANCH_ID_SIZE} bytes, written in hex")
    elif kind == "u" and type(detail) is int and 0 <= detail <= LAST_SECOND * 1000 + 999:
        check_value(name)
    else:
        raise MalformedCaveat("a revocation must be of kind t, b or u, with the values of that kind")
    return sequence, kind, expires, name, detail


def clamp_second(second: int) -> int:
    """`second`, or the nearest second from 1970 to the year 9999."""
    return min(max(0, second), LAST_SECOND)
