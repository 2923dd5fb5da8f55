"""Verifications here against look-ups elsewhere: one thread, one at a time, and what that costs of all processors."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import secrets
import socket
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import redis
import uvloop

from benchmarks.cluster_nodes import Caller, cpu_seconds, database, nodes
from benchmarks.sample import AUDIENCE, NEEDED, samples
from benchmarks.table import Row, Section, at_least, times
from benchmarks.timing import new_texts
from caveats import Context, KeyState
from caveats_client.guards.guard import utc_now
from caveats_client.verifiers.local import LocalVerifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REDIS = os.environ.get("CAVEATS_BENCH_REDIS", "redis://127.0.0.1:6379")
_SESSIONS = 1000
_ROUNDS = 5
_BATCHES = {"here": 10_000, "elsewhere": 2000}
_AT_LEAST = 50
_SESSION = {"user": "user00042", "scope": "photos:read", "expires_at": "2030-01-01T00:00:00Z"}


class _Contender(NamedTuple):
    name: str
    where: str
    fresh: Callable[[int], Callable[[], None]]
    """Prepares, untimed, so many verifications."""
    others: list[int]
    """The processes besides this one that work for it."""


class _Cost(NamedTuple):
    wall: float
    """Seconds of waiting each, in the best batch."""
    processors: float
    """Seconds of processor time each, here and in the others, in the median batch."""


def rates() -> Section:
    """Everybody in turns, in the same process."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(database())
        node = stack.enter_context(nodes(url, 1, workers=2))[0]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        Caller(node).sign_in().register(folder / "verifier")
        verifier = stack.enter_context(LocalVerifier.from_file(folder / "verifier"))
        contenders = [
            *_local(verifier),
            stack.enter_context(_service(node.port, node.serving, verifier)),
            stack.enter_context(_redis()),
            stack.enter_context(_postgres(url)),
        ]
        costs = _measure(contenders)
    section = Section(
        "Verifications, one thread, one at a time; the processor time counts every process that takes part\n"
        "[times the best look-up elsewhere, per second of processor time]"
    )
    elsewhere = [contender for contender in contenders if contender.where == "elsewhere"]
    best = min(costs[contender.name].processors for contender in elsewhere)
    quickest = min(costs[contender.name].wall for contender in elsewhere)
    for number, contender in enumerate(contenders):
        wall, processors = costs[contender.name]
        ratio = best / processors
        bar = at_least(_AT_LEAST, ratio) if number == 0 else None
        section.rows.append(Row(contender.name, times(ratio), f"{1 / processors:,.0f} /s a core", bar))
        shown = f"{1 / wall:,.0f} /s"
        section.rows.append(Row("  as one thread sees it", times(quickest / wall), shown))
    return section


def _measure(contenders: list[_Contender]) -> dict[str, _Cost]:
    wall = dict.fromkeys((contender.name for contender in contenders), float("inf"))
    processors: dict[str, list[float]] = {name: [] for name in wall}
    for _ in range(_ROUNDS):
        for contender in contenders:
            count = _BATCHES[contender.where]
            run = contender.fresh(count)
            gc.collect()
            gc.freeze()
            others, own = cpu_seconds(contender.others), time.process_time()
            begun = time.perf_counter()
            run()
            wall[contender.name] = min(wall[contender.name], (time.perf_counter() - begun) / count)
            own = time.process_time() - own
            processors[contender.name].append((own + cpu_seconds(contender.others) - others) / count)
            gc.unfreeze()
    return {name: _Cost(wall[name], median(processors[name])) for name in wall}


def _local(verifier: LocalVerifier) -> list[_Contender]:
    key = _active(verifier)
    known = [token.mint().encode() for token in samples(_SESSIONS, key=key)]

    def run(texts: list[str]) -> Callable[[], None]:
        requests = [(text, Context(utc_now(), scopes=(NEEDED,))) for text in texts]

        def verify() -> None:
            for text, context in requests:
                verifier.verify(text, context)

        return verify

    def seen(count: int) -> Callable[[], None]:
        run(known)()
        return run(new_texts(known * (count // _SESSIONS)))

    def described(count: int) -> Callable[[], None]:
        run(known)()
        texts = new_texts(known * (count // _SESSIONS))

        def verify() -> None:
            for text in texts:
                verifier.verify(text, Context(utc_now(), scopes=(NEEDED,)))

        return verify

    def unseen(count: int) -> Callable[[], None]:
        return run(new_texts(token.mint().encode() for token in samples(count, key=key)))

    return [
        _Contender("LocalVerifier.verify, tokens seen before", "here", seen, []),
        _Contender("  and the request's Context made for it", "here", described, []),
        _Contender("LocalVerifier.verify, tokens never seen", "here", unseen, []),
    ]


def _active(verifier: LocalVerifier):  # type: ignore[no-untyped-def]
    keys = verifier._gate.verifier.keyring.keys  # type: ignore[union-attr]
    return next(key for key in keys if key.state is KeyState.ACTIVE)


@contextlib.contextmanager
def _service(port: int, pids: list[int], verifier: LocalVerifier) -> Iterator[_Contender]:
    """The quickest client there is: bytes made beforehand, and no more read of the answer than its yes."""
    requests = []
    for token in samples(_SESSIONS, key=_active(verifier)):
        body = json.dumps({"token": token.mint().encode(), "audience": AUDIENCE, "scope": NEEDED})
        requests.append(
            (
                "POST /v1/verify HTTP/1.1\r\nHost: auth.example\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def fresh(count: int) -> Callable[[], None]:
            asked = requests * (count // _SESSIONS)

            def run() -> None:
                for request in asked:
                    connection.sendall(request)
                    answer = connection.recv(65536)
                    while not answer.endswith(b"}"):
                        answer += connection.recv(65536)
                    if b'"granted":true' not in answer:
                        raise ValueError(answer)

            return run

        yield _Contender("/v1/verify, tokens seen before, over a bare socket", "elsewhere", fresh, pids)


@contextlib.contextmanager
def _redis() -> Iterator[_Contender]:
    client = redis.Redis.from_url(_REDIS)
    names = [f"caveats-bench:{secrets.token_hex(16)}" for _ in range(_SESSIONS)]
    for name in names:
        client.set(name, json.dumps(_SESSION), ex=600)

    def fresh(count: int) -> Callable[[], None]:
        asked = names * (count // _SESSIONS)

        def run() -> None:
            for name in asked:
                json.loads(client.get(name))  # type: ignore[arg-type]

        return run

    try:
        pid = int(client.info("server")["process_id"])  # type: ignore[index]
        yield _Contender("Redis: GET a session, decode its JSON", "elsewhere", fresh, [pid])
    finally:
        client.delete(*names)
        client.close()


@contextlib.contextmanager
def _postgres(url: str) -> Iterator[_Contender]:
    """asyncpg in its own loop, a prepared statement on the primary key."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection = runner.run(asyncpg.connect(url))
        names = [secrets.token_hex(16) for _ in range(_SESSIONS)]
        create = "CREATE TABLE bench_sessions (id text PRIMARY KEY, data text NOT NULL)"
        runner.run(connection.execute(create))
        rows = [(name, json.dumps(_SESSION)) for name in names]
        runner.run(connection.copy_records_to_table("bench_sessions", records=rows))
        runner.run(connection.execute("ANALYZE bench_sessions"))
        query = runner.run(connection.prepare("SELECT data FROM bench_sessions WHERE id = $1"))

        async def ask(asked: list[str]) -> None:
            for name in asked:
                json.loads(await query.fetchval(name))

        try:
            local = urlsplit(url).hostname in ("127.0.0.1", "localhost")
            others = [connection.get_server_pid()] if local else []
            yield _Contender(
                "PostgreSQL: SELECT a session, decode its JSON",
                "elsewhere",
                lambda count: lambda: runner.run(ask(names * (count // _SESSIONS))),
                others,
            )
        finally:
            runner.run(connection.close())
