"""Whatever a mirror serves, in whatever order and under whatever clock: both replicas know the same after each step."""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from caveats import RejectedDelivery
from caveats.token import encode_base64
from caveats_client.verifiers.replica import Instant, Replica
from tests.javascript.peer import needs_node, peer
from tests.support.local import APP_KEY, IDENTITY, SERVICE_KEY, Model

if TYPE_CHECKING:
    from datetime import datetime

pytestmark = [pytest.mark.slow, needs_node]

RUNS = 500 if os.environ.get("CI") == "true" else 60
STEPS = 60
_FILE = {
    "version": 1,
    "url": "https://auth.example",
    "audience": IDENTITY.audience,
    "verifier_id": IDENTITY.verifier_id,
    "private_key": encode_base64(APP_KEY.secret),
    "service_public_key": encode_base64(SERVICE_KEY.public_key),
}


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def test_a_replica_knows_what_python_s_knows() -> None:
    """Boxes and lines are made by Python with PyNaCl, and opened by both."""
    ends: Counter[object] = Counter()
    with peer() as javascript:
        for seed in range(RUNS):
            random = Random(seed)
            model, ours = Model(), Replica(IDENTITY)
            javascript.ask("replica", file=_FILE)
            served: list[tuple[str, Any]] = [("box", model.bundle())]
            ahead = timedelta()
            for step in range(STEPS):
                ahead = _happen(random, model, ahead)
                kind, delivery = _delivery(random, model, served)
                instant = Instant(model.now + ahead, model.ticks)
                said = _taken(ours, kind, delivery, instant)
                tokens = [entry.token_id for _, entry in model.entries]  # type: ignore[union-attr]
                answer = javascript.ask(
                    "take",
                    **{kind: encode_base64(delivery) if kind == "box" else delivery},
                    instant={"now": _milliseconds(instant.now), "tick": round(instant.tick * 1000)},
                    took=0,
                    tokens=tokens,
                )
                expected = {"result": said, **_state(ours, tokens)}
                got = answer["answer"]
                # Half a second is rounded to the even one in Python.
                got["clock"], expected["clock"] = (
                    re.sub(r"\d+", "some", one["clock"]) for one in (got, expected)
                )
                differ = {
                    name: (got[name], expected[name]) for name in expected if got[name] != expected[name]
                }
                assert not differ, f"seed {seed}, step {step}, {kind}: {differ}"
                ends[said if isinstance(said, (str, bool)) else tuple(said.values())] += 1
    expected_ends = {True, False, "RejectedDelivery", "UnknownSeal", "Unconfirmed", (False, False, True)}
    assert expected_ends <= set(ends), ends
    assert any(isinstance(end, tuple) and end[0] for end in ends), "no page asked for keys"
    assert any(isinstance(end, tuple) and end[1] for end in ends), "no page was behind a gap"


def _happen(random: Random, model: Model, ahead: timedelta) -> timedelta:
    """Something that happens at the service, or to a clock. Returns how far the app's clock is ahead."""
    chance = random.random()
    model.pass_time(random.choice((0.25, 1, 2, 5, 11, 40)))
    if chance < 0.35:
        model.revoke()
    elif chance < 0.42:
        model.rotate()
    elif chance < 0.5:
        model.retire()
    elif chance < 0.52:
        model.restore(random.randint(0, len(model.entries)))
    elif chance < 0.54:
        model.pass_time(random.choice((700, 3600, 100_000)))
    elif chance < 0.57:
        return timedelta(seconds=random.choice((0, 0, 3, 40, -40, -290, 400, -400, 100_000)))
    elif chance < 0.58:
        model.now += timedelta(seconds=random.choice((400, -400, 20)))
    return ahead


def _delivery(random: Random, model: Model, served: list[tuple[str, Any]]) -> tuple[str, Any]:
    """What the app is given: something new, a part of the feed, or what was served before."""
    chance = random.random()
    head = len(model.entries)
    if chance < 0.25:
        made: tuple[str, Any] = (
            "box",
            model.bundle(life=random.choice((timedelta(days=1),) * 5 + (timedelta(seconds=2),))),
        )
    elif chance < 0.7:
        after = random.choice((0, 0, max(0, head - 1), random.randint(0, head), head))
        upto = random.choice((head, head, random.randint(after, head)))
        made = ("line", model.line(model.page(after, upto)))
    elif chance < 0.75:
        fewer = random.randint(0, head)
        made = ("line", model.line(model.page(min(fewer, random.randint(0, head)), fewer, fewer)))
    elif chance < 0.78:
        line = model.line()
        at = random.randrange(3, len(line))
        made = ("line", line[:at] + ("0" if line[at] != "0" else "1") + line[at + 1 :])
    else:
        return random.choice(served)
    served.append(made)
    return made


def _taken(ours: Replica, kind: str, delivery: Any, instant: Instant) -> Any:
    try:
        if kind == "box":
            return ours.take_bundle(delivery, instant, 0.0)
        taken = ours.take_line(delivery, instant)
    except RejectedDelivery as error:
        # Without any key, Python does not say which one is missing.
        return "UnknownSeal" if "that is not here" in str(error) else type(error).__name__
    return {"fetchKeys": taken.fetch_keys, "reconnect": taken.reconnect, "news": taken.news}


def _state(ours: Replica, tokens: list[str]) -> dict[str, Any]:
    known = ours.known
    fresh, confirmed = known and known.fresh, ours.confirmed
    place = ours.place
    return {
        "epoch": ours.epoch,
        "serial": ours.serial,
        "keyIds": list(ours.key_ids),
        "clock": ours.clock,
        "place": {"after": place.after, "epoch": place.epoch},
        "behind": ours.behind,
        "confirmed": confirmed and {"at": _milliseconds(confirmed.at), "tick": round(confirmed.tick * 1000)},
        "fresh": fresh and {"at": _milliseconds(fresh.at), "tick": round(fresh.tick * 1000)},
        "revoked": known and [one for one in tokens if known.revocations.hits_token(one)],
    }
