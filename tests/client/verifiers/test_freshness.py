"""When a verifier may say yes: rows of clocks, bounds and keys, with clocks that tests turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from caveats import (
    DEFAULT_LIMITS,
    Context,
    Expires,
    Identifier,
    Macaroon,
    Parent,
    RejectedDelivery,
    Revoked,
    Scope,
    Stale,
    TokenRevocation,
    UnknownKey,
    User,
    UserRevocation,
    new_token_id,
)
from caveats.revocation import Page, page_text, seal_text
from caveats_client.verifiers.freshness import FreshnessGate, Health
from tests.support.local import DAY, IDENTITY, Model


class Clocks:
    """Two clocks, turned by hand."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.wall_off = timedelta(0)

    def wall(self) -> float:
        return (self.model.now + self.wall_off).timestamp()

    def monotonic(self) -> float:
        return self.model.ticks


def gate(model: Model, clocks: Clocks | None = None, **given: Any) -> FreshnessGate:
    clocks = clocks or Clocks(model)
    return FreshnessGate(
        IDENTITY,
        **{
            "checkers": None,
            "location": "",
            "limits": DEFAULT_LIMITS,
            "cache_entries": 100,
            "cache_bytes": 1_000_000,
            "max_staleness": timedelta(seconds=30),
            "on_stale": "refuse",
            "clock": clocks.wall,
            "monotonic": clocks.monotonic,
            **given,
        },
    )


def ready(model: Model, **given: Any) -> FreshnessGate:
    made = gate(model, **given)
    made.take_box(model.bundle())
    made.take_line(model.line())
    return made


def token(model: Model, *parents: Parent) -> tuple[str, str]:
    caveats = (User("alice"), Expires(model.now.replace(microsecond=0) + DAY), Scope("*"), *parents)
    identifier = Identifier(model.masters.active.key_id, "photos", new_token_id(model.now), len(caveats))
    return Macaroon.mint(
        model.masters.root_key(identifier), identifier, caveats=caveats
    ).encode(), identifier.token_id


def test_it_refuses_until_it_has_keys_and_all_revocations() -> None:
    model = Model()
    made = gate(model)
    with pytest.raises(Stale, match="no keys yet"):
        made.check()
    made.take_box(model.bundle())
    with pytest.raises(Stale, match="not heard of all revocations"):
        made.check()
    made.problems["feed"] = "the feed answers 503"
    with pytest.raises(Stale, match="503"):
        made.check()
    made.take_line(model.line())
    made.check()
    assert made.health is Health.FRESH
    assert made.status().ready


@pytest.mark.parametrize(
    ("seconds", "bound", "stale"),
    [
        pytest.param(0, 30, False, id="just heard"),
        pytest.param(30, 30, False, id="at the bound"),
        pytest.param(30.001, 30, True, id="beyond it"),
        pytest.param(31, 60, False, id="within a longer bound"),
        pytest.param(1.5, 1, True, id="beyond a shorter one"),
    ],
)
def test_it_fails_closed_at_its_bound(seconds: float, bound: float, *, stale: bool) -> None:
    model = Model()
    made = ready(model, max_staleness=timedelta(seconds=bound))
    model.pass_time(seconds)
    if stale:
        with pytest.raises(Stale, match=f"of {bound:g} s allowed"):
            made.check()
    else:
        made.check()
    status = made.status()
    assert status.ready is not stale
    assert status.staleness == timedelta(seconds=seconds)


def test_and_is_back_with_the_next_page_and_the_next_bundle() -> None:
    model = Model()
    made = ready(model)
    model.pass_time(60)
    assert made.health is Health.STALE
    with pytest.raises(Stale, match="nothing heard of revocations for 60 s"):
        made.check()
    made.take_line(model.line())
    with pytest.raises(Stale, match="not said which keys verify for 60 s"):
        made.check()
    made.take_box(model.bundle())
    made.check()
    model.pass_time(29)
    made.take_box(model.bundle())
    model.pass_time(2)
    with pytest.raises(Stale, match="nothing heard of revocations for 31 s"):
        made.check()


@pytest.mark.parametrize(
    ("wall_off", "passed", "health"),
    [
        pytest.param(-3600, 31, Health.STALE, id="set back an hour, and no word for 31 s"),
        pytest.param(-3600, 5, Health.STALE, id="set back an hour, and heard 5 s ago"),
        pytest.param(-300, 5, Health.FRESH, id="set back as far as clocks may differ, and heard 5 s ago"),
        pytest.param(31, 0, Health.STALE, id="set ahead"),
        pytest.param(DAY.total_seconds(), 0, Health.STALE, id="a day ahead: the keys are over too"),
    ],
)
def test_a_clock_that_is_set_makes_nothing_younger(wall_off: float, passed: float, health: Health) -> None:
    model = Model()
    clocks = Clocks(model)
    made = ready(model, clocks=clocks)
    clocks.wall_off = timedelta(seconds=wall_off)
    model.pass_time(passed)
    assert made.health is health
    if health is Health.STALE:
        with pytest.raises(Stale):
            made.check()
    else:
        made.check()


def test_the_availability_mode_accepts_without_news_but_not_without_keys() -> None:
    model = Model()
    made = ready(model, on_stale="accept")
    model.pass_time(3600)
    assert made.health is Health.ACCEPTING
    made.check()
    assert made.status().ready
    model.pass_time(DAY.total_seconds() - 3600)
    assert made.health is Health.STALE
    with pytest.raises(Stale, match="keys have not been confirmed"):
        made.check()


def test_the_availability_mode_never_accepts_before_all_revocations_were_heard_once() -> None:
    model = Model()
    made = gate(model, on_stale="accept")
    made.take_box(model.bundle())
    with pytest.raises(Stale):
        made.check()


def test_keys_end_by_the_clock_that_cannot_be_set_back() -> None:
    model = Model()
    clocks = Clocks(model)
    made = ready(model, clocks=clocks, max_staleness=10 * DAY)
    clocks.wall_off = -DAY
    model.pass_time(DAY.total_seconds() + 1)
    with pytest.raises(Stale, match="keys"):
        made.check()


def test_a_new_bundle_moves_the_end_of_the_keys() -> None:
    model = Model()
    made = ready(model, max_staleness=10 * DAY)
    model.pass_time(DAY.total_seconds() - 60)
    made.take_box(model.bundle())
    model.pass_time(3600)
    made.check()


def test_a_refused_delivery_changes_nothing() -> None:
    model = Model()
    made = ready(model)
    before = made.status()
    with pytest.raises(RejectedDelivery):
        made.take_box(model.bundle()[:-1] + b"x")
    with pytest.raises(RejectedDelivery):
        made.take_line(model.line() + " ")
    assert made.status() == before


def test_what_the_feed_says_counts_for_the_next_question() -> None:
    model = Model()
    made = ready(model)
    text, token_id = token(model)
    context = Context(now=model.now, scopes=("photos:read",))
    assert made.verifier.verify(text, context).user == "alice"
    model.entries.append((model.now, TokenRevocation(token_id, model.now + DAY)))
    model.pass_time(1)
    made.take_line(model.line())
    with pytest.raises(Revoked):
        made.verifier.verify(text, context)


def test_a_dropped_key_is_dead_for_tokens_that_are_remembered_too() -> None:
    model = Model()
    model.rotate()
    made = ready(model)
    model.keys = [1, 2]
    old = Model()
    text, _ = token(old)
    context = Context(now=model.now, scopes=("photos:read",))
    made.verifier.verify(text, context)
    model.pass_time(1)
    model.retire()
    made.take_box(model.bundle())
    with pytest.raises(UnknownKey):
        made.verifier.verify(text, context)
    assert made.status().key_ids == ("k2",)


def test_what_was_issued_against_a_token_dies_with_that_tokens_key() -> None:
    model = Model()
    model.rotate()
    made = ready(model)
    child, _ = token(model, Parent("k1", new_token_id(model.now), ()))
    context = Context(now=model.now, scopes=("photos:read",))
    assert made.verifier.verify(child, context).user == "alice"
    model.pass_time(1)
    model.retire()
    made.take_box(model.bundle())
    memory, whole = made.memory()
    again = gate(model)
    again.recall(memory, whole)
    for one in (made, again):
        with pytest.raises(Revoked) as refused:
            one.verifier.verify(child, context)
        assert refused.value.missing_key == "k1"


def test_after_a_restart_it_is_as_fresh_as_it_was() -> None:
    model = Model()
    made = ready(model)
    memory, whole = made.memory()
    assert whole is not None
    assert made.memory()[1] is None
    model.pass_time(20)
    again = gate(model)
    again.recall(memory, whole)
    again.check()
    model.pass_time(11)
    with pytest.raises(Stale):
        again.check()


def test_what_could_not_be_written_is_to_be_written_again() -> None:
    model = Model()
    made = ready(model)
    assert made.memory()[1] is not None
    made.not_kept()
    assert made.memory()[1] is not None
    gate(model).not_kept()


def test_what_is_long_dead_is_forgotten() -> None:
    model = Model()
    model.revoke(timedelta(hours=1))
    made = ready(model)
    assert len(made.verifier.revocations) == 1
    model.pass_time(7300)
    made.prune()
    assert len(made.verifier.revocations) == 1  # by the feed's time, and no page has told of a later one
    made.take_line(model.line())
    made.prune()
    assert len(made.verifier.revocations) == 0


def revoked(model: Model, made: FreshnessGate, life: timedelta = DAY) -> str:
    """A token that is granted, and then revoked."""
    text, token_id = token(model)
    model.entries.append((model.now, TokenRevocation(token_id, model.now + life)))
    model.pass_time(1)
    made.take_line(model.line())
    assert says(model, made, text) == "Revoked"
    return text


def says(model: Model, made: FreshnessGate, text: str) -> str:
    """What it says at the right time."""
    try:
        made.check()
        made.verifier.verify(text, Context(now=model.now, scopes=("photos:read",)))
    except (Stale, Revoked) as refusal:
        return type(refusal).__name__
    return "Grant"


@pytest.mark.parametrize("days", [100, -100, 0.02])
def test_a_clock_that_jumps_and_comes_back_makes_the_verifier_forget_nothing(days: float) -> None:
    model = Model()
    clocks = Clocks(model)
    made = ready(model, clocks=clocks)
    text = revoked(model, made)
    clocks.wall_off = timedelta(days=days)
    made.prune()
    assert made.health is Health.STALE
    with contextlib.suppress(RejectedDelivery):
        made.take_line(model.line())
    made.prune()
    clocks.wall_off = timedelta(0)
    assert says(model, made, text) == "Revoked"
    model.pass_time(1)
    made.take_line(model.line())
    assert made.health is Health.FRESH
    assert says(model, made, text) == "Revoked"


def test_what_was_dropped_while_the_service_was_ahead_too_is_asked_for_again_before_anything_is_believed() -> (
    None
):
    """The service leaves out what has expired by its clock, and both clocks were ahead for a while."""
    model = Model()
    made = ready(model)
    text = revoked(model, made)
    right = model.now
    model.now += 100 * DAY
    made.take_box(model.bundle(life=200 * DAY))
    made.take_line(model.line())
    made.prune()
    assert made.health is Health.FRESH
    assert len(made.verifier.revocations) == 0
    model.now = right
    assert says(model, made, text) == "Stale"
    assert made.take_line(model.line(model.page(after=1))).reconnect
    assert says(model, made, text) == "Stale"
    assert made.replica.place.after == 0
    made.take_box(model.bundle())
    made.take_line(model.line())
    assert says(model, made, text) == "Revoked"
    assert made.health is Health.FRESH


def test_a_clock_that_was_right_and_is_set_back_makes_no_old_page_new() -> None:
    """Else whoever sets it could pass off what was recorded before a revocation."""
    model = Model()
    clocks = Clocks(model)
    made = ready(model, clocks=clocks)
    text, token_id = token(model)
    model.pass_time(3600)
    old = model.line()
    made.take_line(old)
    model.pass_time(3600)
    model.entries.append((model.now, TokenRevocation(token_id, model.now + DAY)))
    made.take_line(model.line())
    clocks.wall_off = timedelta(seconds=-3600)
    for _ in range(2):
        with pytest.raises(RejectedDelivery, match="set back"):
            made.take_line(old)
        assert says(model, made, text) == "Stale"


@pytest.mark.parametrize("restarts_ahead", [True, False])
def test_state_from_the_future_is_read_again_from_the_service(*, restarts_ahead: bool) -> None:
    model = Model()
    made = ready(model)
    text = revoked(model, made)
    right = model.now
    if restarts_ahead:
        model.now += 100 * DAY
        made.take_box(model.bundle(life=200 * DAY))
        made.take_line(model.line())
        made.prune()
    else:
        model.now -= 100 * DAY
    memory, whole = made.memory()
    model.now = right if restarts_ahead else model.now
    again = gate(model)
    with pytest.raises(RejectedDelivery, match="from the future"):
        again.recall(memory, whole)
    assert says(model, again, text) == "Stale"
    model.now = right
    again.take_box(model.bundle())
    again.take_line(model.line())
    assert says(model, again, text) == "Revoked"


@pytest.mark.parametrize("wrong", [{"max_staleness": timedelta(0)}, {"on_stale": "perhaps"}])
def test_a_bound_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"max_staleness|on_stale"):
        gate(Model(), **wrong)


# Pages that a thief of an audience key made


def _page(model: Model, **other: Any) -> Page:
    return replace(model.page(after=len(model.entries)), at=model.now, **other)


FORGED = [
    pytest.param(lambda model: _page(model, epoch=2**53), id="an epoch far ahead"),
    pytest.param(lambda model: _page(model, epoch=model.epoch + 1), id="the next epoch"),
    pytest.param(lambda model: _page(model, keys=("k999999",)), id="a key far ahead"),
    pytest.param(lambda model: _page(model, keys=()), id="no keys"),
    pytest.param(lambda model: _page(model, keys=("k1",)), id="only the stolen key"),
    pytest.param(lambda model: _page(model, upto=2**53, last=2**53), id="a position far ahead"),
    pytest.param(lambda model: _page(model, upto=3, last=3), id="the next entries, left out"),
    pytest.param(lambda model: _page(model, last=2**53), id="many entries to come"),
    pytest.param(
        lambda model: replace(_page(model), at=model.now + timedelta(minutes=5)), id="a time to come"
    ),
    pytest.param(
        lambda model: replace(_page(model), at=model.now + timedelta(seconds=9)), id="a time soon to come"
    ),
    pytest.param(lambda model: _page(model, after=0, upto=0, last=0), id="the end of an empty feed"),
    pytest.param(
        lambda model: _page(
            model,
            upto=1,
            last=1,
            entries=((1, UserRevocation("alice", model.now + DAY, model.now + 90 * DAY)),),
        ),
        id="a revocation that nobody asked for",
    ),
]


@pytest.mark.parametrize("restarted", [False, True], ids=["", "with a restart"])
@pytest.mark.parametrize("forge", FORGED)
def test_a_page_that_a_thief_of_a_key_made_counts_no_longer_than_the_key(
    forge: Callable[[Model], Page], *, restarted: bool
) -> None:
    """However the page was made: the key that the service retires is dead, the others verify, nothing is missed."""
    model = Model()
    stolen = model.masters.active.audience_key("photos")
    forged_token, _ = token(model)
    model.rotate()
    made = ready(model)
    with contextlib.suppress(RejectedDelivery):
        made.take_line(seal_text(page_text(forge(model)), stolen))
    if restarted:
        memory, whole = made.memory()
        made = gate(model)
        made.recall(memory, whole)
    model.pass_time(1)
    gone, gone_id = token(model)
    model.entries.append((model.now, TokenRevocation(gone_id, model.now + DAY)))
    good, _ = token(model)
    model.retire()
    made.take_box(model.bundle())
    assert made.status().key_ids == ("k2",)
    with pytest.raises(UnknownKey):
        made.verifier.verify(forged_token, Context(now=model.now, scopes=("photos:read",)))
    for _ in range(3):
        model.pass_time(10)
        made.take_box(model.bundle())
        with contextlib.suppress(RejectedDelivery):
            made.take_line(seal_text(page_text(forge(model)), stolen))
        place = made.replica.place
        made.take_line(model.line(model.page(min(place.after, len(model.entries)))))
    assert made.health is Health.FRESH
    assert says(model, made, gone) == "Revoked"
    assert says(model, made, good) == "Grant"


@pytest.mark.parametrize("forge", FORGED)
def test_no_page_kills_a_key_or_moves_the_epoch(forge: Callable[[Model], Page]) -> None:
    model = Model()
    model.rotate()
    made = ready(model)
    stolen = Model().masters.active.audience_key("photos")
    for _ in range(3):
        model.pass_time(1)
        with contextlib.suppress(RejectedDelivery):
            made.take_line(seal_text(page_text(forge(model)), stolen))
        assert made.status().key_ids == ("k1", "k2")
        assert made.status().epoch == 1
        memory, _ = made.memory()
        assert (memory.epoch, memory.dead) == (1, {})
    made.take_box(model.bundle())


# Clocks that are wrong


@pytest.mark.parametrize(
    ("off", "took", "words"),
    [
        pytest.param(40, 0, "this app's clock is 40 s ahead of the service", id="ahead"),
        pytest.param(40, 4, "this app's clock is 36 s ahead of the service", id="ahead, and a slow answer"),
        pytest.param(-40, 4, "this app's clock is 40 s behind the service", id="behind"),
        pytest.param(2, 0, "", id="as clocks are"),
        pytest.param(5, 4, "", id="a slow answer"),
    ],
)
def test_a_clock_that_differs_from_the_services_is_named(off: float, took: float, words: str) -> None:
    model = Model()
    clocks = Clocks(model)
    made = gate(model, clocks)
    clocks.wall_off = timedelta(seconds=off)
    made.take_box(model.bundle(), took)
    assert made.status().problem.endswith(words)
    with pytest.raises(Stale) as refused:
        made.check()
    assert refused.value.clock == words
    made.take_line(model.line())
    assert (made.health is Health.STALE) == (off > 30)
    if off > 30:
        with pytest.raises(Stale, match="nothing heard of revocations for 40 s, of 30 s allowed: this app's"):
            made.check()
    clocks.wall_off = timedelta(0)
    model.pass_time(1)
    made.take_box(model.bundle())
    made.take_line(model.line())
    made.check()
    assert made.status().problem == ""


@pytest.mark.parametrize(
    ("off", "words"),
    [
        pytest.param(-timedelta(minutes=6), "from the future: .*360 s behind the service", id="behind"),
        pytest.param(timedelta(days=100), "has expired: .*8640000 s ahead of the service", id="ahead"),
    ],
)
def test_a_clock_that_was_wrong_at_the_start_is_named_and_forgotten_when_it_is_right(
    off: timedelta, words: str
) -> None:
    model = Model()
    clocks = Clocks(model)
    made = gate(model, clocks)
    text = token(model)[0]
    clocks.wall_off = off
    for _ in range(2):
        with pytest.raises(RejectedDelivery, match=words):
            made.take_box(model.bundle())
        model.pass_time(1)
    clocks.wall_off = timedelta(0)
    made.take_box(model.bundle())
    made.take_line(model.line())
    assert says(model, made, text) == "Grant"
    revoked(model, made)


@pytest.mark.parametrize("first", [-100, 100])
def test_a_clock_that_jumps_one_way_and_then_the_other_makes_no_revoked_token_good(first: float) -> None:
    model = Model()
    clocks = Clocks(model)
    made = ready(model, clocks=clocks)
    text = revoked(model, made)
    for days in (first, -first, 0):
        clocks.wall_off = timedelta(days=days)
        model.pass_time(5)
        made.prune()
        for take in (lambda: made.take_box(model.bundle()), lambda: made.take_line(model.line())):
            with contextlib.suppress(RejectedDelivery):
                take()
        assert says(model, made, text) in ("Stale", "Revoked")
    assert made.health is Health.FRESH
    assert says(model, made, text) == "Revoked"


def test_a_machine_that_slept_with_its_monotonic_clock_refuses_until_it_has_heard() -> None:
    model = Model()
    made = ready(model)
    text, token_id = token(model)
    model.now += timedelta(hours=8)
    model.entries.append((model.now, TokenRevocation(token_id, model.now + DAY)))
    assert made.are_keys_due()
    assert says(model, made, text) == "Stale"
    made.take_box(model.bundle())
    assert says(model, made, text) == "Stale"
    made.take_line(model.line())
    assert says(model, made, text) == "Revoked"


def test_keys_are_asked_for_three_times_within_the_bound() -> None:
    model = Model()
    made = gate(model)
    assert made.are_keys_due()
    assert made.seconds_left() == 0
    made.take_box(model.bundle())
    made.take_line(model.line())
    model.pass_time(9.9)
    assert not made.are_keys_due()
    assert made.seconds_left() == pytest.approx(20.1)
    model.pass_time(0.1)
    assert made.are_keys_due()
    model.pass_time(60)
    assert made.seconds_left() == 0


def test_a_bundle_that_something_on_the_way_repeats_confirms_nothing() -> None:
    model = Model()
    made = ready(model)
    same = model.bundle()
    model.pass_time(20)
    made.take_box(same)
    made.take_line(model.line())
    assert made.are_keys_due()
    model.pass_time(11)
    with pytest.raises(Stale, match="not said which keys"):
        made.check()


def test_a_mirror_that_keeps_pages_back_gains_nothing_from_an_app_s_clock_that_is_behind() -> None:
    model = Model()
    clocks = Clocks(model)
    clocks.wall_off = timedelta(seconds=-240)
    made = ready(model, clocks=clocks)
    text, token_id = token(model)
    old = []
    for _ in range(4):
        model.pass_time(10)
        old.append(model.line())
    model.entries.append((model.now, TokenRevocation(token_id, model.now + DAY)))
    made.take_box(model.bundle())
    granted = []
    for line in old:  # each one is news, and none is from the future
        model.pass_time(10)
        made.take_line(line)
        with contextlib.suppress(Stale):
            made.check()
            granted.append(made.verifier.verify(text, Context(made.now(), scopes=("photos:read",))))
    assert not granted[2:]  # 20 s after the revocation, the third page is 40 s old
    assert made.health is Health.STALE
    assert "clock is 240 s behind" in made.status().problem
    made.take_box(model.bundle())
    made.take_line(model.line())
    made.check()
    with pytest.raises(Revoked):
        made.verifier.verify(text, Context(made.now(), scopes=("photos:read",)))
