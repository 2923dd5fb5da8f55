"""Logging: one line an event, for people or as JSON. Knows structlog and what a token looks like.

Events carry names, ids and codes, never a token. As a last line of defence, text that looks like one is replaced.
Some names are what strangers wrote: a line stays one line, and a terminal obeys nothing in it.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING

import structlog

from caveats.printable import printable

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

    from caveats_service.settings import Settings

_TALKATIVE = ("aiosqlite", "sqlalchemy")
"""On DEBUG these log statements with their parameters, and rows: password hashes and sealed keys."""
_TOKEN = re.compile(r"cav1_[A-Za-z0-9_-]+")


def configure(settings: Settings) -> None:
    """Send structlog's and the standard library's events to standard error. Called once per process."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default shows the values of local variables: passwords, tokens, keys.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.raiseExceptions = (
        False  # uvicorn's own events: a line that cannot be written is lost, and no more
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_record, renderer])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING) if level > logging.DEBUG else level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace text that looks like a token, and characters that are not printed, in values of any depth."""
    return {name: _shown(value, lines=name == "exception") for name, value in event.items()}


def _shown(value: object, *, lines: bool = False) -> object:
    match value:
        case str() if lines:  # a traceback
            return "\n".join(str(_shown(line)) for line in value.split("\n"))
        case str():
            return _TOKEN.sub("cav1_[redacted]", printable(value))
        case dict():
            return {name: _shown(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_shown(inner) for inner in value]
        case _:
            return value


def _drop_record(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
