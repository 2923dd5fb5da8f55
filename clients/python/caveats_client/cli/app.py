"""The program `caveats`: the list of its commands, its help and its version.

Knows where each command stands; what they do stands in their own modules.
"""

from importlib.metadata import version
from typing import Annotated

import typer
from typer.completion import (  # type: ignore[attr-defined]  # meant for use, not marked as exported
    completion_init,
)

from caveats_client.cli import account, attenuate, completion, discharge, inspect, tokens, verify
from caveats_client.cli.exit_codes import EXIT_CODES, Commands
from caveats_client.cli.render import data
from caveats_client.cli.verifier import verifier

completion_init()

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Capability tokens: get one, narrow it offline, look inside, verify it, kill a copy.\n\n"
    "Commands take a token as an argument, from standard input (-), from\nCAVEATS_TOKEN, or use the stored login.",
    epilog=EXIT_CODES,
)

app.command(rich_help_panel="Signing in")(account.login)
app.command(rich_help_panel="Signing in")(account.logout)
app.command(rich_help_panel="Signing in")(account.whoami)
app.command(rich_help_panel="Signing in")(account.register)
app.command(rich_help_panel="Signing in")(account.passwd)
app.command(rich_help_panel="Tokens")(tokens.issue)
app.command(rich_help_panel="Tokens")(tokens.renew)
app.command(rich_help_panel="Tokens")(attenuate.attenuate)
app.command(rich_help_panel="Tokens")(discharge.discharge)
app.command(rich_help_panel="Tokens")(inspect.inspect)
app.command(rich_help_panel="Tokens")(verify.verify)
app.command(rich_help_panel="Tokens")(tokens.revoke)
app.command(rich_help_panel="Tokens")(tokens.tokens)
app.command(rich_help_panel="Shell")(completion.completion)
app.add_typer(verifier, name="verifier", rich_help_panel="Verifiers")


def _version(wanted: bool) -> None:
    if wanted:
        data(f"caveats {version('caveats')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    pass
