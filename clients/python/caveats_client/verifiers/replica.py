"""A verifier's replica of the service's keys and revocations, and the time up to which it is complete.

Takes key bundles, pages of the feed and times; says where to read on and whether to fetch keys. Knows no network, no
file, no token. The law of this module: in whatever order authentic pages arrive, and if some are missing, it never says
that it is complete up to a time while a revocation from before that time is missing.

Which keys verify, which epoch it is and what time it is at the service is believed of the key bundle alone, which the
pinned service makes for this verifier. Whoever has an audience key can make a page: what a page says of these is a reason
to fetch keys. If a key is gone, all that was read in pages under it is read anew.

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
from caveats_client.verifiers.clocks import seconds_ahead, wrong_clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caveats import AudienceKey, PrivateKey
    from caveats.revocation import Page, Row

SKEW = timedelta(minutes=5)
"""How far ahead of the app's clock the service's may be. The service allows the app the same."""
_LOST_AFTER = timedelta(seconds=10)
"""How long pages may end before the known position. After it, the service counts as having lost entries."""
_NODES_DIFFER = timedelta(seconds=10)
"""How far ahead of the service's time, as the key bundle states it, a page may be: another node may have made it."""
_NODES_LAG = timedelta(minutes=10)
"""How long after a bundle left a key out no bundle brings it back: a node that is behind may have made it."""
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


class Unconfirmed(RejectedDelivery):
    """A page that the newest key bundle does not bear out. Fetch keys, and take it again: it may have come first."""


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
    dead: Mapping[str, int]
    kept: int | None = None
    position: int = 0
    fresh_at: datetime | None = None
    seals: frozenset[str] = frozenset()
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
    seals: set[str] = field(default_factory=set)
    """The ids of the keys of the pages that it was read from."""

    def add(self, page: Page, rows: Sequence[Row], seal: str) -> None:
        """Take in a page that begins at or before `position`."""
        self.seals.add(seal)
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
        """The epoch of the newest bundle. Pages and bundles of an older one are refused."""
        self.bundle: KeyBundle | None = None
        self.box = b""
        """The bundle in its NaCl box, as it was received."""
        self.keyring: AudienceKeyring | None = None
        """The keys that verify: those of the bundle, without the dead ones."""
        self.dead: Mapping[str, int] = {}
        """Ids of keys that a bundle of this epoch left out while it had newer ones, each with that bundle's serial."""
        self.confirmed: Fresh | None = None
        """When the service made the newest bundle, and when that arrived: these keys verified then."""
        self.clock = ""
        """By how much this app's clock differs from the service's, in words; empty if it does not, or is not known."""
        self.known: Known | None = None
        """The revocations to verify against; None until the feed has been read to its end once."""
        self.serial = 0
        """The serial of the newest bundle. No older bundle is taken."""
        self._building: Known | None = Known(0)
        self._short_since: datetime | None = None
        self._began: Instant | None = None
        """When the first page or bundle came."""

    # Keys

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that verify."""
        return () if self.keyring is None else tuple(key.key_id for key in self.keyring.keys)

    def take_bundle(self, box: bytes, instant: Instant, took: float | None = None) -> bool:
        """Take a key bundle in its box; True if the keys changed. Raises `RejectedDelivery`, and takes nothing.

        `took`: seconds since the service was asked for it; None for one that was kept.
        """
        self._drop_what_is_ahead(instant)
        identity = self.identity
        bundle = open_bundle(
            box,
            identity.private_key,
            identity.service_public_key,
            verifier_id=identity.verifier_id,
            audience=identity.audience,
            now=_EPOCH,  # whether it has expired is judged below, where a wrong clock can be named
            newer_than=self.serial,
        )
        made_at, is_newer = _made_at(bundle), bundle.serial > self.serial
        if took is not None and is_newer:
            self.clock = wrong_clock(seconds_ahead(made_at, instant.now, took))
        if made_at > instant.now + SKEW:
            raise RejectedDelivery(f"a key bundle from the future: {self.clock or 'a clock was wrong'}")
        if instant.now >= bundle.not_after:
            raise RejectedDelivery(f"the key bundle has expired{self.clock and f': {self.clock}'}")
        if bundle.epoch < self.epoch:
            raise RejectedDelivery("a key bundle from before the service was restored from a backup")
        before = () if self.bundle is None else self.bundle.keyring.keys
        if bundle.epoch > self.epoch:
            self._enter(bundle.epoch)
            before = ()
        if is_newer or self.confirmed is None:  # the same one again confirms nothing
            self.confirmed = Fresh(made_at, instant.tick)
        self.bundle, self.box, self.serial = bundle, box, bundle.serial
        return self._choose_keys(before)

    def proof(self, now: datetime) -> str | None:
        """The proof that this verifier has a key, which the service asks for at the feed; None without a key."""
        if self.keyring is None or not self.keyring.keys:
            return None
        return prove_reader(max(self.keyring.keys, key=lambda key: _number(key.key_id)), now)

    def _is_news_of_keys(self, page: Page) -> bool:
        """Whether the page, made after the bundle, names other keys."""
        newer = self.bundle is None or page.at >= _made_at(self.bundle)
        return newer and {*page.keys} - {*self.dead} != {*self.key_ids}

    def _choose_keys(self, before: Sequence[AudienceKey]) -> bool:
        """Verify with the bundle's keys from now on; True if they changed. `before`: those of the bundle before."""
        assert self.bundle is not None
        made_at, there = _made_at(self.bundle), _secrets(self.bundle.keyring.keys)
        newest = max(map(_number, there), default=0)
        gone = {key.key_id for key in before if there.get(key.key_id) != key.secret}
        lately = {key_id: at for key_id, at in self.dead.items() if made_at - _at_serial(at) < _NODES_LAG}
        left_out = {key_id for key_id in gone if key_id not in there and _number(key_id) < newest}
        self.dead = {**lately, **dict.fromkeys(left_out, self.bundle.serial)}
        keys = tuple(key for key in self.bundle.keyring.keys if key.key_id not in self.dead)
        self._doubt_pages_under(gone, {key.key_id for key in keys})
        if self.keyring is not None and _secrets(keys) == _secrets(self.keyring.keys):
            return False
        self.keyring = AudienceKeyring(self.identity.audience, keys)
        return True

    def _doubt_pages_under(self, gone: set[str], live: set[str]) -> None:
        """Read everything anew if some of it was read in pages under keys that are gone: a thief may have made them."""
        read = self._building or self.known
        if read is not None and not read.seals <= live - gone:
            self._building = Known(self.epoch)

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
        page, rows = open_rows(line, self.keyring)
        return self.take_page(page, rows, instant, line.partition(" ")[0])

    def take_page(self, page: Page, rows: Sequence[Row], instant: Instant, seal: str) -> Next:
        """Take a page and its rows. `seal`: the id of its key.

        Raises `RejectedDelivery` for a page from the future or from an older epoch; `Unconfirmed` for one of an epoch or
        a time that the service has not confirmed.
        """
        if page.at > instant.now + SKEW:
            raise RejectedDelivery(
                f"a page of the feed from the future: {self.clock or 'a clock was wrong, here or at the service'}"
            )
        self._drop_what_is_ahead(instant)
        if page.epoch < self.epoch:
            raise RejectedDelivery("a page from before the service was restored from a backup")
        if page.epoch > self.epoch:
            raise Unconfirmed("a page of an epoch that the service's keys do not confirm")
        if self._is_ahead_of_service(page, instant):
            raise Unconfirmed("a page from a time that is still to come at the service")
        fetch = self._is_news_of_keys(page)
        at = self._building or self.known
        assert at is not None
        if page.after > at.position:
            return Next(fetch, reconnect=True)
        before = at.position
        try:
            if page.upto > before:  # else its rows are here
                at.add(page, rows, seal)
        except MalformedCaveat:
            raise RejectedDelivery("a page of the feed in a form that this version cannot read") from None
        if page.last < before:
            return Next(fetch, self._lost(at, page))
        self._short_since = None
        if page.upto < page.last:
            return Next(fetch, news=at.position > before)
        news = at.fresh is None or page.at > at.fresh.at
        if news:
            at.fresh = Fresh(page.at, instant.tick - self._held_back(page, instant))
            at.seals.add(seal)
        if at is self._building:
            self.known, self._building = at, None
        return Next(fetch, news=news or at.position > before)

    def _enter(self, epoch: int) -> None:
        """Begin a new epoch: sequences start again at 0, and removed keys may come back."""
        self.epoch, self.dead = epoch, {}
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
        self.confirmed, self.serial = None, 0

    def _is_ahead(self, instant: Instant) -> bool:
        read = [at.fresh.at for at in (self.known, self._building) if at is not None and at.fresh is not None]
        return max(_at_serial(self.serial), *read, _EPOCH) > instant.now + SKEW

    def _is_ahead_of_service(self, page: Page, instant: Instant) -> bool:
        """Whether the page is from a time that the service, by its newest bundle, has not reached."""
        service_now = self._service_now(instant)
        return service_now is not None and page.at > service_now + _NODES_DIFFER

    def _held_back(self, page: Page, instant: Instant) -> float:
        """Seconds that the page is old, at least, by the service's time: a mirror may keep pages, and this clock be behind."""
        service_now = self._service_now(instant)
        return 0.0 if service_now is None else max(0.0, (service_now - page.at).total_seconds())

    def _service_now(self, instant: Instant) -> datetime | None:
        """The time at the service, at least, by its newest bundle and the monotonic clock; None without a bundle."""
        confirmed = self.confirmed
        return confirmed and confirmed.at + timedelta(seconds=instant.tick - confirmed.tick)

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
        memory = Memory(self.box, self.serial, self.epoch, self.dead)
        if known is None or known.kept is None or known.epoch != self.epoch:
            return memory
        return replace(
            memory,
            kept=known.kept,
            position=known.position,
            fresh_at=known.fresh and known.fresh.at,
            seals=frozenset(known.seals),
            recent=tuple(known.recent),
        )

    def recall(self, memory: Memory, kept: RevocationSet | None, instant: Instant) -> None:
        """Take in the state from before a restart. `kept`: the revocations up to `memory.kept`. Call this first.

        Raises `RejectedDelivery` if the keys have ended, and the rest is taken in all the same; or if the state was
        written at a time that lies in the future, and then no more of it than the epoch and the dead keys is.
        """
        self.epoch, self.serial, self.dead = memory.epoch, memory.serial, memory.dead
        self._building = Known(memory.epoch)
        if max(_at_serial(memory.serial), memory.fresh_at or _EPOCH) > instant.now + SKEW:
            self.serial = 0
            raise RejectedDelivery("the state is from the future: a clock was wrong, then or now")
        if kept is not None and memory.kept is not None:
            kept.add_rows(memory.recent)
            self.known = Known(
                memory.epoch,
                memory.position,
                kept,
                None if memory.fresh_at is None else _since(memory.fresh_at, instant),
                memory.kept,
                list(memory.recent),
                set(memory.seals),
            )
            self._building = None
        if memory.box:
            self.take_bundle(memory.box, instant)
            self.confirmed = _since(_at_serial(memory.serial), instant)


def _since(at: datetime, instant: Instant) -> Fresh:
    """What was so at `at`, before this process began."""
    return Fresh(at, instant.tick - max(0.0, (instant.now - at).total_seconds()))


def _made_at(bundle: KeyBundle) -> datetime:
    return _at_serial(bundle.serial)


def _at_serial(serial: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=serial)


def _number(key_id: str) -> int:
    return int(key_id[1:])


def _secrets(keys: Sequence[AudienceKey]) -> dict[str, bytes]:
    return {key.key_id: key.secret for key in keys}
