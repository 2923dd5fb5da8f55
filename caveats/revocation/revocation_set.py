"""The revocations in force: a set that answers in constant time. Knows no keys, no I/O.

An entry takes about a hundred bytes: keys are ASCII bytes, and expiries are whole hours. Most tokens have few revoked
branches: they are one byte string of records, a branch id (16 bytes) and an hour (4 bytes) each. More than eight are a
dict from branch id to hour, so that neither adding one nor asking for one depends on how many there are.
"""

from __future__ import annotations

from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING

from caveats.forks import renewed_after_fork
from caveats.pickling import Unpicklable
from caveats.revocation.entries import BranchRevocation, Revocation, TokenRevocation, clamp_second, read_row
from caveats.token.chain import BRANCH_ID_SIZE
from caveats.token.identifier import ULID_TIME_SIZE, issue_time, milliseconds, ulid_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from caveats.revocation.entries import Row

_HOUR = 3600
_RECORD = BRANCH_ID_SIZE + 4
_FEW = 8
"""The most branches of a token that are kept as one byte string, which is searched from its beginning."""
_AT_ONCE = 500
_Branches = bytes | dict[bytes, int]


class RevocationSet(Unpicklable):
    """Revocations in memory, about a hundred bytes each. Safe to use from many threads.

    `sequence` is the highest sequence of all entries. `changes` counts the entries that were added: it also grows when
    a feed starts over from a lower sequence. Expiries are rounded up to the hour.
    """

    def __init__(self, revocations: Iterable[Revocation] = ()) -> None:
        self.sequence = 0
        self.changes = -1  # `_renew` counts one
        self._tokens: dict[bytes, int] = {}
        self._branches: dict[bytes, _Branches] = {}
        self._users: dict[str, bytes] = {}
        self._hours: dict[int, int] = {}
        renewed_after_fork(self, RevocationSet._renew)
        for revocation in revocations:
            self.add(revocation)

    def _renew(self) -> None:
        """A lock of this process, and another look at every token: a thread of the parent may have been adding an entry."""
        self._writing = Lock()
        self.changes += 1

    def __len__(self) -> int:
        with self._writing:
            return self._count()

    def _count(self) -> int:
        """Called under the lock: another thread can run even while the values of a dict are copied, in a callback of `gc`."""
        branches = sum(map(_count_of, self._branches.values()))
        return len(self._tokens) + branches + len(self._users)

    def add(self, revocation: Revocation, sequence: int | None = None) -> None:
        """Add an entry. `sequence`: its number in the feed; None: one more than the highest so far."""
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
        """Add the entries of many rows: those with a sequence above `after`.

        Raises `MalformedCaveat` for a malformed row; the rows before it have been added.
        """
        for at in range(0, len(rows), _AT_ONCE):
            with self._writing:
                for row in rows[at : at + _AT_ONCE]:
                    sequence, kind, expires, name, detail = read_row(row)
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
        known = self._branches.get(key)
        if known is None:
            self._branches[key] = _pack([(branch_id, hour)])
            return
        many = dict(_each(known)) if isinstance(known, bytes) else known
        many[branch_id] = max(self._hours.setdefault(hour, hour), many.get(branch_id, 0))
        self._branches[key] = many if len(many) > _FEW else _pack(many.items())

    def _put_user(self, user: str, up_to: int, hour: int) -> None:
        known = self._users.get(user, b"")
        latest = max(known[:ULID_TIME_SIZE], ulid_time(up_to).encode("ascii"))
        self._users[user] = latest + max(known[ULID_TIME_SIZE:], hour.to_bytes(4, "big"))

    def rows(self, size: int = 5000) -> Iterator[list[Row]]:
        """All entries as lists of up to `size` rows, for a file. Their sequence is 0, their expiry a whole hour."""
        with self._writing:
            tokens, users = self._tokens.copy(), self._users.copy()
            branches = {
                key: known if isinstance(known, bytes) else known.copy()
                for key, known in self._branches.items()
            }
        every = chain(
            ([0, "t", clamp_second(hour * _HOUR), key.decode("ascii")] for key, hour in tokens.items()),
            (
                [0, "b", clamp_second(hour * _HOUR), key.decode("ascii"), branch_id.hex()]
                for key, known in branches.items()
                for branch_id, hour in _each(known)
            ),
            (
                [0, "u", _hour(known[ULID_TIME_SIZE:]), user, _milliseconds(known)]
                for user, known in users.items()
            ),
        )
        while some := list(islice(every, size)):
            yield some

    def rows_missing_from(self, other: RevocationSet) -> Iterator[Row]:
        """The rows, as `rows` gives them, of the entries that the other set does not have for as long."""
        for some in self.rows():
            for row in some:
                if not other._has(row):
                    yield row

    def _has(self, row: Row) -> bool:
        _, kind, expires, name, detail = read_row(row)
        hour = -(-expires // _HOUR)
        if kind == "u":
            known = self._users.get(name, b"")
            return known[:ULID_TIME_SIZE] >= ulid_time(detail).encode("ascii") and known[
                ULID_TIME_SIZE:
            ] >= hour.to_bytes(4, "big")
        key = name.encode("ascii")
        if kind == "t":
            return self._tokens.get(key, -1) >= hour
        branches = self._branches.get(key, b"")
        if isinstance(branches, bytes):
            branches = dict(_each(branches))
        return branches.get(bytes.fromhex(detail), -1) >= hour

    def may_hit(self, token_id: str, user: str) -> bool:
        """False if no entry is about this token or this user, as for almost every token: the quick check."""
        key = token_id.encode("ascii")
        return key in self._tokens or key in self._branches or user in self._users

    def hits_token(self, token_id: str) -> bool:
        """Whether the whole token is revoked."""
        return token_id.encode("ascii") in self._tokens

    def hits_user(self, user: str, token_id: str) -> bool:
        """Whether an entry revokes the tokens of `user` up to the issue time of this token or later."""
        known = self._users.get(user)
        return known is not None and token_id[:ULID_TIME_SIZE].encode("ascii") <= known[:ULID_TIME_SIZE]

    def branch_count(self, token_id: str) -> int:
        """How many branches of this token are revoked. Almost always 0: then no branch id need be computed."""
        known = self._branches.get(token_id.encode("ascii"))
        return 0 if known is None else _count_of(known)

    def hits_branch(self, token_id: str, branch_ids: Iterable[bytes]) -> bool:
        """Whether one of these branches (16 bytes each) of this token is revoked."""
        known = self._branches.get(token_id.encode("ascii"))
        if known is None:
            return False
        if isinstance(known, bytes):
            known = dict(_each(known))
        return any(branch_id in known for branch_id in branch_ids)

    def branches_of(self, token_id: str) -> Sequence[bytes]:
        """The revoked branch ids (16 bytes each) of this token. Takes as long as there are many: see `branch_count`."""
        with self._writing:
            known = self._branches.get(token_id.encode("ascii"))
            return () if known is None else tuple(branch_id for branch_id, _ in _each(known))

    def prune(self, now: datetime) -> int:
        """Remove the entries that had expired by the hour of `now`. Returns how many were removed."""
        with self._writing:
            before, hour = self._count(), max(0, int(now.timestamp()) // _HOUR)
            self._tokens = {token_id: last for token_id, last in self._tokens.items() if last > hour}
            last = hour.to_bytes(4, "big")
            self._users = {
                user: known for user, known in self._users.items() if known[ULID_TIME_SIZE:] > last
            }
            kept = ((token_id, _live(known, hour)) for token_id, known in self._branches.items())
            self._branches = {token_id: known for token_id, known in kept if known}
            self._hours = {}
            return before - self._count()

    def __repr__(self) -> str:
        return f"RevocationSet({len(self)} entries, sequence {self.sequence})"


def _hour(last: bytes) -> int:
    """The first second of an hour, kept as 4 bytes, in seconds since 1970."""
    return clamp_second(int.from_bytes(last, "big") * _HOUR)


def _milliseconds(known: bytes) -> int:
    """The millisecond up to which a user's tokens are revoked."""
    return milliseconds(issue_time(known[:ULID_TIME_SIZE].decode("ascii")))


def _count_of(known: _Branches) -> int:
    return len(known) // _RECORD if isinstance(known, bytes) else len(known)


def _each(known: _Branches) -> Iterable[tuple[bytes, int]]:
    """The branch ids, each with the hour after which it is forgotten."""
    if isinstance(known, dict):
        return known.items()
    return (
        (known[at : at + BRANCH_ID_SIZE], int.from_bytes(known[at + BRANCH_ID_SIZE : at + _RECORD], "big"))
        for at in range(0, len(known), _RECORD)
    )


def _pack(branches: Iterable[tuple[bytes, int]]) -> bytes:
    return b"".join(branch_id + hour.to_bytes(4, "big") for branch_id, hour in branches)


def _live(known: _Branches, hour: int) -> _Branches:
    """The branches that are kept after this hour."""
    live = {branch_id: last for branch_id, last in _each(known) if last > hour}
    return live if len(live) > _FEW else _pack(live.items())
