"""What makes an app a verifier: its key pair, and what the service said when the public half was registered.

    caveats verifier init photos.verifier          makes the file, with the private key
    caveats verifier register photos.verifier ...  an administrator registers the public key; the rest is filled in

Knows one small file that nobody else can read. Whoever has it gets the audience's keys, and could mint with them.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from caveats import CaveatsError, InvalidKey, PrivateKey, ThirdParty
from caveats.token.identifier import is_audience, is_token_id
from caveats.token.wire import decode_base64, encode_base64
from caveats_client.verifiers.replica import VerifierIdentity

_LARGEST = 64 * 1024


class RegistrationError(CaveatsError):
    """The file cannot be used as it is; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A verifier's own key, and, once it is registered, the rest."""

    private_key: PrivateKey = field(repr=False)
    url: str = ""
    audience: str = ""
    verifier_id: str = ""
    service_public_key: bytes = b""

    @classmethod
    def generate(cls) -> Registration:
        """A fresh key, not registered anywhere. Its public key never begins with `-`: it is typed at command lines."""
        while True:
            key = PrivateKey.generate()
            if not encode_base64(key.public_key).startswith("-"):
                return cls(key)

    @property
    def public_key(self) -> bytes:
        """The public half, 32 bytes."""
        return self.private_key.public_key

    @property
    def identity(self) -> VerifierIdentity:
        """As a verifier needs it. Raises `RegistrationError` before it is registered."""
        if not self.verifier_id:
            raise RegistrationError("this verifier is not registered yet: caveats verifier register FILE")
        return VerifierIdentity(self.verifier_id, self.audience, self.private_key, self.service_public_key)

    def registered(
        self, *, url: str, audience: str, verifier_id: str, service_public_key: bytes
    ) -> Registration:
        """With what the service said. Raises `RegistrationError`."""
        try:
            ThirdParty("service", service_public_key)
        except InvalidKey as error:
            raise RegistrationError("the service's public key is none") from error
        if not is_audience(audience) or not is_token_id(verifier_id) or not url:
            raise RegistrationError("a registration names an address, an audience and a verifier's id")
        return replace(
            self, url=url, audience=audience, verifier_id=verifier_id, service_public_key=service_public_key
        )

    @classmethod
    def load(cls, path: Path | str) -> Registration:
        """The registration in a file. Raises `RegistrationError`."""
        path = Path(path)
        try:
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(handle, "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise RegistrationError(f"{path} is not a file")
                if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                    raise RegistrationError(
                        f"{path} can be read by others, and so may the key in it have been: chmod 600 {path}, "
                        "or register a new one"
                    )
                data = file.read(_LARGEST)
        except OSError as error:
            raise RegistrationError(f"cannot read {path}: {error.strerror}") from error
        try:
            return _read(json.loads(data))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # The cause would show what the file holds.
            raise RegistrationError(f"{path} is not a verifier's file") from None

    def save(self, path: Path | str, *, new: bool = False) -> None:
        """Write the file whole, for its owner's eyes; `new`: only where there is none. Raises `RegistrationError`."""
        path = Path(path)
        members = {
            "version": 1,
            "private_key": encode_base64(self.private_key.secret),
            "public_key": encode_base64(self.public_key),
            "url": self.url,
            "audience": self.audience,
            "verifier_id": self.verifier_id,
            "service_public_key": encode_base64(self.service_public_key),
        }
        aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(members, file, indent=2)
                    file.write("\n")
                    file.flush()
                    os.fsync(file.fileno())
                if new:
                    os.link(aside, path)  # unlike a rename, it never takes another's place
                    aside.unlink()
                else:
                    aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        except FileExistsError:
            raise RegistrationError(
                f"{path} exists; a key that is overwritten is lost, so give another name"
            ) from None
        except OSError as error:
            raise RegistrationError(f"cannot write {path}: {error.strerror}") from error


def _read(members: Any) -> Registration:
    if members["version"] != 1:
        raise ValueError("another version")
    own = Registration(PrivateKey(decode_base64(members["private_key"])))
    if not members["verifier_id"]:
        return own
    return own.registered(
        url=members["url"],
        audience=members["audience"],
        verifier_id=members["verifier_id"],
        service_public_key=decode_base64(members["service_public_key"]),
    )
