"""The limit on open files (RLIMIT_NOFILE): each connection is one. Knows the operating system."""

from __future__ import annotations

import resource
from pathlib import Path

from caveats_service.core import log

_ENOUGH = 4096
"""Files; fewer are said at the start."""
_MOST = 1 << 20
_MOST_ON_MACOS = 10_240
"""What macOS lets a process have where it says that there is no limit (OPEN_MAX)."""
_NEAR, _FAR = 0.8, 0.7
"""Parts of the limit at which it is said that it is near, and no longer is."""
_RESERVE = 0.1
"""Part of the limit that connections leave to the database and its files."""


def raise_limit() -> None:
    """Raise the limit of this process as far as it may by itself, and log a low one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    for wanted in (most, min(most, _MOST_ON_MACOS)):
        if soft != resource.RLIM_INFINITY and soft < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (ValueError, OSError):
                continue
            soft = wanted
    if soft != resource.RLIM_INFINITY and soft < _ENOUGH:
        log.warning("open_files_limit_low", limit=soft, wanted=_ENOUGH, set_by="ulimit -n, LimitNOFILE")


def most_connections() -> int:
    """How many connections may be open at a time."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if limit == resource.RLIM_INFINITY else int(limit * (1 - _RESERVE)) - 16


class OpenFiles:
    """The files that this process has open, and whether it was said that they are too many."""

    def __init__(self) -> None:
        self._told = False

    def look(self) -> None:
        """Log when the limit comes near, and when it is far again."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit == resource.RLIM_INFINITY:
            return
        try:
            used = len(list(Path("/dev/fd").iterdir()))
        except OSError:
            used = limit  # the folder needs one as well
        if used > _NEAR * limit and not self._told:
            log.warning("open_files_limit_near", open=used, limit=limit, set_by="ulimit -n, LimitNOFILE")
            self._told = True
        elif used < _FAR * limit and self._told:
            log.info("open_files_limit_far", open=used, limit=limit)
            self._told = False
