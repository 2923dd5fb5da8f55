"""`caveats-service users`: accounts. What each operation does, and who may, is in `core/accounts`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from caveats import MalformedCaveat, Scope
from caveats_service.cli.output import json_option, minute, note, print_records, wrong_usage
from caveats_service.cli.store import all_pages, with_accounts, with_store
from caveats_service.core.accounts import OPERATOR, Accounts
from caveats_service.core.errors import BadName
from caveats_service.core.usernames import check_username, fold_username

if TYPE_CHECKING:
    from caveats_service.storage import User

_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)

_username = click.argument("username", callback=lambda _context, _parameter, typed: fold_username(typed))


@click.command
@_username
@click.option("--admin", is_flag=True, help="Make the user an administrator.")
@click.option(
    "--scope", default="*", show_default=True, help="The scopes that the user's tokens may have at most."
)
@_password_stdin
def add_user(*, username: str, admin: bool, scope: str, password_stdin: bool) -> None:
    """Add an account. Asks for the password at a terminal, or reads it from standard input with --password-stdin."""
    try:
        check_username(username)
        Scope(scope)
    except (BadName, MalformedCaveat) as error:
        wrong_usage(str(error))
    password = _read_password(from_stdin=password_stdin)

    async def work(accounts: Accounts) -> User:
        return await accounts.register(username, password, actor=OPERATOR, is_admin=admin, scope=scope)

    user = with_accounts(work)
    note(f"added {user.username}{' (admin)' if user.is_admin else ''}")


@click.command
@json_option
def list_users(*, as_json: bool) -> None:
    """List all accounts."""
    print_records(
        with_store(lambda store: all_pages(store.users.list, lambda user: user.username)),
        {
            "username": lambda user: user.username,
            "admin": lambda user: "yes" if user.is_admin else "",
            "scope": lambda user: user.scope,
            "created": lambda user: minute(user.created_at),
            "disabled": lambda user: minute(user.disabled_at),
        },
        as_json=as_json,
        without=("password_hash", "revoked_up_to"),
    )


@click.command
@_username
@_password_stdin
def set_password(*, username: str, password_stdin: bool) -> None:
    """Set a password. Revokes everything that was issued to the user until now."""
    password = _read_password(from_stdin=password_stdin)
    with_accounts(lambda accounts: accounts.set_password(username, password, actor=OPERATOR))
    note(f"password of {username} set; all their tokens are revoked")


@click.command
@_username
def disable_user(*, username: str) -> None:
    """Disable an account: nobody can sign in as this user. Revokes everything that was issued to them."""
    with_accounts(lambda accounts: accounts.disable(username, actor=OPERATOR))
    note(f"{username} is disabled; all their tokens are revoked")


@click.command
@_username
def enable_user(*, username: str) -> None:
    """Enable a disabled account again. Revoked tokens stay revoked."""
    with_accounts(lambda accounts: accounts.enable(username, actor=OPERATOR))
    note(f"{username} may sign in again")


@click.command
@_username
@click.option("--revoke", is_flag=True, help="Make the user an ordinary user again.")
def set_admin(*, username: str, revoke: bool) -> None:
    """Make a user an administrator, or an ordinary user again."""
    with_accounts(lambda accounts: accounts.set_admin(username, is_admin=not revoke, actor=OPERATOR))
    note(f"{username} is {'no longer ' if revoke else ''}an administrator")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if sys.stdin is None or not sys.stdin.isatty():
        wrong_usage("no terminal to ask for the password at: use --password-stdin")
    text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text
