"""The secrets of an interaction: one that opens its page, one that waits for its decision, and the token that follows.

Each is random or follows from one that is; what the store gets are hashes. Whoever has the page's address, such as
somebody who approves, learns nothing of the other two. Knows bytes only.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from caveats.wire import encode_base64

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


def visit_hash(visit: str) -> bytes:
    """What the store knows of the page's address."""
    return _hash("visit", visit.encode("utf-8", "replace"))


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
