"""What a start prints once requests are accepted: the address, and after a first start the administrator.

Knows standard output and standard error. No log line holds the password; it is printed, on standard error where
standard output cannot be written: no later start knows it.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, TextIO

from caveats_service.core import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats_service.core.accounts import FirstAdmin
    from caveats_service.settings import Settings


def announce(settings: Settings, port: int, first: FirstAdmin | None, *, workers: int = 1) -> None:
    """Print where the service is, and the administrator, if this start has made one."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else host  # noqa: S104  # a display, not a bind
    many = f" ({workers} workers)" if workers > 1 else ""
    url = f"http://{shown}:{port}"
    address = f"Caveats is serving on {url}{many}, data in {settings.data_shown}"
    admin = _admin(first, url)
    _print(address, *admin, must_be_seen=admin)


def print_admin(first: FirstAdmin | None) -> None:
    """Print the administrator, if this start has made one: of a service that does not serve."""
    if first is not None:
        admin = _admin(first, None)
        _print(*admin, must_be_seen=admin)


def _admin(first: FirstAdmin | None, url: str | None) -> tuple[str, ...]:
    """`url`: where the service is asked, None if it does not serve."""
    if first is None:
        return ()
    name = f"  Admin:    {first.username}"
    if first.password is None:
        return (name,)
    change = f"caveats-service users passwd {first.username}"
    if url is not None:
        change = f"caveats passwd {first.username} --url {shlex.quote(url)}"
    return name, f"  Password: {first.password}   (shown this once)", f"  To change it: {change}"


def _print(*lines: str, must_be_seen: Sequence[str]) -> None:
    """Print lines. A reader that is gone, a full disk and a closed output stop no service.

    `must_be_seen`: those that go to standard error if standard output does not take them.
    """
    if not _written(lines, sys.stdout) and must_be_seen and not _written(must_be_seen, sys.stderr):
        log.error("admin_not_shown", do="caveats-service users passwd admin")


def _written(lines: Sequence[str], stream: TextIO | None) -> bool:
    if stream is None:  # closed by whoever started the service
        return False
    try:
        stream.write("".join(f"{line}\n" for line in lines))
        stream.flush()
    except OSError as error:
        # What is left in its buffer would fail again at the end, and change the exit code.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        log.warning("standard_output_not_written", error=error.strerror)
        return False
    return True
