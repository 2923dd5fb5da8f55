"""The program `caveats-service`: the list of its commands, and the two that need no store."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from caveats_service.cli.agents import agents
from caveats_service.cli.audit import show_audit
from caveats_service.cli.database import backup, restore, restored
from caveats_service.cli.groups import groups
from caveats_service.cli.keys import keys
from caveats_service.cli.output import Json, fail, print_json, print_table
from caveats_service.cli.store import load_settings
from caveats_service.cli.users import users

app = typer.Typer(
    help="The Caveats service: issues, verifies and revokes capability tokens.\n\n"
    "Settings are environment variables CAVEATS_*: see `caveats-service settings`.\n\n"
    "Exit codes: 0 done, 1 it did not work, 2 wrong usage or settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (CAVEATS_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (CAVEATS_PORT).")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that share the port.")] = 1,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the database (CAVEATS_DATA_DIR).")] = None,
) -> None:
    """Serve until stopped. The first start makes the keys and an admin, and prints the admin's password once."""
    given = {"host": host, "port": port, "data_dir": data_dir}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    from caveats_service.server.uvicorn import serve as run  # noqa: PLC0415  the other commands need no server
    from caveats_service.settings import SettingsError  # noqa: PLC0415
    from caveats_service.storage import StoreError  # noqa: PLC0415
    from caveats_service.storage.encryption import SealKeyError  # noqa: PLC0415

    try:
        run(settings, workers)
    except (SealKeyError, StoreError, SettingsError) as error:
        fail(str(error))


@app.command("settings")
def show_settings(*, as_json: Json = False) -> None:
    """List every setting: its variable, its default, what it means."""
    from caveats_service.settings import describe_settings  # noqa: PLC0415  pydantic: 0.3 s

    rows = describe_settings()
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("variable", "default", "meaning"), ((row.variable, row.default, row.meaning) for row in rows)
    )


app.add_typer(users, name="users")
app.add_typer(groups, name="groups")
app.add_typer(agents, name="agents")
app.add_typer(keys, name="keys")
app.command()(backup)
app.command()(restore)
app.command()(restored)
app.command("audit")(show_audit)
