"""A verifier's replica of the service's keys and revocations, and the time up to which it is complete.

Takes key bundles, pages of the feed and times; says where to read on and whether to fetch keys. Knows no network, no
file, no token. The law of this module: in whatever order authentic pages arrive, and if some are missing, it never says
that it is complete up to a time while a revocation from before that time is missing.

A clock that was ahead makes a service leave out, and a verifier forget, what is not over. So what came at a time that
now lies in the future is dropped, and asked for again. That a clock was set back is not believed if the monotonic clock
shows that it was right before: else old pages could be passed off as new.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from caveats import AudienceKeyring, MalformedCaveat, RejectedDelivery, RevocationSet
from caveats.keys import KeyBundle, open_bundle
from caveats.revocation import open_rows, prove_reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats import AudienceKey, PrivateKey
    from caveats.revocation import Page, Row

SKEW = timedelta(minutes=5)
"""How far ahead of the app's clock the service's may be. The service allows the app the same."""
_LOST_AFTER = timedelta(seconds=10)
"""How long pages may end before the known position. After it, the service counts as having lost entries."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_MOST_RECENT = 10_000
"""The most entries after `kept`. They are written at every save; with more, a new base is written."""


class Instant(NamedTuple):
    """One moment on two clocks: the wall clock, which people can set, and the monotonic clock."""

    now: datetime
    tick: float
    """Seconds, as `time.monotonic` gives them."""


class Fresh(NamedTuple):
    """The replica has every revocation before `at`. `tick`: when it first had, on the monotonic clock."""

    at: datetime
    tick: float

    def age(self, instant: Instant) -> float:
        """Seconds since then, on the clock that shows more of them: setting a clock back makes nothing fresh."""
        return max((instant.now - self.at).total_seconds(), instant.tick - self.tick)


class Place(NamedTuple):
    """Where to read on: after this sequence, in this epoch; None for the service's present epoch."""

    after: int
    epoch: int | None


class Next(NamedTuple):
    """What to do after a page."""

    fetch_keys: bool = False
    """Fetch keys: the page names a key that is not here."""
    reconnect: bool = False
    """Read again from `Replica.place`: entries are missing between the replica and the page."""
    news: bool = False
    """The page had something new: a revocation, or a later time up to which there is none."""


@dataclass(frozen=True, slots=True)
class VerifierIdentity:
    """A registered verifier, and the service that it trusts."""

    verifier_id: str
    audience: str
    private_key: PrivateKey
    service_public_key: bytes
    """X25519, 32 bytes. The verifier accepts key bundles from this key only."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The state for a restart, without the revocations up to `kept`, which have their own file."""

    box: bytes
    serial: int
    epoch: int
    dead: tuple[str, ...]
    stated: tuple[datetime, tuple[str, ...]] | None
    kept: int | None = None
    position: int = 0
    fresh_at: datetime | None = None
    recent: tuple[Row, ...] = ()


@dataclass(slots=True)
class Known:
    """The feed of one epoch, read up to `position`."""

    epoch: int
    position: int = 0
    revocations: RevocationSet = field(default_factory=RevocationSet)
    fresh: Fresh | None = None
    kept: int | None = None
    """The position up to which a file has all revocations; None if there is no file."""
    recent: list[Row] = field(default_factory=list)
    """The entries after `kept`."""

    def add(self, page: Page, rows: Sequence[Row]) -> None:
        """Take in a page that begins at or before `position`."""
        self.revocations.add_rows(rows, self.position)
        if self.kept is not None:
            self.recent.extend(row for row in rows if row[0] > self.position)
            if len(self.recent) > _MOST_RECENT:
                self.kept, self.recent = None, []
        self.position = max(self.position, page.upto)


class Replica:
    """The keys and revocations that a verifier has received. Not safe to change from two threads at once."""

    def __init__(self, identity: VerifierIdentity) -> None:
        self.identity = identity
        self.epoch = 0
        """The newest known epoch. Pages and bundles of an older one are refused."""
        self.bundle: KeyBundle | None = None
        self.box = b""
        """The bundle in its NaCl box, as it was received."""
        self.keyring: AudienceKeyring | None = None
        """The keys that verify: those of the bundle, without the ones that a newer page no longer names."""
        self.dead: frozenset[str] = frozenset()
        """Ids of keys that were removed while newer ones stayed: they cannot come back in this epoch."""
        self.known: Known | None = None
        """The revocations to verify against; None until the feed has been read to its end once."""
        self.serial = 0
        """The serial of the newest bundle. No older bundle is taken."""
        self._building: Known | None = Known(0)
        self._short_since: datetime | None = None
        self._began: Instant | None = None
        """When the first page or bundle came."""
        self._stated: tuple[datetime, tuple[str, ...]] | None = None

    # Keys

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that verify."""
        return () if self.keyring is None else tuple(key.key_id for key in self.keyring.keys)

    def take_bundle(self, box: bytes, instant: Instant) -> bool:
        """Take a key bundle in its box; True if the keys changed. Raises `RejectedDelivery`, and takes nothing."""
        self._drop_what_is_ahead(instant)
        identity = self.identity
        bundle = open_bundle(
            box,
            identity.private_key,
            identity.service_public_key,
            verifier_id=identity.verifier_id,
            audience=identity.audience,
            now=instant.now,
            newer_than=self.serial,
        )
        if _made_at(bundle) > instant.now + SKEW:
            raise RejectedDelivery(
                "a key bundle from the future: check the clocks of this machine and of the service"
            )
        if bundle.epoch < self.epoch:
            raise RejectedDelivery("a key bundle from before the service was restored from a backup")
        if bundle.epoch > self.epoch:
            self._enter(bundle.epoch)
        self.bundle, self.box, self.serial = bundle, box, bundle.serial
        return self._choose_keys()

    def proof(self, now: datetime) -> str | None:
        """The proof that this verifier has a key, which the service asks for at the feed; None without a key."""
        if self.keyring is None or not self.keyring.keys:
            return None
        return prove_reader(max(self.keyring.keys, key=_number), now)

    def _hear_of_keys(self, page: Page) -> bool:
        """Remove the keys that the page does not name; True if the page names one that is not here."""
        if self._stated is not None and page.at <= self._stated[0]:
            return False
        self._stated = (page.at, page.keys)
        self._choose_keys()
        newer = self.bundle is None or page.at >= _made_at(self.bundle)
        return newer and not {*page.keys} - self.dead <= {*self.key_ids}

    def _choose_keys(self) -> bool:
        """The bundle's keys, without those that a page newer than it no longer names."""
        if self.bundle is None:
            return False
        keys = self.bundle.keyring.keys
        if self._stated is not None and self._stated[0] >= _made_at(self.bundle):
            named = self._stated[1]
            newest = max((int(key_id[1:]) for key_id in named), default=0)
            gone = {key.key_id for key in keys if key.key_id not in named}
            self.dead |= {key_id for key_id in gone if int(key_id[1:]) < newest}
            keys = tuple(key for key in keys if key.key_id not in gone)
        keys = tuple(key for key in keys if key.key_id not in self.dead)
        if self.keyring is not None and _secrets(keys) == _secrets(self.keyring.keys):
            return False
        self.keyring = AudienceKeyring(self.identity.audience, keys)
        return True

    # Revocations

    @property
    def place(self) -> Place:
        """Where to read on."""
        at = self._building or self.known
        assert at is not None
        return Place(at.position, at.epoch or None)

    @property
    def behind(self) -> bool:
        """Whether the whole feed is still to be read, not only what is new."""
        return self._building is not None

    def take_line(self, line: str, instant: Instant) -> Next:
        """Open a line of the feed and take its page. Raises `RejectedDelivery`; `UnknownSeal` where the key is not here."""
        if self.keyring is None:
            raise RejectedDelivery("a page of the feed under a key that is not here")
        return self.take_page(*open_rows(line, self.keyring), instant)

    def take_page(self, page: Page, rows: Sequence[Row], instant: Instant) -> Next:
        """Take a page and its rows. Raises `RejectedDelivery` for a page from the future or from an older epoch."""
        if page.at > instant.now + SKEW:
            raise RejectedDelivery(
                "a page of the feed from the future: check the clocks of this machine and of the service"
            )
        self._drop_what_is_ahead(instant)
        if page.epoch < self.epoch:
            raise RejectedDelivery("a page from before the service was restored from a backup")
        if page.epoch > self.epoch:
            self._enter(page.epoch)
        fetch = self._hear_of_keys(page)
        at = self._building or self.known
        assert at is not None
        if page.after > at.position:
            return Next(fetch, reconnect=True)
        before = at.position
        try:
            at.add(page, rows)
        except MalformedCaveat:
            raise RejectedDelivery("a page of the feed in a form that this version cannot read") from None
        if page.last < before:
            return Next(fetch, self._lost(at, page))
        self._short_since = None
        if page.upto < page.last:
            return Next(fetch, news=at.position > before)
        news = at.fresh is None or page.at > at.fresh.at
        if news:
            at.fresh = Fresh(page.at, instant.tick)
        if at is self._building:
            self.known, self._building = at, None
        return Next(fetch, news=news or at.position > before)

    def _enter(self, epoch: int) -> None:
        """Begin a new epoch: sequences start again at 0, and removed keys may come back."""
        self.epoch = epoch
        self.dead, self._stated = frozenset(), None
        self._building = None if self.known is not None and self.known.epoch == epoch else Known(epoch)

    def _drop_what_is_ahead(self, instant: Instant) -> None:
        """Begin again if the newest page or bundle came at a time that now lies in the future.

        Raises `RejectedDelivery` if this machine's clock, and not the earlier one, must be the wrong one: it shows less
        time since the beginning than the monotonic clock, which nobody can set.
        """
        began = self._began = self._began or instant
        if not self._is_ahead(instant):
            return
        if instant.now + SKEW < began.now + timedelta(seconds=instant.tick - began.tick):
            raise RejectedDelivery(
                "this machine's clock was set back: set it right, or restart if it is right only now"
            )
        self.known, self._building = None, Known(self.epoch)
        self._stated, self.serial = None, 0

    def _is_ahead(self, instant: Instant) -> bool:
        newest = (
            _at_serial(self.serial) if self._stated is None else max(_at_serial(self.serial), self._stated[0])
        )
        return newest > instant.now + SKEW

    def _lost(self, at: Known, page: Page) -> bool:
        """Whether to read the whole feed again, after a page that ends before what is known.

        Such a page may come from a node that is late. If they continue for 10 seconds, the service has lost entries:
        the replica keeps its own, and the feed is read from the beginning.
        """
        since = self._short_since = min(self._short_since or page.at, page.at)
        if page.at - since < _LOST_AFTER:
            return False
        self._short_since = None
        at.position = 0
        at.kept, at.recent = None, []
        return True

    # Across restarts

    def memory(self) -> Memory:
        """What to write down."""
        known = self.known
        memory = Memory(self.box, self.serial, self.epoch, tuple(sorted(self.dead)), self._stated)
        if known is None or known.kept is None or known.epoch != self.epoch:
            return memory
        return replace(
            memory,
            kept=known.kept,
            position=known.position,
            fresh_at=known.fresh and known.fresh.at,
            recent=tuple(known.recent),
        )

    def recall(self, memory: Memory, kept: RevocationSet | None, instant: Instant) -> None:
        """Take in the state from before a restart. `kept`: the revocations up to `memory.kept`. Call this first.

        Raises `RejectedDelivery` if the keys have ended, and the rest is taken in all the same; or if the state was
        written at a time that lies in the future, and then no more of it than the epoch and the dead keys is.
        """
        self.epoch, self.serial = memory.epoch, memory.serial
        self.dead, self._stated = frozenset(memory.dead), memory.stated
        if self._is_ahead(instant):
            self._stated, self.serial = None, 0
            self._building = Known(memory.epoch)
            raise RejectedDelivery("the state is from the future: a clock was wrong, then or now")
        if kept is not None and memory.kept is not None:
            kept.add_rows(memory.recent)
            fresh = None
            if memory.fresh_at is not None and memory.fresh_at <= instant.now + SKEW:
                away = max(0.0, (instant.now - memory.fresh_at).total_seconds())
                fresh = Fresh(memory.fresh_at, instant.tick - away)
            self.known = Known(memory.epoch, memory.position, kept, fresh, memory.kept, list(memory.recent))
        self._building = None if self.known is not None else Known(memory.epoch)
        if memory.box:
            self.take_bundle(memory.box, instant)


def _made_at(bundle: KeyBundle) -> datetime:
    return _at_serial(bundle.serial)


def _at_serial(serial: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=serial)


def _number(key: AudienceKey) -> int:
    return int(key.key_id[1:])


def _secrets(keys: Sequence[AudienceKey]) -> dict[str, bytes]:
    return {key.key_id: key.secret for key in keys}
