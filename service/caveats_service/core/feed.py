"""The revocation feed of this node: read from the store, heeded here, broadcast to those who listen.

Knows the store, pages and subscribers; knows no HTTP and no token. `RevocationFeed` reads, `Broadcast` tells. A page is
written once and sealed once per audience, however many verifiers listen. A subscriber that does not keep up is let go:
it comes back and is told what it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import caveats
from caveats import AudienceKey, RevocationSet, Verifier
from caveats.revocation import Page, Row, entry_of, page_text, seal_text
from caveats_service import storage as stores
from caveats_service.core import log
from caveats_service.core.errors import Busy
from caveats_service.core.forgetting import uptime
from caveats_service.core.usernames import SERVICE_NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from caveats_service.core.master_keys import MasterKeys
    from caveats_service.storage import Store

_LOOK_EVERY = 1.0
"""Seconds between two looks at the store, if nothing tells of a change before."""
_HEARTBEAT = timedelta(seconds=2)
_PAGE = 5000
_AGAIN_AT_ONCE = 500
_LOST = "the database had lost it"
_MOVED = "the database has begun another epoch while it was read"
_MOST_AUDIENCES = 1024
_BEHIND = 256
"""Lines that may wait for one subscriber."""


class AnotherEpoch(stores.StoreUnavailable):
    """The store has begun another epoch while it was read."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the feed: whoever has this key of the audience. Entries name users, so that no other may go on reading."""

    audience: str
    key_id: str
    verifier_id: str | None = None
    """The registered verifier that it says it is. Static exports of the keys have none."""


@dataclass(frozen=True, slots=True)
class FeedProgress:
    """How far a registered verifier has read the feed at this process."""

    following: bool
    """Whether it has a stream open here."""
    last_read_at: datetime | None
    """When it was last given a page; None if it has been given none since the process began."""
    entries_behind: int | None
    """How many entries of the feed it has not been given yet; None if that is not known."""


@dataclass(eq=False, slots=True)
class Subscriber:
    """One listener: the lines for it, in order. None: it was too slow, its key is gone, or the node stops."""

    reader: Reader
    lines: asyncio.Queue[str | None] = field(default_factory=lambda: asyncio.Queue(_BEHIND))

    def put(self, line: str | None) -> bool:
        """Whether there was room."""
        try:
            self.lines.put_nowait(line)
        except asyncio.QueueFull:
            return False
        return True

    async def follow(self) -> AsyncIterator[str]:
        """The lines, until the subscriber was let go."""
        while (line := await self.lines.get()) is not None:
            yield line


class Broadcast:
    """How far this node has read the feed, and its listeners."""

    def __init__(self, signing_key: Callable[[str], AudienceKey]) -> None:
        self._signing_key = signing_key
        self._subscribers: dict[str, set[Subscriber]] = {}
        self.head: Page | None = None
        """The newest page, without entries; None until the feed has been read for the first time."""
        self.ended = False
        """Whether the node is about to stop."""

    def __len__(self) -> int:
        return sum(map(len, self._subscribers.values()))

    def subscribe(self, reader: Reader) -> Subscriber:
        """A listener that gets every page from now on."""
        subscriber = Subscriber(reader)
        if self.ended:
            subscriber.put(None)
        else:
            self._subscribers.setdefault(reader.audience, set()).add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """This listener is gone."""
        listeners = self._subscribers.get(subscriber.reader.audience, set())
        listeners.discard(subscriber)
        if not listeners:
            self._subscribers.pop(subscriber.reader.audience, None)

    def publish(self, page: Page) -> None:
        """Tell every subscriber. A page without entries says that nothing happened until its time."""
        self.head = replace(page, after=page.upto, entries=())
        if not self._subscribers:
            return
        text = page_text(page)
        for audience, listeners in list(self._subscribers.items()):
            line = seal_text(text, self._signing_key(audience))
            for subscriber in [one for one in listeners if not one.put(line)]:
                self.let_go(subscriber)

    def end(self) -> None:
        """Let every subscriber go, and each that comes from now on: the node stops."""
        self.ended = True
        self.close()

    def close(self) -> None:
        """Let every subscriber go. They come back, here or elsewhere, and read on from where they stand."""
        for subscriber in self._all():
            self.let_go(subscriber)

    def dismiss(self, may_read: Callable[[Reader], bool]) -> None:
        """Let those go that may not read any more. They are not told what waits for them either."""
        for subscriber in self._all():
            if not may_read(subscriber.reader):
                while not subscriber.lines.empty():
                    subscriber.lines.get_nowait()
                self.let_go(subscriber)

    def has_verifiers(self) -> bool:
        """Whether a listener has said which verifier it is."""
        return any(one.reader.verifier_id for one in self._all())

    def follows(self, verifier_id: str) -> bool:
        """Whether this verifier listens."""
        return any(one.reader.verifier_id == verifier_id for one in self._all())

    def _all(self) -> list[Subscriber]:
        return [one for listeners in self._subscribers.values() for one in listeners]

    def let_go(self, subscriber: Subscriber) -> None:
        """End the stream of this listener."""
        self.leave(subscriber)
        while not subscriber.put(None):
            subscriber.lines.get_nowait()


class RevocationFeed:
    """What has been revoked, as this node knows it: it follows the store, and `take` is told what is revoked here."""

    def __init__(
        self,
        store: Store,
        master_keys: MasterKeys,
        verifier: Verifier,
        *,
        now: Callable[[], datetime],
        forgotten_before: Callable[[], datetime],
        most_readers: int = 10_000,
        monotonic: Callable[[], float] = uptime,
    ) -> None:
        """`forgotten_before`: see `ForgettingTime`. `monotonic`: seconds.

        `most_readers`: streams and waiting polls at a time; half of them may be of one audience.
        """
        self.epoch = 0
        """Of the store's feed; another one after a restore."""
        self._store = store
        self._master_keys = master_keys
        self._verifier = verifier
        self._now = now
        self._forgotten_before = forgotten_before
        self._broadcast = Broadcast(self.signing_key)
        self._most_readers = most_readers
        self._readers: Counter[str] = Counter()
        """Streams and waiting polls, by audience."""
        self._news = asyncio.Event()
        self._waiting = asyncio.Event()
        self._read_up_to = 0
        self._monotonic = monotonic
        self._read_at = monotonic()
        self._one_reader = asyncio.Lock()
        """Held while the store is read: what two readers found would be mixed."""
        self._taken_while_loading: list[caveats.Revocation] | None = None
        self._signing_keys: dict[str, AudienceKey] = {}
        self._removed_verifiers: frozenset[str] = frozenset()
        self._read_by: dict[str, tuple[datetime, int]] = {}
        """When each registered verifier last read, and up to which sequence."""

    @property
    def revocation_set(self) -> RevocationSet:
        """What this node's verifier heeds."""
        return self._verifier.revocations

    def branch_count(self, token_id: str) -> int:
        """How many branches of a token are revoked."""
        return self.revocation_set.branch_count(token_id)

    @property
    def head(self) -> Page | None:
        """The newest page, without entries; None until the feed has been read for the first time."""
        return self._broadcast.head

    def seconds_unread(self) -> float:
        """How long ago the store was last read to its end, as far as it had then been written."""
        return self._monotonic() - self._read_at

    # reading the store

    async def load(self) -> None:
        """Read everything that is live into a fresh set; the verifier gets it when it is whole.

        In another epoch the store may have lost revocations that this node knows: they are written again, before
        anybody is told that this epoch is read.
        """
        async with self._one_reader:
            await self._load()

    async def _load(self) -> None:
        known, epoch_before = self.revocation_set, self.epoch
        taken: list[caveats.Revocation] = []
        self._taken_while_loading = taken
        here = self._now()
        page = await self._store.revocations.page(0, limit=0)
        read_at = page.read_at or here
        fresh = await self._all_up_to(page)
        if epoch_before not in (0, page.epoch):
            await self._master_keys.refresh()
            lost = await asyncio.to_thread(lambda: list(known.rows_missing_from(fresh)))
            await self._write_again(lost)
            again = await self._store.revocations.page(page.last_sequence, limit=0)
            if again.epoch != page.epoch:
                raise AnotherEpoch(_MOVED)
            async for _, rows in self._live_rows(page.epoch, page.last_sequence, again.last_sequence):
                fresh.add_rows(rows)
            page = again
        for revocation in taken:  # revoked here meanwhile, after its page had been read
            fresh.add(revocation)
        self._taken_while_loading = None
        head = self._read_up_to = page.last_sequence
        self._read_at = self._monotonic()
        self.epoch = page.epoch
        self._verifier.revocations = fresh
        self._publish(Page(page.epoch, head, head, head, read_at, self._master_keys.keyring.key_ids))

    async def _all_up_to(self, page: stores.RevocationPage) -> RevocationSet:
        fresh = RevocationSet()
        async for _, rows in self._live_rows(page.epoch, 0, page.last_sequence):
            fresh.add_rows(rows)
        return fresh

    async def _write_again(self, lost: list[Row]) -> None:
        """Revoke what this node knows to be revoked, and the store does not. All nodes that know it may do so."""
        now, forgotten_before, written = self._now(), self._forgotten_before(), 0
        for start in range(0, len(lost), _AGAIN_AT_ONCE):
            entries = [entry_of(row)[1] for row in lost[start : start + _AGAIN_AT_ONCE]]
            some = [entry for entry in entries if entry.expires_at > forgotten_before]
            await asyncio.gather(
                *(
                    self._store.revocations.revoke(entry, now=now, actor=SERVICE_NAME, reason=_LOST)
                    for entry in some
                )
            )
            written += len(some)
        log.warning("epoch_changed", revocations_written_again=written)

    async def follow(self) -> None:
        """Take in what other nodes revoked since the last look, and tell those who listen."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY):  # wait_for loses a cancellation that comes with the news
                await self._news.wait()
        self._news.clear()
        if self._broadcast.has_verifiers():
            removed = self._removed_verifiers = await self._store.verifiers.removed_ids()
            self._read_by = {one: read for one, read in self._read_by.items() if one not in removed}
            self._broadcast.dismiss(self.may_read)
        async with self._one_reader:
            await self._look()

    async def _look(self) -> None:
        here, after = self._now(), self._read_up_to
        page = await self._store.revocations.page(after)
        read_at = page.read_at or here
        if page.must_resync(self.epoch, after):
            self._broadcast.close()
            if (page.epoch, page.last_sequence) < (self.epoch, after):
                # The store has lost what this node has read: it would give these sequences out again.
                await self._store.revocations.bump_epoch(now=read_at, actor=SERVICE_NAME, above=self.epoch)
            await self._load()
            return
        entries = tuple((record.sequence, record.entry) for record in page.records)
        for _, revocation in entries:
            self.revocation_set.add(revocation)
        head = self.head
        keys = self._master_keys.keyring.key_ids
        self._read_up_to = entries[-1][0] if entries else after
        if entries or head is None or head.keys != keys or abs(read_at - head.at) >= _HEARTBEAT:
            self._publish(
                Page(self.epoch, after, self._read_up_to, page.last_sequence, read_at, keys, entries)
            )
        if page.last_sequence > self._read_up_to:
            self._news.set()
        else:
            self._read_at = self._monotonic()

    async def listen(self) -> None:
        """Look at once when another node wrote something; without this it would be within a second."""
        async for change in self._store.changes.follow():
            if change.kind is not stores.ChangeKind.REVOCATION:
                await self._master_keys.refresh()
            self._news.set()

    def take(self, record: stores.RevocationRecord) -> None:
        """Heed what was just revoked here. The feed is not moved past what has not been read from it yet."""
        revocation = record.entry
        self.revocation_set.add(revocation)
        if self._taken_while_loading is not None:
            self._taken_while_loading.append(revocation)
        self._news.set()

    def keys_changed(self) -> None:
        """End the streams of readers whose key is gone, and tell all others which keys there are."""
        self._signing_keys.clear()  # another key may have the same id
        self._broadcast.dismiss(self.may_read)
        self._news.set()

    # telling

    def require_room(self, audience: str) -> None:
        """Return if one more may listen or wait. Raises `Busy` if there are too many, in all or of this audience."""
        of_audience = 2 * self._readers[audience]
        if max(of_audience, self._readers.total()) >= self._most_readers:
            raise Busy("too many read the feed here", 5)

    @contextlib.contextmanager
    def reading(self, audience: str) -> Iterator[None]:
        """Around a stream or a poll that waits. Raises as `require_room`."""
        self.require_room(audience)
        self._readers[audience] += 1
        try:
            yield
        finally:
            self._readers[audience] -= 1
            if not self._readers[audience]:
                del self._readers[audience]

    def note_read(self, reader: Reader, upto: int) -> None:
        """A reader has been given all entries up to this sequence. Only registered verifiers, which few are, are remembered."""
        if reader.verifier_id is not None:
            self._read_by[reader.verifier_id] = (self._now(), upto)

    def progress(self, verifier_id: str) -> FeedProgress:
        """How far a verifier has read here."""
        following = self._broadcast.follows(verifier_id)
        at, upto = self._read_by.get(verifier_id, (None, None))
        behind = None if upto is None or self.head is None else max(0, self.head.upto - upto)
        return FeedProgress(following, at, behind)

    def may_read(self, reader: Reader) -> bool:
        """Whether the key that a reader has shown still verifies, and it is no verifier that was removed, as far as known."""
        return (
            self._master_keys.keyring.has_key(reader.key_id)
            and reader.verifier_id not in self._removed_verifiers
        )

    async def admits(self, reader: Reader) -> bool:
        """As `may_read`, and the verifier that it says it is is registered for this audience. Raises `StoreUnavailable`."""
        if reader.verifier_id is None:
            return self.may_read(reader)
        app = await self._store.verifiers.get(reader.verifier_id)
        registered = app is not None and app.revoked_at is None and app.audience == reader.audience
        return registered and self.may_read(reader)

    def subscribe(self, reader: Reader) -> Subscriber:
        """A listener that gets every page from now on, for as long as the reader may read."""
        subscriber = self._broadcast.subscribe(reader)
        if not self.may_read(reader):
            self._broadcast.let_go(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """This listener is gone."""
        self._broadcast.leave(subscriber)

    def end(self) -> None:
        """Let all who listen or wait go: the node stops."""
        self._broadcast.end()
        self._wake()

    async def pages(self, after: int, epoch: int | None = None) -> AsyncIterator[tuple[Page, list[Row]]]:
        """The live entries from `after` up to where this node stands, in pages and apart from them; at least one page.

        A reader of another epoch begins at 0. One of this epoch that is ahead has heard it from a quicker node. They end
        early where the store is in another epoch by now: the reader comes back when this node is there too.
        """
        head = self.head
        assert head is not None  # set before anybody can ask
        if epoch is not None and epoch != head.epoch:
            after = 0
        elif after > head.upto:
            after = head.upto if epoch is not None else 0
        with contextlib.suppress(AnotherEpoch):
            async for upto, rows in self._live_rows(head.epoch, after, head.upto):
                yield replace(head, after=after, upto=upto), rows
                after = upto

    async def wait_for_news(self, after: int, epoch: int | None, seconds: float) -> None:
        """Return when there is an entry after this one, or there are other keys, or another epoch than the reader's.

        Also after `seconds`, or when the node is about to stop.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        first = self.head
        assert first is not None  # set before anybody can ask
        known = (first.epoch if epoch is None else epoch, first.keys)
        while (
            (head := self.head) is not None
            and head.upto <= after
            and (head.epoch, head.keys) == known
            and not self._broadcast.ended
        ):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._waiting.wait()

    def signing_key(self, audience: str) -> AudienceKey:
        """The key that seals the feed for an audience."""
        active = self._master_keys.active
        key = self._signing_keys.get(audience)
        if key is None or key.key_id != active.key_id:
            if len(self._signing_keys) >= _MOST_AUDIENCES:
                self._signing_keys.clear()
            key = self._signing_keys[audience] = active.audience_key(audience)
        return key

    async def _live_rows(self, epoch: int, after: int, upto: int) -> AsyncIterator[tuple[int, list[Row]]]:
        """What is live in this stretch, as much as fits a page at a time, and up to where that is all.

        Raises `AnotherEpoch` if that is not the store's epoch.
        """
        while True:
            rows: list[Row] | None = []
            if after < upto:
                rows = await self._store.revocations.live_rows(after, upto, epoch=epoch, limit=_PAGE)
            if rows is None:
                raise AnotherEpoch(_MOVED)
            after = upto if len(rows) < _PAGE else rows[-1][0]
            yield after, rows
            if after == upto:
                return

    def _publish(self, page: Page) -> None:
        self._broadcast.publish(page)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, asyncio.Event()
        waiting.set()
