"""`caveats-service audit`: who changed what."""

from typing import Annotated

import typer

from caveats_service.cli.output import Json, minute, print_json, print_table, record_json
from caveats_service.cli.store import with_store


def show_audit(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries.")] = 100,
    before: Annotated[
        int | None, typer.Option(min=1, help="Only entries older than this id: the last one shown.")
    ] = None,
    as_json: Json = False,
) -> None:
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
