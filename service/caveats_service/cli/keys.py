"""`caveats-service keys`: master keys, and the audience keys that follow from them."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caveats_service.cli.output import Json, fail, minute, note, print_json, print_table, record_json
from caveats_service.cli.store import ACTOR, with_master_keys

if TYPE_CHECKING:
    from caveats_service.core.master_keys import MasterKeys

keys = typer.Typer(
    help="Master keys: list, rotate, retire; export the keys of an audience.", no_args_is_help=True
)


@keys.command("list")
def list_keys(*, as_json: Json = False) -> None:
    """List all master keys and their states."""

    async def work(masters: "MasterKeys") -> "MasterKeys":
        return masters

    rows = with_master_keys(work).rows
    if as_json:
        print_json([record_json(row, without=("sealed", "row_id")) for row in rows])
        return
    print_table(
        ("id", "state", "created", "active since", "can retire after", "retired"),
        (
            (
                row.key_id,
                row.state.value,
                minute(row.created_at),
                minute(row.activated_at),
                minute(row.retire_after),
                minute(row.retired_at),
            )
            for row in rows
        ),
    )


@keys.command("rotate")
def rotate_keys(
    *, now: Annotated[bool, typer.Option("--now", help="Issue under the new key at once.")] = False
) -> None:
    """Publish a new key. Tokens are issued under it once all verifiers have had time to get it."""

    async def work(masters: "MasterKeys") -> str:
        row = await masters.publish(actor=ACTOR)
        if now:
            row = await masters.activate(row.key_id, actor=ACTOR)
        return f"{row.key_id} is {row.state.value}"

    note(with_master_keys(work))


@keys.command("retire")
def retire_key(
    key_id: str,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Even if tokens under it may be alive: they die.")
    ] = False,
) -> None:
    """Destroy a key under which tokens are issued no more."""
    with_master_keys(lambda masters: masters.retire(key_id, force=force, actor=ACTOR))
    note(f"{key_id} is retired")


@keys.command("export")
def export_keys(
    audience: Annotated[str, typer.Option(help="The app, or group of apps, that will verify.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, 0600.")] = None,
) -> None:
    """Print the keys of one audience, for an app that verifies locally. Their holder can mint for that audience."""
    from caveats_service.core.issuing import DEFAULT_AUDIENCE  # noqa: PLC0415  0.3 s

    async def work(masters: "MasterKeys") -> dict[str, object]:
        return masters.keyring.export(audience).to_json()

    text = json.dumps(with_master_keys(work), indent=2) + "\n"
    if audience == DEFAULT_AUDIENCE:
        note(
            f"careful: {audience} is the audience of this service itself. Whoever has these keys can mint tokens "
            "that administer it; give your apps audiences of their own"
        )
    if output is None:
        sys.stdout.write(text)
        return
    try:
        _write_private(output, text)
    except OSError as error:
        fail(f"{output}: {error.strerror}")
    note(f"wrote the keys of audience {audience} to {output}; keep that file secret")


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step; one of that name is replaced. Raises `OSError`."""
    from caveats_service.storage.files import sync_file, temporary_beside  # noqa: PLC0415  0.5 s

    with temporary_beside(path) as temporary:
        temporary.write_text(text)
        sync_file(temporary)
        temporary.rename(path)
