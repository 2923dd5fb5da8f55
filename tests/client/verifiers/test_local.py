"""Local verifiers against the real service, over real sockets that are cut, silenced and lied through."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from caveats import (
    BadSignature,
    Grant,
    Identifier,
    Macaroon,
    MalformedToken,
    Parent,
    PrivateKey,
    Revoked,
    Scope,
    Stale,
    UnknownKey,
    UnsatisfiedCaveats,
    User,
    WrongAudience,
    new_token_id,
)
from caveats.http import IncomingRequest, Problem
from caveats.revocation import Page, page_text, seal_text
from caveats_client import files
from caveats_client.api.errors import UnusableAddress
from caveats_client.guards.guard import Guard
from caveats_client.verifiers.local import AsyncLocalVerifier, Health, LocalVerifier, Status
from caveats_client.verifiers.registration import RegistrationError
from caveats_service.storage.engines.backup import backup_database, restore_database
from tests.support.local import (
    Cable,
    Clock,
    Mirror,
    World,
    bearer,
    context,
    is_stale,
    now,
    options,
    outcome,
    wait_until,
    world_in,
)

pytestmark = pytest.mark.slow

BOUND = 30.0
"""Seconds that a verifier goes on without hearing of revocations, unless it is told otherwise."""
Making = Callable[..., LocalVerifier]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("aiosqlite", "alembic", "httpx2", "httpcore2", "uvicorn"):
        caplog.set_level(logging.WARNING, logger=name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service that many tests share: they revoke their own tokens and rotate no keys."""
    with world_in(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[World]:
    """A service of a test's own."""
    with world_in(tmp_path / "service") as running:
        yield running


@pytest.fixture
def cable(world: World) -> Iterator[Cable]:
    made = Cable(world.service.port)
    yield made
    made.close()


@pytest.fixture
def short_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is given up sooner, and yet not between two heartbeats, which come every 2 s."""
    monkeypatch.setattr("caveats_client.verifiers.feed_client.SILENCE", 2.5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def making() -> Iterator[Making]:
    """Verifiers that are closed in the end."""
    with ExitStack() as open_ones:

        def make(world: World, **given: Any) -> LocalVerifier:
            registration = given.pop("registration", None) or world.register()
            verifier = LocalVerifier(**options(registration, **given))
            open_ones.callback(verifier.close)
            return verifier

        yield make


# What it is for


def test_it_verifies_as_the_library_does(world: World, making: Making) -> None:
    verifier = making(world)
    text = world.token(scope="photos:*")
    grant = verifier.verify(text, context())
    assert isinstance(grant, Grant)
    assert (grant.user, grant.audience, grant.scopes) == ("admin", "photos", ("photos:*",))
    assert verifier.authenticate(text).macaroon == Macaroon.decode(text)
    assert verifier.failures(text, context()) == ()
    narrow = Macaroon.decode(text).attenuate(Scope("photos/7:read"))
    with pytest.raises(UnsatisfiedCaveats, match="photos/7"):
        verifier.verify(narrow, context())
    assert [failure.kind for failure in verifier.failures(narrow, context())] == ["scope"]


def test_without_a_context_it_is_now_and_nothing_else_is_known(world: World, making: Making) -> None:
    text = world.token(scope="*")
    assert making(world).verify(text).user == "admin"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        pytest.param(lambda text: text[:-1], MalformedToken, id="cut off"),
        pytest.param(lambda text: "", MalformedToken, id="empty"),
        pytest.param(
            lambda text: (
                Macaroon.decode(text).attenuate(b"note = x").encode()[:0]
                + Macaroon(Macaroon.decode(text).wire._replace(signature=bytes(32))).encode()
            ),
            BadSignature,
            id="another signature",
        ),
        pytest.param(
            lambda text: Macaroon.mint(b"k" * 32, b"whatever").encode(), UnknownKey, id="another issuer's"
        ),
    ],
)
def test_what_is_not_authentic_is_refused_as_the_library_does(
    spoil: Callable[[str], str], error: type[Exception], world: World, making: Making
) -> None:
    with pytest.raises(error):
        making(world).verify(spoil(world.token()), context())


def test_another_audiences_token_is_refused(world: World, making: Making) -> None:
    with pytest.raises(WrongAudience):
        making(world).verify(world.token(audience="thumbs"), context())


def test_a_revocation_is_seen_within_a_second(world: World, making: Making) -> None:
    verifier = making(world)
    verifier.start()
    for _ in range(10):
        text = world.token()
        assert verifier.verify(text, context()).user == "admin"
        world.revoke(text)
        assert (
            wait_until(lambda text=text: outcome(lambda: verifier.verify(text, context())) == "Revoked") < 1
        )


def test_a_copy_is_revoked_and_the_original_lives(world: World, making: Making) -> None:
    verifier = making(world)
    text = world.token()
    narrow = Macaroon.decode(text).attenuate(Scope("photos/42:read")).encode()
    verifier.verify(narrow, context())
    world.revoke(narrow)
    wait_until(lambda: outcome(lambda: verifier.verify(narrow, context())) == "Revoked", 1)
    assert verifier.verify(text, context())


def test_what_was_revoked_before_it_started_is_known_when_it_is_ready(world: World, making: Making) -> None:
    text = world.token()
    world.revoke(text)
    with pytest.raises(Revoked):
        making(world).verify(text, context())


def test_status_says_how_things_stand(world: World, making: Making) -> None:
    verifier = making(world)
    before = verifier.status()
    assert (before.ready, before.health, before.fresh_at) == (False, Health.STARTING, None)
    verifier.start()
    status = verifier.status()
    assert status.ready
    assert status.health is Health.FRESH
    assert status.key_ids == ("k1",)
    assert status.staleness is not None
    assert status.staleness < timedelta(seconds=5)
    assert status.keys_until is not None
    assert status.keys_until > now() + timedelta(hours=23)
    assert status.problem == ""
    assert "fresh" in repr(verifier)


def test_after_closing_it_refuses(world: World, making: Making) -> None:
    verifier = making(world)
    text = world.token()
    with verifier:
        verifier.verify(text, context())
    with pytest.raises(Stale, match="closed"):
        verifier.verify(text, context())
    verifier.close()


def test_many_threads_may_begin_at_once(world: World, making: Making) -> None:
    verifier = making(world)
    text = world.token()
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(outcome(lambda: verifier.verify(text, context()))))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Grant"] * 20
    assert len([one for one in threading.enumerate() if one.name == "caveats-verifier"]) == 1


# Starting


def test_nobody_there_is_said_in_time_and_tried_on(world: World, cable: Cable, making: Making) -> None:
    cable.cut()
    registration = world.register()
    verifier = making(world, registration=registration, url=cable.url, start_timeout=0.5)
    text = world.token()
    began = time.monotonic()
    with pytest.raises(Stale, match=r"not ready within 0.5 s: .*cannot reach"):
        verifier.verify(text, context())
    assert time.monotonic() - began < 2
    began = time.monotonic()
    with pytest.raises(Stale, match="no keys yet"):
        verifier.verify(text, context())
    assert time.monotonic() - began < 0.1
    cable.mend()
    wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Grant", 8)


def test_a_service_that_is_not_the_pinned_one_is_not_believed(world: World, making: Making) -> None:
    verifier = making(world, service_public_key=PrivateKey.generate().public_key, start_timeout=0.5)
    with pytest.raises(Stale, match="pinned service did not make"):
        verifier.start()


def test_a_verifier_that_nobody_registered_is_told_so(world: World, making: Making) -> None:
    verifier = making(world, verifier_id=new_token_id(now()), start_timeout=0.5)
    with pytest.raises(Stale, match="does not know this verifier"):
        verifier.start()


def test_plain_http_elsewhere_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UnusableAddress):
        LocalVerifier(
            "http://auth.example",
            audience="photos",
            verifier_id=new_token_id(now()),
            private_key=PrivateKey.generate(),
            service_public_key=PrivateKey.generate().public_key,
        )


def test_from_the_file_that_registering_filled_in(world: World, tmp_path: Path) -> None:
    registration = world.register()
    registration.save(tmp_path / "photos.verifier")
    with LocalVerifier.from_file(tmp_path / "photos.verifier") as verifier:
        assert verifier.audience == "photos"
        assert verifier.verify(world.token(), context())
    bare = tmp_path / "bare.verifier"
    type(registration).generate().save(bare)
    with pytest.raises(RegistrationError, match="not registered"):
        LocalVerifier.from_file(bare)


# The feed is cut


def test_a_cut_feed_fails_closed_at_its_bound_and_recovers_unaided(
    world: World, cable: Cable, making: Making, clock: Clock
) -> None:
    seen: list[Health] = []
    verifier = making(
        world, url=cable.url, monotonic=clock, on_change=lambda status: seen.append(status.health)
    )
    text, gone = world.token(), world.token()
    verifier.verify(text, context())
    verifier.verify(gone, context())
    cable.cut()
    cut_at = clock()
    world.revoke(gone)
    clock.pass_time(BOUND / 2)
    assert verifier.verify(text, context())
    clock.pass_time(max(0.0, cut_at + BOUND - clock()))
    assert is_stale(lambda: verifier.verify(text, context()))
    assert is_stale(lambda: verifier.verify(gone, context()))
    status = verifier.status()
    assert not status.ready
    wait_until(lambda: "cannot reach" in verifier.status().problem)
    wait_until(lambda: seen[-1:] == [Health.STALE])
    cable.mend()
    wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Grant", 8)
    with pytest.raises(Revoked):
        verifier.verify(gone, context())
    wait_until(lambda: seen[-1:] == [Health.FRESH])


@pytest.mark.usefixtures("short_silence")
def test_a_silent_cut_is_noticed_and_verification_never_waits(
    world: World, cable: Cable, making: Making, clock: Clock
) -> None:
    verifier = making(world, url=cable.url, monotonic=clock)
    text = world.token()
    verifier.verify(text, context())
    accepted = cable.accepted
    cable.go_silent()
    slowest = 0.0
    silent_at = time.monotonic()
    while time.monotonic() - silent_at < 1:
        clock.pass_time(BOUND / 50)
        began = time.monotonic()
        outcome(lambda: verifier.verify(text, context()))
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.005)
    clock.pass_time(BOUND)
    assert is_stale(lambda: verifier.verify(text, context()))
    assert slowest < 0.2
    wait_until(lambda: cable.accepted > accepted, 8)  # it gave the dead connection up, and asks anew
    cable.mend()
    wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Grant", 10)


def test_the_availability_mode_goes_on_and_says_so(
    world: World, cable: Cable, making: Making, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Status] = []
    verifier = making(world, url=cable.url, monotonic=clock, on_stale="accept", on_change=told.append)
    text = world.token()
    verifier.verify(text, context())
    cable.cut()
    clock.pass_time(BOUND)
    wait_until(lambda: any(status.health is Health.ACCEPTING for status in told), 8)
    assert verifier.verify(text, context())
    assert verifier.status().ready
    assert "without knowing what was revoked" in caplog.text
    cable.mend()
    wait_until(lambda: told[-1].health is Health.FRESH, 8)


def test_where_streams_are_refused_it_polls(world: World, making: Making) -> None:
    mirror = Mirror()
    mirror.refuse = lambda request: (
        httpx.Response(406) if request.headers.get("accept") == "text/event-stream" else None
    )
    verifier = making(world, transport=mirror)
    text = world.token()
    verifier.verify(text, context())
    wait_until(lambda: "poll" in mirror.ways)
    world.revoke(text)
    assert wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Revoked") < 1
    time.sleep(0.5)
    assert verifier.status().ready
    assert mirror.ways.count("poll") < 10


def test_where_streams_are_held_back_it_polls(
    world: World, making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caveats_client.verifiers.feed_client.SILENCE", 0.5)

    async def nothing() -> Any:
        await asyncio.sleep(3600)
        yield b""

    mirror = Mirror()
    mirror.refuse = lambda request: (
        httpx.Response(200, content=nothing(), headers={"content-type": "text/event-stream"})
        if request.headers.get("accept") == "text/event-stream"
        else None
    )
    verifier = making(world, transport=mirror)
    text = world.token()
    verifier.verify(text, context())
    wait_until(lambda: "poll" in mirror.ways)
    world.revoke(text)
    assert wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Revoked") < 2


# The service changes


def test_a_restarted_service_is_found_again(tmp_path: Path, making: Making) -> None:
    with ExitStack() as first:
        world = first.enter_context(world_in(tmp_path))
        cable = Cable(world.service.port)
        verifier = making(world, url=cable.url)
        text, gone = world.token(), world.token()
        world.revoke(gone)
        wait_until(lambda: outcome(lambda: verifier.verify(gone, context())) == "Revoked")
    assert verifier.verify(text, context())
    with world_in(tmp_path) as world:
        cable.target = world.service.port
        new = world.token()
        verifier.verify(new, context())
        world.revoke(new)
        wait_until(lambda: outcome(lambda: verifier.verify(new, context())) == "Revoked", 8)
        assert verifier.verify(text, context())
        assert outcome(lambda: verifier.verify(gone, context())) == "Revoked"
    cable.close()


def test_after_a_restored_backup_it_knows_what_the_service_knows(tmp_path: Path, making: Making) -> None:
    database = tmp_path / "data" / "caveats.db"
    with ExitStack() as first:
        world = first.enter_context(world_in(tmp_path))
        cable = Cable(world.service.port)
        verifier = making(world, url=cable.url)
        kept, lost, live = world.token(), world.token(), world.token()
        world.revoke(kept)
        wait_until(lambda: outcome(lambda: verifier.verify(kept, context())) == "Revoked")
        backup_database(database, tmp_path / "backup")
        world.revoke(lost)
        wait_until(lambda: outcome(lambda: verifier.verify(lost, context())) == "Revoked")
        epoch = verifier.status().epoch
    restore_database(tmp_path / "backup", database, now=now(), actor="test", force=True)
    with world_in(tmp_path) as world:
        cable.target = world.service.port
        wait_until(lambda: verifier.status().epoch > epoch, 8)
        wait_until(lambda: outcome(lambda: verifier.verify(lost, context())) == "Grant", 8)
        assert outcome(lambda: verifier.verify(kept, context())) == "Revoked"
        world.revoke(live)
        wait_until(lambda: outcome(lambda: verifier.verify(live, context())) == "Revoked", 8)
    cable.close()


def test_a_key_that_was_made_just_now_verifies_at_once(own: World, making: Making) -> None:
    verifier = making(own)
    old = own.token()
    verifier.verify(old, context())
    own.admin("POST", "/v1/keys/rotate", {"now": True})
    new = own.token()
    assert Macaroon.decode(new).unverified_identifier.key_id == "k2"  # type: ignore[union-attr]
    assert verifier.verify(new, context())
    assert verifier.verify(old, context())
    own.revoke(new)  # the feed is sealed with the new key from now on
    wait_until(lambda: outcome(lambda: verifier.verify(new, context())) == "Revoked", 2)


def test_a_key_retired_by_force_is_dead_within_five_seconds(own: World, making: Making) -> None:
    verifier = making(own)
    old = own.token()
    verifier.verify(old, context())
    own.admin("POST", "/v1/keys/rotate", {"now": True})
    new = own.token()
    child = own.http.post("/v1/tokens", json={"scope": "*"}, headers=bearer(old)).json()["token"]
    assert verifier.verify(child, context())
    own.admin("POST", "/v1/keys/k1/retire", {"force": True})
    assert wait_until(lambda: outcome(lambda: verifier.verify(old, context())) == "UnknownKey") < 5
    assert outcome(lambda: verifier.verify(child, context())) == "Revoked"
    assert verifier.verify(new, context())
    assert verifier.status().key_ids == ("k2",)


def test_fifty_that_meet_an_unknown_key_share_one_fetch(own: World, making: Making, clock: Clock) -> None:
    mirror = Mirror()
    verifier = making(own, transport=mirror, monotonic=clock)
    verifier.verify(own.token(), context())
    clock.pass_time(1.1)
    # No page tells of the key before the tokens do.
    mirror.lie = lambda request, body: body if request.url.path.endswith("/keys") else b""
    own.admin("POST", "/v1/keys/rotate", {"now": True})
    tokens = [own.token() for _ in range(50)]
    asked = mirror.keys_asked
    answers: list[str] = []
    together = threading.Barrier(50)

    def verify(text: str) -> None:
        together.wait()
        answers.append(outcome(lambda: verifier.verify(text, context())))

    threads = [threading.Thread(target=verify, args=(text,)) for text in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Grant"] * 50
    assert mirror.keys_asked == asked + 1


def _under(key_id: str) -> str:
    identifier = Identifier(key_id, "photos", new_token_id(now()), 1)
    return Macaroon.mint(b"k" * 32, identifier, caveats=(User("alice"),)).encode()


def test_a_parents_key_that_is_not_here_yet_is_fetched_as_the_tokens_own_is(
    own: World, making: Making, clock: Clock
) -> None:
    mirror = Mirror()
    verifier = making(own, transport=mirror, monotonic=clock)
    verifier.verify(own.token(), context())
    clock.pass_time(1.1)
    mirror.lie = lambda request, body: body if request.url.path.endswith("/keys") else b""
    own.admin("POST", "/v1/keys/rotate", {"now": True})
    caveats = (User("alice"), Scope("*"), Parent("k2", new_token_id(now()), ()))
    identifier = Identifier("k1", "photos", new_token_id(now()), len(caveats))
    root_key = own.service.runtime.master_keys.keyring.root_key(identifier)
    assert verifier.verify(Macaroon.mint(root_key, identifier, caveats=caveats), context())


def test_a_key_that_nobody_has_is_asked_for_once_a_second(world: World, making: Making, clock: Clock) -> None:
    mirror = Mirror()
    verifier = making(world, transport=mirror, monotonic=clock)
    verifier.start()
    clock.pass_time(1.1)
    asked = mirror.keys_asked
    for number in range(20):
        with pytest.raises(UnknownKey):
            verifier.verify(_under(f"k{number + 100}"), context())
    assert mirror.keys_asked <= asked + 3
    clock.pass_time(1.1)
    asked = mirror.keys_asked
    for _ in range(20):
        with pytest.raises(UnknownKey):
            verifier.verify(_under("k99"), context())
    assert mirror.keys_asked == asked + 1


def test_an_unknown_key_waits_a_second_at_most_where_nobody_answers(
    world: World, cable: Cable, making: Making, clock: Clock
) -> None:
    verifier = making(world, url=cable.url, monotonic=clock)
    known = world.token()
    verifier.verify(known, context())
    clock.pass_time(1.1)
    cable.go_silent()
    began = time.monotonic()
    with pytest.raises(Stale, match="cannot be asked"):
        verifier.verify(_under("k99"), context())
    assert time.monotonic() - began < 1.5
    began = time.monotonic()
    assert verifier.verify(known, context())
    assert time.monotonic() - began < 0.1


def test_tokens_under_keys_that_there_are_not_take_up_no_threads_while_nobody_answers(
    world: World, cable: Cable, making: Making
) -> None:
    verifier = making(world, url=cable.url)
    known = world.token()
    verifier.verify(known, context())
    cable.go_silent()
    numbers = itertools.count(100)

    async def waits() -> float:
        guard, stopped = Guard(verifier, audience="photos"), False

        async def judge(text: str) -> None:
            headers = [(b"authorization", b"Bearer " + text.encode())]
            await guard.judge_async(IncomingRequest("GET", "/", b"", headers, None), ["photos:read"])

        async def stranger() -> None:
            while not stopped:
                with contextlib.suppress(Problem):
                    await judge(_under(f"k{next(numbers)}"))
                await asyncio.sleep(0.01)

        strangers = [
            asyncio.create_task(stranger()) for _ in range(200)
        ]  # many more than a guard has threads
        await asyncio.sleep(1.5)
        waited = []
        for _ in range(3):
            began = time.monotonic()
            await judge(known)
            waited.append(time.monotonic() - began)
        stopped = True
        await asyncio.gather(*strangers)
        return min(waited)

    assert asyncio.run(waits()) < 2  # each waited for those before it, 5 s and more


def test_a_verifier_that_was_revoked_gets_no_more_keys_and_says_so(own: World, making: Making) -> None:
    registration = own.register()
    verifier = making(own, registration=registration)
    text = own.token()
    verifier.verify(text, context())
    own.admin("DELETE", f"/v1/verifiers/{registration.verifier_id}")
    own.admin("POST", "/v1/keys/rotate", {"now": True})
    assert outcome(lambda: verifier.verify(own.token(), context())) == "Stale"
    assert "does not know this verifier" in verifier.status().problem


# A hostile mirror


def _flip(_: httpx.Request, line: bytes) -> bytes:
    return line[:-2] + bytes([line[-2] ^ 1]) + line[-1:]


def _replay(mirror: Mirror) -> Callable[[httpx.Request, bytes], bytes]:
    """Repeat for ever what the verifier heard first, before anything was revoked."""
    first = mirror.pages[0]
    return lambda request, line: line if request.url.path.endswith("/keys") else first


@pytest.mark.usefixtures("short_silence")
@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda _: _flip, id="tampered"),
        pytest.param(_replay, id="replayed"),
        pytest.param(lambda _: lambda _, line: b"", id="withheld"),
        pytest.param(lambda _: lambda _, line: b"k1 00 {}", id="invented"),
        pytest.param(lambda _: lambda _, line: b"x" * 100_000, id="flooded"),
    ],
)
def test_a_lying_mirror_makes_it_refuse_and_never_believe(
    lie: Callable[[Mirror], Callable[[httpx.Request, bytes], bytes]],
    world: World,
    cable: Cable,
    making: Making,
    clock: Clock,
) -> None:
    mirror = Mirror()
    verifier = making(world, url=cable.url, transport=mirror, monotonic=clock)
    text, gone = world.token(), world.token()
    verifier.verify(text, context())
    asked = len(mirror.ways)
    mirror.lie = lie(mirror)
    cable.drop()  # so that everything is asked for anew
    world.revoke(gone)
    wait_until(lambda: len(mirror.ways) > asked)
    clock.pass_time(BOUND)
    wait_until(lambda: is_stale(lambda: verifier.verify(text, context())), 3)
    stale_at = time.monotonic()
    while time.monotonic() - stale_at < 1:
        assert is_stale(lambda: verifier.verify(gone, context()))
        time.sleep(0.05)
    mirror.lie = None
    wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Grant", 12)
    assert outcome(lambda: verifier.verify(gone, context())) == "Revoked"


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"epoch": 2**53}, id="an epoch far ahead"),
        pytest.param({"keys": ("k999999",)}, id="a key far ahead"),
        pytest.param({"upto": 2**50, "last": 2**50}, id="a position far ahead"),
    ],
)
def test_a_stolen_key_with_the_mirror_does_not_outlive_the_key(
    forged: dict[str, Any], own: World, making: Making, tmp_path: Path
) -> None:
    """Forged pages are all that the app hears, until the mirror is replaced; its state folder stays."""
    stolen = own.service.runtime.master_keys.keyring.export("photos").keys[0]

    def lie(request: httpx.Request, body: bytes) -> bytes:
        if request.url.path.endswith("/keys") or not body:
            return body
        page = Page(1, 0, 0, 0, now(), ("k1",))
        return seal_text(page_text(replace(page, **forged)), stolen).encode() + b"\n"

    given = {"registration": own.register(), "state_dir": tmp_path / "state"}
    mirror = Mirror()
    verifier = making(own, transport=mirror, **given)
    old = own.token()
    verifier.verify(old, context())
    mirror.lie = lie
    own.admin("POST", "/v1/keys/rotate", {"now": True})
    new, gone = own.token(), own.token()
    own.admin("POST", "/v1/keys/k1/retire", {"force": True})
    own.revoke(gone)
    wait_until(lambda: outcome(lambda: verifier.verify(old, context())) in ("UnknownKey", "Stale"), 15)
    assert outcome(lambda: verifier.verify(old, context())) in ("UnknownKey", "Stale")
    verifier.close()
    again = making(own, **given)
    wait_until(lambda: outcome(lambda: again.verify(new, context())) == "Grant", 15)
    wait_until(lambda: outcome(lambda: again.verify(gone, context())) == "Revoked", 15)  # all is read anew
    assert outcome(lambda: again.verify(old, context())) == "UnknownKey"
    assert again.status().epoch == 1


@pytest.mark.usefixtures("short_silence")
def test_a_stream_that_goes_on_about_long_ago_is_given_up(world: World, making: Making) -> None:
    page: list[bytes] = []

    def repeat(request: httpx.Request, body: bytes) -> bytes:
        if request.headers.get("accept") != "text/event-stream":
            return body
        page.append(body)
        return b"\n".join(page[:1] * 3)

    mirror = Mirror(repeat)
    verifier = making(world, transport=mirror)
    verifier.start()
    wait_until(lambda: mirror.ways.count("stream") > 1 or "poll" in mirror.ways, 10)


def test_a_page_that_a_mirror_drops_is_missed_for_a_moment_only(world: World, making: Making) -> None:
    mirror = Mirror()
    dropped: list[bytes] = []

    def drop(request: httpx.Request, body: bytes) -> bytes:
        if b'"entries":[[' in body and request.headers.get("accept") == "text/event-stream" and not dropped:
            dropped.append(body)
            return b""
        return body

    mirror.lie = drop
    verifier = making(world, transport=mirror)
    text = world.token()
    verifier.verify(text, context())
    wait_until(lambda: "stream" in mirror.ways)
    time.sleep(0.3)
    world.revoke(text)
    wait_until(lambda: bool(dropped))
    wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Revoked", 5)


def test_pages_in_another_order_come_to_the_same(world: World, making: Making) -> None:
    held: list[bytes] = []
    told = [0]

    def swap(request: httpx.Request, body: bytes) -> bytes:
        if request.headers.get("accept") != "text/event-stream" or request.url.path.endswith("/keys"):
            return body
        told[0] += 1
        held.append(body)
        if len(held) < 3:
            return b""
        swapped = b"\n".join(reversed(held))
        held.clear()
        return swapped

    mirror = Mirror(swap)
    verifier = making(world, transport=mirror)
    texts = [world.token() for _ in range(6)]
    verifier.start()
    wait_until(lambda: told[0] > 0)
    for text in texts:
        before = told[0]
        world.revoke(text)
        wait_until(lambda before=before: told[0] > before)
    for text in texts:
        wait_until(lambda text=text: outcome(lambda: verifier.verify(text, context())) == "Revoked", 8)


@pytest.mark.parametrize("what", ["tampered", "replayed", "another app's", "no bundle", "endless"])
def test_a_bad_key_bundle_is_refused_and_the_last_good_one_is_kept(
    what: str, own: World, making: Making
) -> None:
    mirror = Mirror()
    registration, other = own.register(), own.register("thumbs")
    verifier = making(own, registration=registration, transport=mirror)
    old = own.token()
    verifier.verify(old, context())
    first = own.http.get(f"/v1/verifiers/{registration.verifier_id}/keys").json()["box"]

    def lie(request: httpx.Request, body: bytes) -> bytes:
        if not request.url.path.endswith("/keys"):
            return body
        box = json.loads(body)["box"]
        match what:
            case "tampered":
                box = box[:-9] + ("A" if box[-9] != "A" else "B") + box[-8:]
            case "replayed":
                box = first
            case "another app's":
                box = own.http.get(f"/v1/verifiers/{other.verifier_id}/keys").json()["box"]
            case "no bundle":
                return b"[]"
            case _:
                return b" " * 2_000_000
        return json.dumps({"box": box}).encode()

    mirror.lie = lie
    own.admin("POST", "/v1/keys/rotate", {"now": True})
    new = own.token()
    assert outcome(lambda: verifier.verify(new, context())) in ("Stale", "UnknownKey")
    assert verifier.status().key_ids == ("k1",)
    assert verifier.verify(old, context())
    mirror.lie = None
    wait_until(lambda: outcome(lambda: verifier.verify(new, context())) == "Grant", 15)


# State


def _kept(folder: Path, registration: Any) -> Path:
    return folder / f"{registration.verifier_id}.recent"


def test_state_survives_a_restart_without_the_service(
    world: World, cable: Cable, making: Making, tmp_path: Path
) -> None:
    registration = world.register()
    given = {"registration": registration, "url": cable.url, "state_dir": tmp_path}
    text, gone = world.token(), world.token()
    verifier = making(world, **given)
    verifier.verify(text, context())
    world.revoke(gone)
    wait_until(lambda: outcome(lambda: verifier.verify(gone, context())) == "Revoked")
    verifier.close()

    cable.cut()
    began = time.monotonic()
    again = making(world, **given)
    assert again.verify(text, context())
    assert time.monotonic() - began < 2
    with pytest.raises(Revoked):
        again.verify(gone, context())
    again.close()

    late = making(world, **given, max_staleness=timedelta(milliseconds=1), start_timeout=0.5)
    with pytest.raises(Stale, match="nothing heard of revocations"):
        late.verify(text, context())
    late.close()
    available = making(world, **given, max_staleness=timedelta(milliseconds=1), on_stale="accept")
    assert available.verify(text, context())
    with pytest.raises(Revoked):
        available.verify(gone, context())


def test_state_is_written_while_it_runs(
    world: World, making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caveats_client.verifiers.sync._SAVE_EVERY", 0.1)
    registration = world.register()
    verifier = making(world, registration=registration, state_dir=tmp_path)
    verifier.start()
    path = _kept(tmp_path, registration)
    wait_until(path.exists)
    text = world.token()
    before = path.stat().st_mtime_ns
    world.revoke(text)
    wait_until(lambda: outcome(lambda: verifier.verify(text, context())) == "Revoked")
    wait_until(lambda: path.stat().st_mtime_ns > before)


@pytest.mark.parametrize("spoil", ["cut", "noise", "another's"])
def test_a_state_that_is_of_no_use_is_passed_over(
    spoil: str, world: World, making: Making, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registration = world.register()
    text = world.token()
    with making(world, registration=registration, state_dir=tmp_path) as verifier:
        verifier.verify(text, context())
    path = _kept(tmp_path, registration)
    if spoil == "another's":
        other = world.register()
        with making(world, registration=other, state_dir=tmp_path) as verifier:
            verifier.verify(text, context())
        path.write_bytes(_kept(tmp_path, other).read_bytes())
    else:
        path.write_bytes(path.read_bytes()[:40] if spoil == "cut" else os.urandom(500))
    again = making(world, registration=registration, state_dir=tmp_path)
    assert again.verify(text, context())
    assert "state of the verifier ignored" in caplog.text


def test_a_folder_that_cannot_be_written_is_said_once_and_verification_goes_on(
    world: World,
    making: Making,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("caveats_client.verifiers.sync._SAVE_EVERY", 0.05)
    (tmp_path / "file").write_text("not a folder")
    verifier = making(world, state_dir=tmp_path / "file")
    assert verifier.verify(world.token(), context())
    time.sleep(0.3)  # six more attempts
    assert caplog.text.count("cannot be written") == 1


# Processes


def _script(code: str, registration: Any, *arguments: str) -> subprocess.Popen[str]:
    registration.save(Path(arguments[0]))
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_process_that_just_ends_says_nothing(world: World, tmp_path: Path) -> None:
    code = """
import sys
from datetime import UTC, datetime
from caveats import Context
from caveats_client.verifiers.local import LocalVerifier
verifier = LocalVerifier.from_file(sys.argv[1], state_dir=sys.argv[3])
print(verifier.verify(sys.argv[2], Context(now=datetime.now(UTC), scopes=("photos:read",))).user)
"""
    running = [
        _script(code, world.register(), str(tmp_path / f"v{n}"), world.token(), str(tmp_path / "state"))
        for n in range(3)
    ]
    for process in running:
        assert process.communicate(timeout=60) == ("admin\n", "")
        assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_starts_anew(world: World, tmp_path: Path) -> None:
    code = """
import os, sys
from datetime import UTC, datetime
from caveats import Context
from caveats_client.verifiers.local import LocalVerifier
verifier = LocalVerifier.from_file(sys.argv[1]).start()
context = Context(now=datetime.now(UTC), scopes=("photos:read",))
child = os.fork()
if child == 0:
    first = verifier.status().ready
    print(first, verifier.verify(sys.argv[2], context).user, verifier.status().ready, flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
print(status, verifier.verify(sys.argv[2], context).user)
verifier.close()
"""
    process = _script(code, world.register(), str(tmp_path / "v"), world.token())
    assert process.communicate(timeout=60) == ("False admin True\n0 admin\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_lives_on_does_not_keep_the_state_from_other_processes(
    world: World, tmp_path: Path
) -> None:
    registration, text = world.register(), world.token()
    ready, go = os.pipe(), os.pipe()
    with LocalVerifier(**options(registration), state_dir=tmp_path) as verifier:
        verifier.verify(text, context())
        lock = tmp_path / f"{registration.verifier_id}.lock"
        wait_until(lock.exists)
        child = os.fork()
        if child == 0:
            try:
                os.write(ready[1], b"x")
                os.read(go[0], 1)
            finally:
                os._exit(0)
        os.read(ready[0], 1)
        assert files.lock(lock, wait=False) is None
    try:
        assert files.lock(lock, wait=False) is not None
    finally:
        os.write(go[1], b"x")
        assert os.waitpid(child, 0)[1] == 0


def test_a_relative_state_folder_stays_where_it_was_when_the_process_changes_its_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registration = world.register()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    verifier = LocalVerifier(**options(registration), state_dir="state")
    os.chdir(tmp_path / "elsewhere")
    with verifier:
        verifier.verify(world.token(), context())
    assert (tmp_path / "state" / f"{registration.verifier_id}.recent").is_file()
    assert list((tmp_path / "elsewhere").iterdir()) == []


# The other face


async def test_the_async_verifier_does_the_same(world: World) -> None:
    text, gone = world.token(), world.token()
    async with AsyncLocalVerifier(**options(world.register())) as verifier:
        assert (await verifier.verify(text, context())).user == "admin"
        assert (await verifier.authenticate(text)).macaroon == Macaroon.decode(text)
        assert await verifier.failures(text, context()) == ()
        narrow = Macaroon.decode(text).attenuate(Scope("photos/7:read"))
        assert [failure.kind for failure in await verifier.failures(narrow, context())] == ["scope"]
        await asyncio.to_thread(world.revoke, gone)
        deadline = time.monotonic() + 2
        while True:
            try:
                await verifier.verify(gone, context())
            except Revoked:
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        assert verifier.status().ready
    with pytest.raises(Stale, match="closed"):
        await verifier.verify(text, context())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
async def test_a_child_leaves_the_work_of_the_async_verifier_in_its_parents_loop_alone(
    world: World, tmp_path: Path
) -> None:
    """A loop's poll is shared with its children: what a child closes there, its parent hears no more from."""
    text, gone = world.token(), world.token()
    async with AsyncLocalVerifier(**options(world.register()), state_dir=tmp_path) as verifier:
        await verifier.verify(text, context())
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                gc.collect()
                signal.alarm(60)
                grant = asyncio.new_event_loop().run_until_complete(verifier.verify(text, context()))
                gc.collect()
                os.write(writer, grant.user.encode())
            except BaseException as error:
                os.write(writer, repr(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            assert await asyncio.to_thread(answer.read) == "admin"
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        await asyncio.to_thread(world.revoke, gone)
        await asyncio.to_thread(
            wait_until, lambda: verifier.status().position >= 1 and _is_revoked(verifier, gone)
        )
        assert verifier.status().ready


def _is_revoked(verifier: AsyncLocalVerifier, text: str) -> bool:
    return outcome(lambda: verifier._gate.verifier.verify(text, context())) == "Revoked"


async def test_the_async_verifier_starts_by_itself_and_says_when_nobody_is_there(
    world: World, cable: Cable
) -> None:
    cable.cut()
    verifier = AsyncLocalVerifier(**options(world.register(), cable.url, start_timeout=0.5))
    text = await asyncio.to_thread(world.token)
    with pytest.raises(Stale, match="cannot reach"):
        await verifier.verify(text, context())
    with pytest.raises(Stale, match="no keys"):
        await verifier.verify(text, context())
    cable.mend()
    deadline = time.monotonic() + 10
    while not verifier.status().ready:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert await verifier.verify(text, context())
    await verifier.close()


async def test_fifty_tasks_that_meet_an_unknown_key_share_one_fetch(own: World, clock: Clock) -> None:
    mirror = Mirror(lambda request, line: line)
    async with AsyncLocalVerifier(**options(own.register(), transport=mirror, monotonic=clock)) as verifier:
        clock.pass_time(1.1)
        mirror.lie = lambda request, line: line if request.url.path.endswith("/keys") else b""
        await asyncio.to_thread(own.admin, "POST", "/v1/keys/rotate", {"now": True})
        tokens = [await asyncio.to_thread(own.token) for _ in range(50)]
        asked = mirror.keys_asked
        grants = await asyncio.gather(*[verifier.verify(text, context()) for text in tokens])
        assert len(grants) == 50
        assert mirror.keys_asked == asked + 1
        for _ in range(5):
            with pytest.raises(UnknownKey):
                await verifier.verify(_under("k99"), context())
        assert mirror.keys_asked == asked + 2


# How much it is


def test_verifying_takes_no_time(world: World, making: Making) -> None:
    verifier = making(world)
    text, asked = world.token(), context()
    verifier.verify(text, asked)
    began = time.process_time()
    for _ in range(5_000):
        verifier.verify(text, asked)
    assert (time.process_time() - began) / 5_000 < 0.001


def test_the_async_verifier_works_in_one_event_loop_after_another(world: World) -> None:
    """A closed loop takes the task with it: the next one begins anew, and hears of revocations."""
    verifier = AsyncLocalVerifier(**options(world.register()))
    text, gone = world.token(), world.token()
    for _ in range(3):
        assert asyncio.run(verifier.verify(text, context())).user == "admin"
        assert verifier.status().ready
    world.revoke(gone)

    async def first_refusal() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            await verifier.verify(gone, context())
            await asyncio.sleep(0.01)

    with pytest.raises(Revoked):
        asyncio.run(first_refusal())
    asyncio.run(verifier.close())


async def test_the_async_verifier_works_in_two_event_loops_at_once(world: World) -> None:
    text = world.token()
    async with AsyncLocalVerifier(**options(world.register())) as verifier:
        for _ in range(2):
            elsewhere = await asyncio.to_thread(lambda: asyncio.run(verifier.verify(text, context())))
            assert elsewhere.user == (await verifier.verify(text, context())).user == "admin"
        assert verifier.status().ready
