"""`caveats-service users`: accounts. What each does, and who may, is in `core/accounts`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from caveats_service.cli.output import Json, minute, note, print_json, print_table, record_json, wrong_usage
from caveats_service.cli.store import with_accounts, with_store
from caveats_service.core.errors import BadName
from caveats_service.core.usernames import check_username

if TYPE_CHECKING:
    from caveats_service.core.accounts import Accounts, Actor
    from caveats_service.storage import Store, User

users = typer.Typer(help="Accounts: add, list, change, disable.", no_args_is_help=True)
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@users.command("add")
def add_user(
    username: str,
    *,
    admin: Annotated[bool, typer.Option("--admin", help="Make the user an administrator.")] = False,
    scope: Annotated[str, typer.Option(help="The scopes that the user's tokens may have at most.")] = "*",
    password_stdin: PasswordStdin = False,
) -> None:
    """Add an account. Asks for the password, or reads it from standard input."""
    from caveats import MalformedCaveat, Scope  # noqa: PLC0415  0.2 s

    try:
        check_username(username)
        Scope(scope)
    except (BadName, MalformedCaveat) as error:
        wrong_usage(str(error))
    password = _read_password(from_stdin=password_stdin)

    async def work(accounts: "Accounts", operator: "Actor") -> "User":
        return await accounts.register(username, password, actor=operator, is_admin=admin, scope=scope)

    user = with_accounts(work, create=True)
    note(f"added {user.username}{' (admin)' if user.is_admin else ''}")


@users.command("list")
def list_users(*, as_json: Json = False) -> None:
    """List all accounts."""

    async def work(store: "Store") -> "list[User]":
        found: list[User] = []
        while page := await store.users.list(after=found[-1].username if found else "", limit=1000):
            found += page
        return found

    rows = with_store(work)
    if as_json:
        print_json([record_json(row, without=("password_hash",)) for row in rows])
        return
    print_table(
        ("username", "admin", "scope", "created", "disabled"),
        (
            (
                row.username,
                "yes" if row.is_admin else "",
                row.scope,
                minute(row.created_at),
                minute(row.disabled_at),
            )
            for row in rows
        ),
    )


@users.command("passwd")
def set_password(username: str, *, password_stdin: PasswordStdin = False) -> None:
    """Set a password. Revokes everything that was issued to the user until now."""
    password = _read_password(from_stdin=password_stdin)
    with_accounts(lambda accounts, operator: accounts.set_password(username, password, actor=operator))
    note(f"password of {username} set; all their tokens are revoked")


@users.command("disable")
def disable_user(username: str) -> None:
    """Disable an account: nobody can sign in as this user. Revokes everything that was issued to them."""
    with_accounts(lambda accounts, operator: accounts.disable(username, actor=operator))
    note(f"{username} is disabled; all their tokens are revoked")


@users.command("enable")
def enable_user(username: str) -> None:
    """Enable a disabled account again. Revoked tokens stay revoked."""
    with_accounts(lambda accounts, operator: accounts.enable(username, actor=operator))
    note(f"{username} may sign in again")


@users.command("admin")
def set_admin(
    username: str,
    *,
    revoke: Annotated[bool, typer.Option("--revoke", help="Make the user an ordinary user again.")] = False,
) -> None:
    """Make a user an administrator, or an ordinary user again."""
    with_accounts(
        lambda accounts, operator: accounts.set_admin(username, is_admin=not revoke, actor=operator)
    )
    note(f"{username} is {'no longer ' if revoke else ''}an administrator")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    text: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return text
