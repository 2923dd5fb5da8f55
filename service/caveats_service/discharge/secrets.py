"""The secrets of an interaction: for the asker's page, for the approvers', for where the decision is waited for.

Each is random or follows from one that is; what the store gets are hashes. From the asker's page follows the
approvers', and never the other way: whoever was sent there to approve cannot come to ask. From where the decision is
waited for follows the token that the asker gets. Knows bytes only.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from caveats.token.wire import encode_base64

KIND = "browser-window"
FORM = "form"
AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the asker is told, once."""

    visit: str = field(repr=False)
    wait: str = field(repr=False)

    @classmethod
    def new(cls, random: Callable[[int], bytes] = os.urandom) -> Self:
        """Fresh ones."""
        return cls(encode_base64(random(32)), encode_base64(random(32)))


def approve_of(visit: str) -> str:
    """What opens the page for approving, from what opens the asker's."""
    return encode_base64(_hash("approve", visit.encode("utf-8", "replace")))


def visit_hash(visit: str) -> bytes:
    """What the store knows of the asker's page: no more than of the approvers'."""
    return approve_hash(approve_of(visit))


def approve_hash(approve: str) -> bytes:
    """What the store knows of the approvers' page."""
    return _hash("visit", approve.encode("utf-8", "replace"))


def wait_hash(wait: str) -> bytes:
    """What the store knows of the address where the asker waits."""
    return _hash("wait", wait.encode("utf-8", "replace"))


def token_of(wait: str) -> bytes:
    """The token that the asker gets there: the same whoever asks, and however often."""
    return _hash("token", wait.encode("utf-8", "replace"))


def token_hash(token: bytes) -> bytes:
    """What the store knows of the token."""
    return _hash("hash", token)


def _hash(label: str, data: bytes) -> bytes:
    return sha256(f"caveats/v1/interaction/{label}/".encode() + data).digest()
