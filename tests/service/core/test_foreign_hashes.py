"""Hashes that other software has made: verified in each of their forms, bounded in cost, never repeated in a message."""

from __future__ import annotations

import base64
import hashlib
import time

import bcrypt
import pytest

from caveats_service.core.foreign_hashes import UnusableHash, read_foreign_hash
from caveats_service.core.passwords import PasswordHasher, PasswordProfile, imported_hash

PASSWORD = "correct horse battery staple"
TINY = PasswordProfile(passes=1, memory_kib=8)
SALT = b"0123456789abcdef"


def ab64(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=").replace("+", ".")


def pbkdf2(name: str, rounds: int, password: str = PASSWORD) -> bytes:
    return hashlib.pbkdf2_hmac(name, password.encode(), SALT, rounds)


def of_bcrypt(password: bytes, prefix: str = "2b") -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).decode().replace("$2b$", f"${prefix}$")


HASHES = {
    # the example of argon2-cffi, with four lanes
    "argon2id": "$argon2id$v=19$m=65536,t=3,p=4$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg",
    "argon2id of Django": "argon2$argon2id$v=19$m=65536,t=3,p=4"
    "$MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg",
    "bcrypt 2b": of_bcrypt(PASSWORD.encode()),
    "bcrypt 2a": of_bcrypt(PASSWORD.encode(), "2a"),
    "bcrypt 2y": of_bcrypt(PASSWORD.encode(), "2y"),
    "bcrypt of Django": f"bcrypt${of_bcrypt(PASSWORD.encode())}",
    "bcrypt of SHA-256 of Django": "bcrypt_sha256$"
    + of_bcrypt(hashlib.sha256(PASSWORD.encode()).hexdigest().encode()),
    "pbkdf2 of Django": f"pbkdf2_sha256$1000${SALT.decode()}${base64.b64encode(pbkdf2('sha256', 1000)).decode()}",
    "pbkdf2 of an old Django": f"pbkdf2_sha1$1000${SALT.decode()}${base64.b64encode(pbkdf2('sha1', 1000)).decode()}",
    "pbkdf2 of passlib": f"$pbkdf2-sha256$1000${ab64(SALT)}${ab64(pbkdf2('sha256', 1000))}",
    "pbkdf2 of passlib with SHA-1": f"$pbkdf2$1000${ab64(SALT)}${ab64(pbkdf2('sha1', 1000))}",
    "pbkdf2 of passlib with SHA-512": f"$pbkdf2-sha512$1000${ab64(SALT)}${ab64(pbkdf2('sha512', 1000))}",
    "pbkdf2 of Werkzeug": f"pbkdf2:sha256:1000${SALT.decode()}${pbkdf2('sha256', 1000).hex()}",
    "pbkdf2 of Werkzeug with SHA-512": f"pbkdf2:sha512:1000${SALT.decode()}${pbkdf2('sha512', 1000).hex()}",
}


@pytest.mark.parametrize("stored", HASHES.values(), ids=HASHES)
async def test_the_password_is_found_right_another_wrong_and_the_hash_is_made_anew(stored: str) -> None:
    hasher = PasswordHasher(TINY)
    assert (await hasher.verify(stored, PASSWORD)).corrupt  # it was not imported: our own row is damaged
    stored = imported_hash(stored)
    try:
        right = await hasher.verify(stored, PASSWORD)
        assert (right.ok, right.needs_rehash, right.corrupt) == (True, True, False)
        wrong = await hasher.verify(stored, PASSWORD.upper())
        assert (wrong.ok, wrong.needs_rehash, wrong.corrupt) == (False, False, False)
    finally:
        hasher.close()


def test_the_reference_programs_argon2i_is_verified() -> None:
    stored = read_foreign_hash("$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG")
    assert stored.matches(b"password")
    assert not stored.matches(b"passwort")


def test_what_the_neighbours_write_is_read() -> None:
    """By their own code, not as we believe that they write it."""
    from django.conf import settings
    from django.contrib.auth import hashers
    from werkzeug.security import generate_password_hash

    if not settings.configured:
        settings.configure()
    for hasher in (hashers.PBKDF2PasswordHasher(), hashers.PBKDF2SHA1PasswordHasher()):
        assert read_foreign_hash(hasher.encode(PASSWORD, "saltsalt", 1000)).matches(PASSWORD.encode())
    for hasher in (hashers.BCryptPasswordHasher(), hashers.BCryptSHA256PasswordHasher()):
        encoded = hasher.encode(PASSWORD, bcrypt.gensalt(4))
        assert read_foreign_hash(encoded).matches(PASSWORD.encode())
    for method in ("pbkdf2:sha256:1000", "pbkdf2:sha1:1000", "pbkdf2:sha512:1000"):
        encoded = generate_password_hash(PASSWORD, method)
        assert read_foreign_hash(encoded).matches(PASSWORD.encode())


def test_bcrypt_reads_72_bytes_as_it_did_when_the_hash_was_made() -> None:
    stored = read_foreign_hash(of_bcrypt(b"x" * 72))
    assert stored.matches(b"x" * 100)
    assert not stored.matches(b"x" * 71)


def argon2(
    memory: int = 65536, passes: int = 3, lanes: int = 4, variant: str = "id", version: str = "v=19$"
) -> str:
    tail = "MIIRqgvgQbgj220jfp0MPA$YfwJSVjtjSU0zzV/P3S9nnQ/USre2wvJMjfCIjrTQbg"
    return f"$argon2{variant}${version}m={memory},t={passes},p={lanes}${tail}"


SALTED = of_bcrypt(b"x")[7:]
DIGEST = base64.b64encode(bytes(32)).decode()
HOSTILE = {
    "argon2 gigabytes": argon2(memory=4 * 1024 * 1024),
    "argon2 all the memory there is": argon2(memory=4294967295),
    "argon2 passes": argon2(passes=4294967295),
    "argon2 memory and passes": argon2(memory=256 * 1024, passes=16),
    "argon2 lanes": argon2(lanes=16777215),
    "argon2 less than its lanes need": argon2(memory=8),
    "argon2 no passes": argon2(passes=0),
    "argon2d": argon2(variant="d"),
    "argon2 of version 16": argon2(version=""),
    "argon2 longer than can be": argon2()[:-43] + "A" * 86,
    "bcrypt minutes": f"$2b$31${SALTED}",
    "bcrypt a bit too much": f"$2b$15${SALTED}",
    "bcrypt nothing": f"$2b$00${SALTED}",
    "bcrypt that hashed wrongly": f"$2x$10${SALTED}",
    "bcrypt cut off": of_bcrypt(b"x")[:-1],
    "bcrypt of a salt with spare bits": f"$2b$10${SALTED[:21]}a{SALTED[22:]}",
    "bcrypt of Django minutes": f"bcrypt$$2b$31${SALTED}",
    "django rounds": f"pbkdf2_sha256$9999999999$salt${DIGEST}",
    "django no rounds": f"pbkdf2_sha256$0$salt${DIGEST}",
    "django cut off": f"pbkdf2_sha256$1000$salt${DIGEST[:10]}",
    "django empty": "pbkdf2_sha256$1000$salt$",
    "django one byte, which many passwords match": "pbkdf2_sha256$1000$salt$AA==",
    "django longer than its function": f"pbkdf2_sha256$1000$salt${base64.b64encode(bytes(3200)).decode()}",
    "django md5": f"pbkdf2_md5$1000$salt${DIGEST}",
    "passlib rounds": f"$pbkdf2-sha256$3000000$c2FsdA${DIGEST.rstrip('=')}",
    "werkzeug rounds": f"pbkdf2:sha256:999999999$salt${'00' * 32}",
    "werkzeug without rounds": f"pbkdf2:sha256$salt${'00' * 32}",
    "werkzeug odd": f"pbkdf2:sha256:1000$salt${'00' * 31}0",
    "scrypt": "scrypt:32768:8:1$salt$00",
    "md5": "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
    "no usable password of Django": "!abcdefghijklmnop",
    "the password itself": "hunter22hunter22",
    "beyond ascii": "pbkdf2_sha256$\u0661000$salt$" + DIGEST,
    "a line end": argon2() + "\n",
    "very long": "$2b$10$" + "a" * 100_000,
    "nothing": "",
}


@pytest.mark.parametrize("stored", HOSTILE.values(), ids=HOSTILE)
def test_what_costs_too_much_or_is_none_is_refused_at_once_and_not_repeated(stored: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UnusableHash) as refusal:
        read_foreign_hash(stored)
    assert time.monotonic() - begun < 0.5
    for part in filter(lambda part: len(part) > 8, stored.split("$")):
        assert part not in str(refusal.value)


def test_a_hash_is_in_no_repr() -> None:
    for stored in HASHES.values():
        assert stored[-12:] not in repr(read_foreign_hash(stored))
