"""The decision: authenticate a token, then judge its caveats. Knows keys and kinds, does no I/O.

Reading order: `authenticate` (the HMAC tree), `grant` (what is answered), `verifier` (the whole decision), `cache` (what
it remembers), `missing_keys` (a warning where keys are too old), `renewal` (the same token, later).
"""

from __future__ import annotations

from caveats.verification.authenticate import Authenticated, Discharged, authenticate
from caveats.verification.grant import Grant, Introspection
from caveats.verification.renewal import first_branches, renew
from caveats.verification.verifier import Verifier, verify

__all__ = [
    "Authenticated",
    "Discharged",
    "Grant",
    "Introspection",
    "Verifier",
    "authenticate",
    "first_branches",
    "renew",
    "verify",
]
