"""The revocation feed of this node: what the store says, broadcast to whoever listens.

Knows pages and subscribers; knows no HTTP. A page is written once and sealed once per audience, however many
verifiers listen. A subscriber that does not keep up is let go: it comes back and is told what it missed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from caveats import AudienceKey
from caveats.revocation import Page, page_text, seal_text

_BEHIND: Final = 256
"""Lines that may wait for one subscriber."""


@dataclass(eq=False, slots=True)
class Subscriber:
    """One listener: lines for it, in order; None says that it was too slow or that the node stops."""

    audience: str
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
    """Where this node stands in the feed, and who listens."""

    def __init__(self, signing_key: Callable[[str], AudienceKey]) -> None:
        self._signing_key = signing_key
        self._subscribers: dict[str, set[Subscriber]] = {}
        self.head: Page | None = None
        """The newest page, without entries; None until the feed has been read for the first time."""
        self.ended = False
        """Whether the node is about to stop."""

    def __len__(self) -> int:
        return sum(map(len, self._subscribers.values()))

    def subscribe(self, audience: str) -> Subscriber:
        """A listener that gets every page from now on."""
        subscriber = Subscriber(audience)
        if self.ended:
            subscriber.put(None)
        else:
            self._subscribers.setdefault(audience, set()).add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """This listener is gone."""
        listeners = self._subscribers.get(subscriber.audience, set())
        listeners.discard(subscriber)
        if not listeners:
            self._subscribers.pop(subscriber.audience, None)

    def publish(self, page: Page) -> None:
        """Tell everybody. A page without entries says that nothing happened until its time."""
        self.head = replace(page, after=page.upto, entries=())
        if not self._subscribers:
            return
        text = page_text(page)
        for audience, listeners in list(self._subscribers.items()):
            line = seal_text(text, self._signing_key(audience))
            for subscriber in [one for one in listeners if not one.put(line)]:
                self._let_go(subscriber)

    def end(self) -> None:
        """The node stops: everybody goes elsewhere, and so does who comes only now."""
        self.ended = True
        self.close()

    def close(self) -> None:
        """Everybody comes back, here or elsewhere, and reads on from where they stand."""
        for subscriber in [one for listeners in self._subscribers.values() for one in listeners]:
            self._let_go(subscriber)

    def _let_go(self, subscriber: Subscriber) -> None:
        self.leave(subscriber)
        while not subscriber.put(None):
            subscriber.lines.get_nowait()
