"""Clocks that are set back or ahead, and lives that change: what was issued dies when it must, whatever the clock says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from caveats.keys import open_bundle
from caveats.token import decode_base64
from caveats_service.core.clock import utc_now
from tests.support.local import wait_until, world_in
from tests.support.service import (
    ADMIN_PASSWORD,
    Clock,
    Service,
    User,
    basic,
    bearer,
    cli,
    execute,
    narrow,
    new_user,
    serving,
)

ADMIN = basic("admin", ADMIN_PASSWORD)
DAY = timedelta(days=1)


def live(http: httpx.Client, token: str) -> bool:
    answer = http.get("/v1/authorize", headers=bearer(token))
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


def ended(answer: httpx.Response) -> None:
    assert answer.is_success, answer.text


ENDS: dict[str, Callable[[httpx.Client, User], object]] = {
    "password change": lambda http, user: ended(
        http.put(
            f"/v1/users/{user.username}/password",
            json={"new_password": "another one"},
            headers=basic(user.username, user.password),
        )
    ),
    "disabling": lambda http, user: ended(http.post(f"/v1/users/{user.username}/disable", headers=ADMIN)),
    "revoke all": lambda http, user: ended(
        http.post("/v1/revocations", json={"user": user.username}, headers=ADMIN)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("back", [timedelta(seconds=3), 400 * DAY], ids=str)
@pytest.mark.parametrize("restarted", [False, True], ids=["in one run", "after a restart"])
def test_what_was_issued_by_a_later_clock_dies_with_all_that_the_user_has(
    database: dict[str, Any], tmp_path: Path, clock: Clock, back: timedelta, *, restarted: bool
) -> None:
    """The clock was set back since; what is issued afterwards lives."""
    with serving(tmp_path, now=clock, **database) as service:
        users = [new_user(service) for _ in ENDS]
        tokens = [[user.token()] for user in users]
        clock.forward(seconds=0.7)  # within the second in which nothing is written down again
        for user, theirs in zip(users, tokens, strict=True):
            theirs.append(user.token())
        if not restarted:
            clock.at -= back
            _all_end(service, users, tokens)
    if restarted:
        clock.at -= back
        with serving(tmp_path, now=clock, **database) as service:
            _all_end(service, users, tokens)


def _all_end(service: Service, users: list[User], tokens: list[list[str]]) -> None:
    with service.client() as http:
        for user, theirs, end in zip(users, tokens, ENDS.values(), strict=True):
            user.service = service
            assert all(live(http, token) for token in theirs)
            end(http, user)
            assert not any(live(http, token) for token in theirs)
            ended(http.post(f"/v1/users/{user.username}/enable", headers=ADMIN))
            password = {"new_password": user.password}
            ended(http.put(f"/v1/users/{user.username}/password", json=password, headers=ADMIN))
            assert live(http, user.token())


def test_the_command_line_ends_what_was_issued_by_a_later_clock(tmp_path: Path, clock: Clock) -> None:
    clock.at = datetime.now(clock.at.tzinfo) + timedelta(hours=1)  # the command has the machine's
    with serving(tmp_path, now=clock) as service, service.client() as http:
        user = new_user(service)
        token = user.token()
        clock.forward(hours=-1)
        cli(tmp_path, "users", "passwd", user.username, "--password-stdin", stdin="another one\n")
        service.run(service.runtime.feed.follow())
        assert not live(http, token)


@pytest.mark.slow
def test_ending_all_again_and_again_moves_no_time_ahead(timed: Service, clock: Clock) -> None:
    """Else somebody could make what others revoke reach ever further into the future."""
    with timed.client() as http:
        user, other = new_user(timed), new_user(timed)
        for _ in range(20):
            user.token()
            ENDS["revoke all"](http, user)
        answer = http.post("/v1/revocations", json={"user": other.username}, headers=ADMIN)
        record = timed.run(timed.runtime.store.users.get(other.username))
        assert answer.is_success
        assert record is not None
        assert record.revoked_up_to is not None
        assert record.revoked_up_to - clock() < timedelta(seconds=3)


@pytest.mark.parametrize("back", [timedelta(hours=30), 100 * DAY, 4000 * DAY], ids=str)
def test_a_revocation_by_id_is_kept_for_the_whole_life_also_where_the_clock_was_set_back(
    timed: Service, clock: Clock, back: timedelta
) -> None:
    user = new_user(timed)
    issued_at = clock()
    token_id = user.issue()["token_id"]
    clock.at -= back
    with timed.client(headers=ADMIN) as http:
        answer = http.post("/v1/revocations", json={"token_id": token_id})
    assert datetime.fromisoformat(answer.json()["expires_at"]) >= issued_at + timed.settings.longest_life


LONG: dict[str, Any] = {"max_lifetime": 80 * DAY, "max_total_life": 90 * DAY}
SHORT: dict[str, Any] = {"max_lifetime": DAY, "max_total_life": 2 * DAY, "session_max_life": 2 * DAY}


@pytest.mark.slow
@pytest.mark.parametrize("by", ["token", "copy", "password change"])
def test_a_revocation_is_kept_for_as_long_as_the_settings_of_then_gave(
    database: dict[str, Any], tmp_path: Path, clock: Clock, by: str
) -> None:
    """The lives in the settings are shorter by now, and were in between something else."""
    with serving(tmp_path, now=clock, **database, **LONG) as service:
        user = new_user(service)
        issued = user.issue(expires_in="80d")
    clock.forward(days=1)
    middle = {**SHORT, "max_lifetime": 3 * DAY, "max_total_life": 3 * DAY}
    with serving(tmp_path, now=clock, **database, **middle) as service:
        user.service = service
        user.token()
    clock.forward(days=5)
    with serving(tmp_path, now=clock, **database, **SHORT) as service, service.client() as http:
        user.service = service
        user.token()
        if by == "token":
            body = {"token_id": issued["token_id"]}
            ended(http.post("/v1/revocations", json=body, headers=ADMIN))
        elif by == "copy":
            asked = http.post("/v1/verify", json={"token": issued["token"]}).json()
            body = {"token_id": issued["token_id"], "branch_id": asked["branches"][-1]}
            ended(http.post("/v1/revocations", json=body, headers=ADMIN))
        else:
            ENDS[by](http, user)
        assert not live(http, issued["token"])
        clock.forward(days=70)
        service.run(service.runtime.store.revocations.prune(now=clock(), actor="x"))
        service.call(lambda: service.runtime.feed.revocation_set.prune(clock()))
        assert not live(http, issued["token"])
    with serving(tmp_path, now=clock, **database, **SHORT) as service, service.client() as http:
        assert not live(http, issued["token"])
        clock.forward(days=20)
        service.run(service.runtime.store.revocations.prune(now=clock(), actor="x"))
        left = service.run(service.runtime.store.revocations.page(0)).records
        assert left == ()


def test_a_key_is_kept_for_as_long_as_its_tokens_live_also_where_lives_are_shorter_by_now(
    tmp_path: Path, clock: Clock
) -> None:
    with serving(tmp_path, now=clock, **LONG) as service:
        user = new_user(service)
        token = user.token(expires_in="80d")
    with serving(tmp_path, now=clock, **SHORT) as service, service.client() as http:
        ended(http.post("/v1/keys/rotate", json={"now": True}, headers=ADMIN))
        clock.forward(days=79)
        service.run(service.runtime.master_keys.tend())
        assert live(http, token)
        clock.forward(days=12)
        service.run(service.runtime.master_keys.tend())
        assert {row.key_id: row.state.value for row in service.runtime.master_keys.rows}["k1"] == "retired"


def test_issuing_is_written_down_once_a_second_however_many_ask(timed: Service, clock: Clock) -> None:
    store = timed.runtime.store
    written: list[datetime] = []
    note = store.instance.note_issue

    async def counted(life: timedelta, at: datetime) -> None:
        written.append(at)
        await note(life, at)

    store.instance.note_issue = counted  # type: ignore[method-assign]
    user = new_user(timed)
    for _ in range(3):
        for _ in range(4):
            user.token()
        clock.forward(seconds=0.6)
    assert len(written) == 2


# A clock that is ahead for a while, from the start


def _states(service: Service) -> dict[str, str]:
    service.run(service.runtime.master_keys.refresh())
    return {row.key_id: row.state.value for row in service.runtime.master_keys.rows}


def _tend(service: Service, machine: _Machine, seconds: float) -> None:
    """As the background does it while so many seconds pass."""
    for _ in range(int(seconds // 2)):
        machine.pass_time(2)
        service.run(service.runtime._tend())


class _Machine:
    """A wall clock that is off, and a clock that only runs."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.0

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.clock.forward(seconds=seconds)

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.slow
@pytest.mark.parametrize("days", [100, 40_000])
@pytest.mark.parametrize("seconds", [4, 1300])
def test_a_start_before_the_network_has_told_the_time_destroys_no_key_and_forgets_no_revocation(
    tmp_path: Path, clock: Clock, days: int, seconds: int
) -> None:
    with serving(tmp_path, now=clock) as service, service.client() as http:
        user = new_user(service)
        token, revoked = user.token(), user.token(note="ci")
        ended(http.post("/v1/revocations", json={"presented": True}, headers=bearer(revoked)))
        ended(http.post("/v1/keys/rotate", json={"now": True}, headers=ADMIN))
    clock.forward(days=days)
    machine = _Machine(clock)
    with serving(tmp_path, now=clock, monotonic=machine) as service, service.client() as http:
        user.service = service
        user.token()  # which the database takes note of
        service.runtime._prune_at = 0.0
        for _ in range(2):
            _tend(service, machine, 4)
            machine.pass_time(seconds / 2)
            service.run(service.runtime._tend())
        assert _states(service) == {"k1": "verifying", "k2": "active"}
        expires = f"expires = {clock() - timedelta(days=days - 1):%Y-%m-%dT%H:%M:%SZ}"
        copy = narrow(token, expires)
        answer = http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy))
        assert answer.json()["already"] is None
        clock.forward(days=-days)
        service.run(service.runtime._tend())
        assert live(http, token)
        assert not live(http, revoked)
        assert not live(http, copy)
        assert len(service.run(service.runtime.store.revocations.page(0)).records) == 2
        labels = http.get("/v1/tokens", headers=basic(user.username, user.password)).json()["tokens"]
        assert [label["note"] for label in labels] == ["ci"]


@pytest.mark.parametrize("after", [0, 1300])
def test_a_node_whose_clock_is_ahead_writes_again_all_that_the_database_has_lost(
    tmp_path: Path, clock: Clock, after: int
) -> None:
    """By its clock, what was revoked has expired. `after`: seconds from the start until the clock is set."""
    machine = _Machine(clock)
    with serving(tmp_path, now=clock, monotonic=machine) as service, service.client() as http:
        user = new_user(service)
        token, runtime = user.token(), service.runtime
        ended(http.post("/v1/revocations", json={"presented": True}, headers=bearer(token)))
        machine.pass_time(after)
        clock.forward(days=100)
        execute(tmp_path, "DELETE FROM revocations")
        service.run(runtime.store.revocations.bump_epoch(now=clock(), actor="test"))
        service.run(runtime.feed.load())
        assert len(service.run(runtime.store.revocations.page(0)).records) == 1
        clock.forward(days=-100)
        assert not live(http, token)


@pytest.mark.slow
@pytest.mark.parametrize("first", [False, True], ids=["a later start", "the first start"])
def test_a_clock_that_is_ahead_for_three_seconds_blocks_no_rotation(
    tmp_path: Path, clock: Clock, *, first: bool
) -> None:
    """Neither one by hand, begun with the wrong clock or the right one, nor the next one by age."""
    if not first:
        with serving(tmp_path, now=clock):
            pass
    clock.forward(days=100)
    machine = _Machine(clock)
    given: dict[str, Any] = {"now": clock, "monotonic": machine}
    with serving(tmp_path, **given) as service, service.client(headers=ADMIN) as http:
        ended(http.post("/v1/keys/rotate"))
        _tend(service, machine, 4)
        clock.forward(days=-100)
        ended(http.post("/v1/keys/rotate"))
        _tend(service, machine, 60)
        assert _states(service) == {"k1": "verifying", "k2": "active"}
        machine.pass_time(31 * 86400)
        _tend(service, machine, 4)
        assert _states(service)["k3"] == "published"
        _tend(service, machine, 60)
        assert _states(service)["k3"] == "active"


def test_a_key_that_has_waited_long_enough_before_a_restart_is_activated(
    tmp_path: Path, clock: Clock
) -> None:
    with serving(tmp_path, now=clock) as service, service.client(headers=ADMIN) as http:
        ended(http.post("/v1/keys/rotate"))
    clock.forward(minutes=2)
    with serving(tmp_path, now=clock) as service:
        service.run(service.runtime.master_keys.tend())
        assert _states(service) == {"k1": "verifying", "k2": "active"}


# What a node tells verifiers has one time, that of the database


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("off", [timedelta(seconds=120), timedelta(hours=-1), 100 * DAY], ids=str)
def test_pages_and_boxes_of_a_node_whose_clock_is_wrong_have_the_databases_time(
    database: dict[str, Any], tmp_path: Path, off: timedelta
) -> None:
    """Else a verifier takes what other nodes say afterwards, or this one with its clock right again, for old news."""
    with world_in(tmp_path, now=lambda: utc_now() + off, **database) as world:
        own = world.register()
        box = decode_base64(world.admin("GET", f"/v1/verifiers/{own.verifier_id}/keys")["box"])
        bundle = open_bundle(
            box,
            own.private_key,
            own.service_public_key,
            verifier_id=own.verifier_id,
            audience=own.audience,
            now=utc_now(),
        )
        feed = world.service.runtime.feed
        began = utc_now()
        world.revoke(world.token())
        wait_until(lambda: feed.head is not None and feed.head.upto == 1)
        assert feed.head is not None
        for told in (datetime.fromtimestamp(bundle.serial / 1000, UTC), bundle.not_after - DAY, feed.head.at):
            assert abs(told - began) < timedelta(seconds=30)
        world.service.run(feed.load())
        assert abs(feed.head.at - utc_now()) < timedelta(seconds=30)
