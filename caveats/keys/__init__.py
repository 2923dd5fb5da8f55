"""Keys: master key, audience key, root key, and the sealed box that carries audience keys to an app. Knows no token.

Reading order: `keyring` (derivation and states), `keybundle` (the box).
"""
