"""Whether a token is good for a request: asked of the service, and shown with every caveat's reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from caveats_client.api.errors import safe
from caveats_client.cli import inputs
from caveats_client.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from caveats_client.api.responses import Verification
from caveats_client.cli.parameters import AllowHttp, Json, TokenArgument, Url, joined
from caveats_client.cli.render import data_json, renamed, show


def verify(
    token: TokenArgument = None,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCOPE", help="What the request is about to do: photos/42:read. Repeatable: all."
        ),
    ] = None,
    audience: Annotated[
        str | None, typer.Option(metavar="NAME", help="The app that asks. Without it: default.")
    ] = None,
    method: Annotated[str | None, typer.Option(metavar="METHOD", help="The request's HTTP method.")] = None,
    path: Annotated[str | None, typer.Option(metavar="PATH", help="The request's path.")] = None,
    client_ip: Annotated[
        str | None, typer.Option("--client-ip", metavar="ADDRESS", help="Where the request comes from.")
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Whom the request claims to be.")] = None,
    extra: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A fact for a plug-in's kind. Repeatable.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
    allow_http: AllowHttp = False,
) -> None:
    """Ask the service if a token is good for a request, and why not.

    Exits 0 if it is, 4 if its caveats refuse, 3 if it is not authentic or not alive.

    For example:

      caveats verify "$TOKEN" --scope photos/42:read
      caveats verify --method GET --path /albums/42 --client-ip 10.1.2.3 - < token.txt
    """
    facts = dict(_pair(text) for text in extra or ())
    found = inputs.need_token(token, url=url, piped=True)
    with inputs.client_for(url, found, allow_http=allow_http) as client:
        verification = client.verify(
            found.bundle,
            scope=joined(scope),
            audience=audience,
            method=method.upper() if method else None,
            path=path,
            client_ip=client_ip,
            user=user,
            extra=facts,
        )
    if as_json:
        data_json(renamed(verification))
    else:
        _show_verification(verification)
    if not verification.granted:
        raise typer.Exit(ExitCode.REFUSED)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--extra")
    return name, value


def _show_verification(verification: Verification) -> None:
    word, style = ("granted", "bold green") if verification.granted else ("refused", "bold red")
    title = Text(word, style=style)
    title.append(f"  token {verification.token_id} of {verification.user}", style="default")
    show(title)
    for caveat in verification.caveats:
        if caveat.satisfied:
            show(Text(f"  holds    {safe(caveat.predicate)}", style="green"))
        else:
            line = Text("  refuses  ", style="red")
            line.append(f"{safe(caveat.predicate)} (added by the {caveat.added_by})\n")
            line.append(f"           {safe(caveat.reason)}; would pass: {safe(caveat.hint)}")
            show(line)
