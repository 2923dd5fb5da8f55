"""The service's two hot endpoints beside bare Starlette routes: the same requests, server settings and client."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.load import CONNECTIONS, load
from benchmarks.sample import AUDIENCE, NEEDED, samples
from benchmarks.server import KEYS
from benchmarks.table import Row, Section, at_least
from caveats import AudienceKeyring, KeyState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROUNDS = 8
_SECONDS = 0.5
_POPULATION = 1000
_UNSEEN = 4000
_AUTHORIZE = 0.75
_VERIFY_SEEN = 0.4
_VERIFY_UNSEEN = 0.33


class _Run(NamedTuple):
    name: str
    kind: str
    requests: Callable[[], Iterator[bytes]]
    beside: str | None = None
    asked: float | None = None


def http() -> Section:
    """Requests a second, each also as a share of its bare route."""
    section = Section(f"Requests a second, one worker, {CONNECTIONS} connections [share of the bare route]")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        ports = {kind: stack.enter_context(_served(kind, folder)) for kind in ("bare", "service")}
        keys = AudienceKeyring.from_json(json.loads((folder / KEYS).read_text()))
        runs = _runs(keys)
        rates: dict[str, list[float]] = {run.name: [] for run in runs}
        for run in runs:  # everybody once for warming up
            load(ports[run.kind], run.requests(), 0.3)
        for _ in range(_ROUNDS):
            for run in runs:
                requests = run.requests()
                gc.collect()
                rates[run.name].append(load(ports[run.kind], requests, _SECONDS))
    for run in runs:
        rate = f"{median(rates[run.name]):,.0f} /s"
        if run.beside is None:
            section.rows.append(Row(run.name, "1", rate))
            continue
        share = median(own / bare for own, bare in zip(rates[run.name], rates[run.beside], strict=True))
        bar = None if run.asked is None else at_least(run.asked, share)
        section.rows.append(Row(run.name, f"{share:.2f}", rate, bar))
    return section


def _runs(keys: AudienceKeyring) -> list[_Run]:
    population = _tokens(keys, _POPULATION)
    get, post = [_get(token) for token in population], [_post(token) for token in population]
    bare_get, bare_post = "bare GET, JSON out", "bare POST, JSON in and out"
    return [
        _Run(bare_get, "bare", lambda: cycle(get)),
        _Run("/v1/authorize, tokens seen before", "service", lambda: cycle(get), bare_get, _AUTHORIZE),
        _Run("/v1/authorize, tokens never seen", "service", lambda: _unseen(keys, _get), bare_get),
        _Run(bare_post, "bare", lambda: cycle(post)),
        _Run("/v1/verify, tokens seen before", "service", lambda: cycle(post), bare_post, _VERIFY_SEEN),
        _Run(
            "/v1/verify, tokens never seen",
            "service",
            lambda: _unseen(keys, _post),
            bare_post,
            _VERIFY_UNSEEN,
        ),
    ]


def _tokens(keys: AudienceKeyring, count: int) -> list[str]:
    active = next(key for key in keys.keys if key.state is KeyState.ACTIVE)
    return [token.mint().encode() for token in samples(count, key=active)]


def _unseen(keys: AudienceKeyring, request: Callable[[str], bytes]) -> Iterator[bytes]:
    return iter([request(token) for token in _tokens(keys, _UNSEEN)])


def _get(token: str) -> bytes:
    """What a proxy asks before it lets a request through."""
    return (
        f"GET /v1/authorize?audience={AUDIENCE}&scope={NEEDED} HTTP/1.1\r\nHost: auth.example\r\n"
        f"Authorization: Bearer {token}\r\nX-Original-Method: GET\r\nX-Original-URI: /photos/42\r\n\r\n"
    ).encode()


def _post(token: str) -> bytes:
    body = json.dumps({"token": token, "audience": AUDIENCE, "scope": NEEDED})
    return (
        "POST /v1/verify HTTP/1.1\r\nHost: auth.example\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@contextlib.contextmanager
def _served(kind: str, folder: Path) -> Iterator[int]:
    """A server in a process of its own, by its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.server", kind, str(port), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _await(process, port)
            yield port
        finally:
            process.terminate()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    patience = time.monotonic() + 30
    while time.monotonic() < patience and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the server did not start")
