"""Nodes come and go under load, workers agree: nobody notices a rolling restart, not even those who listen to the feed."""

from __future__ import annotations

import contextlib
import itertools
import time
import urllib.request
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.cluster import (
    Load,
    accepted,
    authorized,
    children,
    cluster,
    node,
    seconds_until,
    server_of,
    until,
)
from tests.support.service import ADMIN_PASSWORD, basic, bearer, free_port, narrow


class RoundRobin:
    """What a balancer does: the nodes in turn; one that refuses the connection, or hangs up on it, is passed over once.

    The second is what the kernel does to connections that a node had not taken yet when it stopped.
    """

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._turns = itertools.count()
        self._http = httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0))
        self.refused = self.hung_up = 0

    def ask(self, method: str, path: str, **what: object) -> httpx.Response:
        turn = next(self._turns)
        for last in (False, True):
            url = self._urls[(turn + last) % len(self._urls)]
            try:
                return self._http.request(method, url + path, **what)  # type: ignore[arg-type]
            except httpx.ConnectError:
                self.refused += 1
                if last:
                    raise
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                self.hung_up += 1
                if last:
                    raise
        raise AssertionError


@pytest.mark.parametrize(
    ("workers", "restarted"), [(1, (0, 1)), (2, (1,))], ids=["both nodes", "one with two workers"]
)
def test_a_rolling_restart_under_load_fails_no_request(
    database: str, tmp_path: Path, workers: int, restarted: tuple[int, ...]
) -> None:
    arguments = [] if workers == 1 else ["--workers", str(workers)]
    with cluster(tmp_path, database, *arguments) as nodes:
        for url in nodes.urls:
            until(lambda url=url: _ready(url), 30)
        balancer = RoundRobin(nodes.urls)
        token = nodes.issue(0)
        numbers = itertools.count()

        def read() -> None:
            query = {"audience": "photos", "scope": "photos:read"}
            answer = balancer.ask("GET", "/v1/authorize", params=query, headers=bearer(token))
            assert answer.status_code == 200, answer.text
            assert all(accepted(verifier, token) for verifier in verifiers)

        def write() -> None:
            copy = narrow(token, f"note = {next(numbers)}")
            answer = balancer.ask("POST", "/v1/revocations", json={"presented": True}, headers=bearer(copy))
            assert answer.status_code == 201, answer.text

        verifiers = [nodes.attach(at) for at in (0, 1)]
        with contextlib.ExitStack() as stack:
            for verifier in verifiers:
                stack.enter_context(verifier)
            load = stack.enter_context(Load(read, read, write, per_second=20))
            stopping, starting = [], []
            for at in restarted:
                time.sleep(0.5)
                begun = time.monotonic()
                nodes.nodes[at].stop()
                stopping.append(time.monotonic() - begun)
                nodes.restart(at, *arguments)
                until(lambda at=at: _ready(nodes.urls[at]), 30)
                starting.append(time.monotonic() - begun - stopping[-1])
            time.sleep(0.5)
        print(
            f"{workers} workers: {load.done} requests, {balancer.refused} refused and {balancer.hung_up} hung up on "
            f"and sent again; "
            f"stopping took {max(stopping):.1f} s, starting {max(starting):.1f} s"
        )
        assert load.failures == []
        assert load.done > 50
        assert max(stopping) < 5  # those who listen to the feed hold nobody up


def _ready(url: str) -> bool:
    time.sleep(0.05)  # those who start need the processor
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def test_workers_on_sqlite_agree_within_a_second_whichever_is_asked(tmp_path: Path) -> None:
    given = {"PORT": str(free_port())}
    running = node(tmp_path, f"sqlite:///{tmp_path}/caveats.db", "--workers", "4", **given)
    with contextlib.ExitStack() as stack:
        stack.callback(running.stop)
        until(lambda: _ready(running.url), 30)
        clients = _one_client_for_each(running.popen.pid, running.url, 4, stack)
        first, *_ = clients.values()
        body = {"scope": "* caveats:*"}
        admin = bearer(
            first.post("/v1/tokens", json=body, headers=basic("admin", ADMIN_PASSWORD)).json()["token"]
        )

        def issue(http: httpx.Client) -> str:
            answer = http.post("/v1/tokens", json={"audience": "photos", "scope": "photos:*"}, headers=admin)
            assert answer.status_code == 201, answer.text
            return str(answer.json()["token"])

        delays = []
        for http in clients.values():
            token = issue(http)
            copy = narrow(token, "note = a copy")
            assert all(authorized(one, copy) for one in clients.values())
            assert (
                http.post("/v1/revocations", json={"presented": True}, headers=bearer(copy)).status_code
                == 201
            )
            acknowledged = time.monotonic()
            assert not authorized(http, copy)
            for one in clients.values():
                delays.append(seconds_until(lambda one=one: not authorized(one, copy), acknowledged, 5))
                assert authorized(one, token)
            rotated = http.post("/v1/keys/rotate", json={"now": True}, headers=admin).json()
            acknowledged = time.monotonic()
            fresh = issue(http)
            assert all(authorized(one, fresh) for one in clients.values())  # unknown keys are looked for
            for one in clients.values():

                def active(one: httpx.Client = one) -> bool:
                    return bool(one.get("/readyz").json()["active_key"] == rotated["id"])

                delays.append(seconds_until(active, acknowledged, 5))
        print(f"{len(delays)} times asked, the slowest agreed after {max(delays):.3f} s")
        assert max(delays) <= 1


def _one_client_for_each(
    parent: int, url: str, count: int, stack: contextlib.ExitStack
) -> dict[int, httpx.Client]:
    """A connection that stays, to each of the workers, found by whose socket its other end is."""
    found: dict[int, httpx.Client] = {}
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} workers answered"
        http = httpx.Client(
            base_url=url, timeout=30, limits=httpx.Limits(max_connections=1, keepalive_expiry=60)
        )
        with http.stream("GET", "/healthz") as answer:
            connection = answer.extensions["network_stream"].get_extra_info("socket")
            pid = server_of(connection, children(parent))
        if pid is None or pid in found:
            http.close()
        else:
            stack.callback(http.close)
            found[pid] = http
    return found
