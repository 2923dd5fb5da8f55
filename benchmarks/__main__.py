"""`python -m benchmarks`: measure and print the table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import cpu, libmacaroons
from benchmarks.branches import branches
from benchmarks.cli import cli
from benchmarks.discharges import discharges
from benchmarks.http import http
from benchmarks.revocations import revocations
from benchmarks.workers import workers

if TYPE_CHECKING:
    from benchmarks.table import Row

_PARTS = {
    "verify": cpu.verify,
    "mint": cpu.mint,
    "attenuate": cpu.attenuate,
    "growth": cpu.growth,
    "sizes": cpu.sizes,
    "discharges": discharges,
    "revocations": revocations,
    "branches": branches,
    "http": http,
    "workers": workers,
    "cli": cli,
}


def main() -> int:
    """Print the table; 1 if `--strict` and a bar was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
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
    if libmacaroons.load() is None:
        print("\nlibmacaroons was left out: it is not installed (Debian: libmacaroons0).")
    print(f"\n{len(short)} of the bars missed; {time.monotonic() - began:.0f} s.")
    return 1 if short and asked.strict else 0


if __name__ == "__main__":
    sys.exit(main())
