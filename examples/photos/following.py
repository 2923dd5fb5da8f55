"""What an app that verifies locally has to hear from elsewhere: revocations, and new keys.

The token that this app reads the feed with is an administrator's, narrowed until it can do nothing else:

    caveats login admin --scope caveats:admin --expires-in 30d
    export PHOTOS_FEED_TOKEN=$(caveats attenuate --method GET --path /v1/revocations)

Fails closed: an app that has not heard from the feed for too long is not current, and refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from caveats import (
    AudienceKeyring,
    BranchRevocation,
    CaveatsError,
    Revocation,
    RevocationSet,
    TokenRevocation,
    UserRevocation,
    Verifier,
)
from caveats_client import TokenAuth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def load_keys(path: Path) -> AudienceKeyring:
    """The keys in a file that `caveats-service keys export` wrote."""
    return AudienceKeyring.from_json(json.loads(path.read_text("ascii")))


class Follower:
    """Follows the feed of revocations, and the file of keys, for one verifier."""

    def __init__(
        self, url: str, token: str, keys: Path, *, every: float = 0.5, most_stale: float = 30.0
    ) -> None:
        """`every`: seconds between two looks. `most_stale`: seconds without a whole look after which it refuses."""
        self._http = httpx.AsyncClient(base_url=url, auth=TokenAuth(token, url), timeout=5)
        self._keys = keys
        self._keys_seen = 0
        self._every = every
        self._most_stale = most_stale
        self._epoch = -1
        self._after = 0
        self._looked = float("-inf")

    @property
    def is_current(self) -> bool:
        """Whether whatever was revoked more than `most_stale` ago is known here."""
        return time.monotonic() - self._looked <= self._most_stale

    @contextlib.asynccontextmanager
    async def following(self, verifier: Verifier) -> AsyncIterator[None]:
        """Keep `verifier` current for as long as the context lasts, after a first look if that can be had."""
        await self._look(verifier)
        task = asyncio.create_task(self._run(verifier))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self._http.aclose()

    async def _run(self, verifier: Verifier) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self._look(verifier)

    async def _look(self, verifier: Verifier) -> None:
        # Whatever fails here, the next look may work; until it does, `is_current` counts the seconds.
        with contextlib.suppress(httpx.HTTPError, CaveatsError, OSError, ValueError, LookupError, TypeError):
            self._look_at_keys(verifier)
            await self.catch_up(verifier)

    def _look_at_keys(self, verifier: Verifier) -> None:
        """A file that was exported again: a key that will be issued under soon, or one that is gone."""
        changed = self._keys.stat().st_mtime_ns
        if changed != self._keys_seen:
            verifier.keyring = load_keys(self._keys)
            self._keys_seen = changed

    async def catch_up(self, verifier: Verifier) -> None:
        """Take in every revocation since the last look, or all of them if the feed began anew."""
        started = time.monotonic()
        revocations = verifier.revocations
        page = await self._page(self._after)
        if page["resync"] or page["epoch"] != self._epoch:
            revocations = RevocationSet()
            page = await self._page(0)
        epoch = page["epoch"]
        while rows := page["revocations"]:
            for row in rows:
                revocations.add(revocation(row), row["sequence"])
            page = await self._page(rows[-1]["sequence"])
            if page["epoch"] != epoch:
                return  # a backup was restored meanwhile: the next look begins at 0
        if revocations is not verifier.revocations:
            verifier.revocations = revocations
        self._epoch, self._after, self._looked = epoch, page["last_sequence"], started

    async def _page(self, after: int) -> dict[str, Any]:
        response = await self._http.get("/v1/revocations", params={"after": after})
        members: dict[str, Any] = response.raise_for_status().json()
        return members


def revocation(row: dict[str, Any]) -> Revocation:
    """An entry of the feed."""
    expires_at = datetime.fromisoformat(row["expires_at"])
    match row["kind"]:
        case "token":
            return TokenRevocation(row["token_id"], expires_at)
        case "branch":
            return BranchRevocation(row["token_id"], bytes.fromhex(row["branch_id"]), expires_at)
        case "user":
            up_to = datetime.fromisoformat(row["issued_up_to"])
            if not up_to.microsecond:  # the feed cuts to the second: rather a moment too late than too early
                up_to += timedelta(milliseconds=999)
            return UserRevocation(row["user"], up_to, expires_at)
        case kind:
            raise ValueError(f"a revocation of a kind not known here: {kind}")
