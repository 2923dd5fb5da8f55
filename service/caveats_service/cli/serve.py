"""`caveats-service serve`."""

from __future__ import annotations

from pathlib import Path

import click

from caveats_cli.commands import Command
from caveats_cli.streams import leave_to_server
from caveats_service.cli.exit_codes import CliError
from caveats_service.cli.parameters import WholeNumber
from caveats_service.cli.store import load_settings
from caveats_service.server import uvicorn
from caveats_service.settings import SettingsError
from caveats_service.storage import StoreError
from caveats_service.storage.encryption import SealKeyError


@click.command(cls=Command)
@click.option("--host", metavar="ADDRESS", help="Address to listen on (CAVEATS_HOST).")
@click.option("--port", metavar="PORT", type=WholeNumber(0, 65_535), help="Port to listen on (CAVEATS_PORT).")
@click.option(
    "--workers",
    metavar="COUNT",
    type=WholeNumber(1, 64),
    default=1,
    show_default=True,
    help="Processes that share the port, up to 64.",
)
@click.option(
    "--data-dir",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder of the database (CAVEATS_DATA_DIR).",
)
def serve(*, host: str | None, port: int | None, workers: int, data_dir: Path | None) -> None:
    """Serve until stopped. The first start makes the keys and an admin, and prints the admin's password once.

    For example:

      caveats-service serve
      caveats-service serve --port 8000 --workers 4
      CAVEATS_DATABASE_URL=postgresql://caveats@db.example/caveats caveats-service serve
    """
    given = {"host": host, "port": port, "data_dir": data_dir}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    leave_to_server()
    try:
        uvicorn.serve(settings, workers)
    except (SealKeyError, StoreError, SettingsError) as error:
        raise CliError.of(error) from error
