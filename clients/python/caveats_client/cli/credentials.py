"""The stored logins: one file, which only its owner can read.

Knows files and JSON, knows no service. A token is stored under the address of its service and is never sent to
another. A write replaces the whole file, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import itertools
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from caveats_client import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER_VARIABLE = "CAVEATS_CONFIG_DIR"
_NAME = "credentials.json"
_LARGEST = 1024 * 1024
_MEND = ": `caveats login` sets it aside and makes a new one"


class CredentialsError(Exception):
    """The file cannot be used. The message says why and what to do."""


class CredentialsDamaged(CredentialsError):
    """What is at the file's place is no file of logins that can be read: a sign-in sets it aside."""


@dataclass(frozen=True, slots=True)
class Login:
    """A stored token, and the address of its service."""

    url: str
    username: str
    token: str = field(repr=False)
    allow_http: bool = False


@dataclass(frozen=True, slots=True)
class Logins:
    """All stored logins. `current`: the address of the last sign-in; None after a sign-out there."""

    by_url: Mapping[str, Login] = field(default_factory=dict)
    current: str | None = None

    def find(self, url: str | None) -> Login | None:
        """The login for this address, or the current one."""
        wanted = self.current if url is None else _key(url)
        return None if wanted is None else self.by_url.get(wanted)

    def having(self, login: Login) -> Logins:
        """These logins with `login`, which becomes the current one."""
        return Logins({**self.by_url, _key(login.url): login}, _key(login.url))

    def without(self, url: str) -> Logins:
        """These logins without the one for `url`. If it was the current one, none is: nobody chose another."""
        left = {key: login for key, login in self.by_url.items() if key != _key(url)}
        return Logins(left, self.current if self.current in left else None)


def _key(url: str) -> str:
    return url.rstrip("/")


class Credentials:
    """The file of logins."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Credentials:
        """The user's file: in `CAVEATS_CONFIG_DIR`, or in the platform's configuration folder."""
        chosen = environment.get(FOLDER_VARIABLE)
        if chosen:
            return cls(Path(chosen))
        import platformdirs  # noqa: PLC0415  # 15 ms, which a command that is given its token does not need

        try:
            folder = platformdirs.user_config_path("caveats", appauthor=False)
        except RuntimeError:  # of some versions, where there is no home folder; of others, a relative path
            folder = Path()
        return cls(folder) if folder.is_absolute() else NoCredentials(folder)

    def load(self) -> Logins:
        """The stored logins; none if there is no file. Raises `CredentialsError`, `CredentialsDamaged`."""
        try:
            return _read(json.loads(files.read_private(self.path, largest=_LARGEST)))
        except FileNotFoundError:
            return Logins()
        except OSError as error:
            kind = CredentialsDamaged if os.path.lexists(self.path) else CredentialsError
            raise kind(
                f"cannot read {self.path}: {error.strerror}{_MEND * (kind is CredentialsDamaged)}"
            ) from error
        except files.ReadableByOthers as error:
            raise CredentialsError(
                f"{error}, and so may the tokens in it have been: chmod 600 {self.path}, "
                "or remove it and sign in again"
            ) from error
        except files.NotAFile as error:
            raise CredentialsDamaged(f"{error}{_MEND}") from error
        except files.NotPrivate as error:
            raise CredentialsError(str(error)) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # The cause would show the content of the file.
            raise CredentialsDamaged(f"{self.path} is damaged, or of another version{_MEND}") from None

    def usable(self) -> Logins:
        """The stored logins; none if the file is damaged, since `save` sets it aside. Raises `CredentialsError`."""
        try:
            return self.load()
        except CredentialsDamaged:
            return Logins()

    def save(self, login: Login) -> Path | None:
        """Store `login`, in place of any other for the same address. Raises `CredentialsError`.

        Returns the new path of a damaged file, which is kept as it is; None if there was none.
        """
        with self._changing():
            aside = None
            try:
                logins = self.load()
            except CredentialsDamaged:
                logins, aside = Logins(), self._set_aside()
            self._write(logins.having(login))
        return aside

    def prepare(self) -> None:
        """Raises `CredentialsError` if no login could be stored or removed: to know it before the service is asked."""
        with self._changing():
            pass

    def _set_aside(self) -> Path:
        """Rename the damaged file, or whatever is at its place, to a name that is free. Called under the lock.

        A symbolic link stays: the file that it leads to is renamed.
        """
        damaged = files.real_path(self.path)
        if not os.path.lexists(damaged):  # the link leads round in a circle
            damaged = self.path
        numbers = itertools.count(1)
        aside = next(
            path
            for path in (damaged.with_name(f"{damaged.name}.damaged-{number}") for number in numbers)
            if not os.path.lexists(path)
        )
        damaged.rename(aside)
        return aside

    def forget(self, url: str) -> None:
        """Remove the login for this address. Raises `CredentialsError`."""
        with self._changing():
            self._write(self.load().without(url))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Lock the file against changes by other processes."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = files.lock(self.path.with_suffix(".lock"), wait=True)
            assert lock is not None
            try:
                yield
            finally:
                lock.release()
        except OSError as error:
            raise CredentialsError(
                f"cannot write {self.path}: {error.strerror or error}; {FOLDER_VARIABLE} names another folder"
            ) from error

    def _write(self, logins: Logins) -> None:
        text = json.dumps(_members(logins), indent=2) + "\n"
        files.write_private(self.path, [text.encode()])


class NoCredentials(Credentials):
    """Of a user without a home folder: nothing is stored, and nothing can be."""

    def load(self) -> Logins:
        """No logins."""
        return Logins()

    def _changing(self) -> NoReturn:
        raise CredentialsError(
            f"there is no home folder to keep a login in: set {FOLDER_VARIABLE}, or give the token in CAVEATS_TOKEN"
        )


def _read(members: Any) -> Logins:
    logins = {
        url: Login(url, login["username"], login["token"], login.get("allow_http") is True)
        for url, login in members["logins"].items()
    }
    if members["version"] != 1 or not all(
        type(text) is str and text.isprintable()
        for login in logins.values()
        for text in (login.url, login.username, login.token)
    ):
        raise ValueError("another version")
    return Logins(logins, members["current"] if members["current"] in logins else None)


def _members(logins: Logins) -> dict[str, Any]:
    return {
        "version": 1,
        "current": logins.current,
        "logins": {
            url: {"username": login.username, "token": login.token, "allow_http": login.allow_http}
            for url, login in logins.by_url.items()
        },
    }
