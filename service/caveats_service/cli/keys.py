"""`caveats-service keys`: master keys, and the audience keys that follow from them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caveats.token import is_audience
from caveats_cli.commands import Command
from caveats_service.cli.exit_codes import CliError
from caveats_service.cli.output import agreed, fail, json_option, minute, note, print_records, wrong_usage
from caveats_service.cli.store import ACTOR, load_settings, with_master_keys
from caveats_service.core.issuing import DEFAULT_AUDIENCE, require_shareable
from caveats_service.storage import KeyInUse
from caveats_service.storage.files import sync_file, temporary_beside

if TYPE_CHECKING:
    from caveats_service.core.master_keys import MasterKeys


@click.command(cls=Command)
@json_option
def list_keys(*, as_json: bool) -> None:
    """List all master keys and their states.

    For example:

      caveats-service keys list
    """

    async def work(masters: MasterKeys) -> MasterKeys:
        return masters

    keys = with_master_keys(work)
    print_records(
        keys.rows,
        {
            "id": lambda key: key.key_id,
            "state": lambda key: key.state.value + (" (damaged)" if key.key_id in keys.damaged else ""),
            "created": lambda key: minute(key.created_at),
            "active since": lambda key: minute(key.activated_at),
            "can retire after": lambda key: minute(key.retire_after),
            "retired": lambda key: minute(key.retired_at),
        },
        as_json=as_json,
        none="there are no keys",
        without=("sealed", "row_id"),
    )
    for damage in keys.damaged.values():
        note(f"damaged: {damage}")


@click.command(cls=Command)
@click.option("--now", is_flag=True, help="Issue under the new key at once.")
def rotate_keys(*, now: bool) -> None:
    """Publish a new key. Tokens are issued under it once all verifiers have had time to get it.

    For example:

      caveats-service keys rotate
      caveats-service keys rotate --now
    """

    async def work(masters: MasterKeys) -> str:
        row = await masters.publish(actor=ACTOR)
        if now:
            row = await masters.activate(row.key_id, actor=ACTOR)
        return f"{row.key_id} is {row.state.value}"

    note(with_master_keys(work))


@click.command(cls=Command)
@click.argument("key_id")
@click.option("--force", is_flag=True, help="Even if tokens under it may be alive: they die.")
def retire_key(*, key_id: str, force: bool) -> None:
    """Destroy a key under which tokens are issued no more. Where they may be alive, asks at a terminal, or wants --force.

    For example:

      caveats-service keys retire k1
    """

    async def work(masters: MasterKeys) -> KeyInUse | None:
        try:
            await masters.retire(key_id, force=force, actor=ACTOR)
        except KeyInUse as error:
            return error
        return None

    in_use = with_master_keys(work)
    if in_use is not None:
        if not agreed(f"{in_use}. Destroy the key now, and with it these tokens?"):
            error = CliError.of(in_use)
            raise CliError(
                error.code, f"{error}: wait until then, or add --force, and they die", error.name
            ) from in_use
        with_master_keys(lambda masters: masters.retire(key_id, force=True, actor=ACTOR))
    note(f"{key_id} is retired")


@click.command(cls=Command)
@click.option(
    "--audience", metavar="NAME", required=True, help="The app, or group of apps, that will verify."
)
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(path_type=Path), help="Write to this file, 0600."
)
def export_keys(*, audience: str, output: Path | None) -> None:
    """Print the keys of one audience, for an app that verifies locally. Their holder can mint for that audience.

    They do not follow the service: without a new export, an app refuses all tokens after a rotation, and it hears of no
    revocation. An app that is registered as a verifier needs no export: `caveats verifier --help`.

    For example:

      caveats-service keys export --audience photos --output photos.keys
    """
    if not is_audience(audience):
        wrong_usage("an audience reads a-z, then a-z, 0-9 and -, at most 32 characters")

    async def work(masters: MasterKeys) -> dict[str, object]:
        require_shareable(audience, load_settings())
        return masters.keyring.export(audience).to_json()

    text = json.dumps(with_master_keys(work), indent=2) + "\n"
    if audience == DEFAULT_AUDIENCE:
        note(
            f"careful: {audience} is the audience of this service itself. The holder of these keys can mint tokens "
            "of every account; give your apps audiences of their own"
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
    with temporary_beside(path) as temporary:
        temporary.write_text(text)
        sync_file(temporary)
        temporary.rename(path)
