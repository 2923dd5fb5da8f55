"""Whether what is known is enough to say yes by: a verifier and what it follows, behind one gate.

Knows clocks and bounds, knows no network. The thread that follows the feed changes it, any thread asks it; there is
a lock around changes and none around questions.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from caveats import AudienceKeyring, Stale, Verifier
from caveats_client.verifiers.replica import Fresh, Instant, Replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats import Checkers, Limits, RevocationSet
    from caveats_client.verifiers.replica import Memory, Next, VerifierIdentity

OnStale: TypeAlias = Literal["refuse", "accept"]


class Health(Enum):
    """How much a verifier knows."""

    STARTING = "starting"
    """Not enough yet: it has no keys, or has never heard all revocations. It refuses."""
    FRESH = "fresh"
    """All it needs."""
    STALE = "stale"
    """It has heard nothing of revocations for too long, or its keys ran out. It refuses."""
    ACCEPTING = "accepting"
    """It has heard nothing of revocations for too long and says yes all the same, as it was told to."""


@dataclass(frozen=True, slots=True)
class Status:
    """A verifier's health. `ready`: whether it can say yes."""

    ready: bool
    standing: Health
    fresh_at: datetime | None
    """Everything that was revoked before is known; the service's clock."""
    staleness: timedelta | None
    """How long ago that was."""
    epoch: int
    position: int
    key_ids: tuple[str, ...]
    keys_until: datetime | None
    """When the keys run out, unless they are confirmed before."""
    problem: str
    """Why it is not fresh, and what goes wrong at the moment."""


class _View(NamedTuple):
    """What questions are answered by: replaced whole."""

    fresh: Fresh | None
    keys_until: Instant | None
    sure: tuple[float, float]
    """Before this second on the wall, and this one on the clock that only runs forward, it is fresh for certain."""


_NEVER = (-math.inf, -math.inf)


class FreshnessGate:
    """A verifier together with what it has been told."""

    def __init__(
        self,
        identity: VerifierIdentity,
        *,
        checkers: Checkers | None,
        location: str,
        limits: Limits,
        cache_entries: int,
        cache_bytes: int,
        max_staleness: timedelta,
        on_stale: OnStale,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        if max_staleness <= timedelta(0):
            raise ValueError("max_staleness is longer than nothing")
        if on_stale not in ("refuse", "accept"):
            raise ValueError("on_stale is 'refuse' or 'accept'")
        self.following = Replica(identity)
        self.verifier = Verifier(
            AudienceKeyring(identity.audience, ()),
            checkers=checkers,
            audience=identity.audience,
            location=location,
            limits=limits,
            cache_entries=cache_entries,
            cache_bytes=cache_bytes,
        )
        self.problems: dict[str, str] = {}
        """What went wrong last, of keys and of the feed, until it goes well again."""
        self._clock = clock
        self._monotonic = monotonic
        self._most = max_staleness.total_seconds()
        self._accepts = on_stale == "accept"
        self._changing = threading.Lock()
        self._view = _View(None, None, _NEVER)

    # Questions

    @property
    def problem(self) -> str:
        """All that is wrong at the moment, in words."""
        return "; ".join(f"{what}: {words}" for what, words in sorted(self.problems.items()))

    def now(self) -> datetime:
        """The time on the wall."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def instant(self) -> Instant:
        """Now."""
        return Instant(self.now(), self._monotonic())

    def check(self) -> None:
        """Return if the verifier may say yes. Raises `Stale`."""
        until, tick_until = self._view.sure
        if self._clock() < until and self._monotonic() < tick_until:
            return
        standing, why = self._judge(self.instant())
        if standing not in (Health.FRESH, Health.ACCEPTING):
            raise Stale(f"{why}: {self.problem}" if self.problem else why)

    @property
    def standing(self) -> Health:
        """How things stand now."""
        return self._judge(self.instant())[0]

    def _judge(self, instant: Instant) -> tuple[Health, str]:
        fresh, until, _ = self._view
        if until is None:
            return Health.STARTING, "this verifier has no keys yet"
        if instant.now >= until.now or instant.tick >= until.tick:
            return Health.STALE, "this verifier's keys have not been confirmed in time"
        if fresh is None:
            return Health.STARTING, "this verifier has not heard of all revocations yet"
        age = fresh.age(instant)
        if age <= self._most:
            return Health.FRESH, ""
        why = f"nothing heard of revocations for {age:.0f} s, of {self._most:g} s allowed"
        return (Health.ACCEPTING if self._accepts else Health.STALE), why

    def status(self) -> Status:
        """For health checks."""
        instant = self.instant()
        standing, why = self._judge(instant)
        view, known = self._view, self.following.known
        return Status(
            ready=standing in (Health.FRESH, Health.ACCEPTING),
            standing=standing,
            fresh_at=view.fresh and view.fresh.at,
            staleness=view.fresh and timedelta(seconds=max(0.0, view.fresh.age(instant))),
            epoch=self.following.epoch,
            position=known.position if known else 0,
            key_ids=self.following.key_ids,
            keys_until=view.keys_until and view.keys_until.now,
            problem="; ".join(filter(None, (why, self.problem))),
        )

    # Changes

    def take_box(self, box: bytes) -> None:
        """A key bundle. Raises `RejectedDelivery`."""
        instant = self.instant()
        with self._changing:
            self.following.take_bundle(box, instant)
            self._publish(instant)

    def take_line(self, line: str) -> Next:
        """A line of the feed. Raises `RejectedDelivery`, and `UnknownSeal` for one under a key that is not here."""
        instant = self.instant()
        with self._changing:
            taken = self.following.take_line(line, instant)
            self._publish(instant)
        return taken

    def recall(self, memory: Memory, kept: RevocationSet | None) -> None:
        """What was known before a restart. Raises `RejectedDelivery` where the keys have run out meanwhile."""
        instant = self.instant()
        with self._changing:
            try:
                self.following.recall(memory, kept, instant)
            finally:
                self._publish(instant)

    def memory(self) -> tuple[Memory, RevocationSet | None]:
        """What to write down. With a set: no file holds the revocations up to `kept` yet, and this set does."""
        with self._changing:
            known, whole = self.following.known, None
            if known is not None and known.kept is None:
                known.kept, whole = known.position, known.revocations
            return self.following.memory(), whole

    def not_kept(self) -> None:
        """The set that `memory` gave could not be written down."""
        with self._changing:
            if self.following.known is not None:
                self.following.known.kept = None
                self.following.known.recent.clear()

    def prune(self) -> None:
        """Forget revocations that can hit nothing any more."""
        self.verifier.revocations.prune(self.now())

    def _publish(self, instant: Instant) -> None:
        """Keys and revocations first, freshness last: nobody is told that all is known before it is."""
        following = self.following
        if following.keyring is not None and following.keyring is not self.verifier.keyring:
            self.verifier.keyring = following.keyring
        known, bundle = following.known, following.bundle
        if known is not None and known.revocations is not self.verifier.revocations:
            self.verifier.revocations = known.revocations
        until = None
        if bundle is not None:
            same = self._view.keys_until
            until = (
                same
                if same is not None and same.now == bundle.not_after
                else Instant(
                    bundle.not_after,
                    instant.tick + (bundle.not_after - instant.now).total_seconds(),
                )
            )
        fresh = None if known is None else known.fresh
        self._view = _View(fresh, until, self._sure(fresh, until))

    def _sure(self, fresh: Fresh | None, until: Instant | None) -> tuple[float, float]:
        """The earlier of the two bounds, on each clock."""
        if fresh is None or until is None:
            return _NEVER
        return (
            min(fresh.at.timestamp() + self._most, until.now.timestamp()),
            min(fresh.tick + self._most, until.tick),
        )
