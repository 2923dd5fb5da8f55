"""The secrets of an interaction, and the hashes of them by which the store finds it. Knows bytes only.

Two are random. The others are hashes of them, in one direction:

    visit (the asker's page)  ->  approve (the approvers' page)  ->  visit hash
    wait (where the program waits)  ->  wait token (what it shows when it asks again)  ->  token hash
    wait  ->  wait hash

An approver cannot compute the address of the asker's page from their own, nor can the store compute either.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from caveats.pickling import Secret
from caveats.token import encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class InteractionSecrets(Secret):
    """The two random secrets, base64url of 32 bytes each. The asker's program gets them once."""

    visit: str = field(repr=False)
    wait: str = field(repr=False)

    @classmethod
    def new(cls, random: Callable[[int], bytes] = os.urandom) -> Self:
        """Two new secrets."""
        return cls(encode_base64(random(32)), encode_base64(random(32)))


def approve_secret(visit: str) -> str:
    """The secret of the approvers' page, from that of the asker's page."""
    return encode_base64(_hash("approve", visit.encode("utf-8", "replace")))


def visit_hash(visit: str) -> bytes:
    """The hash (32 bytes) by which the store finds an interaction, from the secret of the asker's page."""
    return approve_hash(approve_secret(visit))


def approve_hash(approve: str) -> bytes:
    """The same hash (32 bytes), from the secret of the approvers' page."""
    return _hash("visit", approve.encode("utf-8", "replace"))


def wait_hash(wait: str) -> bytes:
    """The hash (32 bytes) that the store keeps of the secret in the address where the program waits."""
    return _hash("wait", wait.encode("utf-8", "replace"))


def wait_token(wait: str) -> bytes:
    """The token that the program gets there, 32 bytes: the same however often it asks."""
    return _hash("token", wait.encode("utf-8", "replace"))


def token_hash(token: bytes) -> bytes:
    """The hash (32 bytes) that the store keeps of that token."""
    return _hash("hash", token)


def _hash(label: str, data: bytes) -> bytes:
    return sha256(f"caveats/v1/interaction/{label}/".encode() + data).digest()
