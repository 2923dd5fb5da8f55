"""One process that watches tokens die, or that makes a load; told what to do on standard input.

`python -m benchmarks.cluster_watch verifier FILE`      a local verifier
`python -m benchmarks.cluster_watch node PORT PID ...`  a connection to each of a node's workers
`python -m benchmarks.cluster_watch load RATE PORT ...` issues and verifies, with a token from the first line

A watcher gets a token a line. It says `ready` once the token is accepted everywhere it asks, and then, once it is
refused everywhere, the moment at which it was last accepted, on the clock that all processes share.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from typing import TYPE_CHECKING

from benchmarks.cluster_nodes import Caller, Node, server_of
from benchmarks.sample import AUDIENCE
from caveats import CaveatsError, Context
from caveats_client.guards.guard import utc_now
from caveats_client.verifiers.local import LocalVerifier

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 0.002


def _watch(accepted: list[Callable[[str], bool]]) -> None:
    print("begun", flush=True)
    for line in sys.stdin:
        token = line.strip()
        while not all(accept(token) for accept in accepted):
            time.sleep(_EVERY)
        print("ready", flush=True)
        last, left = 0.0, list(accepted)
        while left:
            for accept in list(left):
                asked = time.monotonic()
                if accept(token):
                    last = max(last, asked)
                else:
                    left.remove(accept)
            time.sleep(_EVERY)
        print(last, flush=True)


def _verifier(path: str) -> None:
    with LocalVerifier.from_file(path, start_timeout=60) as verifier:

        def accepted(token: str) -> bool:
            try:
                verifier.verify(token, Context(utc_now(), scopes=("photos/42:read",)))
            except CaveatsError:
                return False
            return True

        _watch([accepted])


def _node(port: int, workers: list[int]) -> None:
    """Connections are opened until there is one to each worker."""
    connections: dict[int, http.client.HTTPConnection] = {}
    spare = []
    while len(connections) < len(workers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        _authorized(connection, "")
        assert connection.sock is not None
        pid = server_of(connection.sock, workers)
        if pid is None or pid in connections:
            spare.append(connection)  # kept busy for now, so that the others get their turn
        else:
            connections[pid] = connection
    for connection in spare:
        connection.close()
    _watch([lambda token, one=one: _authorized(one, token) for one in connections.values()])  # type: ignore[misc]


def _authorized(connection: http.client.HTTPConnection, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request("GET", f"/v1/authorize?audience={AUDIENCE}&scope=photos/42:read", headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200


def _load(rate: float, ports: list[int]) -> None:
    """A quarter issues, a quarter asks /v1/verify, a half /v1/authorize, at all nodes in turn."""
    admin = sys.stdin.readline().strip()
    done, wrong = 0, 0
    stop = threading.Event()

    def work(port: int) -> None:
        nonlocal done, wrong
        caller = Caller(Node(port, 0))
        caller.admin = admin
        token, due, turn = caller.issue(), time.monotonic(), 0
        while not stop.is_set():
            kind, turn = turn % 4, turn + 1
            if kind == 0:
                token = caller.issue()
                ok = True
            elif kind == 1:
                asked = {"token": token, "audience": AUDIENCE, "scope": "photos/42:read"}
                ok = caller.ask("POST", "/v1/verify", "", **asked)[1].get("granted") is True
            else:
                ok = (
                    caller.ask("GET", f"/v1/authorize?audience={AUDIENCE}&scope=photos:read", token)[0] == 200
                )
            done, wrong = done + 1, wrong + (not ok)
            due = max(due + 2 * len(ports) / rate, time.monotonic() - 0.2)
            time.sleep(max(0.0, due - time.monotonic()))

    threads = [threading.Thread(target=work, args=(port,)) for port in ports * 2]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps([done / (time.monotonic() - begun), wrong]), flush=True)


def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "verifier":
        _verifier(rest[0])
    elif kind == "node":
        _node(int(rest[0]), [int(pid) for pid in rest[1:]])
    else:
        _load(float(rest[0]), [int(port) for port in rest[1:]])


if __name__ == "__main__":
    main()
