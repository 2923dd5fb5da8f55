"""The inputs of commands: a token, a password, a username, the time.

Knows arguments, standard input, the environment and the file of logins; knows no service. A stored token is never sent
to another address than its own.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from caveats import Bundle
from caveats_client.cli.credentials import Credentials, Login
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.output import message, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN_VARIABLE = "CAVEATS_TOKEN"  # noqa: S105  # a variable's name
PASSWORD_VARIABLE = "CAVEATS_PASSWORD"  # noqa: S105
NEW_PASSWORD_VARIABLE = "CAVEATS_NEW_PASSWORD"  # noqa: S105
STANDARD_INPUT = "-"
REMIND_AFTER = 5.0
"""Seconds without input after which a message says that the command waits for it."""
_LONGEST = 64 * 1024


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


# A token


@dataclass(frozen=True, slots=True)
class TokenInput:
    """A token, and where it was found."""

    text: str = field(repr=False)
    where: str
    login: Login | None = None
    """The stored login, if the token was found there."""

    @property
    def bundle(self) -> Bundle:
        """The token, read. Raises `caveats.MalformedToken`, `LimitExceeded`."""
        return Bundle.decode(self.text)


def find_token(argument: str | None, *, url: str | None = None, piped: bool = False) -> TokenInput | None:
    """The token that a command works on or acts with; None if none was given and none is stored.

    The first of these counts: the argument (`-` is standard input); the environment; standard input if `piped`, and if
    it is a pipe or a file; the login stored for `url`, or the current one. What was given but is empty is an error, and
    so is a pipe without a token: a stored login never stands in for them. Standard input is behind the environment, so
    that a command waits for no pipe, and takes no line from the loop around it, where its token is known. Raises
    `CliError`.
    """
    given = given_token(argument, piped=piped)
    if given is not None:
        return given
    login = Credentials.here().load().find(url)
    return None if login is None else stored_token(login)


def store(login: Login) -> None:
    """Store a login. A damaged file at its place is set aside, and a message names the new place. Raises `CredentialsError`."""
    aside = Credentials.here().save(login)
    if aside is not None:
        message(f"the file of logins was damaged: it is kept as {aside}, and there is a new one")


def stored_token(login: Login) -> TokenInput:
    """The token of a stored login."""
    return TokenInput(login.token, "the stored login", login)


def given_token(argument: str | None, *, piped: bool = False) -> TokenInput | None:
    """As `find_token`, without the stored login. Standard input is read only if no other token was given."""
    if argument == STANDARD_INPUT:
        return _not_empty(_standard_input(), "standard input")
    if argument is not None:
        return _not_empty(argument, "the argument")
    from_environment = os.environ.get(TOKEN_VARIABLE)
    if from_environment is not None:
        found = _not_empty(from_environment, TOKEN_VARIABLE)
        if piped and _is_pipe():
            message(
                f"uses the token in {TOKEN_VARIABLE}; to use the one that is piped in, give the argument -"
            )
        return found
    if piped and _is_piped():
        return _not_empty(_first_line(), "standard input")
    return None


def _not_empty(text: str, where: str) -> TokenInput:
    if not text.strip():
        advice = f"unset {TOKEN_VARIABLE}" if where == TOKEN_VARIABLE else "leave it out"
        if where == "standard input":
            advice = "redirect it from /dev/null"
        raise CliError(ExitCode.MALFORMED, f"{where} holds no token; for the stored login, {advice}")
    return TokenInput(text.strip(), where)


def need_token(argument: str | None, *, url: str | None = None, piped: bool = False) -> TokenInput:
    """As `find_token`. Raises `CliError` if there is none."""
    found = find_token(argument, url=url, piped=piped)
    if found is None:
        where = "" if url is None else f" to {url}"
        raise CliError(
            ExitCode.NOT_SIGNED_IN,
            f"not signed in{where}, and no token given: use `caveats login`, or give a token as an argument, on "
            f"standard input or in {TOKEN_VARIABLE}",
        )
    return found


def _is_pipe() -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):
        return False


def _is_piped() -> bool:
    """Whether standard input is a pipe, a socket or a file. A terminal, /dev/null or a closed one is not.

    Raises `CliError` for a file that something else has begun to read, such as the loop around the command.
    """
    try:
        handle = sys.stdin.fileno()
        mode = os.fstat(handle).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    if stat.S_ISREG(mode) and os.lseek(handle, 0, os.SEEK_CUR) > 0:
        raise CliError(ExitCode.USAGE, f"standard input is a file that something else reads{_IN_A_LOOP}")
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


def _standard_input() -> str:
    """All of standard input, up to 64 KiB."""
    with _reminder("reading a token from standard input"):
        try:
            return sys.stdin.read(_LONGEST + 2)
        except UnicodeDecodeError:
            raise CliError(ExitCode.MALFORMED, "standard input holds no text") from None


def _first_line() -> str:
    """The first line of standard input, up to 64 KiB, and not a byte more: the rest may be a loop's.

    Raises `CliError` for a line that cannot be a token.
    """
    line = bytearray()
    with _reminder("reading a token from standard input; for the stored login, redirect it from /dev/null"):
        while len(line) < _LONGEST + 2 and not line.endswith(b"\n"):
            more = os.read(sys.stdin.fileno(), 1)
            if not more:
                break
            line += more
    text = line.decode("utf-8", "replace").strip()
    if any(letter.isspace() or letter == "\ufffd" for letter in text):
        raise CliError(ExitCode.MALFORMED, f"standard input holds no token, but other text{_IN_A_LOOP}")
    return text


_IN_A_LOOP = ": in a loop, give the token as an argument or in CAVEATS_TOKEN, or redirect the command's input from /dev/null"


@contextmanager
def _reminder(words: str) -> Iterator[None]:
    """After `REMIND_AFTER` seconds, a message says what the command waits for."""
    timer = threading.Timer(REMIND_AFTER, message, [words])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# Passwords and names


def password(prompt: str, *, stdin: bool, variable: str = PASSWORD_VARIABLE, twice: bool = False) -> str:
    """A password: a line of standard input, the variable in the environment, or typed without being shown."""
    if stdin:
        line = sys.stdin.readline(_LONGEST)
        given = line.rstrip("\r\n")
    else:
        given = os.environ.get(variable, "")
        if not given:
            given = _typed(prompt, variable, twice=twice)
    if not given:
        raise CliError(ExitCode.USAGE, "the password is empty")
    return given


def _typed(prompt: str, variable: str, *, twice: bool) -> str:
    if not sys.stdin.isatty():
        raise CliError(
            ExitCode.USAGE,
            f"no terminal to ask for the password at: use --password-stdin, or set {variable}",
        )
    typed = secret(prompt)
    if twice and typed and secret("The same again") != typed:
        raise CliError(ExitCode.USAGE, "the two passwords differ")
    return typed


def username(given: str | None) -> str:
    """A username: `given`, or typed at the terminal."""
    if given:
        return given
    if not sys.stdin.isatty():
        raise CliError(ExitCode.USAGE, "no user name: give it as an argument")
    sys.stderr.write("User name: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        sys.stderr.write("\n")
    typed = line.strip()
    if not typed:
        raise CliError(ExitCode.USAGE, "no user name: give it as an argument")
    return typed
