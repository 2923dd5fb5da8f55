"""The inputs of commands: a token, a password, a username, the time.

Knows arguments, standard input, the environment and the file of logins; knows no service. A stored token is never sent
to another address than its own.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from caveats import Bundle
from caveats_client.cli.credentials import Credentials, Login
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.output import message

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
    """The token that a command works on or acts with; None if there is none.

    It is looked for in this order: the argument (`-` is standard input); standard input if `piped`, and if something
    is piped into the command; the environment; the login stored for `url`, or the current one.
    """
    given = given_token(argument, piped=piped)
    if given is not None:
        return given
    login = Credentials.here().load().find(url)
    return None if login is None else stored_token(login)


def stored_token(login: Login) -> TokenInput:
    """The token of a stored login."""
    return TokenInput(login.token, "the stored login", login)


def given_token(argument: str | None, *, piped: bool = False) -> TokenInput | None:
    """As `find_token`, without the stored login."""
    if argument == STANDARD_INPUT:
        return TokenInput(_standard_input(), "standard input")
    if argument is not None:
        return TokenInput(argument.strip(), "the argument")
    if piped and _is_piped():
        text = _standard_input()
        if text:
            return TokenInput(text, "standard input")
    from_environment = os.environ.get(TOKEN_VARIABLE, "").strip()
    return TokenInput(from_environment, TOKEN_VARIABLE) if from_environment else None


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
    if not found.text:
        raise CliError(ExitCode.MALFORMED, f"{found.where} holds no token")
    return found


def _is_piped() -> bool:
    """Whether standard input is a pipe or a regular file, and not a terminal or /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _standard_input() -> str:
    """All of standard input, up to 64 KiB. After `REMIND_AFTER` seconds, a message says what the command waits for."""
    reminder = threading.Timer(REMIND_AFTER, message, ["reading a token from standard input"])
    reminder.daemon = True
    reminder.start()
    try:
        return sys.stdin.read(_LONGEST + 2).strip()
    except UnicodeDecodeError:
        raise CliError(ExitCode.MALFORMED, "standard input holds no text") from None
    finally:
        reminder.cancel()


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
    typed = getpass.getpass(f"{prompt}: ", stream=sys.stderr)
    if twice and typed and getpass.getpass("The same again: ", stream=sys.stderr) != typed:
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
