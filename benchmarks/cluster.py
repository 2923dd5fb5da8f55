"""`python -m benchmarks.cluster`: several nodes on PostgreSQL, and verifiers downstream; needs Redis as well.

PostgreSQL is found at CAVEATS_TEST_POSTGRES, Redis at CAVEATS_BENCH_REDIS; both default to this machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.cluster_feed import feed
from benchmarks.cluster_latency import latency
from benchmarks.cluster_million import million
from benchmarks.cluster_rates import rates

if TYPE_CHECKING:
    from benchmarks.table import Row

_PARTS = {"latency": latency, "rates": rates, "feed": feed, "million": million}


def main() -> int:
    """Print the table; 1 if `--strict` and a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"what to measure: {', '.join(_PARTS)}")
    parser.add_argument("--strict", action="store_true", help="fail if a bar is missed")
    asked = parser.parse_args()
    unknown = [name for name in asked.parts if name not in _PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    began = time.monotonic()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors")
    short: list[Row] = []
    for name in asked.parts or _PARTS:
        section = _PARTS[name]()
        print(section, flush=True)
        short += section.missed
    print(f"\n{len(short)} of the bars missed; {time.monotonic() - began:.0f} s.")
    return 1 if short and asked.strict else 0


if __name__ == "__main__":
    sys.exit(main())
