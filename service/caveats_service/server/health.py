"""The health check of a container: `python -m caveats_service.server.health [/healthz | /readyz]`.

Asks this machine's own service, by the variables that it was started with, and no proxy, whatever `HTTP_PROXY` says. Imports
nothing but the standard library, since it runs every few seconds. Exits with 0 if the answer is a 200, otherwise with 1 and a line that
says why.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys

_WITHIN = 4.0
"""Seconds: `/readyz` may wait for a database that does not answer."""
_LONGEST = 4096
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, not bound


def main(arguments: list[str]) -> int:
    """The exit code. `arguments`: the path to ask, `/healthz` without one."""
    path = arguments[0] if arguments else "/healthz"
    host = os.environ.get("CAVEATS_HOST", "127.0.0.1")
    port = os.environ.get("CAVEATS_PORT", "8080")
    try:
        connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), int(port), timeout=_WITHIN)
        with contextlib.closing(connection):
            connection.request("GET", path)
            with connection.getresponse() as answer:
                body = answer.read(_LONGEST)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _failed(f"no answer at port {port} of {host}: {error}")
    if answer.status == http.client.OK:
        return 0
    return _failed(f"{path} is {answer.status}: {_reason(body)}")


def _failed(why: str) -> int:
    sys.stdout.write(f"{why}\n")
    return 1


def _reason(body: bytes) -> str:
    try:
        members = json.loads(body)
        return f"{members.get('reason', members['code'])}; {members.get('detail', '')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return "not an answer of this service"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
