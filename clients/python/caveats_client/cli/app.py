"""The program `caveats`: the table of its commands, its help and its version.

Knows in which module each command stands, and imports none of them: what a command needs is imported when it runs.
"""

from __future__ import annotations

import click

from caveats_client.cli.commands import CommandGroup, DeferredCommand, Program
from caveats_client.cli.exit_codes import EXIT_CODES

_VERIFIERS = "Apps that verify locally: their key pairs, and who is registered."

verifier = CommandGroup(
    "verifier",
    help=_VERIFIERS,
    short_help=_VERIFIERS,
    no_args_is_help=True,
    sections={
        "Commands": [
            DeferredCommand("init", "verifier:init", "Make a key pair for an app, and print the public key."),
            DeferredCommand(
                "register",
                "verifier:register",
                "Let an app fetch the keys of an audience. For administrators.",
            ),
            DeferredCommand("list", "verifier:list_", "List the registered verifiers. For administrators."),
            DeferredCommand("revoke", "verifier:revoke", "Give a verifier no more keys. For administrators."),
        ]
    },
)


@click.group(
    cls=Program,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
    sections={
        "Signing in": [
            DeferredCommand(
                "login", "account:login", "Sign in and keep the token for the commands that follow."
            ),
            DeferredCommand("logout", "account:logout", "Sign out: revoke the stored token, and forget it."),
            DeferredCommand(
                "whoami", "account:whoami", "Ask the service whose token this is, and whether it is alive."
            ),
            DeferredCommand("register", "account:register", "Make an account."),
            DeferredCommand(
                "passwd", "account:passwd", "Change your password. All your tokens die with the old one."
            ),
        ],
        "Tokens": [
            DeferredCommand(
                "issue", "tokens:issue", "Get a new token against the one you hold, and print it."
            ),
            DeferredCommand("renew", "tokens:renew", "Get the same token with a later expiry."),
            DeferredCommand(
                "attenuate", "attenuate:attenuate", "Narrow a token, offline, and print the narrower copy."
            ),
            DeferredCommand(
                "discharge",
                "discharge:discharge",
                "Collect the discharges that a token needs, and print both as one.",
            ),
            DeferredCommand(
                "inspect", "inspect:inspect", "Lay a token open, offline: its caveats and what they leave."
            ),
            DeferredCommand(
                "verify", "verify:verify", "Ask the service if a token is good for a request, and why not."
            ),
            DeferredCommand(
                "revoke", "tokens:revoke", "Kill a copy of a token, with everything that was made of it."
            ),
            DeferredCommand("tokens", "tokens:tokens", "List your labelled tokens, with their last use."),
        ],
        "Shell": [
            DeferredCommand("completion", "completion:completion", "Print the completion script of a shell.")
        ],
        "Verifiers": [verifier],
    },
)
@click.version_option(package_name="caveats", prog_name="caveats", message="%(prog)s %(version)s")
def app() -> None:
    """Capability tokens: get one, narrow it offline, look inside, verify it, kill a copy.

    Commands take a token as an argument, from standard input (-), from
    CAVEATS_TOKEN, or use the stored login.
    """
