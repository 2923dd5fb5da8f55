"""Decides whether a verifier may grant: whether its keys and revocations are recent enough, on two clocks.

Knows clocks and limits, knows no network. The thread that reads the feed changes the gate, and any thread asks it:
changes take a lock, questions take none.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from caveats import AudienceKeyring, Stale, Verifier
from caveats_client.verifiers.replica import SKEW, Fresh, Instant, Replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from caveats import Checkers, Limits, RevocationSet
    from caveats_client.verifiers.replica import Memory, Next, VerifierIdentity

OnStale: TypeAlias = Literal["refuse", "accept"]


class Health(Enum):
    """Whether a verifier may grant."""

    STARTING = "starting"
    """Not yet: it has no keys, or has never read all revocations. It refuses every token."""
    FRESH = "fresh"
    """Yes."""
    STALE = "stale"
    """It has no news of revocations for longer than `max_staleness`, or its keys ended. It refuses every token."""
    ACCEPTING = "accepting"
    """It has no news of revocations for longer than `max_staleness`. With `on_stale="accept"` it still grants."""


@dataclass(frozen=True, slots=True)
class Status:
    """A verifier's health, for health checks and logs."""

    ready: bool
    """Whether it may grant."""
    health: Health
    fresh_at: datetime | None
    """The verifier knows every revocation before this time, on the service's clock."""
    staleness: timedelta | None
    """How long ago that was."""
    epoch: int
    position: int
    key_ids: tuple[str, ...]
    keys_until: datetime | None
    """When the keys end, unless the service confirms them before."""
    problem: str
    """Why it is not fresh, and what fails now; empty if nothing does."""


class _View(NamedTuple):
    """The values that questions read. They are replaced together, so that a question needs no lock."""

    fresh: Fresh | None
    confirmed: Fresh | None
    """When the service last said which keys verify."""
    keys_until: Instant | None
    sure: tuple[float, float, float]
    """The verifier is fresh from the first of these seconds on the wall clock, before the second on it, and before the
    third on the monotonic clock."""


_NEVER = (math.inf, -math.inf, -math.inf)
_KEYS_EVERY = 3600.0
"""The most seconds between two requests for keys."""


class FreshnessGate:
    """A verifier and its replica. `check` raises `Stale` while the verifier may not grant.

    `max_staleness`: how old the knowledge of revocations may be. `on_stale`: what happens then. `clock`,
    `monotonic`: seconds, as `time.time` and `time.monotonic` give them. The rest as for `caveats.Verifier`.
    """

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
            raise ValueError("max_staleness is a positive timedelta")
        if on_stale not in ("refuse", "accept"):
            raise ValueError("on_stale is 'refuse' or 'accept'")
        self.replica = Replica(identity)
        self.verifier = Verifier(
            AudienceKeyring(identity.audience, ()),
            checkers=checkers,
            audience=identity.audience,
            location=location,
            limits=limits,
            cache_entries=cache_entries,
            cache_bytes=cache_bytes,
            log_missing_keys=False,  # the verifier fetches them
        )
        self.problems: dict[str, str] = {}
        """The last failure with `keys` and with the `feed`, in words; removed at the next success."""
        self._clock = clock
        self._monotonic = monotonic
        self._most = max_staleness.total_seconds()
        self._accepts = on_stale == "accept"
        self._changing = threading.Lock()
        self._view = _View(None, None, None, _NEVER)

    # Questions

    @property
    def problem(self) -> str:
        """All that fails now, in words, and how wrong this app's clock is."""
        failed = [f"{what}: {words}" for what, words in sorted(self.problems.items())]
        return "; ".join(filter(None, [self.replica.clock, *failed]))

    def now(self) -> datetime:
        """The wall clock's time."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def instant(self) -> Instant:
        """Now."""
        return Instant(self.now(), self._monotonic())

    def check(self) -> None:
        """Return if the verifier may grant. Raises `Stale` if not."""
        since, until, tick_until = self._view.sure
        if since <= self._clock() < until and self._monotonic() < tick_until:
            return
        health, why = self._judge(self.instant())
        if health not in (Health.FRESH, Health.ACCEPTING):
            raise Stale(f"{why}: {self.problem}" if self.problem else why, clock=self.replica.clock)

    @property
    def health(self) -> Health:
        """The health now."""
        return self._judge(self.instant())[0]

    def _judge(self, instant: Instant) -> tuple[Health, str]:
        fresh, confirmed, until, _ = self._view
        if until is None or confirmed is None:
            return Health.STARTING, "this verifier has no keys yet"
        if instant.now >= until.now or instant.tick >= until.tick:
            return Health.STALE, "this verifier's keys have not been confirmed in time"
        if fresh is None:
            return Health.STARTING, "this verifier has not heard of all revocations yet"
        if max(fresh.at, confirmed.at) > instant.now + SKEW:
            return (
                Health.STALE,
                "what is known of revocations is from the future: a clock was wrong, then or now",
            )
        heard, keys = fresh.age(instant), confirmed.age(instant)
        if max(heard, keys) <= self._most:
            return Health.FRESH, ""
        what, age = "nothing heard of revocations", heard
        if heard <= self._most:
            what, age = "the service has not said which keys verify", keys
        why = f"{what} for {age:.0f} s, of {self._most:g} s allowed"
        return (Health.ACCEPTING if self._accepts else Health.STALE), why

    def are_keys_due(self) -> bool:
        """Whether the service is to be asked for keys again: three times within the bound, on the faster clock."""
        confirmed = self._view.confirmed
        return confirmed is None or confirmed.age(self.instant()) >= min(_KEYS_EVERY, self._most / 3)

    def seconds_left(self) -> float:
        """Seconds until the verifier is stale if it hears nothing; 0 if it is."""
        instant = self.instant()
        oldest = [each.age(instant) for each in self._view[:2] if isinstance(each, Fresh)]
        return max(0.0, self._most - max(oldest)) if len(oldest) == 2 else 0.0

    def status(self) -> Status:
        """The status now. Asks nobody."""
        instant = self.instant()
        health, why = self._judge(instant)
        view, known = self._view, self.replica.known
        return Status(
            ready=health in (Health.FRESH, Health.ACCEPTING),
            health=health,
            fresh_at=view.fresh and view.fresh.at,
            staleness=view.fresh and timedelta(seconds=max(0.0, view.fresh.age(instant))),
            epoch=self.replica.epoch,
            position=known.position if known else 0,
            key_ids=self.replica.key_ids,
            keys_until=view.keys_until and view.keys_until.now,
            problem="; ".join(filter(None, (why, self.problem))),
        )

    # Changes

    def take_box(self, box: bytes, took: float = 0.0) -> bool:
        """Take in a key bundle, `took` seconds after it was asked for; True if the keys changed.

        Raises `RejectedDelivery`.
        """
        instant = self.instant()
        with self._changing:
            changed = self.replica.take_bundle(box, instant, took)
            self._publish(instant)
        return changed

    def take_line(self, line: str) -> Next:
        """Take in a line of the feed. Raises `RejectedDelivery`; `UnknownSeal` if the key that opens it is not here."""
        instant = self.instant()
        with self._changing:
            taken = self.replica.take_line(line, instant)
            self._publish(instant)
        return taken

    def recall(self, memory: Memory, kept: RevocationSet | None) -> None:
        """Take in the state from before a restart. Raises `RejectedDelivery` if the keys have ended since."""
        instant = self.instant()
        with self._changing:
            try:
                self.replica.recall(memory, kept, instant)
            finally:
                self._publish(instant)

    def memory(self) -> tuple[Memory, RevocationSet | None]:
        """The state to write to files. The set, if any, has the revocations up to `kept`, which no file has yet."""
        with self._changing:
            known, whole = self.replica.known, None
            if known is not None and known.kept is None:
                known.kept, whole = known.position, known.revocations
            return self.replica.memory(), whole

    def not_kept(self) -> None:
        """Note that the set that `memory` gave could not be written to a file."""
        with self._changing:
            if self.replica.known is not None:
                self.replica.known.kept = None
                self.replica.known.recent.clear()

    def prune(self) -> None:
        """Forget revocations of tokens that have expired by the feed's time, which all share, not by this machine's."""
        fresh = self._view.fresh
        if fresh is not None:
            self.verifier.revocations.prune(fresh.at - SKEW)

    def _publish(self, instant: Instant) -> None:
        """Give the verifier its keys and revocations, and only then the new limits: it is never called fresh too early."""
        replica = self.replica
        if replica.keyring is not None and replica.keyring is not self.verifier.keyring:
            self.verifier.keyring = replica.keyring
        known, bundle = replica.known, replica.bundle
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
        fresh, confirmed = None if known is None else known.fresh, replica.confirmed
        self._view = _View(fresh, confirmed, until, self._sure(fresh, confirmed, until))

    def _sure(
        self, fresh: Fresh | None, confirmed: Fresh | None, until: Instant | None
    ) -> tuple[float, float, float]:
        """The earlier of the upper limits on each clock, and the lower limit on the wall clock."""
        if fresh is None or confirmed is None or until is None:
            return _NEVER
        return (
            (max(fresh.at, confirmed.at) - SKEW).timestamp(),
            min(min(fresh.at, confirmed.at).timestamp() + self._most, until.now.timestamp()),
            min(min(fresh.tick, confirmed.tick) + self._most, until.tick),
        )
