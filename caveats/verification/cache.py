"""What a verifier remembers: which texts were authentic, within bounds. Knows no keys, no clock, judges nothing.

Two generations: when the young one is full it becomes the old one, and the old one is dropped, so that no entry is
ever looked for in order to be evicted. What is found in the old one is young again, so that a token in use is not
forgotten for those that come once. Bounded in entries and in bytes. Safe to use from many threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from caveats.forks import renewed_after_fork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats.kinds.checkers import Question
    from caveats.verification.grant import Grant, Introspection


@dataclass(slots=True)
class Entry:
    """An authentic token: its grant, should the caveats hold, and what has been worked out about it so far."""

    grant: Grant
    checks: Sequence[Question] | None
    """The check of each caveat with it; None where the checks alone do not decide."""
    live_at: int = -1
    """`RevocationSet.changes` when the token was last found live."""
    own_branches: tuple[bytes, ...] = ()
    """The branch ids of its own chain, once they were needed."""
    branches: tuple[bytes, ...] = ()
    """Those that stay through renewals, computed with them: the same, but for a renewal."""
    added_by: tuple[str, ...] = ()
    """Who added each caveat, once somebody asked."""
    introspection: Introspection | None = None
    """What was said of the token, once somebody asked: it remembers what has been worked out for its answer."""
    size: int = 0
    """The bytes that it takes, roughly, with its text."""


class VerificationCache:
    """Entries by the text of their token."""

    def __init__(self, entries: int, size: int) -> None:
        """At most `entries` entries of together about `size` bytes; 0 remembers nothing."""
        self.generation = 0
        """Grows when everything is forgotten."""
        self._half_entries = entries // 2
        self._half_size = size // 2
        renewed_after_fork(self, VerificationCache._renew)

    def _renew(self) -> None:
        """Begin empty, with a lock of this process: a thread of the parent may have been in the middle of a change."""
        self._writing = Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything, and what is being authenticated right now: its `generation` is over."""
        with self._writing:
            self.generation += 1
            self._young: dict[str, Entry] = {}
            self._old: dict[str, Entry] = {}
            self._young_size = 0

    def find(self, text: str) -> Entry | None:
        """The entry of `text`, if it is remembered."""
        entry = self._young.get(text)
        if entry is None:
            generation = self.generation  # before the look: what is forgotten meanwhile does not come back
            entry = self._old.get(text)
            if entry is not None:
                self.add(text, entry, entry.size, generation)
        return entry

    def add(self, text: str, entry: Entry, size: int, generation: int) -> None:
        """Remember `entry`, of about `size` bytes. `generation`: as it was before the token was authenticated."""
        if size > self._half_size or not self._half_entries:
            return
        entry.size = size
        with self._writing:
            if generation != self.generation or text in self._young:
                return
            if len(self._young) >= self._half_entries or self._young_size + size > self._half_size:
                self._old, self._young, self._young_size = self._young, {}, 0
            self._young[text] = entry
            self._young_size += size
