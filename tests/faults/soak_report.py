"""What goes wrong in the soak and when, what was done and asked, and what was found.

Knows the monotonic clock, and opens nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

RECOVERY = {"app clock": 45.0}
"""Seconds after the end of a fault within which nobody refuses any more; 25 for the others."""
USUAL_RECOVERY = 25.0


@dataclass
class Fault:
    """Something that goes wrong with some of those who are asked."""

    kind: str
    targets: set[str]
    begun: float = field(default_factory=time.monotonic)
    ended: float | None = None
    off: float = 0.0
    """Seconds by which a clock is off."""

    def touches(self, target: str, since: float, until: float) -> bool:
        """Whether it was there, or not long over, at some time of this stretch."""
        over = RECOVERY.get(self.kind, USUAL_RECOVERY)
        return (
            not self.targets.isdisjoint({target, target.partition("/")[0]})
            and self.begun <= until
            and (self.ended is None or since <= self.ended + over)
        )


class Report:
    """What was done, asked and found."""

    def __init__(self, *, say: bool) -> None:
        self._say = say
        self._lock = threading.Lock()
        self.begun = time.monotonic()
        self.operations: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.lost = 0
        self.late: dict[str, float] = defaultdict(float)
        """By target: seconds after an acknowledged death in which a token was granted last."""
        self.violations: list[str] = []
        self.repeated: Counter[str] = Counter()
        """Of the violations that are told once: how often each was seen."""
        self.past: list[Fault] = []

    def tell(self, text: str) -> None:
        if self._say:
            print(f"{time.monotonic() - self.begun:7.1f} {text}", flush=True)

    def count(self, where: Counter[str], what: str) -> None:
        with self._lock:
            where[what] += 1

    def violation(self, text: str, once: str = "") -> None:
        """`once`: what is the same in those that are told once and counted."""
        with self._lock:
            self.repeated[once or text] += 1
            if self.repeated[once or text] > 1:
                return
            self.violations.append(f"{time.monotonic() - self.begun:.1f} s: {text}")
        print(f"{time.monotonic() - self.begun:7.1f} VIOLATION {text}", flush=True)

    @contextlib.contextmanager
    def fault(self, kind: str, *targets: str, off: float = 0.0, what: str = "") -> Iterator[Fault]:
        """A fault for as long as the block runs."""
        fault = Fault(kind, set(targets), off=off)
        with self._lock:
            self.past.append(fault)
            self.faults[f"{kind} {what}".strip()] += 1
        self.tell(f"{kind} {what}".strip() + f" ({', '.join(targets)})")
        try:
            yield fault
        finally:
            fault.ended = time.monotonic()

    def about(self, target: str, since: float, until: float) -> list[Fault]:
        """What was wrong with this target then."""
        with self._lock:
            return [fault for fault in self.past if fault.touches(target, since, until)]


def named(faults: list[Fault]) -> str:
    now = time.monotonic()
    return (
        "; ".join(
            f"{fault.kind} of {'+'.join(sorted(fault.targets))} since {now - fault.begun:.0f} s"
            + ("" if fault.ended is None else f", over for {now - fault.ended:.0f} s")
            for fault in faults[-4:]
        )
        or "nothing was wrong"
    )
