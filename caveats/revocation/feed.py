"""The feed: pages of revocations for verifiers, each authenticated under a key derived from the audience key.

A page states that its entries are all live entries with a sequence above `after`, up to `upto`. Pages without a gap
between them are complete, and a snapshot is the pages from 0. A cache or mirror can serve pages, but cannot forge,
leave out or reorder an entry. `at` is the service's clock, so that a verifier recognises an old page.
Knows text, keys and clocks given as arguments; no network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caveats.errors import RejectedDelivery
from caveats.revocation.entries import row_of
from caveats.token import chain
from caveats.token.identifier import from_milliseconds, is_key_id, milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from caveats.keys.keyring import AudienceKey, AudienceKeyring
    from caveats.revocation.entries import Revocation, Row

_MOST_VALUES = 20_000
"""The most lists and objects in a page, which has 5000 entries: a million take seconds, in which nothing else runs."""
_LABEL = b"caveats/v1/feed"
_PROOF = b"caveats/v1/feed-reader/"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the feed. `last`: the newest sequence when the page was made; `upto` equals it on the last page."""

    epoch: int
    after: int
    upto: int
    last: int
    at: datetime
    keys: tuple[str, ...]
    """The ids of the keys that verify. A verifier drops a key that is missing here, and fetches one that is new."""
    entries: tuple[tuple[int, Revocation], ...] = ()
    """Sequence and entry, ascending."""


def feed_key(key: AudienceKey) -> chain.Pads:
    """The key that authenticates the feed for the verifiers of one audience."""
    return chain.pads(chain.mac(chain.pads(key.secret), _LABEL))


def page_text(page: Page) -> str:
    """The JSON of a page. It is the same for every audience."""
    return rows_text(page, [row_of(sequence, revocation) for sequence, revocation in page.entries])


def rows_text(page: Page, rows: Sequence[Row]) -> str:
    """As `page_text`, with `rows` in place of the page's entries: a service reads millions of rows from its database."""
    members = {
        "epoch": page.epoch,
        "after": page.after,
        "upto": page.upto,
        "last": page.last,
        "at": milliseconds(page.at),
        "keys": list(page.keys),
        "entries": rows,
    }
    return json.dumps(members, separators=(",", ":"), ensure_ascii=True)


def seal_text(text: str, key: AudienceKey) -> str:
    """A line of the feed for one audience: the key id, the MAC of `text` in hex, and `text`, made by `page_text`."""
    return f"{key.key_id} {_mac(feed_key(key), key.audience, text).hex()} {text}"


def open_rows(line: str, keyring: AudienceKeyring) -> tuple[Page, Sequence[Row]]:
    """The page in `line`, without entries, and its rows, not checked: `RevocationSet.add_rows` checks them.

    Raises `UnknownSeal` for a key that is not in `keyring`, `RejectedDelivery` for a wrong MAC or an unknown form.
    """
    key_id, _, rest = line.partition(" ")
    mac, _, text = rest.partition(" ")
    key = next((key for key in keyring.keys if key.key_id == key_id), None)
    if key is None:
        raise UnknownSeal(
            f"the page of the feed is under key {key_id[:16]!r}, which the keyring does not have"
        )
    expected = _mac(feed_key(key), keyring.audience, text).hex()
    if not chain.same(mac.encode("ascii", "replace"), expected.encode()):
        raise RejectedDelivery("the service did not make this page of the feed")
    return _read(text)


class UnknownSeal(RejectedDelivery):
    """A page under a key that the keyring does not have: a newer key, or a forged key id."""


def _read(text: str) -> tuple[Page, Sequence[Row]]:
    """The page and the rows in authentic text. Only a service of another version, or a thief of its key, makes this fail."""
    if text.count("[") + text.count("{") > _MOST_VALUES:
        raise _unreadable()
    try:
        members = json.loads(text)
        numbers = [members[name] for name in ("epoch", "after", "upto", "last", "at")]
        keys, rows = members["keys"], members["entries"]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise _unreadable()
        if type(rows) is not list or type(keys) is not list or not all(map(is_key_id, keys)):
            raise _unreadable()
        epoch, after, upto, last, at = numbers
        return Page(epoch, after, upto, last, from_milliseconds(at), tuple(keys)), rows
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise _unreadable() from None


def _unreadable() -> RejectedDelivery:
    return RejectedDelivery("a page of the feed in a form that this version cannot read")


def prove_reader(key: AudienceKey, now: datetime) -> str:
    """The proof that a verifier sends to read the feed: it holds the audience key, and made the proof at `now`."""
    at = str(int(now.timestamp()))
    return f"{key.audience} {key.key_id} {at} {chain.mac(feed_key(key), _PROOF + at.encode()).hex()}"


def check_reader(proof: str, keys: AudienceKeyring, now: datetime, *, within: int = 300) -> str | None:
    """The id of the one of `keys` that `proof` was made with, at most `within` seconds before or after `now`; or None."""
    parts = proof.split(" ")
    if len(parts) != 4 or parts[0] != keys.audience:
        return None
    _, key_id, at, mac = parts
    if not (at.isascii() and at.isdigit() and len(at) <= 12) or abs(int(at) - now.timestamp()) > within:
        return None
    key = next((key for key in keys.keys if key.key_id == key_id), None)
    expected = b"" if key is None else chain.mac(feed_key(key), _PROOF + at.encode())
    made_with_it = chain.same(mac.encode("ascii", "replace"), expected.hex().encode())
    return key.key_id if key is not None and made_with_it else None


def _mac(key: chain.Pads, audience: str, text: str) -> bytes:
    return chain.mac(key, f"{audience}\0{text}".encode("utf-8", "surrogatepass"))
