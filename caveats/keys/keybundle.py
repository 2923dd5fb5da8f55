"""Audience keys on their way to the app that verifies with them: a NaCl box from a pinned service to one app.

Knows boxes, keys and clocks given as arguments; no network. A bundle says for whom it is, until when it may be
used and how new it is, so that an old one, or another app's, is no use to whoever sends it again.
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
    """Milliseconds of the service's clock when the bundle was made: the larger is the newer."""
    not_after: datetime
    """Not to be used any longer than this."""

    @property
    def audience(self) -> str:
        """Whose keys they are."""
        return self.keyring.audience


def seal_bundle(
    bundle: KeyBundle,
    recipient: bytes,
    sender: PrivateKey,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """The bundle in an authenticated box from `sender` for `recipient`, an X25519 public key of 32 bytes."""
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
    """The bundle in `data`, if the service with the pinned public key `sender` made it for this verifier.

    Raises `RejectedDelivery`: tampered, from or for somebody else, expired, or older than serial `newer_than`.
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
        raise RejectedDelivery(f"a key bundle for {bundle.verifier_id} and audience {bundle.audience!r}")
    if now >= bundle.not_after:
        raise RejectedDelivery("a key bundle that has expired")
    if bundle.serial < newer_than:
        raise RejectedDelivery("a key bundle older than the one in use")
    return bundle


def _not_for_us() -> RejectedDelivery:
    return RejectedDelivery("a key bundle that the pinned service did not make for this verifier")
