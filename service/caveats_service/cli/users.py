"""`caveats-service users`: accounts. What each operation does, and who may, is in `core/accounts`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from caveats import MalformedCaveat, Scope
from caveats_cli.commands import Command
from caveats_service.cli.output import (
    agreed,
    json_option,
    minute,
    note,
    print_records,
    typed_password,
    wrong_usage,
)
from caveats_service.cli.store import all_pages, with_accounts, with_labels, with_store
from caveats_service.core.accounts import OPERATOR, Accounts
from caveats_service.core.errors import BadName
from caveats_service.core.usernames import check_username, fold_username

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats_service.core.labels import LabelledTokens, ListedToken
    from caveats_service.storage import User

_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input."
)

_must_change = click.option(
    "--must-change",
    is_flag=True,
    help="The password is good for one thing only: to change it at the first sign-in.",
)

_username = click.argument("username", callback=lambda _context, _parameter, typed: fold_username(typed))


@click.command(cls=Command)
@_username
@click.option("--admin", is_flag=True, help="Make the user an administrator.")
@click.option(
    "--scope", default="*", show_default=True, help="The scopes that the user's tokens may have at most."
)
@_must_change
@_password_stdin
def add_user(*, username: str, admin: bool, scope: str, must_change: bool, password_stdin: bool) -> None:
    """Add an account. Asks for the password at a terminal, or reads it from standard input with --password-stdin.

    For example:

      caveats-service users add alice
      caveats-service users add bob --scope 'photos:*' --must-change
      pass bob | caveats-service users add bob --password-stdin
    """
    try:
        check_username(username)
        Scope(scope)
    except (BadName, MalformedCaveat) as error:
        wrong_usage(str(error))
    password = _read_password(from_stdin=password_stdin)

    async def work(accounts: Accounts) -> User:
        return await accounts.register(
            username,
            password,
            actor=OPERATOR,
            is_admin=admin,
            scope=scope,
            must_change_password=must_change,
        )

    user = with_accounts(work)
    note(f"added {user.username}{' (admin)' if user.is_admin else ''}")


@click.command(cls=Command)
@json_option
def list_users(*, as_json: bool) -> None:
    """List all accounts.

    For example:

      caveats-service users list
      caveats-service users list --json | jq -r '.[].username'
    """
    print_records(
        with_store(lambda store: all_pages(store.users.list, lambda user: user.username)),
        {
            "username": lambda user: user.username,
            "admin": lambda user: "yes" if user.is_admin else "",
            "scope": lambda user: user.scope,
            "created": lambda user: minute(user.created_at),
            "disabled": lambda user: minute(user.disabled_at),
            "password": lambda user: "must be changed" if user.must_change_password else "",
        },
        as_json=as_json,
        none="there are no accounts",
        without=("password_hash", "revoked_up_to"),
    )


@click.command(cls=Command)
@_username
@_must_change
@_password_stdin
def set_password(*, username: str, must_change: bool, password_stdin: bool) -> None:
    """Set a password. Revokes everything that was issued to the user until now.

    For example:

      caveats-service users passwd alice
      caveats-service users passwd bob --must-change
    """
    password = _read_password(from_stdin=password_stdin)
    with_accounts(
        lambda accounts: accounts.set_password(username, password, actor=OPERATOR, must_change=must_change)
    )
    once = ", to be changed at the next sign-in" if must_change else ""
    note(f"password of {username} set{once}; all their tokens are revoked")


@click.command(cls=Command)
@_username
def disable_user(*, username: str) -> None:
    """Disable an account: nobody can sign in as this user. Revokes everything that was issued to them.

    For example:

      caveats-service users disable bob
    """
    with_accounts(lambda accounts: accounts.disable(username, actor=OPERATOR))
    note(f"{username} is disabled; all their tokens are revoked")


@click.command(cls=Command)
@_username
def enable_user(*, username: str) -> None:
    """Enable a disabled account again. Revoked tokens stay revoked.

    For example:

      caveats-service users enable bob
    """
    with_accounts(lambda accounts: accounts.enable(username, actor=OPERATOR))
    note(f"{username} may sign in again")


@click.command(cls=Command)
@_username
@click.option("--force", is_flag=True, help="Do not ask.")
def delete_user(*, username: str, force: bool) -> None:
    """Delete an account with all it had. Nobody gets its name again. Revokes everything that was issued to it.

    For example:

      caveats-service users delete bob
    """
    what = f"{username} with their labelled tokens, agents and places in groups"
    if not force and not agreed(f"Delete {what}? This cannot be undone."):
        wrong_usage(
            f"{username} was not deleted: it cannot be undone, so say yes at a terminal, or add --force"
        )
    with_accounts(lambda accounts: accounts.delete(username, actor=OPERATOR))
    note(f"{username} is deleted, and the name is never given again; all their tokens are revoked")


@click.command(cls=Command)
@_username
@click.option("--revoke", is_flag=True, help="Make the user an ordinary user again.")
def set_admin(*, username: str, revoke: bool) -> None:
    """Make a user an administrator, or an ordinary user again.

    For example:

      caveats-service users admin alice
      caveats-service users admin alice --revoke
    """
    with_accounts(lambda accounts: accounts.set_admin(username, is_admin=not revoke, actor=OPERATOR))
    note(f"{username} is {'no longer ' if revoke else ''}an administrator")


@click.command(cls=Command)
@_username
@json_option
def list_tokens(*, username: str, as_json: bool) -> None:
    """List a user's labelled tokens.

    These were issued with a note; nothing is stored about others. The last use is the last time that the service
    verified the token: apps that verify by themselves do not report it.

    For example:

      caveats-service users tokens alice
    """

    async def work(labels: LabelledTokens) -> Sequence[ListedToken]:
        page = partial(labels.list, username, actor=OPERATOR)
        return await all_pages(page, lambda token: token.token_id)

    print_records(
        with_labels(work),
        {
            "id": lambda token: token.token_id,
            "note": lambda token: token.note,
            "scope": lambda token: token.scope,
            "audience": lambda token: token.audience,
            "issued": lambda token: minute(token.issued_at),
            "expires": lambda token: minute(token.expires_at),
            "status": _status,
            "last used": _last_use,
        },
        as_json=as_json,
        none=f"{username} has no labelled tokens: those that were issued with a note",
    )


_REVOKED_BY = {
    "id": "by its id",
    "copy": "as a copy",
    "user": "with all of the user's",
    "key": "with its key",
    "parent": "with its parent",
}
"""What ended a token before its time, in the words of `caveats tokens`."""


def _status(token: ListedToken) -> str:
    status = token.status
    if token.revoked_by is not None:
        status = f"revoked {minute(token.revoked_at)}".rstrip() + f", {_REVOKED_BY[token.revoked_by]}"
    copies = token.revoked_copies
    return f"{status}, {copies} narrower revoked" if copies else status


def _last_use(token: ListedToken) -> str:
    if token.last_used_at is None:
        return "not at the service" if token.unreported_use else "never"
    return minute(token.last_used_at)


@click.command(cls=Command)
@_username
@click.argument("token_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Revoke everything that was issued to the user.")
def revoke_tokens(*, username: str, token_id: str | None, everything: bool) -> None:
    """Revoke one token of a user, or all.

    One is a labelled token, and all copies of it; --all is everything that was issued to the user.
    The user may sign in again: to prevent that, see `users disable`.

    For example:

      caveats-service users revoke alice 01KAJ5M3W8E2RZ6V8Q4T0N9XCD
      caveats-service users revoke alice --all
    """
    if (token_id is None) is not everything:
        wrong_usage("give the id of one token (see `caveats-service users tokens`), or --all")
    if token_id is None:
        with_accounts(lambda accounts: accounts.revoke_all(username, actor=OPERATOR))
        note(f"everything that was issued to {username} until now is revoked")
        return
    with_labels(lambda labels: labels.revoke(username, token_id, actor=OPERATOR))
    note(f"all copies of token {token_id} of {username} are revoked")


def _read_password(*, from_stdin: bool) -> str:
    if not from_stdin:
        return typed_password()
    line = "" if sys.stdin is None else sys.stdin.readline()
    if not line:
        wrong_usage("standard input holds no password")
    return line.rstrip("\r\n")
