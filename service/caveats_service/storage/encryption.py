"""Encryption of keys and replies at rest, under one seal key that is never in the database.

Knows XChaCha20-Poly1305 and where the seal key comes from. Must not know what is sealed, nor the store. Without its
seal key a database is useless, so the service does not start with one that is missing, empty, wrong or readable by
others, and never replaces it. The canary, a sealed text, shows a wrong seal key before there is a master key.
"""

from __future__ import annotations

import base64
import os
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import nacl.bindings
from nacl.exceptions import CryptoError

from caveats import InvalidKey
from caveats.file_modes import is_readable_by_others
from caveats.keys import key_from_text
from caveats.pickling import Secret
from caveats_service.storage.files import place, temporary_beside

if TYPE_CHECKING:
    from pathlib import Path

    from caveats_service.settings import Settings

_CANARY = "canary"
_CANARY_TEXT = b"caveats/seal-canary"

_SIZE = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES
_NONCE = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_VERSION = b"\x01"


class SealKeyError(Exception):
    """The seal key is missing, malformed, readable by others, or not the one that sealed the data."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealKey(Secret):
    """The key that seals the others. `secret`: 32 bytes, not all zero, or `SealKeyError`. `repr` does not show it."""

    secret: bytes

    def __post_init__(self) -> None:
        """Refuse a wrong size, and zero bytes."""
        if not isinstance(self.secret, bytes) or len(self.secret) != _SIZE:
            raise SealKeyError(f"a seal key is {_SIZE} bytes")
        if not any(self.secret):
            raise SealKeyError("the seal key is all zero bytes: make a random one")

    def __repr__(self) -> str:
        """The name of the class, without the key."""
        return "SealKey(hidden)"

    @classmethod
    def from_text(cls, text: str) -> SealKey:
        """Read 43 characters of base64url, without padding, spaces or spare bits. Raises `SealKeyError`, which says what is wrong."""
        try:
            return cls(key_from_text(text))
        except InvalidKey as error:
            raise SealKeyError(f"the seal key {error}") from None

    def to_text(self) -> str:
        """43 characters of base64url: the form in the file and in the environment."""
        return base64.urlsafe_b64encode(self.secret).rstrip(b"=").decode("ascii")


def load_seal_key(settings: Settings, *, database_exists: bool) -> SealKey:
    """Read the seal key from the settings or from its file. Make the file if neither it nor the database exists.

    Raises `SealKeyError`.
    """
    if settings.seal_key is not None:
        try:
            return SealKey.from_text(settings.seal_key.get_secret_value())
        except SealKeyError as error:
            raise SealKeyError(f"CAVEATS_SEAL_KEY: {error}") from None
    path = settings.seal_key_path
    try:
        if not path.exists():
            if database_exists:
                raise SealKeyError(
                    f"there is a database but no seal key at {path}: its keys cannot be opened without it. "
                    "Put the file back, name it in CAVEATS_SEAL_KEY_FILE, or give the key in CAVEATS_SEAL_KEY"
                )
            _create(path)
        return _read(path)
    except OSError as error:
        raise SealKeyError(f"the seal key at {path} cannot be used: {error.strerror}") from error


def seal(seal_key: SealKey, plaintext: bytes, *, row_id: int, key_id: str, purpose: str) -> bytes:
    """Encrypt a plaintext. The row id, key id and purpose are authenticated: `unseal` needs the same ones.

    `row_id`: 0 to 2**64 - 1. `key_id`, `purpose`: at most 65535 bytes of UTF-8. The result is 41 bytes longer than
    the plaintext.
    """
    nonce = os.urandom(_NONCE)
    bound = _associated(row_id, key_id, purpose)
    return (
        _VERSION
        + nonce
        + nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, bound, nonce, seal_key.secret)
    )


def unseal(seal_key: SealKey, sealed: bytes, *, row_id: int, key_id: str, purpose: str) -> bytes:
    """Decrypt what `seal` made with the same row id, key id and purpose.

    Raises `SealKeyError` for another seal key, other values or changed bytes.
    """
    nonce, box = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
    if sealed[:1] != _VERSION or len(box) < nacl.bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES:
        raise SealKeyError(f"the sealed {purpose} {key_id} is malformed: the database was changed")
    bound = _associated(row_id, key_id, purpose)
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(box, bound, nonce, seal_key.secret)
    except CryptoError as error:
        raise SealKeyError(
            f"the seal key does not open {purpose} {key_id}: another sealed it, or the database was changed"
        ) from error


def seal_canary(seal_key: SealKey) -> bytes:
    """Seal a known text. The database keeps it, and the next start notices a wrong seal key."""
    return seal(seal_key, _CANARY_TEXT, row_id=0, key_id="", purpose=_CANARY)


def check_canary(seal_key: SealKey, canary: bytes) -> None:
    """Return if this seal key sealed the canary. Raises `SealKeyError`."""
    try:
        is_own = unseal(seal_key, canary, row_id=0, key_id="", purpose=_CANARY) == _CANARY_TEXT
    except SealKeyError:
        is_own = False
    if not is_own:
        raise SealKeyError(
            "this seal key is not the one that sealed the database, or the database was changed: "
            "put the right one in place (CAVEATS_SEAL_KEY or CAVEATS_SEAL_KEY_FILE)"
        )


def _associated(row_id: int, key_id: str, purpose: str) -> bytes:
    """Version, row id, key id and purpose, each of fixed or stated length: other values give other bytes."""
    key, use = key_id.encode(), purpose.encode()
    fields = struct.pack(f">QH{len(key)}sH{len(use)}s", row_id, len(key), key, len(use), use)
    return b"caveats/seal" + _VERSION + fields


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with temporary_beside(path, like=path.parent) as temporary:
        temporary.write_text(SealKey(os.urandom(_SIZE)).to_text() + "\n", "ascii")
        try:
            place(temporary, path)
        except FileExistsError:
            return  # another process has made the file: its key is used


def _read(path: Path) -> SealKey:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise SealKeyError(f"the seal key at {path} is not a file")
        own_groups = {os.getegid(), *os.getgroups()}
        if is_readable_by_others(status, user=os.geteuid(), groups=own_groups):
            raise SealKeyError(
                f"the seal key at {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o}): "
                "run chmod 600 on it; in a secret volume: mode 0440, root's, and of a group of this process (fsGroup)"
            )
        content = file.read(_SIZE * 4)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        return SealKey.from_text(text.removesuffix("\n"))
    except SealKeyError as error:
        raise SealKeyError(f"{path}: {error}") from None
