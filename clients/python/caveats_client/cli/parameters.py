"""The arguments and options that several commands have in common. Knows click, knows no command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caveats_client.cli.addresses import read_address
from caveats_client.cli.output import message

if TYPE_CHECKING:
    from collections.abc import Callable

_F = TypeVar("_F", bound="Callable[..., Any] | click.Command")


def _lifetime(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    """The text of a duration, checked. Raises `BadParameter` before any request is sent."""
    from caveats.durations import parse_typed_duration  # noqa: PLC0415  # the library takes a while to import

    if text is not None:
        try:
            parse_typed_duration(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return text


def _url(context: click.Context, _option: click.Parameter, url: str | None) -> str | None:
    if url is None and "CAVEATS_URL" in os.environ:
        raise click.BadParameter("CAVEATS_URL is set, but empty: unset it, or give it an address")
    return url if url is None or context.resilient_parsing else address(url)


def addresses(context: click.Context, _option: click.Parameter, typed: tuple[str, ...]) -> tuple[str, ...]:
    """The callback of an option that takes addresses. Raises `BadParameter`."""
    return typed if context.resilient_parsing else tuple(map(address, typed))


def address(typed: str) -> str:
    """An address as it was meant; what was assumed of it is said. Raises `BadParameter`."""
    from caveats_client.cli.service import plain_url  # noqa: PLC0415  # httpx takes a while to import

    try:
        read = read_address(typed)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    for note in read.notes:
        message(note)
    return plain_url(read.url)


def joined(patterns: tuple[str, ...]) -> str | None:
    """Scope patterns that were given one by one, as one scope; None if there are none."""
    return " ".join(patterns) if patterns else None


_BEFORE_A_TOKEN = ("authorization:", "basic", "bearer", "token", "x-auth-token:")


def _one_token(_context: click.Context, _argument: click.Parameter, words: tuple[str, ...]) -> str | None:
    """The one token among the words of the command line: `Authorization: Bearer ...` may be given without quotes."""
    if not words:
        return None
    if not all(word.lower() in _BEFORE_A_TOKEN for word in words[:-1]):
        raise click.UsageError("Got unexpected extra argument: a command takes one token")
    return " ".join(words)


def token_argument(name: str, help_text: str) -> Callable[[_F], _F]:
    """The argument that is a token."""
    return click.argument(
        name, metavar="[TOKEN]", nargs=-1, callback=_one_token, help=help_text, type=click.UNPROCESSED
    )


token = token_argument(
    "token",
    "A token's text, or - for standard input. Default: CAVEATS_TOKEN, what is piped in, the stored login.",
)
acting_token = click.option(
    "--token",
    metavar="TOKEN",
    help="The token to act with, or - for standard input. Default: CAVEATS_TOKEN, the stored login.",
)
url = click.option(
    "--url",
    envvar="CAVEATS_URL",
    show_envvar=True,
    metavar="URL",
    callback=_url,
    help="The service's address. Default: where you last signed in.",
)
allow_http = click.option(
    "--allow-http",
    is_flag=True,
    envvar="CAVEATS_ALLOW_HTTP",
    show_envvar=True,
    help="Allow plain http. Use it only where nobody can read the traffic.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
password_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
scope = click.option(
    "--scope",
    metavar="PATTERNS",
    multiple=True,
    help="What the token allows, such as photos/42:read. Repeatable.",
)
expires_in = click.option(
    "--expires-in",
    metavar="TIME",
    callback=_lifetime,
    help="How long the token lives from now: 90s, 15m, 1h30m, 8h, 30d, 1w.",
)
audience = click.option(
    "--audience", metavar="NAME", help="The app, or group of apps, that the token is for."
)
note = click.option("--note", metavar="TEXT", help="A label. `caveats tokens` lists labelled tokens.")
predicates = click.option(
    "--caveat",
    "predicates",
    metavar="'KIND = VALUE'",
    multiple=True,
    help="Any caveat, as text. Repeatable.",
)
