"""How a program ends whose extra is not installed. `caveats.extras` does the same for imports."""

from __future__ import annotations

import sys
from typing import NoReturn

from caveats_cli.failures import asks_for_json, error_json

_USAGE = 2
_UNIX = ("fcntl", "resource")
"""Modules of Python that Windows has not."""


def end_without(missing: ModuleNotFoundError, program: str, extra: str) -> NoReturn:
    """Say in one line which extra to install, and exit with 2. Raises `missing` if it is a part of ours, which no extra adds."""
    package = (missing.name or "").partition(".")[0]
    if package.startswith("caveats"):
        raise missing
    words = f"{package} is not installed: pip install 'caveats[{extra}]'"
    if package in _UNIX:
        words = "this runs on Linux and macOS; on Windows, run it in a container or in WSL"
    if asks_for_json(sys.argv[1:]):
        sys.stderr.write(
            error_json("missing_extra", words, _USAGE, {"extra": extra, "package": package}) + "\n"
        )
    else:
        sys.stderr.write(f"{program}: {words}\n")
    sys.exit(_USAGE)
