"""What happens to an account: who may, what is written with it, and what dies with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from caveats import MalformedCaveat, UserRevocation
from caveats_service.core.accounts import ADMIN, OPERATOR, Accounts, Actor, Anonymous
from caveats_service.core.errors import (
    BadName,
    BadPassword,
    Forbidden,
    InvalidCredentials,
    NotFound,
    RateLimited,
    RegistrationClosed,
)
from caveats_service.core.passwords import PasswordHasher, PasswordProfile
from caveats_service.core.rate_limit import RateLimiter
from caveats_service.core.revoking import Revoker
from caveats_service.settings import Settings
from caveats_service.storage import (
    TOLERATED_SKEW,
    RevocationRecord,
    Store,
    StoreUnavailable,
    UnknownUser,
    UserExists,
)
from tests.support.store import new_sqlite_file

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALICE, BOB, ROOT = Actor("alice"), Actor("bob"), Actor("root", administers=True)
OLD, NEW = "correct horse", "battery staple"
Change = Callable[[Accounts, Actor], Awaitable[object]]

CHANGES: dict[str, Change] = {
    "set_password": lambda accounts, actor: accounts.set_password("alice", NEW, actor=actor),
    "revoke_all": lambda accounts, actor: accounts.revoke_all("alice", actor=actor),
    "disable": lambda accounts, actor: accounts.disable("alice", actor=actor),
    "delete": lambda accounts, actor: accounts.delete("alice", actor=actor),
    "enable": lambda accounts, actor: accounts.enable("alice", actor=actor),
    "set_admin": lambda accounts, actor: accounts.set_admin("alice", is_admin=True, actor=actor),
    "register": lambda accounts, actor: accounts.register("carol", OLD, actor=actor),
}
ACTIONS = {
    "set_password": {"user.set_password", "revocation.user"},
    "revoke_all": {"revocation.user"},
    "disable": {"user.disable", "revocation.user"},
    "delete": {"user.delete", "revocation.user"},
    "enable": {"user.enable"},
    "set_admin": {"user.set_admin"},
    "register": {"user.create"},
}
OWN = ("set_password", "revoke_all")
"""What users may do to their own accounts."""


class House:
    """A store with the accounts alice and bob, and the parts above it."""

    def __init__(self, store: Store, now: Callable[[], datetime] = lambda: NOW, **given: object) -> None:
        settings = Settings.load(
            **{"login_limit_account": "3/minute", "register_limit_address": "1/minute", **given}
        )
        self.store = store
        self.passwords = PasswordHasher(PasswordProfile(1, 8), workers=1)
        self.revoker = Revoker(store, RateLimiter(settings), settings, now=now)
        limiter = RateLimiter(settings)
        self.accounts = Accounts(store, self.passwords, self.revoker, limiter, settings, now=now)

    async def audited(self) -> list[tuple[str, str, str]]:
        """Actor, action and subject of each entry, the oldest first."""
        found = await self.store.audit.list(limit=1000)
        return [(entry.actor, entry.action, entry.subject) for entry in reversed(found)]


def _up_to(record: RevocationRecord) -> datetime:
    assert isinstance(record.entry, UserRevocation)
    return record.entry.issued_up_to


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    new_sqlite_file(tmp_path / "caveats.db")
    store = Store(f"sqlite:///{tmp_path / 'caveats.db'}")
    yield store
    await store.close()


@pytest_asyncio.fixture
async def house(store: Store) -> House:
    house = House(store, open_registration=True)
    for name in ("alice", "bob"):
        await house.accounts.register(name, OLD, actor=OPERATOR)
    return house


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_by_one_who_may_not_is_refused_and_leaves_no_trace(house: House, change: str) -> None:
    before = await house.audited(), await house.store.users.get("alice")
    with pytest.raises(Forbidden):
        await CHANGES[change](house.accounts, BOB)
    assert (await house.audited(), await house.store.users.get("alice")) == before


@pytest.mark.parametrize("change", CHANGES)
async def test_users_act_on_their_own_account_and_administrators_on_any(house: House, change: str) -> None:
    await CHANGES[change](house.accounts, ROOT)
    if change in OWN:
        await CHANGES[change](house.accounts, ALICE)
    else:
        with pytest.raises(Forbidden):
            await CHANGES[change](house.accounts, ALICE)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_written_down_with_its_actor(house: House, change: str) -> None:
    before = len(await house.audited())
    await CHANGES[change](house.accounts, ROOT)
    entries = (await house.audited())[before:]
    assert {action for _, action, _ in entries} == ACTIONS[change]
    assert {actor for actor, _, _ in entries} == {"root"}


@pytest.mark.parametrize("change", ["set_password", "revoke_all", "disable"])
async def test_a_revocation_that_came_late_is_written_a_second_time(
    house: House, store: Store, change: str
) -> None:
    late = NOW + timedelta(seconds=5)
    times = iter([NOW])
    slow = House(store, now=lambda: next(times, late))
    await CHANGES[change](slow.accounts, ROOT)
    page = await store.revocations.page(0)
    assert [_up_to(record) for record in page.records] == [
        NOW + 2 * TOLERATED_SKEW,
        late + 2 * TOLERATED_SKEW,
    ]
    assert page.records[0].reason == page.records[1].reason


async def test_whoever_has_an_account_registers_nobody_else_but_anybody_may_register_where_that_is_open(
    house: House,
) -> None:
    user = await house.accounts.register("carol", OLD, actor=Anonymous("192.0.2.1"))
    assert not user.is_admin
    assert (await house.audited())[-1] == ("carol", "user.create", "carol")
    with pytest.raises(RateLimited) as refused:
        await house.accounts.register("dave", OLD, actor=Anonymous("192.0.2.1"))
    assert refused.value.retry_after >= 1
    with pytest.raises(Forbidden, match="administrator"):
        await house.accounts.register("dave", OLD, actor=Anonymous("192.0.2.2"), is_admin=True)
    await house.accounts.register("dave", OLD, actor=Anonymous("192.0.2.2"))


async def test_where_registration_is_closed_only_administrators_add_accounts(store: Store) -> None:
    house = House(store, open_registration=False)
    with pytest.raises(RegistrationClosed):
        await house.accounts.register("carol", OLD, actor=Anonymous("192.0.2.1"))
    admin = await house.accounts.register("carol", OLD, actor=ROOT, is_admin=True, scope="photos:read")
    assert (admin.is_admin, admin.scope) == (True, "photos:read")


@pytest.mark.parametrize(
    ("name", "password", "scope", "refusal"),
    [
        ("ali ce", OLD, "*", BadName),
        ("Alice", OLD, "*", UserExists),
        ("carol", "short", "*", BadPassword),
        ("carol", OLD, "no scope", MalformedCaveat),
        ("alice", OLD, "*", UserExists),
    ],
)
async def test_an_account_that_cannot_be_is_not_made(
    house: House, name: str, password: str, scope: str, refusal: type[Exception]
) -> None:
    before = await house.audited()
    with pytest.raises(refusal):
        await house.accounts.register(name, password, actor=ROOT, scope=scope)
    assert await house.audited() == before


@pytest.mark.parametrize("change", ["disable", "enable", "set_admin", "set_password"])
async def test_nothing_happens_to_an_account_that_is_not_there(store: Store, change: str) -> None:
    with pytest.raises(UnknownUser):
        await CHANGES[change](House(store).accounts, ROOT)


async def test_all_of_an_unknown_user_is_revoked_by_nobody_else(store: Store) -> None:
    with pytest.raises(NotFound):
        await House(store).accounts.revoke_all("alice", actor=ROOT)


async def test_a_sign_in_gives_the_user_and_wrong_ones_are_told_nothing_and_counted(house: House) -> None:
    assert (await house.accounts.sign_in("alice", OLD, address="192.0.2.1")).username == "alice"
    for name, password in [("alice", NEW), ("nobody", OLD), ("alice", NEW), ("alice", NEW)]:
        with pytest.raises(InvalidCredentials) as refused:
            await house.accounts.sign_in(name, password, address="192.0.2.1")
        assert str(refused.value) == ""
    with pytest.raises(RateLimited):
        await house.accounts.sign_in("alice", OLD, address="192.0.2.1")
    assert (await house.accounts.sign_in("alice", OLD, address="192.0.2.2")).username == "alice"


NFC, NFD = "pa\u00dfw\u00f6rter", "pa\u00dfwo\u0308rter"


async def test_capitals_name_the_same_person_in_every_operation(house: House) -> None:
    """As telephones type them. The name is stored, shown and written into the audit in lower case."""
    user = await house.accounts.register("O'Brien@Example.com", OLD, actor=Anonymous("192.0.2.1"))
    assert user.username == "o'brien@example.com"
    assert (await house.audited())[-1][0::2] == ("o'brien@example.com", "o'brien@example.com")
    for typed in ("o'brien@example.com", "O'BRIEN@example.com"):
        assert (await house.accounts.sign_in(typed, OLD, address="192.0.2.1")).username == user.username
    await house.accounts.set_password("Alice", NEW, actor=ALICE)
    assert (await house.accounts.sign_in("ALICE", NEW, address="192.0.2.1")).username == "alice"
    assert (await house.accounts.disable("ALICE", actor=ROOT)).username == "alice"
    assert (await house.accounts.enable("aLICE", actor=ROOT)).username == "alice"
    assert (await house.accounts.set_admin("Alice", is_admin=True, actor=ROOT)).username == "alice"
    record = await house.accounts.revoke_all("Alice", actor=ALICE)
    assert isinstance(record.entry, UserRevocation)
    assert record.entry.user == "alice"


async def test_capitals_buy_no_more_guesses(house: House) -> None:
    for typed in ("alice", "Alice", "ALICE"):
        with pytest.raises(InvalidCredentials):
            await house.accounts.sign_in(typed, NEW, address="192.0.2.1")
    with pytest.raises(RateLimited):
        await house.accounts.sign_in("aLiCe", OLD, address="192.0.2.1")


@pytest.mark.parametrize(("set_as", "typed"), [(NFC, NFD), (NFD, NFC), (NFD, NFD), (NFC, NFC)])
async def test_the_same_password_from_another_keyboard_signs_in(
    house: House, set_as: str, typed: str
) -> None:
    await house.accounts.set_password("alice", set_as, actor=ALICE)
    assert (await house.accounts.sign_in("alice", typed, address="192.0.2.1")).username == "alice"


async def test_a_password_that_was_hashed_as_typed_is_hashed_anew_at_the_sign_in(house: House) -> None:
    """After which every keyboard will do."""
    as_typed = house.passwords._hash(NFD.encode())
    alice = await house.store.users.get("alice")
    assert alice is not None
    await house.store.users.replace_hash("alice", alice.password_hash, as_typed, now=NOW, actor="alice")
    with pytest.raises(InvalidCredentials):
        await house.accounts.sign_in("alice", NFC, address="192.0.2.1")
    for typed in (NFD, NFC):
        assert (await house.accounts.sign_in("alice", typed, address="192.0.2.1")).username == "alice"


async def test_two_spellings_of_a_guess_are_one_guess(house: House) -> None:
    for name in ("alice", "alice", "alice"):
        with pytest.raises(InvalidCredentials):
            await house.accounts.sign_in(name, f"{NFD}x", address="192.0.2.1")
    with pytest.raises(RateLimited):
        await house.accounts.sign_in("alice", OLD, address="192.0.2.1")


async def test_nobody_signs_in_to_a_disabled_account(house: House) -> None:
    await house.accounts.disable("alice", actor=ROOT)
    with pytest.raises(InvalidCredentials):
        await house.accounts.sign_in("alice", OLD, address="192.0.2.1")
    await house.accounts.enable("alice", actor=ROOT)
    assert (await house.accounts.sign_in("alice", OLD, address="192.0.2.1")).is_enabled


async def test_the_first_administrator_is_made_once(store: Store) -> None:
    house = House(store)
    first = await house.accounts.add_first_admin(None)
    assert first is not None
    assert first.username == ADMIN
    assert first.password is not None
    assert first.password not in repr(first)
    assert (await house.accounts.sign_in(ADMIN, first.password, address="192.0.2.1")).is_admin
    assert await house.accounts.add_first_admin(OLD) is None
    assert (await house.audited())[0] == ("service", "user.create", ADMIN)


async def test_a_chosen_password_of_the_first_administrator_is_not_handed_back(store: Store) -> None:
    house = House(store)
    first = await house.accounts.add_first_admin(OLD)
    assert first is not None
    assert first.password is None
    assert (await house.accounts.sign_in(ADMIN, OLD, address="192.0.2.1")).username == ADMIN


@pytest.mark.parametrize("username", ["alice", "nobody-here", "a\0\x1b[31m" + "x" * 100])
async def test_a_failed_sign_in_says_in_log_and_audit_who_and_from_where_and_grows_neither(
    store: Store, username: str
) -> None:
    """The same for a user who is known and one who is not. A throttled one is told of as well."""
    house = House(store, login_limit_address="1000/minute")
    with capture_logs() as logged:
        for _ in range(40):
            with pytest.raises((InvalidCredentials, RateLimited)):
                await house.accounts.sign_in(username, "wrong", address="192.0.2.1")
    told = [entry for entry in await store.audit.list(limit=1000) if entry.actor == "(nobody)"]
    assert [entry.action for entry in reversed(told)] == ["user.sign_in_failed"] * 3 + [
        "user.sign_in_throttled"
    ] * 7
    assert {entry.detail["address"] for entry in told} == {"192.0.2.1"}
    (subject,) = {entry.subject for entry in told}
    assert subject.isprintable()
    assert subject.startswith(username[0])
    assert [line["event"] for line in logged] == ["sign_in_failed"] * 3 + ["sign_in_throttled"] * 7
    assert all(line["user"] == subject and line["address"] == "192.0.2.1" for line in logged)
    assert "wrong" not in repr(logged) + repr(told)


@pytest.mark.parametrize("token", ["cav1_" + "Ab9_" * 60, "AgEF" * 40])
async def test_a_token_in_the_place_of_the_username_is_in_no_log_and_no_audit(
    store: Store, token: str
) -> None:
    house = House(store)
    with capture_logs() as logged, pytest.raises(InvalidCredentials):
        await house.accounts.sign_in(token, "x-oauth-basic", address="192.0.2.1")
    told = [entry for entry in await store.audit.list(limit=1000) if entry.actor == "(nobody)"]
    assert len(told) == len(logged) == 1
    assert token[5:40] not in repr(logged) + repr(told)


@pytest.mark.slow
async def test_the_rows_of_failed_sign_ins_are_bounded_for_all_addresses_together(store: Store) -> None:
    house = House(store)
    for n in range(205):
        with pytest.raises(InvalidCredentials):
            await house.accounts.sign_in(f"user{n}", "wrong", address=f"192.0.2.{n}")
    told = [entry for entry in await store.audit.list(limit=1000) if entry.actor == "(nobody)"]
    assert len(told) == 200


async def test_a_failed_sign_in_is_answered_also_when_it_cannot_be_audited(store: Store) -> None:
    house = House(store)

    async def fails(**_: object) -> None:
        raise StoreUnavailable("full")

    store.audit.add = fails  # type: ignore[method-assign, assignment]
    with pytest.raises(InvalidCredentials):
        await house.accounts.sign_in("alice", "wrong", address="192.0.2.1")


@pytest.mark.parametrize("name", ["operator", "service", "system", "nobody", "anonymous", "Operator"])
async def test_nobody_is_called_what_the_audit_calls_itself(store: Store, name: str) -> None:
    house = House(store, open_registration=True)
    for actor in (OPERATOR, ROOT, Anonymous("192.0.2.1")):
        with pytest.raises(BadName, match="the audit"):
            await house.accounts.register(name, OLD, actor=actor)
    assert await house.audited() == []


async def test_an_older_account_with_a_name_of_the_audits_own_is_told_apart(store: Store) -> None:
    house = House(store)
    for name in ("operator", "carol"):
        await store.users.create(name, "hash", now=NOW, actor="root", is_admin=True)
    await house.accounts.disable("carol", actor=OPERATOR)
    await house.accounts.enable("carol", actor=Actor("operator", administers=True))
    await house.accounts.set_password("operator", NEW, actor=Actor("operator"))
    actors = {action: actor for actor, action, _ in await house.audited()}
    assert actors["user.disable"] == "operator"
    assert actors["user.enable"] == actors["user.set_password"] == "user operator"
