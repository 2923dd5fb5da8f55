"""Passwords: judged before any work, never a huge allocation, never more work than the pool holds."""

# ruff: noqa: ASYNC110  a test has its loop to itself and may block

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from nacl.exceptions import RuntimeError as NaClRuntimeError
from nacl.pwhash import argon2id

from caveats_service.core import passwords
from caveats_service.core.errors import BadPassword, Busy
from caveats_service.core.passwords import (
    INTERACTIVE,
    PasswordCheck,
    PasswordHasher,
    PasswordProfile,
    new_password,
)

TINY = PasswordProfile(passes=1, memory_kib=8)
SMALL = PasswordProfile(passes=2, memory_kib=16)
SLOW = PasswordProfile(passes=2, memory_kib=32 * 1024)
PASSWORD = "correct horse"


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    hasher = PasswordHasher(TINY)
    yield hasher
    hasher.close()


async def test_a_password_verifies_and_another_does_not(hasher: PasswordHasher) -> None:
    stored = await hasher.hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await hasher.verify(stored, PASSWORD) == PasswordCheck(ok=True)
    assert await hasher.verify(stored, PASSWORD + "x") == PasswordCheck(ok=False)
    assert await hasher.hash(PASSWORD) != stored


async def test_the_default_profile_is_no_weaker_than_owasp_asks() -> None:
    assert INTERACTIVE.passes >= 2
    assert INTERACTIVE.memory_kib >= 19 * 1024


@pytest.mark.parametrize(
    "password",
    [
        "",
        "x" * 1025,
        "é" * 513,
        "x" * 10_000_000,
        "long enough\0",
        "long enough\ud800",
        None,
        b"long enough",
        5,
    ],
    ids=["empty", "1025-bytes", "1026-bytes-utf8", "10-mb", "nul", "lone-surrogate", "none", "bytes", "int"],
)
async def test_what_is_no_password_is_refused_before_hashing(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch, password: object
) -> None:
    stored = await hasher.hash(PASSWORD)
    monkeypatch.setattr(argon2id, "str", None)
    monkeypatch.setattr(argon2id, "verify", None)
    for attempt in (hasher.hash, hasher.rehash):
        with pytest.raises(BadPassword) as refused:
            await attempt(password)  # type: ignore[arg-type]
        assert "long enough" not in str(refused.value)
        assert refused.value.__cause__ is None
    for known in (stored, None, "corrupt"):
        with pytest.raises(BadPassword):
            await hasher.verify(known, password)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "password", ["x" * 8, "x" * 1024, "é" * 512, "\u043f\u0430\u0440\u043e\u043b\u044c12", " " * 8, "🔑" * 8]
)
async def test_a_good_password_is_taken_as_it_is(hasher: PasswordHasher, password: str) -> None:
    assert (await hasher.verify(await hasher.hash(password), password)).ok
    assert new_password(password) == password.encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("caf\u00e9 caf\u00e9", "cafe\u0301 cafe\u0301", id="composed and not"),
        pytest.param("\uac00 password", "\u1100\u1161 password", id="Hangul"),
        pytest.param("two\u00a0words", "two words", id="a no-break space"),
        pytest.param("two\u3000words", "two words", id="an ideographic space"),
        pytest.param("\u212bngstr\u00f6m", "\u00c5ngstro\u0308m", id="a sign that is a letter"),
    ],
)
async def test_spellings_of_one_password_are_one_password(
    hasher: PasswordHasher, one: str, other: str
) -> None:
    """OpaqueString of RFC 8265."""
    assert await hasher.verify(await hasher.hash(one), other) == PasswordCheck(ok=True)
    assert await hasher.verify(await hasher.hash(other), one) == PasswordCheck(ok=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Password", "password", id="capitals"),
        pytest.param("password\uff11", "password1", id="full width"),
        pytest.param("pass\u00adword", "password", id="a soft hyphen"),
        pytest.param("pass word", "password", id="a space"),
        pytest.param("\ufb01rst one", "first one", id="a ligature"),
    ],
)
async def test_other_passwords_stay_others(hasher: PasswordHasher, one: str, other: str) -> None:
    assert not (await hasher.verify(await hasher.hash(one), other)).ok
    assert not (await hasher.verify(await hasher.hash(other), one)).ok


async def test_a_password_hashed_as_it_was_typed_verifies_and_is_to_be_hashed_anew(
    hasher: PasswordHasher,
) -> None:
    typed = "cafe\u0301 cafe\u0301"
    stored = hasher._hash(typed.encode())
    assert await hasher.verify(stored, typed) == PasswordCheck(ok=True, needs_rehash=True)
    assert await hasher.verify(await hasher.rehash(typed), typed) == PasswordCheck(ok=True)


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize(("typed", "computations"), [("wrong one", 1), ("wrong oe\u0301", 2)])
async def test_a_wrong_password_costs_the_same_for_a_known_user_and_an_unknown_one(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch, typed: str, computations: int, *, known: bool
) -> None:
    stored = await hasher.hash(PASSWORD) if known else None
    made: list[bytes] = []
    monkeypatch.setattr(passwords, "_matches", lambda _, password: bool(made.append(password)))
    assert await hasher.verify(stored, typed) == PasswordCheck(ok=False)
    assert len(made) == computations


async def test_the_length_of_a_password_is_counted_in_one_spelling() -> None:
    with pytest.raises(BadPassword, match="8"):
        new_password("cafe\u0301" + "e\u0301e\u0301")
    assert new_password("e\u0301" * 8) == ("\u00e9" * 8).encode()


async def test_a_short_password_cannot_be_set_but_an_old_one_still_verifies() -> None:
    hasher = PasswordHasher(TINY, min_length=12)
    stored = await hasher.rehash("short")
    assert (await hasher.verify(stored, "short")).ok
    with pytest.raises(BadPassword, match="12"):
        await hasher.hash("eleven char")
    with pytest.raises(BadPassword, match="8"):
        new_password("1234567")
    hasher.close()


async def test_an_unknown_user_is_refused_without_being_called_corrupt(hasher: PasswordHasher) -> None:
    assert await hasher.verify(None, PASSWORD) == PasswordCheck(ok=False)


@pytest.mark.slow
async def test_an_unknown_user_costs_as_much_time_as_a_known_one() -> None:
    hasher = PasswordHasher(SLOW, workers=1)
    stored = await hasher.hash(PASSWORD)

    async def cost(known: str | None) -> float:
        begun = time.perf_counter()
        await hasher.verify(known, "wrong one")
        return time.perf_counter() - begun

    times = [(await cost(stored), await cost(None), await cost("corrupt")) for _ in range(9)]
    known, unknown, corrupt = (min(column) for column in zip(*times, strict=True))  # undisturbed
    hasher.close()
    assert 0.5 < unknown / known < 2
    assert 0.5 < corrupt / known < 2


SALT, DIGEST = "c29tZXNhbHRzb21lc2FsdA", "A" * 43


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "x",
        "\0",
        "$argon2id$v=19$m=4294967295,t=4294967295,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=99999999,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=262145,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=8,t=999,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=8,t=17,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=7,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=8,t=0,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=08,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=+8,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=\u0668,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=64,t=1,p=4$" + SALT + "$" + DIGEST,
        "$argon2id$v=16$m=8,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2i$v=19$m=8,t=3,p=1$" + SALT + "$" + DIGEST,
        "$argon2d$v=19$m=8,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=8,t=1,p=1$" + SALT + "$" + DIGEST[:-1],
        "$argon2id$v=19$m=8,t=1,p=1$" + SALT + "$" + DIGEST + "A",
        "$argon2id$v=19$m=8,t=1,p=1$" + SALT[:-1] + "$" + DIGEST,
        "$argon2id$v=19$m=8,t=1,p=1$" + SALT + "$",
        "$argon2id$v=19$m=8,t=1,p=1$" + SALT,
        "$argon2id$v=19$m=8,t=1,p=1$" + SALT + "$" + DIGEST + "\n",
        " $argon2id$v=19$m=8,t=1,p=1$" + SALT + "$" + DIGEST,
        "$argon2id$v=19$m=8,t=1,p=1$" + SALT + "$" + "=" * 43,
        "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        PASSWORD,
        "x" * 100_000,
    ],
)
async def test_a_corrupt_hash_is_a_refusal_and_an_alert_before_argon2_sees_it(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    seen: list[bytes] = []

    def verify(hashed: bytes, password: bytes) -> bool:
        seen.append(hashed)
        return argon2id_verify(hashed, password)

    argon2id_verify = argon2id.verify
    monkeypatch.setattr(argon2id, "verify", verify)
    begun = time.perf_counter()
    assert await hasher.verify(stored, PASSWORD) == PasswordCheck(ok=False, corrupt=True)
    assert time.perf_counter() - begun < 0.5
    assert stored.encode() not in seen


async def test_a_well_formed_hash_of_something_else_is_only_a_refusal(hasher: PasswordHasher) -> None:
    stored = "$argon2id$v=19$m=8,t=1,p=1$" + SALT + "$" + DIGEST
    assert await hasher.verify(stored, PASSWORD) == PasswordCheck(ok=False)


async def test_another_cost_asks_for_a_rehash_only_if_the_password_is_right(hasher: PasswordHasher) -> None:
    other = PasswordHasher(SMALL)
    stored = await other.hash(PASSWORD)
    assert await hasher.verify(stored, PASSWORD) == PasswordCheck(ok=True, needs_rehash=True)
    assert await hasher.verify(stored, "wrong one") == PasswordCheck(ok=False)
    assert await other.verify(stored, PASSWORD) == PasswordCheck(ok=True)
    other.close()


@pytest.mark.parametrize(("passes", "memory_kib"), [(0, 8), (17, 8), (1, 7), (1, 262_145), (-1, -1)])
async def test_a_profile_that_could_not_be_verified_later_cannot_be_made(
    passes: int, memory_kib: int
) -> None:
    with pytest.raises(ValueError, match="passes over"):
        PasswordProfile(passes, memory_kib)


async def test_more_work_than_the_queue_holds_is_refused_at_once_and_then_taken_again() -> None:
    hasher = PasswordHasher(SLOW, workers=1, queue=2)
    answers = await asyncio.gather(
        *(hasher.verify(None, PASSWORD) for _ in range(10)), return_exceptions=True
    )
    busy = [answer for answer in answers if isinstance(answer, Busy)]
    assert len(busy) == 7
    assert busy[0].retry_after >= 1
    assert answers.count(PasswordCheck(ok=False)) == 3
    assert await hasher.verify(None, PASSWORD) == PasswordCheck(ok=False)
    hasher.close()


async def test_callers_who_go_away_give_their_room_back_when_their_work_ends() -> None:
    hasher = PasswordHasher(SLOW, workers=1, queue=1)
    for _ in range(5):
        tasks = [asyncio.create_task(hasher.verify(None, PASSWORD)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while hasher._turns._free != 1:
            await asyncio.sleep(0.005)
    assert await hasher.verify(None, PASSWORD) == PasswordCheck(ok=False)
    hasher.close()


async def test_hashing_does_not_hold_up_the_event_loop() -> None:
    hasher = PasswordHasher(SLOW, workers=1)
    work = asyncio.create_task(hasher.hash(PASSWORD))
    ticks = 0
    while not work.done():
        await asyncio.sleep(0.001)
        ticks += 1
    hasher.close()
    assert ticks >= 3


async def test_no_memory_for_a_hash_is_busy_not_broken(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_named: object) -> bytes:
        raise NaClRuntimeError

    monkeypatch.setattr(argon2id, "str", fail)
    with pytest.raises(Busy):
        await hasher.hash(PASSWORD)


async def test_a_closed_hasher_is_busy_not_broken(hasher: PasswordHasher) -> None:
    hasher.close()
    with pytest.raises(Busy):
        await hasher.verify(None, PASSWORD)
