"""What an app that verifies locally has to hear from elsewhere: revocations, and new keys.

The token that this app reads the feed with is an administrator's, narrowed until it can do nothing else:

    ADMIN=$(caveats login admin --scope caveats:admin --expires-in 30d --print)
    export PHOTOS_FEED_TOKEN=$(caveats attenuate --method GET --path /v1/revocations "$ADMIN")

The app renews it, which every live token may be, and keeps the renewed one beside its keys for the next start.

Fails closed: an app that has not heard from the feed for too long is not current, and refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2 as httpx

from caveats import (
    AudienceKeyring,
    BranchRevocation,
    CaveatsError,
    Macaroon,
    Revocation,
    RevocationSet,
    TokenRevocation,
    UserRevocation,
    Verifier,
)
from caveats_client import AsyncClient, ClientError, TokenAuth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


_TRY_AGAIN = 3600.0
"""Seconds between two attempts to renew the token, at least."""


def load_keys(path: Path) -> AudienceKeyring:
    """The keys in a file that `caveats-service keys export` wrote."""
    return AudienceKeyring.from_json(json.loads(path.read_text("ascii")))


class Follower:
    """Follows the feed of revocations, and the file of keys, for one verifier."""

    def __init__(
        self,
        url: str,
        token: str,
        keys: Path,
        *,
        every: float = 0.5,
        most_stale: float = 30.0,
        renewed: Path | None = None,
        allow_http: bool = False,
    ) -> None:
        """`every`: seconds between two looks. `most_stale`: seconds without a whole look after which it refuses.

        `renewed`: the file that the renewed token is kept in. `allow_http`: send the token over plain http to any machine.
        """
        self._url = url
        self._allow_http = allow_http
        self._renewed = renewed
        self._token = _newest(Macaroon.decode(token), renewed)
        self._renew_at = float("-inf")
        self._http = httpx.AsyncClient(base_url=url, auth=self._auth(), timeout=5)
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

    def _auth(self) -> TokenAuth:
        return TokenAuth(self._token, self._url, allow_http=self._allow_http)

    async def _renew_if_due(self) -> None:
        """Get the same token with a later expiry, at the start and whenever half of its life is over."""
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + _TRY_AGAIN
        async with AsyncClient(self._url, allow_http=self._allow_http) as client:
            issued = await client.renew(self._token)
        self._token = issued.token
        self._http.auth = self._auth()
        left = (issued.expires_at - datetime.now(UTC)).total_seconds()
        self._renew_at = time.monotonic() + max(_TRY_AGAIN, left / 2)
        if self._renewed is not None:
            _keep(self._token.encode(), self._renewed)

    async def _look(self, verifier: Verifier) -> None:
        # Whatever fails here, the next look may work; until it does, `is_current` counts the seconds.
        with contextlib.suppress(httpx.HTTPError, CaveatsError, OSError, ValueError, LookupError, TypeError):
            self._look_at_keys(verifier)
            await self.catch_up(verifier)
        # A token that is as old as it may get is good until it ends.
        with contextlib.suppress(ClientError, CaveatsError, OSError):
            await self._renew_if_due()

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


def _newest(given: Macaroon, renewed: Path | None) -> Macaroon:
    """The token that was kept, if it is the one given, renewed; otherwise the one given."""
    with contextlib.suppress(OSError, ValueError, CaveatsError):
        if renewed is not None:
            kept = Macaroon.decode(renewed.read_text("ascii"))
            return kept if _token_id(kept) == _token_id(given) else given
    return given


def _token_id(token: Macaroon) -> bytes:
    """Which renewals leave as it is: `1.k1.default.01M8...` without what follows."""
    return token.identifier.rpartition(b".")[0]


def _keep(text: str, path: Path) -> None:
    """Write the file whole or not at all, for its owner alone."""
    aside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    aside.replace(path)


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
