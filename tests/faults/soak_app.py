"""An app of the soak: one verifier behind the guard, on plain http, in a process of its own.

    python -m tests.faults.soak_app local --registration FILE --state FOLDER --port 8001

Reads commands from its standard input, and ends with it: `fork PORT SECONDS` makes a child that answers on that port for so
long with the verifier that it was born with. A refusal names its cause in the header X-Cause, for the soak's judgement.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from caveats.http import Problem
from caveats_client.guards.guard import Guard
from caveats_client.guards.wsgi import request_of
from caveats_client.verifiers.local import LocalVerifier
from caveats_client.verifiers.remote import RemoteVerifier

_WORDS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 503: "Service Unavailable"}


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def app_of(guard: Guard, status: Callable[[], str]) -> Callable[..., Iterable[bytes]]:
    """Answers every request that the token allows with its user; `/healthz` with the verifier's status."""

    def app(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/healthz":
            start("200 OK", [("Content-Type", "text/plain")])
            return [status().encode()]
        try:
            grant = guard.judge(request_of(environ, decoded_paths=True), ["photos:read"])
        except Problem as problem:
            why = problem.__cause__
            cause = f"{type(why).__name__}: {why}".encode("ascii", "replace").decode().replace("\n", " ")
            head = [(name, value) for name, value in problem.headers.items() if name != "Content-Length"]
            start(f"{problem.status} {_WORDS.get(problem.status, 'Refused')}", [*head, ("X-Cause", cause)])
            return [problem.body]
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"user": grant.user}).encode()]

    return app


def serve(app: Callable[..., Iterable[bytes]], port: int) -> _Server:
    """Serve in the background."""
    server = make_server("127.0.0.1", port, app, _Server, _Quiet)
    assert isinstance(server, _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def child(app: Callable[..., Iterable[bytes]], port: int, seconds: float) -> None:
    """Serve in this process, which was forked, until its time is over or its parent gone."""
    parent, until = os.getppid(), time.monotonic() + seconds
    serve(app, port)
    while time.monotonic() < until and os.getppid() == parent:
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=("local", "remote"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url")
    parser.add_argument("--registration")
    parser.add_argument("--feed-url")
    parser.add_argument("--state")
    parser.add_argument("--bound", type=float, required=True, help="max_staleness, or remember_for (seconds)")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    logging.getLogger("caveats_client.verifiers").setLevel(logging.DEBUG)
    bound = timedelta(seconds=given.bound)
    verifier: Any
    if given.way == "local":
        verifier = LocalVerifier.from_file(
            given.registration, state_dir=given.state, feed_url=given.feed_url, max_staleness=bound
        )
        status = lambda: repr(verifier.status())  # noqa: E731  # one of two
    else:
        verifier = RemoteVerifier(given.url, audience="photos", remember_for=bound, timeout=3)
        status = lambda: repr(verifier)  # noqa: E731  # one of two
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = app_of(Guard(verifier), status)
    server = serve(app, given.port)
    try:
        print("ready", flush=True)
        for line in sys.stdin:
            _, port, seconds = line.split()
            if os.fork() == 0:
                try:
                    server.socket.close()
                    child(app, int(port), float(seconds))
                finally:
                    os._exit(0)
    finally:
        verifier.close()


if __name__ == "__main__":
    main()
