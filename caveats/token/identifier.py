"""The identifier of a token that this service issued: `1.<key id>.<audience>.<token id>.<n>`.

Knows the grammar, and the time in a token id (a ULID). Knows no keys: an identifier is true only after its macaroon
has been authenticated.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from caveats.token.tuples import new_tuple

if TYPE_CHECKING:
    from collections.abc import Callable

_AUDIENCE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEY_ID = re.compile(r"k[1-9][0-9]{0,8}")
_TOKEN_ID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_IDENTIFIER = re.compile(
    rf"1\.({_KEY_ID.pattern})\.({_AUDIENCE.pattern})\.({_TOKEN_ID.pattern})\.([1-9][0-9]?)"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's, of five bits each
_TO_INT = str.maketrans(_DIGITS, "0123456789abcdefghijklmnopqrstuv")  # those that int() reads
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
ULID_TIME_SIZE = 10
"""Characters at the start of a token id that hold its time. They sort as the time does."""


class Identifier(NamedTuple):
    """Which key signed, for which audience, which token, and how many caveats the issuer added."""

    key_id: str
    audience: str
    token_id: str
    issuer_caveats: int

    def encode(self) -> bytes:
        """The signed bytes."""
        return f"1.{self.key_id}.{self.audience}.{self.token_id}.{self.issuer_caveats}".encode("ascii")

    @property
    def issued_at(self) -> datetime:
        """When the token was first issued, UTC, to the millisecond."""
        return issue_time(self.token_id)


def parse_identifier(data: bytes) -> Identifier | None:
    """The identifier in `data` (any length). None if `data` is not in this grammar."""
    match = _IDENTIFIER.fullmatch(data.decode("latin-1"))
    if match is None:
        return None
    key_id, audience, token_id, count = match.groups()
    return new_tuple(Identifier, (key_id, audience, token_id, int(count)))


def is_audience(text: object) -> bool:
    """Whether `text` can name an audience."""
    return isinstance(text, str) and _AUDIENCE.fullmatch(text) is not None


def is_key_id(text: object) -> bool:
    """Whether `text` can name a master key: k1, k2, ..."""
    return isinstance(text, str) and _KEY_ID.fullmatch(text) is not None


def is_token_id(text: object) -> bool:
    """Whether `text` is a canonical ULID."""
    return isinstance(text, str) and _TOKEN_ID.fullmatch(text) is not None


def issue_time(token_id: str) -> datetime:
    """The time in a token id, or in its first ten characters; the end of the year 9999 for a later time."""
    return from_milliseconds(int(token_id[:ULID_TIME_SIZE].translate(_TO_INT), 32))


def new_token_id(now: datetime, random: Callable[[int], bytes] = os.urandom) -> str:
    """A fresh token id for a token issued at `now`: a ULID of 48 bits of time and 80 random bits.

    `random(n)` returns n random bytes. ULID's own generator is not used: it counts up from its last id, so that two
    forked processes give the same ids.
    """
    # Imported when an id is made: verifiers make none, and the import takes a third of the time of `import caveats`.
    from ulid import ULID  # noqa: PLC0415

    return str(ULID.from_bytes(milliseconds(now).to_bytes(6, "big") + random(10)))


def ulid_time(count: int) -> str:
    """The first ten characters of the token ids of a millisecond. `count`: milliseconds since 1970."""
    return "".join(_PAIRS[count >> shift & 1023] for shift in (40, 30, 20, 10, 0))


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds from 1970 to `moment`, rounded down; 0 for an earlier moment."""
    return max(0, (moment - _EPOCH) // timedelta(milliseconds=1))


def from_milliseconds(count: int) -> datetime:
    """The inverse of `milliseconds`; the end of the year 9999 for a larger count."""
    return _EPOCH + timedelta(milliseconds=min(count, _LAST))
