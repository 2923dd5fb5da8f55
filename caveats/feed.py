"""Revocations on their way to verifiers: pages, each authenticated under a key that follows from the audience key.

A page says: these are all the live entries with a sequence above `after`, up to `upto`. So pages that join
without a gap are the whole truth, a snapshot is pages from 0, and a cache or a mirror can serve them but can
neither forge, drop nor reorder any. `at` is the service's clock: an old page does not pass for news.
Knows text, keys and clocks given as arguments; no network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from caveats import chain
from caveats.errors import MalformedCaveat, RejectedDelivery
from caveats.revocation import BranchRevocation, Revocation, TokenRevocation, UserRevocation

if TYPE_CHECKING:
    from caveats.keyring import AudienceKey, AudienceKeyring

_LABEL = b"caveats/v1/feed"
_PROOF = b"caveats/v1/feed-reader/"


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of the feed. `last`: the newest sequence there was; `upto` reaches it when this is all."""

    epoch: int
    after: int
    upto: int
    last: int
    at: datetime
    keys: tuple[str, ...]
    """The ids of the keys that verify: one that is missing here is retired, one that is new is to be fetched."""
    entries: tuple[tuple[int, Revocation], ...] = ()
    """Sequence and entry, ascending."""


def feed_key(key: AudienceKey) -> chain.Pads:
    """The key that authenticates the feed for verifiers of an audience."""
    return chain.pads(chain.mac(chain.pads(key.secret), _LABEL))


def seal_page(page: Page, key: AudienceKey) -> str:
    """The page as one line of text: key id, MAC in hex, JSON."""
    return seal_text(page_text(page), key)


def page_text(page: Page) -> str:
    """The JSON of a page: the same for every audience, so it is made once."""
    members = {
        "epoch": page.epoch,
        "after": page.after,
        "upto": page.upto,
        "last": page.last,
        "at": _milliseconds(page.at),
        "keys": list(page.keys),
        "entries": [_row(sequence, revocation) for sequence, revocation in page.entries],
    }
    return json.dumps(members, separators=(",", ":"), ensure_ascii=True)


def seal_text(text: str, key: AudienceKey) -> str:
    """`page_text` with its MAC, for one audience."""
    return f"{key.key_id} {_mac(feed_key(key), key.audience, text).hex()} {text}"


def open_page(line: str, keyring: AudienceKeyring) -> Page:
    """The page in a line. Raises `RejectedDelivery` if no key of `keyring` made it."""
    key_id, _, rest = line.partition(" ")
    mac, _, text = rest.partition(" ")
    key = next((key for key in keyring.keys if key.key_id == key_id), None)
    if key is None:
        raise RejectedDelivery(f"a page of the feed under key {key_id[:16]!r}, which is not here")
    try:
        authentic = chain.same(bytes.fromhex(mac), _mac(feed_key(key), keyring.audience, text))
    except ValueError:
        authentic = False
    if not authentic:
        raise RejectedDelivery("a page of the feed that the service did not make")
    return _read(text)


def _read(text: str) -> Page:
    """Authentic text, so only a service of another version can make this fail."""
    try:
        members = json.loads(text)
        return Page(
            epoch=members["epoch"],
            after=members["after"],
            upto=members["upto"],
            last=members["last"],
            at=_moment(members["at"]),
            keys=tuple(map(str, members["keys"])),
            entries=tuple(map(_entry, members["entries"])),
        )
    except (ValueError, KeyError, TypeError, IndexError, MalformedCaveat):
        raise RejectedDelivery("a page of the feed in a form that this version cannot read") from None


def prove_reader(key: AudienceKey, now: datetime) -> str:
    """What a verifier shows to read the feed: that it holds the audience key, at this minute."""
    at = str(int(now.timestamp()))
    return f"{key.audience} {key.key_id} {at} {chain.mac(feed_key(key), _PROOF + at.encode()).hex()}"


def check_reader(proof: str, keys: AudienceKeyring, now: datetime, *, within: int = 300) -> bool:
    """Whether `proof` was made with one of `keys`, at most `within` seconds from `now`."""
    parts = proof.split(" ")
    if len(parts) != 4 or parts[0] != keys.audience:
        return False
    _, key_id, at, mac = parts
    if not (at.isascii() and at.isdigit() and len(at) <= 12) or abs(int(at) - now.timestamp()) > within:
        return False
    key = next((key for key in keys.keys if key.key_id == key_id), None)
    expected = b"" if key is None else chain.mac(feed_key(key), _PROOF + at.encode())
    return key is not None and chain.same(mac.encode("ascii", "replace"), expected.hex().encode())


def _mac(key: chain.Pads, audience: str, text: str) -> bytes:
    return chain.mac(key, f"{audience}\0{text}".encode())


def _row(sequence: int, revocation: Revocation) -> list[Any]:
    expires = int(-(-revocation.expires_at.timestamp() // 1))
    if isinstance(revocation, TokenRevocation):
        return [sequence, "t", expires, revocation.token_id]
    if isinstance(revocation, BranchRevocation):
        return [sequence, "b", expires, revocation.token_id, revocation.branch_id.hex()]
    return [sequence, "u", expires, revocation.user, _milliseconds(revocation.issued_up_to)]


def _entry(row: list[Any]) -> tuple[int, Revocation]:
    sequence, kind, expires = row[0], row[1], datetime.fromtimestamp(row[2], UTC)
    match kind:
        case "t":
            return sequence, TokenRevocation(row[3], expires)
        case "b":
            return sequence, BranchRevocation(row[3], bytes.fromhex(row[4]), expires)
        case "u":
            return sequence, UserRevocation(row[3], _moment(row[4]), expires)
        case _:
            raise MalformedCaveat("an entry of a kind that is not known here")


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
