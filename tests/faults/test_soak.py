"""What the soak itself notices: each of its rules, broken once. The soak is `make soak`, a short one is in tests/cluster."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.soak_ledger import Death, Ledger, State, Token
from tests.faults.soak_probes import Prober
from tests.faults.soak_report import Report
from tests.faults.soak_world import World


def token(token_id: str = "t1", **more: Any) -> Token:
    given = {
        "user": "u",
        "audience": "photos",
        "key_id": "k1",
        "expires_at": time.time() + 600,
        "node": "node1",
    }
    return Token(f"text {token_id}", token_id, **{**given, **more})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One that was not started."""
    world = World(tmp_path, 1, Report(say=False))
    world.database = SimpleNamespace(back_at=0.0)  # type: ignore[assignment]
    return world


def judged(world: World, asked: Token, *answer: Any, target: str = "local") -> list[str]:
    Prober(world, target, lambda _: answer, 1).judge(asked)
    return world.report.violations


GRANTED = (True, 200, "", "")
STALE = (False, 503, "1", "Stale: nothing heard of revocations for 12 s")


@pytest.mark.parametrize("target", ["local", "mirror", "remote", "node1"])
@pytest.mark.parametrize(("late", "violated"), [(1.0, False), (60.0, True)])
def test_a_dead_token_that_is_granted_after_the_bound_is_a_violation(
    world: World, target: str, late: float, violated: bool
) -> None:
    dead = world.ledger.add(token())
    world.ledger.kill([dead], Death("token", "t1"))
    dead.died_at -= late
    assert bool(judged(world, dead, *GRANTED, target=target)) is violated


def test_while_something_is_wrong_the_bound_is_that_of_staleness(world: World) -> None:
    dead = world.ledger.add(token())
    world.ledger.kill([dead], Death("token", "t1"))
    dead.died_at -= 9
    with world.report.fault("cable cut", "local"):
        assert judged(world, dead, *GRANTED) == []
        dead.died_at -= 9
        assert judged(world, dead, *GRANTED) != []


@pytest.mark.parametrize(
    ("kind", "answer", "violated"),
    [
        ("", STALE, True),
        ("cable cut", STALE, False),
        ("cable cut", (False, 503, "", STALE[3]), True),
        ("cable cut", (False, 503, "1", ""), True),
        ("cable cut", (False, 401, "", "BadSignature: the token is not authentic"), True),
        ("cable cut", (False, 0, "", "ConnectError"), True),
        ("app killed", (False, 0, "", "ConnectError"), False),
        ("app clock", STALE, True),
        ("app clock", (False, 503, "1", "Stale: this app's clock is 40 s ahead"), False),
    ],
)
def test_a_good_token_is_refused_only_for_a_cause_that_is_named(
    world: World, kind: str, answer: tuple[Any, ...], violated: bool
) -> None:
    good = world.ledger.add(token())
    if kind:
        with world.report.fault(kind, "local"):
            pass
    assert bool(judged(world, good, *answer)) is violated


def test_a_fault_is_over_some_time_after_its_end(world: World) -> None:
    good = world.ledger.add(token())
    with world.report.fault("cable cut", "local") as fault:
        pass
    assert fault.ended is not None
    fault.begun, fault.ended = fault.begun - 60, fault.ended - 60
    assert judged(world, good, *STALE) != []


def test_a_death_reaches_copies_and_heirs_also_those_that_come_later() -> None:
    ledger = Ledger(1)
    whole = ledger.add(token())
    copy = ledger.add(token(whole=False, parent=whole))
    other = ledger.add(token(whole=False, parent=whole))
    heir = ledger.add(token("t2", parent=copy))
    ledger.kill(ledger.hit(copy), Death("branch", "t1", "ab"))
    late = ledger.add(token("t3", parent=heir))
    states = [each.state is State.DEAD for each in (whole, copy, other, heir, late)]
    assert states == [False, True, False, True, True]
    ledger.kill(ledger.hit(whole), Death("token", "t1"))
    assert other.state is State.DEAD


def test_what_a_failover_lost_is_in_doubt_and_what_it_kept_is_dead() -> None:
    ledger = Ledger(1)
    kept, lost, newer = (
        ledger.add(token(name, key_id=key)) for name, key in (("a", "k1"), ("b", "k1"), ("c", "k2"))
    )
    ledger.kill([kept], Death("token", "a"))
    ledger.kill([lost], Death("token", "b"))
    count, again = ledger.failed_over({("token", "a", None, None)}, {}, {"k1"}, {"k1"})
    assert (count, again) == (1, [lost])
    assert [each.state for each in (kept, lost, newer)] == [State.DEAD, State.DOUBT, State.DOUBT]
