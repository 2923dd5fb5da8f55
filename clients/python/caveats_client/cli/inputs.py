"""The inputs of commands: a token, a password, a username, the time.

Knows arguments, standard input, the environment and the file of logins; knows no service. A stored token is never sent
to another address than its own.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from caveats import Bundle, MalformedToken
from caveats.token import PREFIX
from caveats_client.cli import standard_input
from caveats_client.cli.credentials import Credentials, Login
from caveats_client.cli.exit_codes import CliError, ExitCode
from caveats_client.cli.hints import typed
from caveats_client.cli.output import message, secret
from caveats_client.cli.pasted import is_token, misfit, unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN_VARIABLE = "CAVEATS_TOKEN"  # noqa: S105  # a variable's name
PASSWORD_VARIABLE = "CAVEATS_PASSWORD"  # noqa: S105
NEW_PASSWORD_VARIABLE = "CAVEATS_NEW_PASSWORD"  # noqa: S105
STANDARD_INPUT = "-"
_STANDARD_INPUT = "standard input"
_SILENT = ": give - to wait for a token there, or redirect it from /dev/null for the stored login"
REMIND_AFTER = 5.0
"""Seconds without input after which a message says that the command waits for it."""
_LONGEST = 64 * 1024
"""Characters of a password, at most."""


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
    misfit: str | None = None
    """What there is instead of a token, in words."""

    @property
    def bundle(self) -> Bundle:
        """The token, read. Raises `CliError` for what is none, and says what it is; `caveats.LimitExceeded`."""
        try:
            return Bundle.decode(self.text)
        except MalformedToken as error:
            raise CliError(ExitCode.MALFORMED, self.misfit or str(error)) from error


def find_token(
    argument: str | None, *, url: str | None = None, piped: bool = False, subject: bool = False
) -> TokenInput | None:
    """The token that a command works on or acts with; None if none was given and none is stored.

    The first of these counts: the argument (`-` is standard input); the environment; standard input if `piped`, and if
    it is a file or a pipe that speaks or ends within two seconds; the login stored for `url`, or the current one. What was
    given but is empty is an error, and so is a pipe without a token: a stored login never stands in for them. Standard
    input is behind the environment, so that a command waits for no pipe, and takes no line from the loop around it,
    where its token is known.

    A pipe that is silent was most likely not meant: the program that started the command left it open. The stored login
    is used, and a message says so. With `subject` it is an error instead: what such a command prints, a token or a
    verdict, would pass for that of a token that is slow to come. Raises `CliError`.
    """
    given = given_token(argument, piped=piped, wait=REMIND_AFTER if subject else standard_input.AT_ONCE)
    if given is not None:
        return given
    silent = piped and standard_input.is_open()
    if silent and subject:
        raise CliError(ExitCode.USAGE, f"nothing comes through standard input{_SILENT}")
    login = Credentials.here().load().find(url)
    if login is None:
        return None
    if silent:
        message(f"nothing comes through standard input: uses the stored login at {login.url}")
    return stored_token(login)


def store(login: Login) -> None:
    """Store a login. A damaged file at its place is set aside, and a message names the new place. Raises `CredentialsError`."""
    aside = Credentials.here().save(login)
    if aside is not None:
        message(f"the file of logins was damaged: it is kept as {aside}, and there is a new one")


def stored_token(login: Login) -> TokenInput:
    """The token of a stored login."""
    return TokenInput(login.token, "the stored login", login)


def given_token(
    argument: str | None, *, piped: bool = False, wait: float = standard_input.AT_ONCE
) -> TokenInput | None:
    """As `find_token`, without the stored login. Standard input is read only if no other token was given.

    `wait`: seconds, at most, for a pipe that is silent.
    """
    if argument == STANDARD_INPUT:
        with _reminder("reading a token from standard input"):
            pasted = standard_input.everything(lambda text: is_token(unwrapped(text)))
        return _input(pasted, _STANDARD_INPUT)
    if argument is not None:
        return _input(argument, "the argument")
    from_environment = os.environ.get(TOKEN_VARIABLE)
    if from_environment is not None:
        found = _input(from_environment, TOKEN_VARIABLE)
        if piped and _begins_with_token(standard_input.glimpse()):
            message(
                f"uses the token in {TOKEN_VARIABLE}; to use the one that is piped in, give the argument -"
            )
        return found
    offer = standard_input.offered(wait, _begins_with_token) if piped else None
    return None if offer is None else _taken(offer)


def _taken(offer: standard_input.Offer) -> TokenInput:
    """The token in what standard input offers: its first line, or all of it if it is one token in several lines.

    The rest is left, and so is all of it if it is no token.
    """
    if _begins_with_token(offer.data):
        line = _first_line(offer.data)
        offer.take(min(offer.data.index(line) + len(line) + 1, len(offer.data)))
        return _input(line.decode(), _STANDARD_INPUT)
    text = standard_input.text_of(offer.data)
    found = _input(text, _STANDARD_INPUT)
    if is_token(found.text):
        offer.take(len(offer.data))
    elif found.misfit is None and PREFIX not in text:
        raise CliError(
            ExitCode.MALFORMED, f"standard input holds no token, but other text{standard_input.IN_A_LOOP}"
        )
    return found


def _begins_with_token(data: bytes) -> bool:
    return is_token(unwrapped(_first_line(data).decode("utf-8", "replace")))


def _first_line(data: bytes) -> bytes:
    """The first line that is not empty."""
    return data.lstrip().partition(b"\n")[0]


def _input(pasted: str, where: str) -> TokenInput:
    text = unwrapped(pasted)
    if not text:
        advice = f"unset {TOKEN_VARIABLE}" if where == TOKEN_VARIABLE else "leave it out"
        if where == _STANDARD_INPUT:
            advice = "redirect it from /dev/null"
        raise CliError(ExitCode.MALFORMED, f"{where} holds no token; for the stored login, {advice}")
    what = None if is_token(text) else misfit(pasted)
    return TokenInput(text, where, misfit=what and f"{where} holds {what}")


def need_token(
    argument: str | None, *, url: str | None = None, piped: bool = False, subject: bool = False
) -> TokenInput:
    """As `find_token`. Raises `CliError` if there is none."""
    found = find_token(argument, url=url, piped=piped, subject=subject)
    if found is None:
        where = "" if url is None else f" to {url}"
        login = typed("login", *(() if url is None else ("--url", url)))
        raise CliError(
            ExitCode.NOT_SIGNED_IN,
            f"not signed in{where}, and no token given: to sign in: {login}; or give a token as an argument, on "
            f"standard input or in {TOKEN_VARIABLE}",
        )
    return found


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


def new_password(url: str, *, stdin: bool) -> str:
    """A new password for the service at `url`, found as `password` finds one, and typed twice."""
    return password(f"New password at {url}", stdin=stdin, variable=NEW_PASSWORD_VARIABLE, twice=True)


def can_ask_for_new_password() -> bool:
    """Whether a new password is in the environment, or a person can be asked for one."""
    return bool(os.environ.get(NEW_PASSWORD_VARIABLE)) or (sys.stdin is not None and sys.stdin.isatty())


def _typed(prompt: str, variable: str, *, twice: bool) -> str:
    if not sys.stdin.isatty():
        raise CliError(
            ExitCode.USAGE,
            f"no terminal to ask for the password at: use --password-stdin, or set {variable}",
        )
    first = secret(prompt)
    if twice and first and secret("The same again") != first:
        raise CliError(ExitCode.USAGE, "the two passwords differ")
    return first


def username(given: str | None) -> str:
    """A username: `given`, or typed at the terminal."""
    return given or _asked("User name", "no user name: give it as an argument")


def address() -> str:
    """The address of a service, typed at the terminal."""
    return _asked(
        "Address of the service",
        "no service chosen: give its address with --url, or set CAVEATS_URL, or sign in to one",
    )


def _asked(prompt: str, otherwise: str) -> str:
    """A line typed at the terminal. Raises `CliError` with the words `otherwise` if there is none, or nothing typed."""
    if not sys.stdin.isatty():
        raise CliError(ExitCode.USAGE, otherwise)
    message(f"{prompt}: ", label="", end="")
    line = sys.stdin.readline()
    if not line:
        message("", label="")
    if not line.strip():
        raise CliError(ExitCode.USAGE, otherwise)
    return line.strip()
