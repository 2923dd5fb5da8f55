"""`caveats-service settings`: every setting that the service knows."""

from __future__ import annotations

from dataclasses import asdict

import click

from caveats_service.cli.output import json_option, print_json, print_table
from caveats_service.settings import describe_settings


@click.command
@json_option
def show_settings(*, as_json: bool) -> None:
    """List every setting: its variable, its default, what it means."""
    rows = describe_settings()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("variable", "default", "meaning"), ((row.variable, row.default, row.meaning) for row in rows)
    )
