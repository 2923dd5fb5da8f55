"""What has been revoked: entries, and a set of them that answers in constant time. Knows no keys, no I/O.

Three kinds of entry: a whole token, a branch of one (a copy and all that descends from it), or everything
issued to a user up to a moment. Each is kept until everything that it can hit has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING

from caveats.caveat import check_value
from caveats.chain import BRANCH_ID_SIZE
from caveats.errors import MalformedCaveat
from caveats.identifier import ULID_TIME_SIZE, is_token_id, ulid_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_HOUR = 3600
_RECORD = BRANCH_ID_SIZE + 4


@dataclass(frozen=True, slots=True)
class TokenRevocation:
    """The token of this id, in all its copies, is dead."""

    token_id: str
    expires_at: datetime

    def __post_init__(self) -> None:
        _check_token_id(self.token_id)
        _check_moments(self.expires_at)


@dataclass(frozen=True, slots=True)
class BranchRevocation:
    """This branch of the token is dead: the copy with this branch id, and all that descends from it."""

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
    """Everything issued to this user up to and including `issued_up_to` (to the millisecond) is dead."""

    user: str
    issued_up_to: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        check_value(self.user)
        _check_moments(self.issued_up_to, self.expires_at)


Revocation = TokenRevocation | BranchRevocation | UserRevocation


def _check_token_id(token_id: object) -> None:
    if not is_token_id(token_id):
        raise MalformedCaveat("a token id is a ULID, upper case")


def _check_moments(*moments: object) -> None:
    for moment in moments:
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise MalformedCaveat("a revocation's times are datetimes with a time zone")


class RevocationSet:
    """Revocations in memory, about a hundred bytes each. `sequence` is the highest number that a feed gave.

    Safe to use from many threads. Expiries are kept to the hour, rounded up. `changes` grows with every entry,
    whatever its number: a feed that starts over is no reason not to look again.
    """

    def __init__(self, revocations: Iterable[Revocation] = ()) -> None:
        self.sequence = 0
        self.changes = 0
        self._tokens: dict[bytes, int] = {}
        self._branches: dict[bytes, bytes] = {}
        self._users: dict[str, bytes] = {}
        self._hours: dict[int, int] = {}
        self._writing = Lock()
        for revocation in revocations:
            self.add(revocation)

    def __len__(self) -> int:
        branches = sum(len(records) // _RECORD for records in tuple(self._branches.values()))
        return len(self._tokens) + branches + len(self._users)

    def add(self, revocation: Revocation, sequence: int | None = None) -> None:
        """Take in one more. `sequence` is the feed's number of it; without one the set counts for itself."""
        with self._writing:
            hour = self._shared(max(0, -int(-revocation.expires_at.timestamp() // _HOUR)))
            if isinstance(revocation, TokenRevocation):
                token_id = revocation.token_id.encode("ascii")
                self._tokens[token_id] = max(hour, self._tokens.get(token_id, 0))
            elif isinstance(revocation, BranchRevocation):
                token_id = revocation.token_id.encode("ascii")
                self._branches[token_id] = _with_branch(
                    self._branches.get(token_id, b""), revocation.branch_id, hour
                )
            else:
                known = self._users.get(revocation.user, b"")
                up_to = max(known[:ULID_TIME_SIZE], ulid_time(revocation.issued_up_to).encode("ascii"))
                last = max(known[ULID_TIME_SIZE:], hour.to_bytes(4, "big"))
                self._users[revocation.user] = up_to + last
            self.sequence = self.sequence + 1 if sequence is None else max(self.sequence, sequence)
            self.changes += 1

    def may_hit(self, token_id: str, user: str) -> bool:
        """False when nothing here is about this token or this user: the quick answer for almost every token."""
        key = token_id.encode("ascii")
        return key in self._tokens or key in self._branches or user in self._users

    def hits_token(self, token_id: str) -> bool:
        """Whether the whole token is revoked."""
        return token_id.encode("ascii") in self._tokens

    def hits_user(self, user: str, token_id: str) -> bool:
        """Whether everything issued to `user` up to a time not before this token's is revoked."""
        known = self._users.get(user)
        return known is not None and token_id[:ULID_TIME_SIZE].encode("ascii") <= known[:ULID_TIME_SIZE]

    def branches_of(self, token_id: str) -> Sequence[bytes]:
        """The revoked branch ids of this token; almost always none, and then no branch id need be computed."""
        records = self._branches.get(token_id.encode("ascii"))
        return _branch_ids(records) if records else ()

    def prune(self, now: datetime) -> int:
        """Forget what can hit nothing any more. Answers how many entries went."""
        with self._writing:
            before, hour = len(self), int(now.timestamp()) // _HOUR
            self._tokens = {token_id: last for token_id, last in self._tokens.items() if last > hour}
            last = hour.to_bytes(4, "big")
            self._users = {user: known for user, known in self._users.items() if known[ULID_TIME_SIZE:] > last}
            kept = ((token_id, _live(records, hour)) for token_id, records in self._branches.items())
            self._branches = {token_id: records for token_id, records in kept if records}
            self._hours = {}
            return before - len(self)

    def _shared(self, hour: int) -> int:
        """One int object per hour, however many entries expire in it."""
        return self._hours.setdefault(hour, hour)

    def __repr__(self) -> str:
        return f"RevocationSet({len(self)} entries, sequence {self.sequence})"


def _branch_ids(records: bytes) -> tuple[bytes, ...]:
    return tuple(records[at : at + BRANCH_ID_SIZE] for at in range(0, len(records), _RECORD))


def _with_branch(records: bytes, branch_id: bytes, hour: int) -> bytes:
    last = hour.to_bytes(4, "big")
    known = _branch_ids(records)
    if branch_id not in known:
        return records + branch_id + last
    at = known.index(branch_id) * _RECORD + BRANCH_ID_SIZE
    return records[:at] + max(last, records[at : at + 4]) + records[at + 4 :]


def _live(records: bytes, hour: int) -> bytes:
    pieces = (records[at : at + _RECORD] for at in range(0, len(records), _RECORD))
    return b"".join(piece for piece in pieces if int.from_bytes(piece[BRANCH_ID_SIZE:], "big") > hour)
