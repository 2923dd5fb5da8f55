"""`verify`: asks the service whether it grants a token for a request, and shows the result of each caveat."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from caveats import MalformedCaveat
from caveats.context import TEXT_FACTS
from caveats.kinds import parse_address, parse_host, parse_scope
from caveats.token import is_audience
from caveats_client.cli import inputs, parameters
from caveats_client.cli.commands import Command
from caveats_client.cli.exit_codes import ExitCode
from caveats_client.cli.output import data_json, renamed
from caveats_client.cli.render import in_short, line, show, styled, verdicts
from caveats_client.cli.service import client_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.text import Text

    from caveats_client.api.responses import Verification


def _fact_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for each fact that has one text, in the library's order."""
    for fact, words in reversed(TEXT_FACTS.items()):
        flag = f"--{fact.replace('_', '-')}"
        command = click.option(flag, metavar=words["asks"], help=words["summary"])(command)
    return command


@click.command(cls=Command)
@parameters.token
@click.option(
    "--scope",
    metavar="SCOPE",
    multiple=True,
    help="What the request does, such as photos/42:read. Repeatable: all are needed.",
)
@click.option("--audience", metavar="NAME", help="The app that verifies. Default: default.")
@_fact_flags
@click.option("--extra", metavar="NAME=VALUE", multiple=True, help="A fact for a plug-in's kind. Repeatable.")
@parameters.url
@parameters.as_json
@parameters.allow_http
def verify(
    *,
    token: str | None,
    scope: tuple[str, ...],
    audience: str | None,
    extra: tuple[str, ...],
    url: str | None,
    as_json: bool,
    allow_http: bool,
    **facts: Any,
) -> None:
    """Ask the service if a token is good for a request, and why not.

    Exit codes: 0 if granted, 4 if its caveats refuse, 3 if it is not valid.

    For example:

      caveats verify "$TOKEN" --scope photos/42:read
      caveats verify --method GET --path /albums/42 --client-ip 10.1.2.3 - < token.txt
    """
    facts = {fact: None if text is None else _read(fact, text) for fact, text in facts.items()}
    facts["extra"] = dict(_pair(text) for text in extra)
    for text in scope:
        _check_scopes(text)
    if audience is not None and not is_audience(audience):
        raise click.BadParameter(
            f"{audience!r} is not an audience: a-z, then a-z, 0-9 and -", param_hint="--audience"
        )
    found = inputs.need_token(token, url=url, piped=True, subject=True)
    with client_for(url, found, allow_http=allow_http) as client:
        verification = client.verify(
            found.bundle,
            scope=parameters.joined(scope),
            audience=audience,
            **facts,
        )
    if as_json:
        data_json(renamed(verification))
    else:
        _show_verification(verification)
    if not verification.granted:
        raise click.exceptions.Exit(ExitCode.REFUSED)


_METHOD = re.compile(r"[A-Za-z][A-Za-z-]{0,31}")


def _method(text: str) -> str:
    if _METHOD.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not an HTTP method, such as GET")
    return text.upper()


def _path(text: str) -> str:
    """A path as a person writes it, in which a request line has no spaces."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not a path: one begins with /, such as /albums/42")
    if "?" in text or "#" in text:
        raise ValueError("a path ends before ? and #")
    if not text.isprintable():
        raise ValueError(f"{text!r} holds characters that no path has")
    return text.replace(" ", "%20")


def _host(text: str) -> str:
    if parse_host(text) is None:
        raise ValueError(f"{text!r} is not a host name, such as photos.example")
    return text


def _client_ip(text: str) -> str:
    if parse_address(text) is None:
        raise ValueError(f"{text!r} is not an address, such as 10.1.2.3 or 2001:db8::1")
    return text


_READERS: dict[str, Callable[[str], str]] = {
    "method": _method,
    "path": _path,
    "host": _host,
    "client_ip": _client_ip,
}
"""How each fact is read from what a person types. A fact without a row is taken as it is."""


def _read(fact: str, text: str) -> str:
    """The fact. Raises `BadParameter` for a text that it cannot be: the answer would be about another request."""
    try:
        return _READERS.get(fact, str)(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--{fact.replace('_', '-')}") from None


def _check_scopes(text: str) -> None:
    """Raises `BadParameter` for scopes that no request needs."""
    for scope in text.split(" "):
        try:
            parse_scope(scope)
        except MalformedCaveat as error:
            raise click.BadParameter(str(error), param_hint="--scope") from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--extra")
    return name, value


def _show_verification(verification: Verification) -> None:
    word, style = ("granted", "bold green") if verification.granted else ("refused", "bold red")
    show(line((word, style), (f"  token {verification.token_id} of {verification.user}", "default")))
    show(verdicts(_judged(verification)))


def _judged(verification: Verification) -> Iterator[tuple[Text, Text]]:
    for caveat in verification.caveats:
        if caveat.satisfied:
            short, meaning = in_short(caveat.predicate)
            yield styled("  holds", "green"), line((short, "green"), (f"  {meaning}" if meaning else "", ""))
        else:
            said = styled(f"{caveat.predicate} (added by the {caveat.added_by})")
            yield styled("  refuses", "red"), said
            yield styled(""), styled(f"{caveat.reason}; would pass: {caveat.hint}")
