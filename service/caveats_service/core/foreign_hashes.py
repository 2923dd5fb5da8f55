"""Password hashes that other software has made, as they come with imported accounts. Each is replaced at the first sign-in.

Knows their written forms and what it costs to verify one; makes none. The costs stand in the hash itself, and whoever wrote it
may mean harm: they are bounded here, before anything is computed. A hash of an unknown form, or one that would take more
than some seconds or 256 MiB, is refused. No message repeats a hash.

Argon2 in the PHC string format (RFC 9106), as argon2-cffi, PHP and Django write it. bcrypt as all its libraries write it, and
in Django's two forms. PBKDF2 (RFC 8018) as Django, passlib and Werkzeug write it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from nacl import pwhash
from nacl.exceptions import InvalidkeyError

from caveats_service.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_MEMORY_KIB = 256 * 1024
MOST_PASSES = 16
_MOST_LANES = 16
_MOST_ARGON2_KIB = 2 * 1024 * 1024
"""Memory times passes: three seconds of one core."""
_MOST_ROUNDS = 2_000_000
"""Of PBKDF2: three seconds of one core, six with SHA-512."""
_MOST_BCRYPT_COST = 14
"""Four seconds of one core, and twice as long for each one more."""
_BCRYPT_READS = 72
"""Bytes of a password that bcrypt hashes. Its libraries used to pass over the rest; the present one refuses it."""
_LONGEST_ARGON2 = 127
"""Characters that libsodium takes."""
_LONGEST = 512

_ARGON2 = re.compile(
    r"(?:argon2)?\$argon2(?P<variant>id|i|d)\$(?:v=(?P<version>[0-9]{1,3})\$)?"
    r"m=(?P<memory>[0-9]{1,10}),t=(?P<passes>[0-9]{1,10}),p=(?P<lanes>[0-9]{1,8})"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<digest>[A-Za-z0-9+/]{22,86})"
)
_BCRYPT = re.compile(
    r"(?P<django>bcrypt\$|bcrypt_sha256\$)?"
    r"(?P<hash>\$2(?P<revision>[abxy])\$(?P<cost>[0-9]{2})\$"
    r"[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26])"
)
"""The last character of salt and digest has no spare bits set: with one, no password would match."""
_PBKDF2_DJANGO = re.compile(
    r"pbkdf2_(?P<name>sha1|sha256)\$(?P<rounds>[0-9]{1,10})\$(?P<salt>[^$]{1,128})\$(?P<digest>[A-Za-z0-9+/]+={0,2})"
)
_PBKDF2_PASSLIB = re.compile(
    r"\$pbkdf2(?:-(?P<name>sha1|sha256|sha512))?\$(?P<rounds>[0-9]{1,10})"
    r"\$(?P<salt>[A-Za-z0-9./]{1,256})\$(?P<digest>[A-Za-z0-9./]+)"
)
_PBKDF2_WERKZEUG = re.compile(
    r"pbkdf2:(?P<name>sha1|sha224|sha256|sha384|sha512):(?P<rounds>[0-9]{1,10})"
    r"\$(?P<salt>[^$]{1,128})\$(?P<digest>(?:[0-9a-f]{2})+)"
)


class UnusableHash(InvalidRequest):
    """Not a hash that can be verified here. The message says why and never repeats it."""


@dataclass(frozen=True, slots=True)
class ForeignHash:
    """A hash that can be verified. `form`: what it is, for people."""

    form: str
    _matches: Callable[[bytes], bool] = field(repr=False)

    def matches(self, password: bytes) -> bool:
        """Whether this is the password. Takes up to some seconds."""
        return self._matches(password)


def read_foreign_hash(text: str) -> ForeignHash:
    """The hash in `text`. Raises `UnusableHash` for an unknown form, and for one that costs too much to verify."""
    if len(text) <= _LONGEST and text.isascii():
        for form, read in _FORMS:
            found = form.fullmatch(text)
            if found is not None:
                return read(found)
    raise UnusableHash(
        "not a password hash that is known here: argon2id or argon2i (PHC), bcrypt, PBKDF2 (Django, passlib, Werkzeug)"
    )


def _argon2(found: re.Match[str]) -> ForeignHash:
    if found["variant"] == "d" or found["version"] != "19":
        raise UnusableHash("of argon2, argon2id and argon2i of version 19 (0x13) are known here")
    memory, passes, lanes = (int(found[name]) for name in ("memory", "passes", "lanes"))
    if not 1 <= lanes <= _MOST_LANES or not 8 * lanes <= memory or passes < 1:
        raise UnusableHash(f"argon2 has 1 to {_MOST_LANES} lanes, 8 KiB or more for each, and 1 pass or more")
    if memory > MOST_MEMORY_KIB or passes > MOST_PASSES or memory * passes > _MOST_ARGON2_KIB:
        raise UnusableHash(
            f"this costs too much to verify: at most {MOST_PASSES} passes over at most {MOST_MEMORY_KIB} KiB, and "
            f"{_MOST_ARGON2_KIB} KiB in all passes together"
        )
    phc = found[0].removeprefix("argon2").encode("ascii")
    if len(phc) > _LONGEST_ARGON2:
        raise UnusableHash(f"an argon2 hash has at most {_LONGEST_ARGON2} characters here")
    return ForeignHash(f"argon2{found['variant']}", partial(_argon2_matches, phc))


def _argon2_matches(phc: bytes, password: bytes) -> bool:
    try:
        return bool(pwhash.verify(phc, password))
    except InvalidkeyError:
        return False


def _bcrypt(found: re.Match[str]) -> ForeignHash:
    if found["revision"] == "x":
        raise UnusableHash("$2x$ is of a bcrypt that hashed wrongly: $2a$, $2b$ and $2y$ are known here")
    if not 4 <= int(found["cost"]) <= _MOST_BCRYPT_COST:
        raise UnusableHash(
            f"the cost of bcrypt is 4 to {_MOST_BCRYPT_COST} here: more takes too long to verify"
        )
    hashed_before = found["django"] == "bcrypt_sha256$"
    return ForeignHash("bcrypt", partial(_bcrypt_matches, found["hash"].encode("ascii"), hashed_before))


def _bcrypt_matches(stored: bytes, hashed_before: bool, password: bytes) -> bool:
    import bcrypt  # noqa: PLC0415  # a native library that only imported accounts need

    if hashed_before:
        password = hashlib.sha256(password).hexdigest().encode("ascii")
    return bcrypt.checkpw(password[:_BCRYPT_READS], stored)


def _pbkdf2(found: re.Match[str], salt: bytes, digest: bytes) -> ForeignHash:
    name, rounds = found["name"] or "sha1", int(found["rounds"])
    if not 1 <= rounds <= _MOST_ROUNDS:
        raise UnusableHash(f"PBKDF2 has 1 to {_MOST_ROUNDS} rounds here: more takes too long to verify")
    if len(digest) != hashlib.new(name).digest_size:
        raise UnusableHash("the hash was cut off, or is of another length than its function's")
    return ForeignHash(f"pbkdf2-{name}", partial(_pbkdf2_matches, name, salt, rounds, digest))


def _pbkdf2_matches(name: str, salt: bytes, rounds: int, digest: bytes, password: bytes) -> bool:
    return hmac.compare_digest(hashlib.pbkdf2_hmac(name, password, salt, rounds), digest)


def _pbkdf2_django(found: re.Match[str]) -> ForeignHash:
    return _pbkdf2(found, found["salt"].encode(), _base64(found["digest"]))


def _pbkdf2_passlib(found: re.Match[str]) -> ForeignHash:
    salt, digest = (_base64(found[part].replace(".", "+")) for part in ("salt", "digest"))
    return _pbkdf2(found, salt, digest)


def _pbkdf2_werkzeug(found: re.Match[str]) -> ForeignHash:
    return _pbkdf2(found, found["salt"].encode(), bytes.fromhex(found["digest"]))


def _base64(text: str) -> bytes:
    unpadded = text.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except binascii.Error:
        raise UnusableHash("the hash was cut off: its base64 is not whole") from None


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], ForeignHash]], ...] = (
    (_ARGON2, _argon2),
    (_BCRYPT, _bcrypt),
    (_PBKDF2_DJANGO, _pbkdf2_django),
    (_PBKDF2_PASSLIB, _pbkdf2_passlib),
    (_PBKDF2_WERKZEUG, _pbkdf2_werkzeug),
)
