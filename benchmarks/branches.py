"""100,000 revoked copies of one token beside one copy each of 100,000 tokens: to add, to ask for, to load, to hand on.

What a verifier's replica and its files cost is measured with it. The two take turns, and the best round counts, in seconds of processor time.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

from benchmarks.revocations import _noise, _token_id
from benchmarks.table import Bar, Row, Section, times
from caveats import BranchRevocation, PrivateKey, RevocationSet
from caveats.keys import KeyBundle, seal_bundle
from caveats.revocation import rows_text, seal_text
from caveats_client.verifiers.replica import Instant, Replica, VerifierIdentity
from caveats_client.verifiers.state_files import StateFiles
from caveats_service.core.clock import utc_now
from caveats_service.runtime import ServiceRuntime
from caveats_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COUNT = 100_000
_ROUNDS = 5
_MOST = 1.25
_AUDIENCE = "photos"
_INSERT = (
    "INSERT INTO revocations (sequence, kind, token_id, branch_id, expires_at, created_at, revoked_by, reason)"
    " VALUES (?, 'branch', ?, ?, ?, ?, 'alice', '')"
)


def branches() -> Section:
    """What must not depend on whose copies were revoked."""
    with tempfile.TemporaryDirectory() as folder:
        crowd = _Side(Path(folder) / "one", lambda _: _token_id(0))
        apart = _Side(Path(folder) / "many", _token_id)
        for _ in range(_ROUNDS):
            for side in (crowd, apart):
                side.measure()
    section = Section(f"{_COUNT:,} revoked copies of one token [beside one copy each of as many tokens]")
    for name, took in crowd.best.items():
        ratio = took / apart.best[name]
        bar = Bar(f"<= {_MOST:g}x", ratio <= _MOST)
        value = f"{took / _COUNT * 1e6:.2f} us" if took < 1 else f"{took:.2f} s"
        section.rows.append(Row(name, times(ratio), f"{value} an entry" if took < 1 else value, bar))
    return section


class _Side:
    """One of the two: its entries, a service that has them, and the best times in seconds."""

    def __init__(self, folder: Path, token_id: Callable[[int], str]) -> None:
        until = utc_now() + timedelta(days=60)
        self._folder = folder
        self._entries = [BranchRevocation(token_id(n), _noise(n, 16), until) for n in range(_COUNT)]
        self._settings = Settings.load(data_dir=folder / "data", admin_password="a long password")
        self.best: dict[str, float] = {}
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        runtime = ServiceRuntime(self._settings)
        await runtime.start()
        await runtime.stop()
        now = int(utc_now().timestamp() * 1000)
        rows = (
            (number, entry.token_id, entry.branch_id, int(entry.expires_at.timestamp() * 1000), now)
            for number, entry in enumerate(self._entries, 1)
        )
        with closing(sqlite3.connect(self._settings.sqlite_path)) as connection, connection:
            connection.executemany(_INSERT, rows)
            connection.execute("UPDATE meta SET revocation_sequence = ?", (_COUNT,))

    def measure(self) -> None:
        """Take all times once more."""
        revoked = RevocationSet()
        with self._timed("to add"):
            for entry in self._entries:
                revoked.add(entry)
        with self._timed("to look up"):
            for entry in self._entries:
                revoked.hits_branch(entry.token_id, (entry.branch_id,))
        asyncio.run(self._measure_service())

    async def _measure_service(self) -> None:
        runtime = ServiceRuntime(self._settings)
        with self._timed("a node gets ready"):
            await runtime.start()
        try:
            key = runtime.feed.signing_key(_AUDIENCE)
            with self._timed("the node writes a snapshot"):
                pages = runtime.feed.pages(0)
                lines = [seal_text(rows_text(page, rows), key) async for page, rows in pages]
            replica = self._replica(runtime)
            with self._timed("a new verifier takes it in"):
                for line in lines:
                    replica.take_line(line, Instant(utc_now(), 0.0))
        finally:
            await runtime.stop()
        known = replica.known
        assert known is not None
        assert len(known.revocations) == _COUNT
        files = StateFiles(self._folder / "state", replica.identity)
        try:
            with self._timed("the verifier writes it down"):
                files.save_base(known.epoch, known.position, known.revocations.rows())
                known.kept = known.position
                files.save(replica.memory())
        finally:
            files.close()
        with self._timed("and reads it again"):
            loaded = files.load()
        assert loaded is not None
        assert loaded[1] is not None
        assert len(loaded[1]) == _COUNT

    def _replica(self, runtime: ServiceRuntime) -> Replica:
        """A verifier that has just been registered: it has the keys, and no revocations."""
        own, service = PrivateKey(bytes(range(32))), PrivateKey(bytes(range(1, 33)))
        identity = VerifierIdentity(_token_id(0), _AUDIENCE, own, service.public_key)
        now = utc_now()
        bundle = KeyBundle(
            identity.verifier_id,
            runtime.master_keys.keyring.export(_AUDIENCE),
            runtime.feed.epoch,
            int(now.timestamp() * 1000),
            now.replace(microsecond=0) + timedelta(days=1),
        )
        replica = Replica(identity)
        replica.take_bundle(seal_bundle(bundle, own.public_key, service), Instant(now, 0.0))
        return replica

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        gc.collect()
        started = process_time()
        yield
        self.best[name] = min(process_time() - started, self.best.get(name, float("inf")))
