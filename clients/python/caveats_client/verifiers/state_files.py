"""The files that a local verifier keeps in its folder, encrypted under a key derived from its private key.

    <verifier id>.base      the revocations up to a sequence, compressed; written rarely
    <verifier id>.recent    keys, place in the feed, freshness, and what was revoked since; small, written often

Knows the format of the files and their encryption; `caveats_client.files` writes them. If a file is damaged, cut off or
another verifier's, the verifier starts without it and logs the reason.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nacl.bindings import crypto_secretbox, crypto_secretbox_NONCEBYTES, crypto_secretbox_open
from nacl.exceptions import CryptoError

from caveats import MalformedCaveat, RevocationSet
from caveats.keys import hkdf
from caveats.token import decode_base64, encode_base64
from caveats_client import files
from caveats_client.verifiers.replica import Memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from caveats.revocation import Row
    from caveats_client.verifiers.replica import VerifierIdentity

_log = logging.getLogger("caveats_client.verifiers.local")
_MAGIC = b"CVV1"
_LARGEST_PART = 64 * 1024 * 1024
"""The most bytes of one value."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class _Unusable(Exception):
    """This verifier did not write the file, or the file is not complete."""


class StateFiles:
    """One verifier's files in a folder. One process at a time writes them; any may read them."""

    def __init__(self, folder: Path, identity: VerifierIdentity) -> None:
        self._folder = folder
        self._base = folder / f"{identity.verifier_id}.base"
        self._recent = folder / f"{identity.verifier_id}.recent"
        self._lock: files.FileLock | None = None
        whose = f"caveats/v1/verifier-state/{identity.verifier_id}/{identity.audience}/"
        self._key = hkdf(identity.private_key.secret, whose.encode() + identity.service_public_key, 32)

    def load(self) -> tuple[Memory, RevocationSet | None] | None:
        """The stored state, and the revocations up to `kept`; None if no file can be used."""
        try:
            memory = self._load_recent()
        except (_Unusable, OSError) as error:
            _log.warning("state of the verifier ignored: %s: %s", self._recent.name, _words(error))
            return None
        if memory is None or memory.kept is None:
            return None if memory is None else (memory, None)
        try:
            return memory, self._load_base(memory.epoch, memory.kept)
        except (_Unusable, OSError) as error:
            _log.warning("revocations of the verifier ignored: %s: %s", self._base.name, _words(error))
            return memory, None

    def save(self, memory: Memory) -> None:
        """Write the small file. Raises `OSError`."""
        if self._may_write():
            self._write(self._recent, [_members(memory)])

    def save_base(self, epoch: int, position: int, chunks: Iterable[list[Row]]) -> None:
        """Write the revocations up to `position`. Raises `OSError`."""
        if self._may_write():
            head = {"epoch": epoch, "position": position}
            self._write(self._base, _after([head], chunks))

    def close(self) -> None:
        """Release the lock, so that another process may write."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _load_recent(self) -> Memory | None:
        parts = self._parts(self._recent)
        try:
            first = next(parts, None)
            if first is None:
                return None
            rest = list(parts)
            if rest:
                raise _Unusable("more than was written")
            return _memory(first)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise _Unusable("written by another version") from error

    def _load_base(self, epoch: int, position: int) -> RevocationSet | None:
        parts = self._parts(self._base)
        revocations = RevocationSet()
        try:
            if next(parts, None) != {"epoch": epoch, "position": position}:
                raise _Unusable("it does not match the other file")
            for rows in parts:
                revocations.add_rows(rows)
        except (MalformedCaveat, TypeError) as error:
            raise _Unusable("written by another version") from error
        return revocations

    def _parts(self, path: Path) -> Iterator[Any]:
        """The values in a file, decrypted one after another. A file without the marked last value was cut off."""
        try:
            file = files.open_regular(path)
        except FileNotFoundError:
            return
        except files.NotPrivate as error:
            raise _Unusable("not a file") from error
        with file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise _Unusable("not a verifier's state")
            index, last = 0, False
            while not last:
                size = int.from_bytes(file.read(4), "big")
                if not 0 < size <= _LARGEST_PART:
                    raise _Unusable("cut off")
                sealed = file.read(size)
                if len(sealed) != size:
                    raise _Unusable("cut off")
                try:
                    nonce, box = sealed[:_NONCE], sealed[_NONCE:]
                    found, last, value = json.loads(
                        zlib.decompress(crypto_secretbox_open(box, nonce, self._key))
                    )
                except (CryptoError, ValueError, TypeError, zlib.error):
                    raise _Unusable("damaged, or another verifier's") from None
                if found != index:
                    raise _Unusable("damaged")
                index += 1
                yield value
            if file.read(1):
                raise _Unusable("more than was written")

    def _write(self, path: Path, values: Iterable[Any]) -> None:
        files.write_private(path, self._sealed(values))

    def _sealed(self, values: Iterable[Any]) -> Iterator[bytes]:
        """The bytes of a file with `values`, each encrypted separately."""
        yield _MAGIC
        for index, last, value in _marked(values):
            nonce = os.urandom(_NONCE)
            plain = zlib.compress(json.dumps([index, last, value], separators=(",", ":")).encode(), 1)
            sealed = nonce + crypto_secretbox(plain, nonce, self._key)
            yield len(sealed).to_bytes(4, "big") + sealed

    def _may_write(self) -> bool:
        """Whether this process has the lock of the files. Takes it if no process has it."""
        if self._lock is not None:
            return True
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = files.lock(self._recent.with_suffix(".lock"), wait=False)
        if lock is None:
            return False
        self._lock = lock
        for leftover in self._folder.glob(f"{self._recent.stem}.*.tmp"):  # left by a process that was killed
            with suppress(OSError):
                leftover.unlink()
        return True


_NONCE: int = crypto_secretbox_NONCEBYTES


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _after(first: list[Any], rest: Iterable[Any]) -> Iterator[Any]:
    yield from first
    yield from rest


def _marked(values: Iterable[Any]) -> Iterator[tuple[int, bool, Any]]:
    """Each value with its index, and whether it is the last: without the last one, a file was cut off."""
    held: list[Any] = []
    index = 0
    for value in values:
        if held:
            yield index, False, held.pop()
            index += 1
        held.append(value)
    yield index, True, held.pop()


def _members(memory: Memory) -> dict[str, Any]:
    return {
        "box": encode_base64(memory.box),
        "serial": memory.serial,
        "epoch": memory.epoch,
        "dead": dict(memory.dead),
        "kept": memory.kept,
        "position": memory.position,
        "fresh_at": None if memory.fresh_at is None else _number(memory.fresh_at),
        "seals": sorted(memory.seals),
        "recent": list(memory.recent),
    }


def _memory(members: Any) -> Memory:
    fresh_at = members["fresh_at"]
    RevocationSet().add_rows(members["recent"])
    return Memory(
        decode_base64(members["box"]),
        int(members["serial"]),
        int(members["epoch"]),
        {str(key_id): int(serial) for key_id, serial in members["dead"].items()},
        None if members["kept"] is None else int(members["kept"]),
        int(members["position"]),
        None if fresh_at is None else _moment(fresh_at),
        frozenset(map(str, members["seals"])),
        tuple(members["recent"]),
    )


def _number(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS


def _moment(milliseconds: int) -> datetime:
    return _EPOCH + milliseconds * _MS
