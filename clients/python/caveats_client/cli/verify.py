"""`verify`: asks the service whether it grants a token for a request, and shows the result of each caveat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from caveats.context import TEXT_FACTS
from caveats_client.cli import inputs, parameters
from caveats_client.cli.commands import Command
from caveats_client.cli.exit_codes import ExitCode
from caveats_client.cli.output import data_json, renamed
from caveats_client.cli.render import line, show
from caveats_client.cli.service import client_for

if TYPE_CHECKING:
    from collections.abc import Callable

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
    facts["extra"] = dict(_pair(text) for text in extra)
    if facts["method"]:
        facts["method"] = facts["method"].upper()
    if facts["path"]:  # as a person writes it; a request line has no spaces
        facts["path"] = facts["path"].replace(" ", "%20")
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


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--extra")
    return name, value


def _show_verification(verification: Verification) -> None:
    word, style = ("granted", "bold green") if verification.granted else ("refused", "bold red")
    show(line((word, style), (f"  token {verification.token_id} of {verification.user}", "default")))
    for caveat in verification.caveats:
        if caveat.satisfied:
            show(line((f"  holds    {caveat.predicate}", "green")))
        else:
            show(line(("  refuses  ", "red"), (f"{caveat.predicate} (added by the {caveat.added_by})", "")))
            show(line((f"           {caveat.reason}; would pass: {caveat.hint}", "")))
