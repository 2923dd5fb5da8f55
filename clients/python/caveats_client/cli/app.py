"""The program `caveats`: the table of its commands, its help and its version.

Knows the module of each command and imports none of them: a command's module is imported when the command runs.
"""

from __future__ import annotations

import click

from caveats_client.cli.commands import CommandGroup, DeferredCommand, Program
from caveats_client.cli.exit_codes import EXIT_CODES

_VERIFIERS = "Key pairs and registrations of apps that verify tokens themselves."

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
            DeferredCommand(
                "revoke", "verifier:revoke", "Stop giving keys to a verifier. For administrators."
            ),
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
                "login", "account:login", "Sign in, and store the token for the commands that follow."
            ),
            DeferredCommand("logout", "account:logout", "Sign out: revoke the stored token, and remove it."),
            DeferredCommand(
                "whoami", "account:whoami", "Ask the service whose token this is, and if it is valid."
            ),
            DeferredCommand("register", "account:register", "Create an account."),
            DeferredCommand(
                "passwd", "account:passwd", "Change your password, which revokes all your tokens."
            ),
        ],
        "Tokens": [
            DeferredCommand(
                "issue", "tokens:issue", "Issue a new token against the one you have, and print it."
            ),
            DeferredCommand("renew", "tokens:renew", "Get the same token with a later expiry."),
            DeferredCommand(
                "attenuate", "attenuate:attenuate", "Narrow a token, offline, and print the narrower copy."
            ),
            DeferredCommand(
                "discharge",
                "discharge:discharge",
                "Collect the discharges that a token needs, and print it with them.",
            ),
            DeferredCommand(
                "inspect", "inspect:inspect", "Show a token's caveats, offline, and what they allow."
            ),
            DeferredCommand(
                "verify", "verify:verify", "Ask the service if a token is good for a request, and why not."
            ),
            DeferredCommand(
                "revoke", "tokens:revoke", "Revoke a copy of a token, and all tokens made from it."
            ),
            DeferredCommand(
                "tokens",
                "tokens:tokens",
                "List your labelled tokens: what is left of them, and their last use.",
            ),
        ],
        "Shell": [
            DeferredCommand("completion", "completion:completion", "Print the completion script of a shell.")
        ],
        "Verifiers": [verifier],
    },
)
@click.version_option(package_name="caveats", prog_name="caveats", message="%(prog)s %(version)s")
def app() -> None:
    """Capability tokens: get one, narrow it offline, inspect it, verify it, revoke a copy.

    A command takes its token from an argument, from standard input (-), from
    CAVEATS_TOKEN, from a pipe or from the stored login, whichever is given
    first in this order. What is given but empty is an error.
    """
