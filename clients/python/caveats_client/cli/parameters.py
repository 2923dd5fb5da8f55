"""The arguments and options that several commands have in common. Knows Typer, knows no command."""

from __future__ import annotations

from typing import Annotated

import typer

from caveats.durations import parse_duration
from caveats_client.cli import inputs

TokenArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TOKEN",
        help="A token's text, or - for standard input. Without it: what is piped in, CAVEATS_TOKEN, the stored login.",
        show_default=False,
    ),
]
ActAs = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="The token to act with, or - for standard input. Without it: CAVEATS_TOKEN, the stored login.",
        show_default=False,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="CAVEATS_URL",
        metavar="URL",
        help="The service. Without it: the one last signed in to.",
        show_default=False,
        callback=inputs.plain_url,
    ),
]
AllowHttp = Annotated[
    bool,
    typer.Option(
        "--allow-http",
        envvar="CAVEATS_ALLOW_HTTP",
        help="Let tokens and passwords travel over plain http, where nobody can listen.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from standard input, not from the terminal."),
]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope", metavar="PATTERNS", help="What it is good for, such as photos/42:read. Repeatable."
    ),
]
Life = Annotated[
    str | None, typer.Option("--expires-in", metavar="TIME", help="How long it lives: 90s, 15m, 8h, 30d.")
]
For = Annotated[
    str | None, typer.Option("--audience", metavar="NAME", help="The app, or group of apps, that it is for.")
]
Label = Annotated[
    str | None,
    typer.Option("--note", metavar="TEXT", help="A label: the token then shows in `caveats tokens`."),
]
Predicates = Annotated[
    list[str] | None,
    typer.Option("--caveat", metavar="'KIND = VALUE'", help="A caveat, written out. Repeatable."),
]


def checked_life(text: str | None) -> str | None:
    """A length of time, looked at before anything is asked of anybody."""
    if text is not None:
        try:
            parse_duration(text)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--expires-in") from None
    return text


def joined(patterns: list[str] | None) -> str | None:
    """Scope patterns that were given one by one, as one scope; None if there are none."""
    return " ".join(patterns) if patterns else None
