"""Key bundles: audience keys in a NaCl box, from the service to one app that verifies with them.

Knows boxes, keys and clocks given as arguments; no network. A bundle states its verifier, its end and its serial, so
that an app refuses a bundle of another app, and an old one that somebody sends again.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from caveats.errors import RejectedDelivery
from caveats.keys.boxes import BOX_NONCE_SIZE, open_box, seal_box
from caveats.keys.keyring import AudienceKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats.keys.boxes import PrivateKey

_MAGIC = b"\x4b\x01"
_BOX_AT = len(_MAGIC) + BOX_NONCE_SIZE


@dataclass(frozen=True, slots=True)
class KeyBundle:
    """An audience's keys for one verifier."""

    verifier_id: str
    keyring: AudienceKeyring
    epoch: int
    """The epoch of revocations; it grows when the service was restored from a backup."""
    serial: int
    """When the service made the bundle, in milliseconds since 1970. The bundle with the larger serial is newer."""
    not_after: datetime
    """The keys must not be used at this time or later. UTC, whole seconds."""

    @property
    def audience(self) -> str:
        """The audience of the keys."""
        return self.keyring.audience


def seal_bundle(
    bundle: KeyBundle,
    recipient: bytes,
    sender: PrivateKey,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """The bundle in an authenticated box from `sender` for `recipient` (an X25519 public key, 32 bytes).

    Raises `InvalidKey` for a `recipient` that X25519 cannot use.
    """
    members = {
        "verifier_id": bundle.verifier_id,
        "epoch": bundle.epoch,
        "serial": bundle.serial,
        "not_after": int(bundle.not_after.timestamp()),
        **bundle.keyring.to_json(),
    }
    plain = json.dumps(members, separators=(",", ":")).encode()
    _, nonce, box = seal_box(plain, recipient, sender, random=random)
    return _MAGIC + nonce + box


def open_bundle(
    data: bytes,
    recipient: PrivateKey,
    sender: bytes,
    *,
    verifier_id: str,
    audience: str,
    now: datetime,
    newer_than: int = 0,
) -> KeyBundle:
    """The bundle in `data`, made by the service with the pinned public key `sender` (32 bytes) for this verifier.

    `newer_than`: the serial of the bundle in use. Raises `RejectedDelivery` for a bundle that was changed, is from or
    for somebody else, has expired at `now`, or has a serial below `newer_than`.
    """
    nonce, box = data[len(_MAGIC) : _BOX_AT], data[_BOX_AT:]
    if not data.startswith(_MAGIC) or not box:
        raise RejectedDelivery("not a key bundle")
    plain = open_box(box, nonce, sender, (recipient,))
    if plain is None:
        raise _not_for_us()
    try:
        members: dict[str, Any] = json.loads(plain)
        numbers = (members["epoch"], members["serial"], members["not_after"])
        if type(members["verifier_id"]) is not str or not all(type(number) is int for number in numbers):
            raise TypeError("members of other types")
        epoch, serial, not_after = numbers
        bundle = KeyBundle(
            verifier_id=members["verifier_id"],
            keyring=AudienceKeyring.from_json(members),
            epoch=epoch,
            serial=serial,
            not_after=datetime.fromtimestamp(not_after, UTC),
        )
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
        raise _not_for_us() from None
    if bundle.verifier_id != verifier_id or bundle.audience != audience:
        raise RejectedDelivery(f"the key bundle is for {bundle.verifier_id} and audience {bundle.audience!r}")
    if now >= bundle.not_after:
        raise RejectedDelivery("the key bundle has expired")
    if bundle.serial < newer_than:
        raise RejectedDelivery("the key bundle is older than the one in use")
    return bundle


def _not_for_us() -> RejectedDelivery:
    return RejectedDelivery("the pinned service did not make this key bundle for this verifier")
