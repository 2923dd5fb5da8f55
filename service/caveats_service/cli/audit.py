"""`caveats-service audit`: who changed what."""

from __future__ import annotations

import click

from caveats_cli.commands import Command
from caveats_service.cli.output import json_option, minute, print_records
from caveats_service.cli.parameters import WholeNumber
from caveats_service.cli.store import with_store


@click.command(cls=Command)
@click.option(
    "--limit",
    metavar="COUNT",
    type=WholeNumber(1, 10_000),
    default=100,
    show_default=True,
    help="How many entries, up to 10000.",
)
@click.option(
    "--before",
    metavar="ID",
    type=WholeNumber(1, 2**63 - 1),
    help="Only entries older than this id: the last one shown.",
)
@json_option
def show_audit(*, limit: int, before: int | None, as_json: bool) -> None:
    """Show who changed what, newest first: accounts, groups, keys, labelled tokens, revocations, decisions.

    For example:

      caveats-service audit --limit 20
      caveats-service audit --before 1200
      caveats-service audit --json | jq '.[] | select(.actor == "alice")'
    """
    print_records(
        with_store(lambda store: store.audit.list(before=before, limit=limit)),
        {
            "id": lambda row: str(row.id),
            "at": lambda row: minute(row.at),
            "who": lambda row: row.actor,
            "did": lambda row: row.action,
            "to": lambda row: row.subject,
            "more": lambda row: " ".join(
                f"{name}={_in_words(value)}" for name, value in row.detail.items() if value not in (None, "")
            ),
        },
        as_json=as_json,
        none="there are no such entries",
    )


def _in_words(value: object) -> object:
    return ("no", "yes")[value] if isinstance(value, bool) else value
