"""The key file of a verifier: its key pair, and the service's answer to the registration of the public key.

    caveats verifier init photos.verifier          makes the file, with the private key
    caveats verifier register photos.verifier ...  an administrator registers the public key; completes the file

Knows one small private file. Who steals the file can fetch the audience's keys and mint tokens with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from caveats import CaveatsError, InvalidKey, PrivateKey, ThirdParty
from caveats.keys import key_from_text
from caveats.token import decode_base64, encode_base64, is_audience, is_token_id
from caveats_client import files
from caveats_client.verifiers.replica import VerifierIdentity

_LARGEST = 64 * 1024


class RegistrationError(CaveatsError):
    """The file cannot be used. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A verifier's private key and the service's answer, whose fields are empty until it is registered."""

    private_key: PrivateKey = field(repr=False)
    url: str = ""
    audience: str = ""
    verifier_id: str = ""
    service_public_key: bytes = b""
    """X25519, 32 bytes."""

    @classmethod
    def generate(cls) -> Registration:
        """A new key pair. The public key in base64url never begins with `-`, since people type it as an argument."""
        while True:
            key = PrivateKey.generate()
            if not encode_base64(key.public_key).startswith("-"):
                return cls(key)

    @property
    def public_key(self) -> bytes:
        """The public key: X25519, 32 bytes."""
        return self.private_key.public_key

    @property
    def identity(self) -> VerifierIdentity:
        """The identity of the registered verifier. Raises `RegistrationError` before it is registered."""
        if not self.verifier_id:
            raise RegistrationError("this verifier is not registered yet: caveats verifier register FILE")
        return VerifierIdentity(self.verifier_id, self.audience, self.private_key, self.service_public_key)

    def registered(
        self, *, url: str, audience: str, verifier_id: str, service_public_key: bytes
    ) -> Registration:
        """This registration with the service's answer. Raises `RegistrationError` if the answer is malformed."""
        try:
            ThirdParty("service", service_public_key)
        except InvalidKey as error:
            raise RegistrationError("the service's public key is not an X25519 key of 32 bytes") from error
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
            return _read(json.loads(files.read_private(path, largest=_LARGEST, any_owner=True)))
        except OSError as error:
            raise RegistrationError(f"cannot read {path}: {error.strerror}") from error
        except files.ReadableByOthers as error:
            raise RegistrationError(
                f"{error}, and so may the key in it have been: chmod 600 {path}, or register a new one"
            ) from error
        except files.NotPrivate as error:
            raise RegistrationError(str(error)) from error
        except InvalidKey as error:
            raise RegistrationError(f"{path} is not a verifier's file: its private_key: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # The cause would show the content of the file.
            raise RegistrationError(f"{path} is not a verifier's file") from None

    def save(self, path: Path | str, *, new: bool = False) -> None:
        """Write the file with mode 0600. `new`: never replace a file. Raises `RegistrationError`."""
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
        text = json.dumps(members, indent=2) + "\n"
        try:
            files.write_private(path, [text.encode()], new=new)
        except FileExistsError:
            raise RegistrationError(
                f"{path} exists; a key that is overwritten is lost, so give another name"
            ) from None
        except OSError as error:
            raise RegistrationError(f"cannot write {path}: {error.strerror}") from error


def _read(members: Any) -> Registration:
    if members["version"] != 1:
        raise ValueError("another version")
    own = Registration(PrivateKey(key_from_text(members["private_key"])))
    if not members["verifier_id"]:
        return own
    return own.registered(
        url=members["url"],
        audience=members["audience"],
        verifier_id=members["verifier_id"],
        service_public_key=decode_base64(members["service_public_key"]),
    )
