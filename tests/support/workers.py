"""Which worker of a service holds which of its connections, as Linux says in /proc."""

from __future__ import annotations

import socket
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

_ESTABLISHED = "01"


def workers_of(parent: int) -> list[int]:
    """The workers that the process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(stat[1]) == parent and b"resource_tracker" not in command and stat[0] != "Z":
                found.append(int(entry.name))
    return found


def connections_of(workers: list[int], port: int) -> Counter[int]:
    """How many connections to the port each worker has accepted."""
    held: Counter[int] = Counter(dict.fromkeys(workers, 0))
    established = _established(port)
    for worker in workers:
        for handle in Path(f"/proc/{worker}/fd").iterdir():
            try:
                held[worker] += str(handle.readlink()) in established
            except OSError:
                continue
    return held


def wait_until_all_serve(workers: list[int], port: int) -> None:
    """Return once each worker is given some of the connections that are opened."""
    while True:
        with ExitStack() as stack:
            for _ in range(2 * len(workers)):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            time.sleep(0.1)  # in which they are handed over
            if min(connections_of(workers, port).values()):
                return


def _established(port: int) -> set[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if int(row[1][-4:], 16) == port and row[3] == _ESTABLISHED}
