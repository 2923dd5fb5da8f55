"""`caveats-service audit`: who changed what."""

from __future__ import annotations

import click

from caveats_service.cli.output import json_option, minute, print_json, print_table, record_json
from caveats_service.cli.store import with_store


@click.command
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many entries."
)
@click.option(
    "--before", type=click.IntRange(min=1), help="Only entries older than this id: the last one shown."
)
@json_option
def show_audit(*, limit: int, before: int | None, as_json: bool) -> None:
    """Show who changed what, newest first: accounts, groups, keys, labelled tokens, revocations, decisions."""
    rows = with_store(lambda store: store.audit.list(before=before, limit=limit))
    if as_json:
        print_json([record_json(row) for row in rows])
        return
    print_table(
        ("id", "at", "who", "did", "to", "more"),
        (
            (
                str(row.id),
                minute(row.at),
                row.actor,
                row.action,
                row.subject,
                " ".join(f"{name}={value}" for name, value in row.detail.items() if value is not None),
            )
            for row in rows
        ),
    )
