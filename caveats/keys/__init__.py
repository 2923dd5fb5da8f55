"""Keys: master key, audience key, root key; and the boxes that secrets travel in. Knows identifiers, reads no token.

Reading order: `keyring` (derivation and states), `boxes` (X25519 keys and NaCl boxes), `keybundle` (audience keys on
their way to an app), `key_text` (a key as text, and what is wrong with one that cannot be read).
"""

from __future__ import annotations

from caveats.keys.boxes import PrivateKey, check_box_key, is_box_key, open_box, seal_box
from caveats.keys.key_text import key_from_any_base64, key_from_text
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
    "check_box_key",
    "hkdf",
    "is_box_key",
    "key_from_any_base64",
    "key_from_text",
    "open_box",
    "open_bundle",
    "seal_box",
    "seal_bundle",
]
