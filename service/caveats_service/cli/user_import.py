"""`caveats-service users import`: accounts out of a file. What may stand in it is in `core/importing`."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click
from rich.console import Console
from rich.progress import Progress

from caveats_cli.commands import Command
from caveats_cli.failures import error_json
from caveats_service.cli.exit_codes import ExitCode
from caveats_service.cli.output import fail, json_option, note
from caveats_service.cli.store import load_settings, with_accounts
from caveats_service.core.accounts import OPERATOR, Accounts, ImportDone
from caveats_service.core.importing import MOST_BYTES, ImportedAccount, ImportRefused, read_accounts

if TYPE_CHECKING:
    from typing import BinaryIO

_MOST_SHOWN = 50
"""Errors that are shown one by one. As JSON all are."""


@click.command(cls=Command)
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Look at everything, and change nothing.")
@click.option("--skip-existing", is_flag=True, help="Leave out accounts whose names users have already.")
@json_option
def import_users(*, file: BinaryIO, dry_run: bool, skip_existing: bool, as_json: bool) -> None:
    """Add the accounts in FILE (- for standard input): all of them, or none.

    CSV whose first line names the columns, or an object of JSON a line:
    username, password or password_hash, and where they are wanted admin,
    disabled, must_change (true or false) and scope. Hashes of argon2 (PHC),
    bcrypt and PBKDF2 (Django, passlib, Werkzeug) are verified, and replaced at
    the first sign-in. What is wrong is said with the number of its line.

    For example:

      caveats-service users import accounts.csv --dry-run
      caveats-service users import accounts.csv --skip-existing
    """
    try:
        accounts = read_accounts(file.read(MOST_BYTES + 1), min_length=load_settings().password_min_length)
        done = _add(accounts, dry_run=dry_run, skip_existing=skip_existing)
    except ImportRefused as refusal:
        _fail(refusal, as_json=as_json)
    if as_json:
        report = {"dry_run": dry_run, "added": list(done.added), "skipped": list(done.skipped)}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    note(
        f"{'would add' if dry_run else 'added'} {_accounts(len(done.added))}"
        + (f", left out {len(done.skipped)} that are there already" if done.skipped else "")
    )


def _add(accounts: tuple[ImportedAccount, ...], *, dry_run: bool, skip_existing: bool) -> ImportDone:
    """Raises `ImportRefused`."""
    console = Console(stderr=True)
    total = sum(account.password is not None for account in accounts)
    with Progress(console=console, transient=True, disable=not console.is_terminal or not total) as bar:
        task = bar.add_task("hashing passwords", total=total)

        async def work(parts: Accounts) -> ImportDone | ImportRefused:
            try:
                return await parts.import_all(
                    accounts,
                    actor=OPERATOR,
                    skip_existing=skip_existing,
                    dry_run=dry_run,
                    progress=lambda count: bar.update(task, completed=count),
                )
            except ImportRefused as refusal:  # every other error ends the command here
                return refusal

        done = with_accounts(work, workers=os.cpu_count() or 1)
    if isinstance(done, ImportRefused):
        raise done
    return done


def _fail(refusal: ImportRefused, *, as_json: bool) -> NoReturn:
    if as_json:
        errors = [{"line": error.line, "message": error.message} for error in refusal.errors]
        told = error_json("import_refused", str(refusal), ExitCode.FAILED, {"errors": errors})
        sys.stderr.write(f"{told}\n")
        raise SystemExit(ExitCode.FAILED)
    lines = list(map(str, refusal.errors[:_MOST_SHOWN]))
    more = len(refusal.errors) - _MOST_SHOWN
    if more > 0:
        lines.append(f"and {more} more errors; --json shows all")
    fail("\n".join([*lines, str(refusal)]))


def _accounts(count: int) -> str:
    return f"{count} account{'' if count == 1 else 's'}"
