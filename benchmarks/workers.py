"""Workers behind a proxy's connections: requests a second of the service's own command, and how they share the load."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.load import load
from benchmarks.table import Row, Section
from tests.support.workers import connections_of, wait_until_all_serve, workers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTIONS = 64
"""What a proxy opens in a burst, and keeps."""
_BURSTS = 20
_SECONDS = 0.5
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: auth.example\r\n\r\n"


def workers() -> Section:
    """One, two and, with as many processors, four workers; the ratio is to one worker."""
    section = Section(
        f"Workers, {_BURSTS} bursts of {_CONNECTIONS} kept connections [times one worker] (most that one worker held)"
    )
    alone = 0.0
    for count in (1, 2, 4) if (os.cpu_count() or 1) >= 4 else (1, 2):
        shares: list[float] = []
        with _serving(count) as (parent, port):
            held = workers_of(parent) if count > 1 else [parent]

            def look(held: list[int] = held, port: int = port, shares: list[float] = shares) -> None:
                shares.append(max(connections_of(held, port).values()) / _CONNECTIONS)

            rates = [
                load(port, cycle([_REQUEST]), _SECONDS, _CONNECTIONS, connected=look) for _ in range(_BURSTS)
            ]
        rate = median(rates)
        alone = alone or rate
        name = f"{count} worker{'s' * (count > 1)}: busiest {median(shares):.2f}, at most {max(shares):.2f}"
        section.rows.append(Row(name, f"{rate / alone:.2f}", f"{rate:,.0f} /s"))
    return section


@contextlib.contextmanager
def _serving(count: int) -> Iterator[tuple[int, int]]:
    """The command with so many workers: its process and its port, once all of them answer."""
    main = "from caveats_service.cli import main; main()"
    command = [sys.executable, "-c", main, "serve", "--port", "0", "--workers", str(count)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "CAVEATS_DATA_DIR": str(Path(folder) / "data")}
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                ports = (re.search(r"serving on http://[^ ]*:(\d+)", line) for line in process.stdout)
                port = next(int(found[1]) for found in ports if found)
                wait_until_all_serve(workers_of(process.pid) if count > 1 else [process.pid], port)
                load(port, [_REQUEST] * _CONNECTIONS * 4, 30, _CONNECTIONS)
                yield process.pid, port
            finally:
                process.terminate()
