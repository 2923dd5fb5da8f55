"""A soak: two nodes, three verifiers and a PostgreSQL with its replica, under load, while everything goes wrong in turn.

    python -m tests.faults.soak --minutes 60 --seed 7

What goes wrong: the database fails over to a replica that is behind, hangs, workers and nodes are killed, clocks jump, the
mirror of the feed lies, apps fork, freeze, are killed and come back with the same state, the way to the service is cut.
Meanwhile clients issue, narrow, exchange, renew, revoke, rotate and retire, and ask everybody about tokens.

What must hold, or the soak ends with 1:
- no token is granted whose death was acknowledged longer ago than the bound: 5 s while nothing is wrong with whom is asked, for
  an app `max_staleness` and 2 s otherwise (of the one behind the mirror also what clocks are off by, up to 5 minutes), for a node
  5 s after the database is back;
- no good token is refused but while something is wrong, and soon afterwards, and then the refusal names its cause: 503 with
  Retry-After and an error in words, which names the clock where the app's clock is wrong;
- memory is flat: what a process has late in its life is at most 15 % and 8 MB more than what it had when it was warm;
- a node that is stopped ends in time, and workers end with their parent.
What the replica had not yet received is lost in a failover, and is not judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.soak_faults import Faults
from tests.faults.soak_load import KeyKeeper, Load
from tests.faults.soak_probes import Prober, asker_of_app, asker_of_node
from tests.faults.soak_report import Report
from tests.faults.soak_world import Memory, World


def soak(
    folder: Path,
    *,
    minutes: float,
    seed: int,
    kinds: list[str] | None = None,
    pause: float = 12.0,
    say: bool = True,
) -> dict[str, Any]:
    """Run it; the summary. What was violated is in `violations`."""
    chance = random.Random(seed)
    report = Report(say=say)
    world = World(folder, seed, report)
    memory = Memory(world)
    try:
        world.start()
        report.begun = time.monotonic()
        report.tell("two nodes and three apps are there")
        faults = Faults(world, chance.getrandbits(32), kinds or list(Faults.KINDS), minutes, pause)
        _run(world, memory, faults, chance, minutes * 60)
    finally:
        world.close()
    figures = memory.figures()
    for target in ("node1", "node2", "local", "mirror", "remote"):
        if minutes >= 1 and not report.answers[f"{target}: granted"]:
            report.violation(f"{target} granted nothing")
    for row in figures:
        if not row["flat"]:
            report.violation(f"memory grows: {row}")
    return {
        "seed": seed,
        "minutes": round((time.monotonic() - report.begun) / 60, 1),
        "operations": dict(sorted(report.operations.items())),
        "answers": dict(sorted(report.answers.items())),
        "faults": dict(sorted(report.faults.items())),
        "lost_in_failovers": report.lost,
        "latest_grant_after_death_s": {name: round(late, 1) for name, late in sorted(report.late.items())},
        "refusals_of_good_tokens": dict(report.refusals.most_common(60)),
        "memory": figures,
        "violations": report.violations,
        "how_often": {what: count for what, count in report.repeated.items() if count > 1},
    }


def _run(world: World, memory: Memory, faults: Faults, chance: random.Random, seconds: float) -> None:
    """Load, questions and faults for so long."""
    report = world.report
    works: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        (memory.run, ()),
        *((Load(world, chance.getrandbits(32)).run, (6,)) for _ in range(2)),
        (KeyKeeper(world, chance.getrandbits(32)).run, ()),
    ]
    probers = [
        *(
            Prober(world, node.name, asker_of_node(world, node), chance.getrandbits(32))
            for node in world.nodes
        ),
        *(
            Prober(world, app.name, asker_of_app(world, app.port), chance.getrandbits(32), port=app.port)
            for app in world.apps.values()
        ),
    ]
    works += [(prober.run, (7, world.stop.is_set)) for prober in probers]
    threads = [
        threading.Thread(target=_whole(work, report), args=given, daemon=True) for work, given in works
    ]
    threads.append(threading.Thread(target=_whole(faults.run, report), daemon=True))
    try:
        for thread in threads:
            thread.start()
        while (left := report.begun + seconds - time.monotonic()) > 0:
            time.sleep(min(30, left))
            world.ledger.forget()
            report.tell(
                f"{sum(report.operations.values())} operations, {sum(report.answers.values())} questions, "
                f"{sum(report.faults.values())} faults, {len(report.violations)} violations; "
                f"tokens {world.ledger.count()}"
            )
    except KeyboardInterrupt:
        report.tell("ended early")
    finally:
        world.stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join(90)
        faults.join()


def _whole(work: Callable[..., None], report: Report) -> Callable[..., None]:
    """A thread of the soak that breaks is a violation, too: nobody would be asked any more."""

    def run(*given: Any) -> None:
        try:
            work(*given)
        except Exception as error:
            import traceback

            report.violation(
                f"the soak itself: {type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"
            )

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="to have the same faults again")
    parser.add_argument(
        "--faults", default="", help=f"only these, comma-separated, of: {', '.join(Faults.KINDS)}"
    )
    parser.add_argument("--pause", type=float, default=12.0, help="seconds between two faults, on average")
    parser.add_argument("--folder", type=Path, help="where logs and state stay afterwards; an empty folder")
    parser.add_argument("--json", action="store_true", help="end with the whole summary as JSON")
    given = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if given.seed is None else given.seed
    kinds = [kind.strip() for kind in given.faults.split(",") if kind.strip()]
    if unknown := set(kinds) - set(Faults.KINDS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the summary is of what there was
    print(f"seed {seed}", flush=True)
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            summary = soak(folder, minutes=given.minutes, seed=seed, kinds=kinds, pause=given.pause)
        except pytest.skip.Exception as why:
            sys.exit(f"no soak: {why}")
    if given.json:
        print(json.dumps(summary))
    else:
        for name, value in summary.items():
            lines = [f"{key}: {row}" for key, row in value.items()] if isinstance(value, dict) else value
            print(f"{name}:" if isinstance(lines, list) else f"{name}: {lines}")
            for line in lines if isinstance(lines, list) else ():
                print(f"  {line}")
    print(f"{len(summary['violations'])} violations")
    sys.exit(1 if summary["violations"] else 0)


if __name__ == "__main__":
    main()
