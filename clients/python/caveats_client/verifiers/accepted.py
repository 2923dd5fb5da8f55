"""A cache of the tokens that the service accepted, bounded in entries, bytes and time. Safe to use from many threads.

Knows macaroons on the wire and seconds. Knows no caveat kind and sends nothing. The cache of `caveats.Verifier` finds a
token by its whole text; this one finds the longest token that the presented one was made from.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from caveats.token import WireMacaroon


@dataclass(frozen=True, slots=True, repr=False)
class Accepted:
    """A token that the service granted. It has no repr: its signature is a live credential."""

    wire: WireMacaroon
    until: float
    """When it is forgotten, in seconds on the caller's monotonic clock."""
    revoked: frozenset[bytes] | None
    """The branch ids, 16 bytes each, of the token's revoked copies; None if the service did not say."""
    asked_at: float
    """When the service was asked, in seconds on the caller's monotonic clock."""
    judged_at: datetime | None
    """The service's time at its answer; None if the service did not say."""
    asked_at_wall: float = math.inf
    """As `asked_at`, on the wall clock, which goes on while the machine sleeps."""

    @property
    def size(self) -> int:
        """Bytes in memory, estimated."""
        own = len(self.wire.identifier) + sum(map(len, self.wire.caveats))
        return 1024 + 2 * own + 64 * len(self.revoked or ())


class AcceptedTokens:
    """At most `entries` tokens, with about `size` bytes in all. The oldest are removed first. 0 entries: no cache.

    `copies`: the most of one token, since all of them are looked at to find one.
    """

    def __init__(self, entries: int, size: int, *, copies: int = 64) -> None:
        self._entries = entries
        self._copies = copies
        self._bytes = size
        self._changing = threading.Lock()
        self._generation = 0
        self._all: OrderedDict[WireMacaroon, Accepted] = OrderedDict()
        self._by_identifier: dict[bytes, list[Accepted]] = {}
        self._held = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def generation(self) -> int:
        """A number that grows when a token is forgotten. Read it before asking the service, and give it to `add`."""
        return self._generation

    def find(self, wire: WireMacaroon, tick: float) -> Accepted | None:
        """The longest token here that `wire` begins with, or `wire` itself; else None. `tick`: now, in seconds."""
        with self._changing:
            best: Accepted | None = None
            for accepted in self._by_identifier.get(wire.identifier, ()):
                known = accepted.wire
                if (
                    tick < accepted.until
                    and known.location == wire.location
                    and known.caveats == wire.caveats[: len(known.caveats)]
                    and (best is None or len(known.caveats) > len(best.wire.caveats))
                ):
                    best = accepted
            return best

    def add(self, accepted: Accepted, generation: int, tick: float) -> None:
        """Keep a token, unless something was forgotten since `generation`, or it is too large."""
        with self._changing:
            if generation != self._generation or accepted.size > self._bytes or not self._entries:
                return
            self._drop(self._all.get(accepted.wire))
            self._all[accepted.wire] = accepted
            same = self._by_identifier.setdefault(accepted.wire.identifier, [])
            same.append(accepted)
            self._held += accepted.size
            if len(same) > self._copies:
                self._drop(same[0])
            while self._all:
                oldest = next(iter(self._all.values()))
                if tick < oldest.until and len(self._all) <= self._entries and self._held <= self._bytes:
                    return
                self._drop(oldest)

    def forget(self, identifier: bytes) -> None:
        """Forget every copy of a token. Answers of the service that are still on their way are not added either."""
        with self._changing:
            self._generation += 1
            for accepted in list(self._by_identifier.get(identifier, ())):
                self._drop(accepted)

    def clear(self) -> None:
        """Forget all tokens. Answers of the service that are still on their way are not added either."""
        with self._changing:
            self._generation += 1
            self._all.clear()
            self._by_identifier.clear()
            self._held = 0

    def _drop(self, accepted: Accepted | None) -> None:
        if accepted is None:
            return
        del self._all[accepted.wire]
        same = self._by_identifier[accepted.wire.identifier]
        same.remove(accepted)
        if not same:
            del self._by_identifier[accepted.wire.identifier]
        self._held -= accepted.size
