"""`caveats-service settings`: every setting that the service knows."""

from __future__ import annotations

import click

from caveats_cli.commands import Command
from caveats_service.cli.output import json_option, print_records
from caveats_service.settings import describe_settings


@click.command(cls=Command)
@json_option
def show_settings(*, as_json: bool) -> None:
    """List every setting: its variable, its default, what it means.

    For example:

      caveats-service settings
      caveats-service settings --json | jq -r '.[].variable'
    """
    print_records(
        describe_settings(),
        {
            "variable": lambda row: row.variable,
            "default": lambda row: row.default,
            "meaning": lambda row: row.meaning,
        },
        as_json=as_json,
        none="there are no settings",
    )
