"""From an acknowledged revocation to the last acceptance anywhere, under load."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.cluster_nodes import Caller, database, nodes
from benchmarks.table import Bar, Row, Section
from caveats import Macaroon

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NODES, _WORKERS, _VERIFIERS = 2, 2, 10
_REVOCATIONS = 200
_RATE = 150
_P99, _MAX = 1.0, 5.0


def latency() -> Section:
    """A token is revoked at one node while every worker and every verifier is asked about it, 500 times a second."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(database())
        running = stack.enter_context(nodes(url, _NODES, workers=_WORKERS))
        callers = [Caller(node).sign_in() for node in running]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = [folder / f"{number}.verifier" for number in range(_VERIFIERS)]
        for number, file in enumerate(files):
            callers[number % _NODES].register(file)
        verifiers = [stack.enter_context(_process("verifier", str(file))) for file in files]
        workers = [
            stack.enter_context(_process("node", str(node.port), *map(str, node.serving))) for node in running
        ]
        load = stack.enter_context(_process("load", str(_RATE), *(str(node.port) for node in running)))
        load.say(callers[0].admin)
        for process in (*verifiers, *workers, load):
            assert process.hear() == "begun"
        in_verifiers, in_nodes = [], []
        for number in range(_REVOCATIONS):
            lasts, acknowledged = _revoke(callers[number % _NODES], [*verifiers, *workers])
            in_verifiers.append(max(0.0, max(lasts[:_VERIFIERS]) - acknowledged))
            in_nodes.append(max(0.0, max(lasts[_VERIFIERS:]) - acknowledged))
        load.end()
        rate, wrong = json.loads(load.hear())
    section = Section(
        f"Acknowledged revocation to last acceptance: {_NODES} nodes of {_WORKERS} workers, PostgreSQL, "
        f"{_VERIFIERS} verifiers in\na process each, {rate:.0f} other requests a second ({wrong} failed), "
        f"all on one machine; {_REVOCATIONS} revocations"
    )
    everywhere = [max(pair) for pair in zip(in_verifiers, in_nodes, strict=True)]
    section.rows += [
        Row("p50, anywhere", "", _shown(median(everywhere))),
        Row("p99, anywhere", "", _shown(_p99(everywhere)), Bar(f"< {_P99:g} s", _p99(everywhere) < _P99)),
        Row("max, anywhere", "", _shown(max(everywhere)), Bar(f"< {_MAX:g} s", max(everywhere) < _MAX)),
        Row("p50, p99 and max in the verifiers", "", _all(in_verifiers)),
        Row("p50, p99 and max in the nodes' workers", "", _all(in_nodes)),
    ]
    return section


def _revoke(caller: Caller, watchers: list[_Watcher]) -> tuple[list[float], float]:
    copy = Macaroon.decode(caller.issue()).attenuate(b"note = a copy").encode()
    for watcher in watchers:
        watcher.say(copy)
    for watcher in watchers:
        assert watcher.hear() == "ready"
    time.sleep(random.uniform(0, 0.02))
    status, _ = caller.ask("POST", "/v1/revocations", copy, presented=True)
    acknowledged = time.monotonic()
    assert status == 201
    return [float(watcher.hear()) for watcher in watchers], acknowledged


class _Watcher:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a watcher has died")
        return line.strip()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[_Watcher]:
    command = [sys.executable, "-m", "benchmarks.cluster_watch", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        watcher = _Watcher(process)
        try:
            yield watcher
            with contextlib.suppress(OSError, ValueError):
                watcher.end()
            process.wait(20)
        finally:
            process.kill()


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[-(-len(values) * 99 // 100) - 1]


def _all(values: Sequence[float]) -> str:
    return ", ".join(_shown(value) for value in (median(values), _p99(values), max(values)))


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
