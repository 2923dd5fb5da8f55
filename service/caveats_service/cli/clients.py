"""`caveats-service clients`: sites that issue tokens for users who are signed in there."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from caveats.durations import BadDuration, format_duration, parse_duration
from caveats_cli.commands import Command
from caveats_service.cli.output import json_option, minute, note, print_records, wrong_usage
from caveats_service.cli.store import all_pages, load_settings, with_clients, with_store
from caveats_service.core.accounts import OPERATOR
from caveats_service.core.errors import InvalidRequest

if TYPE_CHECKING:
    from caveats_service.core.clients import IssuingClients, NewClient


@click.command(cls=Command)
@click.argument("name")
@click.option("--user", "users", multiple=True, help="Issues for this user; may be repeated.")
@click.option(
    "--group", "groups", multiple=True, help="Issues for the members of this group; may be repeated."
)
@click.option("--audience", "audiences", multiple=True, required=True, help="For this app; may be repeated.")
@click.option("--scope", required=True, help="The most that its tokens allow.")
@click.option(
    "--longest-life", help="The longest life of a token, such as 1h. Default: CAVEATS_DEFAULT_LIFETIME."
)
@json_option
def add_client(
    *,
    name: str,
    users: tuple[str, ...],
    groups: tuple[str, ...],
    audiences: tuple[str, ...],
    scope: str,
    longest_life: str | None,
    as_json: bool,
) -> None:
    """Add a client. Prints its id and its secret, which is kept nowhere.

    For example:

      caveats-service clients add photo-site --group members --audience photos --scope 'photos:*'
    """
    try:
        life = load_settings().default_lifetime if longest_life is None else parse_duration(longest_life)
    except BadDuration as error:
        wrong_usage(f"--longest-life: {error}")

    async def work(clients: IssuingClients) -> NewClient | InvalidRequest:
        try:
            return await clients.add(
                name,
                users=users,
                groups=groups,
                audiences=audiences,
                scope=scope,
                longest_life=life,
                actor=OPERATOR,
            )
        except InvalidRequest as error:
            return error

    made = with_clients(work)
    if isinstance(made, InvalidRequest):
        wrong_usage(str(made))
    shown = {"client_id": made.client.client_id, "client_secret": made.secret}
    if as_json:
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{title:<15}{value}\n" for title, value in shown.items()))
    note(f"added {made.client.name}; the secret is shown this once")


@click.command(cls=Command)
@json_option
def list_clients(*, as_json: bool) -> None:
    """List all clients, and what they may issue.

    For example:

      caveats-service clients list
    """
    print_records(
        with_store(lambda store: all_pages(store.clients.list, lambda client: client.client_id)),
        {
            "id": lambda client: client.client_id,
            "name": lambda client: client.name,
            "users": lambda client: " ".join(client.users),
            "groups": lambda client: " ".join(client.groups),
            "audiences": lambda client: " ".join(client.audiences),
            "scope": lambda client: client.scope,
            "longest life": lambda client: format_duration(timedelta(seconds=client.longest_life)),
            "created": lambda client: minute(client.created_at),
        },
        as_json=as_json,
        none="there are no clients: to add one, see caveats-service clients add --help",
        without=("secret_hash", "lineage"),
    )


@click.command(cls=Command)
@click.argument("client_id")
def remove_client(*, client_id: str) -> None:
    """Remove a client. Revokes everything that it has issued.

    For example:

      caveats-service clients remove 01KAJ5M3W8E2RZ6V8Q4T0N9XCD
    """
    client = with_clients(lambda clients: clients.remove(client_id, actor=OPERATOR))
    note(f"{client.name} is removed; all that it has issued is revoked")
