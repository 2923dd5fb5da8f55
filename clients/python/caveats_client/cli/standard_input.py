"""Standard input: what it holds at once, seen before it is taken.

Knows files, pipes and sockets, knows no token. What is seen and not taken stays for whoever reads it next, such as the
shell's loop around the command.
"""

from __future__ import annotations

import codecs
import os
import select
import socket
import stat
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from caveats_client.cli.exit_codes import CliError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONGEST = 64 * 1024
"""Bytes that are seen of standard input, at most."""
AT_ONCE = 2.0
"""Seconds within which a pipe that was meant for the command has begun to speak."""
_REST = 1.0
"""Seconds for the rest of what a pipe has begun to say."""
_LONGEST_TYPED = 4095
"""Characters of a line that a terminal of Linux hands on (N_TTY_BUF_SIZE); what comes after them is dropped."""
_LOOK_AGAIN = 0.02
_TEE_NONBLOCK = 2
"""SPLICE_F_NONBLOCK of Linux."""
IN_A_LOOP = ": in a loop, give the token as an argument or in CAVEATS_TOKEN, or redirect the command's input from /dev/null"


class Offer:
    """What standard input holds. Nothing of it is taken before `take`."""

    def __init__(self, data: bytes, take: Callable[[int], None]) -> None:
        self.data = data
        self.take = take
        """Takes so many bytes: the next reader begins behind them."""


def offered(wait: float, enough: Callable[[bytes], bool]) -> Offer | None:
    """What a pipe, a socket or a file on standard input holds; None for anything else, and for a pipe that is silent.

    `wait`: seconds, at most, until a pipe speaks or ends. `enough`: whether what has come is all that is wanted; else it
    is waited a second for the end. Raises `CliError` for a file that something else has begun to read, such as the loop
    around the command.
    """
    kind = _kind()
    if kind is None:
        return None
    handle = sys.stdin.fileno()
    if kind == stat.S_IFREG:
        if os.lseek(handle, 0, os.SEEK_CUR) > 0:
            raise CliError(ExitCode.USAGE, f"standard input is a file that something else reads{IN_A_LOOP}")
        data = os.read(handle, LONGEST + 1)
        os.lseek(handle, 0, os.SEEK_SET)
        return Offer(data, lambda count: _seek(handle, count))
    if os.name == "posix" and not select.select([handle], [], [], wait)[0]:
        return None
    with _peeking(handle, kind) as peek:
        if peek is None:
            return Offer(_first_line(handle), lambda _count: None)
        return Offer(_seen(handle, peek, enough), lambda count: _read(handle, count))


def is_open() -> bool:
    """Whether standard input is a pipe, a socket or a file: something that there may be to read from."""
    return _kind() is not None


def glimpse() -> bytes:
    """What a pipe or a socket on standard input holds now, of which nothing is taken; empty where that cannot be told."""
    kind = _kind()
    if kind in (None, stat.S_IFREG) or os.name != "posix":
        return b""
    handle = sys.stdin.fileno()
    if not select.select([handle], [], [], 0)[0]:
        return b""
    with _peeking(handle, kind) as peek:
        return b"" if peek is None else peek()


def everything(enough: Callable[[str], bool]) -> str:
    """All of standard input, up to 64 KiB, as text. Raises `CliError` if it is none.

    At a terminal it ends with the line that makes it `enough`, or with an empty one behind others: nobody has to know how
    to end it.
    """
    if sys.stdin.isatty():
        return _lines(enough)
    buffer = getattr(sys.stdin, "buffer", None)
    return text_of(buffer.read(LONGEST + 1) if buffer is not None else sys.stdin.read(LONGEST + 1).encode())


def _lines(enough: Callable[[str], bool]) -> str:
    text = ""
    while len(text) <= LONGEST and (line := sys.stdin.readline()):
        if len(line) >= _LONGEST_TYPED:
            raise CliError(
                ExitCode.MALFORMED,
                f"a terminal cuts a line after {_LONGEST_TYPED} characters: put the token into a file, and give < and its name",
            )
        text += line
        if enough(text) or (text.strip() and not line.strip()):
            break
    return text


def text_of(data: bytes) -> str:
    """`data` as text: UTF-8, or UTF-16 with its mark, as PowerShell writes files. Raises `CliError` if it is neither."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if marked else "utf-8")
    except UnicodeDecodeError:
        raise CliError(ExitCode.MALFORMED, f"standard input holds no token, and no text{IN_A_LOOP}") from None


def _kind() -> int | None:
    """The type of file that standard input is, if it is one to read from; None for a terminal, /dev/null, a closed one."""
    try:
        kind = stat.S_IFMT(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):
        return None
    return kind if kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG) else None


def _seek(handle: int, count: int) -> None:
    os.lseek(handle, count, os.SEEK_SET)


def _read(handle: int, count: int) -> None:
    while count > 0 and (data := os.read(handle, count)):
        count -= len(data)


def _first_line(handle: int) -> bytes:
    """The first line, and not a byte more."""
    line = bytearray()
    while len(line) <= LONGEST and not line.endswith(b"\n") and (more := os.read(handle, 1)):
        line += more
    return bytes(line)


def _seen(handle: int, peek: Callable[[], bytes], enough: Callable[[bytes], bool]) -> bytes:
    """What is there when it is enough, when the other side has ended, or a second later."""
    poll = select.poll()
    poll.register(handle, 0)  # an end is reported without being asked for
    last = time.monotonic() + _REST
    while not enough(data := peek()) and time.monotonic() < last:
        if poll.poll(_LOOK_AGAIN * 1000):
            return peek()
    return data


@contextmanager
def _peeking(handle: int, kind: int | None) -> Iterator[Callable[[], bytes] | None]:
    """A function that reads what is there and takes nothing; None on a platform that has none for pipes."""
    if kind == stat.S_IFSOCK:
        with socket.socket(fileno=os.dup(handle)) as peer:
            yield lambda: peer.recv(LONGEST + 1, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0))
        return
    import ctypes  # noqa: PLC0415  # for pipes only

    tee = getattr(ctypes.CDLL(None), "tee", None) if sys.platform == "linux" else None
    if tee is None:
        yield None
        return

    def peek() -> bytes:
        read, write = os.pipe()
        try:
            tee(handle, write, ctypes.c_size_t(LONGEST), _TEE_NONBLOCK)
            os.close(write)
            write = -1
            return os.read(read, LONGEST)
        finally:
            os.close(read)
            if write >= 0:
                os.close(write)

    yield peek
