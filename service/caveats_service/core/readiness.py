"""Whether this process can do what it is for: issue, verify what is current, and revoke.

Knows the store, the feed, the keys and the clock; knows no HTTP. `NotReady` has a word for programs and a sentence that
anybody may read. What the database said is for the operator, and only in the log: a message of it can name hosts, roles,
tables and paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_service import storage as stores
from caveats_service.core import log
from caveats_service.core.errors import NotReady
from caveats_service.core.forgetting import uptime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caveats_service.core.clock import ClockCheck
    from caveats_service.core.feed import RevocationFeed
    from caveats_service.core.master_keys import MasterKeys

STALE_AFTER = 10.0
"""Seconds without a look at the feed, or in which background work fails again and again, after which a node is not ready."""
_SEE_LOG = "the service's log has what it said"
_DATABASE: tuple[tuple[type[stores.StoreUnavailable], str, str], ...] = (
    (stores.DatabaseReadOnly, "database_read_only", f"the database takes no writes; {_SEE_LOG}"),
    (stores.DatabaseFull, "database_full", f"the database's disk is full; {_SEE_LOG}"),
    (stores.StoreBroken, "database_refuses", f"the database refuses for good what is needed; {_SEE_LOG}"),
    (
        stores.StoreUnavailable,
        "database_away",
        f"the database cannot be read or written, or does not answer in time; {_SEE_LOG}",
    ),
)
"""The word and the sentence for each error of the store: the first class that fits."""


class FailingWork:
    """Since when background work fails, by its name, on the monotonic clock."""

    def __init__(self, monotonic: Callable[[], float] = uptime) -> None:
        self._monotonic = monotonic
        self._since: dict[str, float] = {}

    def failed(self, work: str) -> None:
        """An attempt has failed."""
        self._since.setdefault(work, self._monotonic())

    def went_well(self, work: str) -> None:
        """An attempt has gone well."""
        self._since.pop(work, None)

    def for_long(self) -> str | None:
        """The name of work that has failed for `STALE_AFTER`; None if there is none."""
        before = self._monotonic() - STALE_AFTER
        return next((work for work, since in self._since.items() if since <= before), None)


class Readiness:
    """Answers whether this process is ready, and logs each change of the answer once."""

    def __init__(
        self,
        store: stores.Store,
        feed: RevocationFeed,
        master_keys: MasterKeys,
        clock_check: ClockCheck,
        failing_work: FailingWork,
        *,
        seal_key_file: Path | None,
        ended_work: Callable[[], str | None],
        unreadable_revocations: Callable[[], tuple[str, ...]],
    ) -> None:
        """`seal_key_file`: where the seal key came from; None: from the environment.

        `ended_work`: background work that has ended. `unreadable_revocations`: the sequences of damaged rows.
        """
        self._store = store
        self._feed = feed
        self._master_keys = master_keys
        self._clock_check = clock_check
        self._failing_work = failing_work
        self._seal_key_file = seal_key_file
        self._ended_work = ended_work
        self._unreadable_revocations = unreadable_revocations
        self._told = ""

    async def require(self) -> str:
        """The id of the key that is issued under, if the service is ready. Raises `NotReady`."""
        try:
            key_id = await self._require()
        except NotReady as error:
            if error.reason != self._told:
                said = {"database_said": error.said} if error.said else {}
                log.error("not_ready", reason=error.reason, detail=str(error), **said)
            self._told = error.reason
            raise
        if self._told:
            log.info("ready_again")
        self._told = ""
        return key_id

    async def _require(self) -> str:
        ended = self._ended_work()
        if ended is not None:
            raise NotReady(
                "background_work_ended", f"the background work {ended} has ended, and the process is about to"
            )
        try:
            await self._store.ping()
            await self._store.check_writable()
            clock_is_off = await self._clock_check.trouble()
        except stores.StoreUnavailable as error:
            raise _of_database(error) from error
        if clock_is_off is not None:
            raise NotReady("clock_is_off", clock_is_off)
        unreadable = self._unreadable_revocations()
        if unreadable:
            raise NotReady(
                "damaged_revocations",
                f"damaged revocations: {', '.join(unreadable)}; what they have revoked is not known",
            )
        unread = self._feed.seconds_unread()
        if unread > STALE_AFTER:
            raise NotReady("feed_stale", f"this node has not read the revocations for {unread:.0f} s")
        failing = self._failing_work.for_long()
        if failing is not None:
            raise NotReady(
                "background_work_fails",
                f"the background work {failing} fails again and again; the service's log has the reason",
            )
        return self._require_keys()

    def _require_keys(self) -> str:
        active = self._master_keys.active
        if self._seal_key_file is not None and _is_missing(self._seal_key_file):
            raise NotReady(
                "seal_key_missing",
                "the seal key's file is gone, and no other start can open the keys: put it back",
            )
        return active.key_id


def _of_database(error: stores.StoreUnavailable) -> NotReady:
    if isinstance(error, stores.DatabaseReplaced):  # its message names the file, and no folder
        return NotReady("database_replaced", str(error))
    reason, message = next((word, text) for kind, word, text in _DATABASE if isinstance(error, kind))
    return NotReady(reason, message, said=str(error))


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it is there, and was read at the start
        return False
    return False
