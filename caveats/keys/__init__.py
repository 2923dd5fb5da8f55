"""Keys: master key, audience key, root key, and the sealed box that carries audience keys to an app. Knows no token.

Reading order: `keyring` (derivation and states), `keybundle` (the box).
"""

from caveats.keys.boxes import PrivateKey, open_box, seal_box
from caveats.keys.keybundle import KeyBundle, open_bundle, seal_bundle
from caveats.keys.keyring import (
    AudienceKey,
    AudienceKeyring,
    Keyring,
    KeyState,
    MasterKey,
    MasterKeyring,
    hkdf,
)

__all__ = [
    "AudienceKey",
    "AudienceKeyring",
    "KeyBundle",
    "KeyState",
    "Keyring",
    "MasterKey",
    "MasterKeyring",
    "PrivateKey",
    "hkdf",
    "open_box",
    "open_bundle",
    "seal_box",
    "seal_bundle",
]
