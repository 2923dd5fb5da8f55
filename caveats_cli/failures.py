"""How an error is told that ends a command: its one shape as JSON, and where it comes from if it is a bug."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def asks_for_json(arguments: Iterable[Any]) -> bool:
    """Whether `--json` is among a program's arguments, right or wrong."""
    return "--json" in itertools.takewhile(lambda argument: argument != "--", arguments)


def error_json(code: str, detail: str, exit_code: int, members: Mapping[str, Any] | None = None) -> str:
    """The error as one line of JSON, in ASCII.

    `code`: a name for programs. `detail`: the message for people. `members`: what more a program can use.
    """
    shape = {"code": code, "detail": detail, "exit_code": int(exit_code), **(members or {})}
    return json.dumps(shape, ensure_ascii=True)


def unexpected(error: BaseException) -> str:
    """The message for an error that nobody has foreseen: its class and its place, without any data."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else "an unknown place"
    return f"unexpected {type(error).__name__} at {place}: this is a bug, please report it"


def in_words(error: OSError) -> str:
    """What the system says of a file, after the file's name."""
    return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
