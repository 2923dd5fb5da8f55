"""The events of the service. Logging never raises: what is done does not depend on whether it can be told.

Knows structlog; `server/logging.py` says where the lines go and how they look. A log whose reader is gone, or a disk
that is full, would otherwise turn an answer into another one and end the background work that wanted to log a failure.
"""

from __future__ import annotations

import contextlib

import structlog

_logger = structlog.get_logger("caveats")


def info(event: str, **values: object) -> None:
    """Something happened as it should."""
    with contextlib.suppress(Exception):
        _logger.info(event, **values)


def warning(event: str, **values: object) -> None:
    """Something happened that an operator should know."""
    with contextlib.suppress(Exception):
        _logger.warning(event, **values)


def error(event: str, **values: object) -> None:
    """Something happened that an operator has to mend."""
    with contextlib.suppress(Exception):
        _logger.error(event, **values)
