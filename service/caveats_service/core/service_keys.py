"""The service's own keys: made once, sealed in the store, the same on every node.

Knows the store and the seal; knows no HTTP and no master keys. Others pin or cache the public halves, so the keys stay
as they are for the life of the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from caveats import PrivateKey
from caveats_service.storage.encryption import SealKey, seal, unseal

if TYPE_CHECKING:
    from caveats_service.storage import Store

_BOX_KEY = "box key"
_DISCHARGE_KEY = "discharge key"


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """The opened keys of this process."""

    seal: SealKey = field(repr=False)
    """Seals what lies in the store."""
    box: PrivateKey = field(repr=False)
    """Makes the boxes in which verifiers get their audience's keys (X25519)."""
    discharge: PrivateKey = field(repr=False)
    """Opens tickets (X25519). Anybody can make it open anything, so it is not the box key."""


async def load_service_keys(store: Store, seal_key: SealKey) -> ServiceKeys:
    """The keys, made now if the store has none yet. Raises `SealKeyError`, `StoreError`."""
    return ServiceKeys(
        seal_key, await _load(store, seal_key, _BOX_KEY), await _load(store, seal_key, _DISCHARGE_KEY)
    )


async def _load(store: Store, seal_key: SealKey, name: str) -> PrivateKey:
    fresh = seal(seal_key, PrivateKey.generate().secret, row_id=0, key_id="", purpose=name)
    sealed = await store.keys.service_key(name, fresh)
    return PrivateKey(unseal(seal_key, sealed, row_id=0, key_id="", purpose=name))
