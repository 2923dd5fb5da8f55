"""The console script `caveats`. Knows only how to start and how to stop; the commands stand in `app`."""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run `caveats` on this process's arguments, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a note in Greek on an ASCII terminal is no reason to fall over
            stream.reconfigure(errors="backslashreplace")
    try:
        from caveats_client.cli.app import app  # noqa: PLC0415  takes a while: Ctrl-C must find us awake
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as missing:
        sys.exit(f"caveats: {missing.name} is not installed: pip install 'caveats[client]'")
    app(prog_name="caveats")
    sys.exit(0)
