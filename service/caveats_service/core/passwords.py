"""Passwords: checked, hashed by argon2id and verified, in a pool bounded in threads and queue.

Knows the password's bytes for as long as one hash takes. Must not know users, the store or HTTP; the name of an account
and an address only tell it who waits, since the queue is shared fairly among them. An unknown
user costs as much as a known one: without a stored hash, the work is done against a made-up one. A stored
hash is read strictly and its costs are capped before argon2 sees it, so that a corrupt row is a refusal and
an alert, never a huge allocation. Hashes that other software has made (`foreign_hashes`) are verified until the first
sign-in, which replaces them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nacl.exceptions import InvalidkeyError
from nacl.exceptions import RuntimeError as OutOfMemory
from nacl.pwhash import argon2id

from caveats_service.core.errors import BadPassword, Busy
from caveats_service.core.foreign_hashes import (
    MOST_MEMORY_KIB,
    MOST_PASSES,
    ForeignHash,
    UnusableHash,
    read_foreign_hash,
)
from caveats_service.core.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 1024
SHORTEST = 8

_STORED = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,7}),t=([1-9][0-9]{0,2}),p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}"
)
_LEAST_MEMORY_KIB = argon2id.MEMLIMIT_MIN // 1024
_IMPORTED = "imported:"
"""What stands before a hash that other software has made."""
_BUSY = "too many sign-ins at once"
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class PasswordProfile:
    """The cost of one hash: passes over the memory, and KiB of it."""

    passes: int
    memory_kib: int

    def __post_init__(self) -> None:
        """Raises `ValueError` for costs that a stored hash may not have either."""
        if not (1 <= self.passes <= MOST_PASSES and _LEAST_MEMORY_KIB <= self.memory_kib <= MOST_MEMORY_KIB):
            raise ValueError(f"between 1 and {MOST_PASSES} passes over 8 to {MOST_MEMORY_KIB} KiB")


INTERACTIVE = PasswordProfile(passes=2, memory_kib=64 * 1024)
"""libsodium's choice for sign-in; well above OWASP's minimum (2 passes over 19 MiB)."""


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """The answer to a password. `corrupt`: the stored hash is none of ours, an operator has to look.

    `needs_rehash`: right, and hashed at another cost than the present one, or as it was typed.
    """

    ok: bool
    needs_rehash: bool = False
    corrupt: bool = False


def new_password(password: str, *, min_length: int = SHORTEST) -> bytes:
    """The bytes to hash of a password that is to be set: at least `min_length` characters, at most 1024 bytes, no NUL.

    Raises `BadPassword`.
    """
    _usable(password)
    prepared = _prepared(password)
    if len(prepared) < min_length:
        raise BadPassword(f"a password has at least {min_length} characters")
    return prepared.encode()


class PasswordHasher:
    """Hashes and verifies passwords, `workers` at a time while at most `queue` wait. One more raises `Busy`.

    `account`, `address`: for whom and from where. Whatever comes of it, each has its turns: see `Turns`.
    """

    def __init__(
        self,
        profile: PasswordProfile = INTERACTIVE,
        *,
        workers: int = 2,
        queue: int = 32,
        min_length: int = SHORTEST,
    ) -> None:
        self._profile = profile
        self._min_length = min_length
        self._turns = Turns(workers, queue, why=_BUSY)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="argon2")
        self._dummy = _made_up(profile)

    async def hash(self, password: str, *, account: str = "", address: str = "") -> str:
        """The hash to store for a new password. Raises `BadPassword` before any work, `Busy`."""
        new = new_password(password, min_length=self._min_length)
        return await self._run((account, address), self._hash, new)

    async def rehash(self, password: str, *, account: str = "", address: str = "") -> str:
        """The hash to store for a password that was just verified: the rules for new ones are not asked. Raises `Busy`."""
        return await self._run((account, address), self._hash, _spellings(password)[0])

    async def verify(
        self, stored: str | None, password: str, *, account: str = "", address: str = ""
    ) -> PasswordCheck:
        """Whether this is the password. `stored` None (unknown or disabled user) is a no at the same cost.

        Raises `BadPassword` for what cannot be a password, `Busy`.
        """
        spellings = _spellings(password)
        cost = None if stored is None else _cost_of(stored)
        foreign = None if stored is None or cost is not None else _foreign(stored)
        if foreign is not None:
            right = await self._run((account, address), _is_foreign_match, foreign, self._dummy, spellings)
            return PasswordCheck(ok=right, needs_rehash=right)
        if stored is None or cost is None:
            await self._run((account, address), _first_match, self._dummy, spellings)
            return PasswordCheck(ok=False, corrupt=stored is not None)
        match = await self._run((account, address), _first_match, stored, spellings)
        outdated = match is not None and (match > 0 or cost != self._profile)
        return PasswordCheck(ok=match is not None, needs_rehash=outdated)

    def close(self) -> None:
        """Stop: hashes that wait are given up, those that run end."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _hash(self, password: bytes) -> str:
        return argon2id.str(
            password, opslimit=self._profile.passes, memlimit=self._profile.memory_kib * 1024
        ).decode("ascii")

    async def _run(self, whose: tuple[str, str], work: Callable[..., _Result], *arguments: Any) -> _Result:
        await self._turns.take(*whose)
        try:
            future = self._pool.submit(work, *arguments)
        except RuntimeError as error:
            self._turns.give_back()
            raise Busy(_BUSY, 1) from error  # closed: the service is on its way out
        loop = asyncio.get_running_loop()

        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._turns.give_back)

        # The turn ends when the work does, not when its caller goes away: a thread runs on.
        future.add_done_callback(ended)
        try:
            return await asyncio.wrap_future(future)
        except OutOfMemory as error:
            raise Busy(_BUSY, 1) from error


def _usable(password: str) -> bytes:
    if not isinstance(password, str):
        raise BadPassword("a password is text")
    if not password:
        raise BadPassword("the password is empty")
    if len(password) > LONGEST:
        raise BadPassword(f"a password has at most {LONGEST} bytes")
    try:
        encoded = password.encode()
    except UnicodeEncodeError as error:
        # The cause would show the password.
        raise BadPassword(f"the password is not valid Unicode (at character {error.start + 1})") from None
    if len(encoded) > LONGEST:
        raise BadPassword(f"a password has at most {LONGEST} bytes")
    if b"\0" in encoded:
        raise BadPassword("a password cannot hold a NUL character")
    return encoded


def _prepared(password: str) -> str:
    """The password in one spelling, whatever keyboard it was typed on: OpaqueString of RFC 8265, section 4.2.

    Spaces of other scripts become plain ones, then NFC. What is no Unicode text or too long is refused by `_usable`.
    """
    plain = "".join(" " if unicodedata.category(one) == "Zs" else one for one in password)
    return unicodedata.normalize("NFC", plain)


def _spellings(password: str) -> tuple[bytes, ...]:
    """What may have been hashed of this password: the prepared one, and what was typed if that is another.

    Hashes were once made of passwords as they were typed.
    """
    typed = _usable(password)
    prepared = _prepared(password).encode()
    return (prepared,) if prepared == typed else (prepared, typed)


def _cost_of(stored: str) -> PasswordProfile | None:
    """The cost of verifying this hash; None if it is none of ours or costs too much."""
    match = _STORED.fullmatch(stored)
    if match is None:
        return None
    try:
        return PasswordProfile(passes=int(match[2]), memory_kib=int(match[1]))
    except ValueError:
        return None


def imported_hash(text: str) -> str:
    """A hash that came with an account, as it is stored: one of others' is marked as that. Raises `UnusableHash`."""
    if _cost_of(text) is not None:
        return text
    read_foreign_hash(text)
    return f"{_IMPORTED}{text}"


def _foreign(stored: str) -> ForeignHash | None:
    """The hash of others, if this is one that was imported: a row of ours that was damaged is taken for none."""
    if not stored.startswith(_IMPORTED):
        return None
    try:
        return read_foreign_hash(stored.removeprefix(_IMPORTED))
    except UnusableHash:
        return None


def _is_foreign_match(stored: ForeignHash, made_up: str, spellings: tuple[bytes, ...]) -> bool:
    """Whether one of the spellings was hashed. A no costs what it does for an unknown user, and the foreign hash besides."""
    if any(stored.matches(one) for one in spellings):
        return True
    _first_match(made_up, spellings)
    return False


def _matches(stored: str, password: bytes) -> bool:
    try:
        return bool(argon2id.verify(stored.encode("ascii"), password))
    except InvalidkeyError:
        return False


def _first_match(stored: str, spellings: tuple[bytes, ...]) -> int | None:
    """The index of the spelling that was hashed. None costs as much for a made-up hash as for a user's."""
    return next((index for index, one in enumerate(spellings) if _matches(stored, one)), None)


def _made_up(profile: PasswordProfile) -> str:
    """A hash of a random password: to verify against it costs what the profile says."""
    salt, digest = (
        base64.b64encode(os.urandom(size)).decode("ascii").rstrip("=") for size in (argon2id.SALTBYTES, 32)
    )
    return f"$argon2id$v=19$m={profile.memory_kib},t={profile.passes},p=1${salt}${digest}"
