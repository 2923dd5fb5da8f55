"""`caveats-service damage`: rows of a SQLite database that hold what their columns cannot hold."""

from __future__ import annotations

import click

from caveats_cli.commands import Command
from caveats_service.cli.output import json_option, note, print_records
from caveats_service.cli.store import ACTOR, load_settings, with_store
from caveats_service.core.clock import utc_now


@click.command(cls=Command)
@json_option
def list_damage(*, as_json: bool) -> None:
    """List rows that cannot be used, and the columns that are damaged. The service goes on without them.

    Damaged revocations stop it, since what they revoked is not known.

    For example:

      caveats-service damage list
    """
    print_records(
        with_store(lambda store: store.damage.find()),
        {
            "table": lambda row: row.table,
            "row": lambda row: str(row.row),
            "name": lambda row: row.name,
            "damaged": lambda row: " ".join(row.columns),
        },
        as_json=as_json,
        none="no row is damaged",
    )


@click.command(cls=Command)
@click.argument("table")
@click.argument("row", type=int)
def remove_row(*, table: str, row: int) -> None:
    """Remove a row that cannot be used. An account goes with its agents, groups and labelled tokens, and is revoked.

    A revocation that is removed revokes nothing any more: revoke again before what `caveats-service audit` says of it.

    For example:

      caveats-service damage remove users 17
    """
    longest_life = load_settings().longest_life
    removed = with_store(
        lambda store: store.damage.remove(table, row, now=utc_now(), actor=ACTOR, longest_life=longest_life)
    )
    note(f"removed: {removed.table} {removed.name}")
