"""What has been revoked: entries, and a set of them that answers in constant time. Knows no keys, no I/O.

Three kinds of entry: a whole token, a branch of one (a copy and all that descends from it), or everything
issued to a user up to a moment. Each is kept until everything that it can hit has expired.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from caveats.errors import MalformedCaveat
from caveats.kinds import check_value
from caveats.token.chain import BRANCH_ID_SIZE
from caveats.token.identifier import ULID_TIME_SIZE, from_milliseconds, is_token_id, issue_time, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_HOUR = 3600
_RECORD = BRANCH_ID_SIZE + 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE = 500
_BRANCH = re.compile(rf"[0-9a-f]{{{2 * BRANCH_ID_SIZE}}}")
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple((high + low).encode("ascii") for high in _DIGITS for low in _DIGITS)
LAST_SECOND = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
"""The last that there is a date for."""


@dataclass(frozen=True, slots=True)
class TokenRevocation:
    """The token of this id, in all its copies, is dead."""

    kind: ClassVar[str] = "token"

    token_id: str
    expires_at: datetime

    def __post_init__(self) -> None:
        _check_token_id(self.token_id)
        _check_moments(self.expires_at)


@dataclass(frozen=True, slots=True)
class BranchRevocation:
    """This branch of the token is dead: the copy with this branch id, and all that descends from it."""

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
    """Everything issued to this user up to and including `issued_up_to` (to the millisecond) is dead."""

    kind: ClassVar[str] = "user"

    user: str
    issued_up_to: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        check_value(self.user)
        _check_moments(self.issued_up_to, self.expires_at)


Revocation = TokenRevocation | BranchRevocation | UserRevocation
Row = list[Any]
"""An entry in plain values, as feeds and files carry it: its sequence, its kind (t, b or u), the second from which
it can hit nothing, the token id or the user; then a branch id in hex, or the millisecond that a user's reaches up to."""


def _check_token_id(token_id: object) -> None:
    if not is_token_id(token_id):
        raise MalformedCaveat("a token id is a ULID, upper case")


def _check_moments(*moments: object) -> None:
    for moment in moments:
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise MalformedCaveat("a revocation's times are datetimes with a time zone")


def row_of(sequence: int, revocation: Revocation) -> Row:
    """An entry in plain values, its expiry rounded up to the second, as far as there are dates."""
    expires = _date(-int(-revocation.expires_at.timestamp() // 1))
    if isinstance(revocation, TokenRevocation):
        return [sequence, "t", expires, revocation.token_id]
    if isinstance(revocation, BranchRevocation):
        return [sequence, "b", expires, revocation.token_id, revocation.branch_id.hex()]
    up_to = milliseconds(revocation.issued_up_to)
    return [sequence, "u", expires, revocation.user, up_to]


def entry_of(row: Row) -> tuple[int, Revocation]:
    """The sequence and the entry in a row. Raises `MalformedCaveat` for anything else."""
    sequence, kind, expires, name, detail = _parts(row)
    until = _EPOCH + timedelta(seconds=expires)
    if kind == "t":
        return sequence, TokenRevocation(name, until)
    if kind == "b":
        return sequence, BranchRevocation(name, bytes.fromhex(detail), until)
    return sequence, UserRevocation(name, from_milliseconds(detail), until)


def _parts(row: Row) -> tuple[int, str, int, str, Any]:
    """The values of a row, each looked at."""
    try:
        sequence, kind, expires, name, *rest = row
    except (TypeError, ValueError):
        raise MalformedCaveat("not a revocation") from None
    if not (type(sequence) is int is type(expires) and sequence >= 0 <= expires <= LAST_SECOND):
        raise MalformedCaveat("a revocation has a sequence and an expiry")
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
        raise MalformedCaveat("a revocation of a kind that is not known here")
    return sequence, kind, expires, name, detail


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
        with self._writing:
            return self._count()

    def _count(self) -> int:
        """Under the lock: not even a copy of a dict's values is made in one go, if the collector calls somebody back."""
        branches = sum(len(records) // _RECORD for records in self._branches.values())
        return len(self._tokens) + branches + len(self._users)

    def add(self, revocation: Revocation, sequence: int | None = None) -> None:
        """Take in one more. `sequence` is the feed's number of it; without one the set counts for itself."""
        with self._writing:
            hour = max(0, -int(-revocation.expires_at.timestamp() // _HOUR))
            if isinstance(revocation, TokenRevocation):
                self._put_token(revocation.token_id, hour)
            elif isinstance(revocation, BranchRevocation):
                self._put_branch(revocation.token_id, revocation.branch_id, hour)
            else:
                self._put_user(revocation.user, milliseconds(revocation.issued_up_to), hour)
            self.sequence = self.sequence + 1 if sequence is None else max(self.sequence, sequence)
            self.changes += 1

    def add_rows(self, rows: Sequence[Row], after: int = -1) -> None:
        """Take in entries that come by the thousand, those with a sequence beyond `after`.

        Raises `MalformedCaveat` for what `entry_of` does not read; the rows before it are in.
        """
        for at in range(0, len(rows), _AT_ONCE):
            with self._writing:
                for row in rows[at : at + _AT_ONCE]:
                    sequence, kind, expires, name, detail = _parts(row)
                    if sequence <= after:
                        continue
                    hour = -(-expires // _HOUR)
                    if kind == "t":
                        self._put_token(name, hour)
                    elif kind == "b":
                        self._put_branch(name, bytes.fromhex(detail), hour)
                    else:
                        self._put_user(name, detail, hour)
                    self.sequence = max(self.sequence, sequence)
                    self.changes += 1

    def _put_token(self, token_id: str, hour: int) -> None:
        key = token_id.encode("ascii")
        hour = self._hours.setdefault(
            hour, hour
        )  # one int object per hour, however many entries expire in it
        self._tokens[key] = max(hour, self._tokens.get(key, 0))

    def _put_branch(self, token_id: str, branch_id: bytes, hour: int) -> None:
        key = token_id.encode("ascii")
        self._branches[key] = _with_branch(self._branches.get(key, b""), branch_id, hour)

    def _put_user(self, user: str, up_to: int, hour: int) -> None:
        known = self._users.get(user, b"")
        latest = max(known[:ULID_TIME_SIZE], _ulid_time(up_to))
        self._users[user] = latest + max(known[ULID_TIME_SIZE:], hour.to_bytes(4, "big"))

    def rows(self, size: int = 5000) -> Iterator[list[Row]]:
        """Everything here as rows, `size` at a time, for a file: without sequences, expiries to the hour."""
        with self._writing:
            tokens, branches, users = self._tokens.copy(), self._branches.copy(), self._users.copy()
        every = chain(
            ([0, "t", _date(hour * _HOUR), key.decode("ascii")] for key, hour in tokens.items()),
            (
                [0, "b", _hour(record[BRANCH_ID_SIZE:]), key.decode("ascii"), record[:BRANCH_ID_SIZE].hex()]
                for key, records in branches.items()
                for record in _records(records)
            ),
            (
                [0, "u", _hour(known[ULID_TIME_SIZE:]), user, _ulid_milliseconds(known[:ULID_TIME_SIZE])]
                for user, known in users.items()
            ),
        )
        while some := list(islice(every, size)):
            yield some

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
            before, hour = self._count(), max(0, int(now.timestamp()) // _HOUR)
            self._tokens = {token_id: last for token_id, last in self._tokens.items() if last > hour}
            last = hour.to_bytes(4, "big")
            self._users = {
                user: known for user, known in self._users.items() if known[ULID_TIME_SIZE:] > last
            }
            kept = ((token_id, _live(records, hour)) for token_id, records in self._branches.items())
            self._branches = {token_id: records for token_id, records in kept if records}
            self._hours = {}
            return before - self._count()

    def __repr__(self) -> str:
        return f"RevocationSet({len(self)} entries, sequence {self.sequence})"


def _records(records: bytes) -> Iterator[bytes]:
    return (records[at : at + _RECORD] for at in range(0, len(records), _RECORD))


def _hour(last: bytes) -> int:
    """The second at which an hour, as it is kept, begins."""
    return _date(int.from_bytes(last, "big") * _HOUR)


def _date(second: int) -> int:
    """The second itself, or the first or last that there is a date for."""
    return min(max(0, second), LAST_SECOND)


def _ulid_time(at: int) -> bytes:
    """As `caveats.token.identifier.ulid_time`, from milliseconds and quicker: ten digits of five bits, two at a time."""
    pair = _PAIRS
    return (
        pair[at >> 40]
        + pair[at >> 30 & 1023]
        + pair[at >> 20 & 1023]
        + pair[at >> 10 & 1023]
        + pair[at & 1023]
    )


def _ulid_milliseconds(time: bytes) -> int:
    return milliseconds(issue_time(time.decode("ascii") + "0" * 16))


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
    return b"".join(
        record for record in _records(records) if int.from_bytes(record[BRANCH_ID_SIZE:], "big") > hour
    )
