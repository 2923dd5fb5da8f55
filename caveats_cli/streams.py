"""Standard input, output and error as the process got them: closed, full, or with a reader that goes away.

Knows file descriptors and signals, knows no command.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn


def prepare() -> None:
    """Make standard streams that any command can use. Data that cannot be written ends the command, messages do not.

    An ASCII terminal is shown other characters as escapes.
    """
    closed = _fill_closed()
    if sys.stdin is None or 0 in closed:  # as good as empty
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # for the life of the process
    if sys.stdout is None or 1 in closed:
        sys.stdout = _NoOutput()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = sys.__stdout__ = _Data(**_settings(sys.stdout))  # type: ignore[misc]
    if sys.stderr is None or 2 in closed:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = sys.__stderr__ = _Messages(**_settings(sys.stderr))  # type: ignore[misc]


def leave_to_server() -> None:
    """Undo `prepare` for a server, which goes on whatever becomes of its output."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _NoOutput):
            stream = None
        elif isinstance(stream, _Data | _Messages):
            stream = io.TextIOWrapper(**_settings(stream))
        setattr(sys, name, stream)


def _fill_closed() -> set[int]:
    """The closed ones among the descriptors 0, 1 and 2. They are opened as /dev/null: no file gets their number."""
    closed = set()
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            closed.add(handle)
    return closed


def _settings(stream: Any) -> dict[str, Any]:
    """What a text stream is made of, to make another of it; its own is flushed, and is not to be used any more."""
    encoding, is_terminal = stream.encoding, stream.isatty()
    return {
        "buffer": stream.detach(),
        "encoding": encoding,
        "errors": "backslashreplace",
        "line_buffering": is_terminal,
    }


class _Data(io.TextIOWrapper):
    """Standard output. What is written is with the reader at once, or ends the command."""

    def write(self, text: str) -> int:
        """Write `text`. Raises `click.ClickException` if it cannot be written; ends the process if the reader is gone."""
        if text == "":  # click tries what the stream takes; /dev/full would refuse even that
            return 0
        try:
            count = super().write(text)
            super().flush()
        except OSError as error:
            self._end(error)
        return count

    def flush(self) -> None:
        """As `write`."""
        try:
            super().flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> NoReturn:
        discard(self.fileno())
        if error.errno == errno.EPIPE:
            end_as_by_a_closed_pipe()
        raise _no_output(str(error.strerror)) from error


class _Messages(io.TextIOWrapper):
    """Standard error. Whether a message can be written changes nothing."""

    def write(self, text: str) -> int:
        """Write `text`, if that can be done."""
        try:
            super().write(text)
            super().flush()
        except OSError:
            discard(self.fileno())
        return len(text)


class _NoOutput(io.StringIO):
    """A standard output that was closed by whoever started the command."""

    def write(self, text: str) -> int:
        """Raises `click.ClickException`, unless there is nothing to write."""
        if text:
            raise _no_output("it is closed")
        return 0


def _no_output(reason: str) -> Exception:
    import click  # noqa: PLC0415  # whoever lacks the extra is told so by the program, which needs its streams for that

    return click.ClickException(f"cannot write to standard output: {reason}")


def discard(handle: int) -> None:
    """Let what is still to be written to `handle` go nowhere, so that the end of the process finds no error there."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, handle)
    os.close(nowhere)


def end_as_by_a_closed_pipe() -> NoReturn:
    """End the process as SIGPIPE ends programs whose reader is gone: without a word, 141 for a shell."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    sys.exit(1)
