"""`caveats-service migrate`, `backup`, `restore` and `restored`: the database as a whole."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from caveats_cli.commands import Command
from caveats_service.cli.exit_codes import CliError
from caveats_service.cli.output import agreed, fail, note
from caveats_service.cli.store import ACTOR, load_settings, run_or_fail, with_any_schema, with_store
from caveats_service.core.clock import utc_now
from caveats_service.settings import Settings, SettingsError
from caveats_service.storage import DatabaseExists, Restored, Schema, Step, Store, StoreError
from caveats_service.storage.encryption import SealKeyError
from caveats_service.storage.open import open_store
from caveats_service.storage.open import restore as restore_backup

_FORGOTTEN = "revocations made after the backup are not in it: rotate and retire keys if that matters"


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="Only say what would be done.")
def migrate(*, check: bool) -> None:
    """Make the database, or bring it to this version's schema. There is no way back but a backup: take one before.

    Services of an older version may go on running on it until they are restarted. `serve` does the same at its start.

    For example:

      caveats-service migrate --check
      caveats-service migrate
    """
    if check:
        schema = with_any_schema(_schema)
        for step in schema.missing:
            note(f"would be done: {_line(step)}")
        note(_from_to(schema) if schema.missing else f"schema {schema.wanted}: there is nothing to do")
        return

    async def work() -> Schema:
        store, _ = await open_store(load_settings(), done=lambda step: note(f"done: {_line(step)}"))
        try:
            return await store.schema()
        finally:
            await store.close()

    note(f"the database has schema {run_or_fail(work()).found}")


async def _schema(store: Store) -> Schema:
    return await store.schema()


def _line(step: Step) -> str:
    return f"{step.revision} {step.summary}"


def _from_to(schema: Schema) -> str:
    return f"from schema {schema.found} to {schema.wanted}: take a backup, then run `caveats-service migrate`"


@click.command(cls=Command)
@click.argument("target", type=click.Path(path_type=Path))
def backup(*, target: Path) -> None:
    """Copy the database while the service runs. The copy's keys cannot be opened without the seal key: keep it too.

    For example:

      caveats-service backup monday.backup
    """
    console = Console(stderr=True, highlight=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("copying", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        with_any_schema(lambda store: store.backup(target, progress=report))
    note(f"backed up to {target}; the seal key ({load_settings().seal_key_path}) is not in it")


@click.command(cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--force",
    is_flag=True,
    help="Replace a database that is there, without asking; it is kept under another name.",
)
def restore(*, source: Path, force: bool) -> None:
    """Put a backup in place while the service is stopped. Everything that follows revocations loads them anew.

    At every moment there is either the database before or the backup. What is good again and what is gone is printed.

    For example:

      caveats-service restore monday.backup
    """
    settings = load_settings()
    if not settings.on_sqlite:
        fail(
            "this database is PostgreSQL: restore it with its own tools, then run `caveats-service restored`"
        )
    try:
        done = _restored_from(source, settings, force=force)
    except (StoreError, SealKeyError, SettingsError) as error:
        raise CliError.of(error) from error
    aside = f"; the one before is kept as {done.set_aside}" if done.set_aside else ""
    note(f"restored; the revocation epoch is now {done.epoch}{aside}")
    if done.last_change is not None:
        note(f"the last change in the backup was at {done.last_change:%Y-%m-%dT%H:%M:%SZ}")
    for difference in done.differences:
        note(difference)
    note(_FORGOTTEN)


def _restored_from(source: Path, settings: Settings, *, force: bool) -> Restored:
    """The restore. Where there is a database, asks at a terminal. Raises as `restore` of the store does."""
    try:
        return restore_backup(settings, source, now=utc_now(), actor=ACTOR, force=force)
    except DatabaseExists as error:
        if not agreed(f"{error}. Replace it?"):
            raise DatabaseExists(f"{error}: add --force") from error
        return restore_backup(settings, source, now=utc_now(), actor=ACTOR, force=True)


@click.command(cls=Command)
def restored() -> None:
    """Tell the service that its database was put back by other means, such as pg_restore or a copy of its files.

    Everything that follows revocations loads them anew: it may know some that are no longer in the database, and would
    miss others. Run it before the first node starts; nodes that run already notice it.

    For example:

      caveats-service restored
    """
    epoch = with_store(lambda store: store.revocations.bump_epoch(now=utc_now(), actor=ACTOR))
    note(f"the revocation epoch is now {epoch}")
    note(_FORGOTTEN)
