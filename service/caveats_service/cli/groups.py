"""`caveats-service groups`: groups of users."""

from typing import TYPE_CHECKING, Annotated

import typer

from caveats_service.cli.output import Json, minute, note, print_json, print_table, record_json, wrong_usage
from caveats_service.cli.store import ACTOR, with_store
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import BadName
from caveats_service.core.usernames import check_group

if TYPE_CHECKING:
    from caveats_service.storage import Group, Store

groups = typer.Typer(help="Groups of users: list, set, add, remove, delete.", no_args_is_help=True)


@groups.command("list")
def list_groups(*, as_json: Json = False) -> None:
    """List all groups and their members."""

    async def work(store: "Store") -> "list[Group]":
        found: list[Group] = []
        while page := await store.groups.list(after=found[-1].name if found else "", limit=1000):
            found += page
        return found

    rows = with_store(work)
    if as_json:
        print_json([record_json(row) for row in rows])
        return
    print_table(
        ("group", "members", "created"),
        ((row.name, " ".join(row.members), minute(row.created_at)) for row in rows),
    )


@groups.command("set")
def set_group(name: str, members: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Make a group, or replace the members of one."""
    try:
        check_group(name)
    except BadName as error:
        wrong_usage(str(error))
    _note_members(with_store(lambda store: store.groups.put(name, members or [], now=utc_now(), actor=ACTOR)))


@groups.command("add")
def add_member(name: str, username: str) -> None:
    """Add a user to a group."""
    _note_members(
        with_store(lambda store: store.groups.add_member(name, username, now=utc_now(), actor=ACTOR))
    )


@groups.command("remove")
def remove_member(name: str, username: str) -> None:
    """Remove a user from a group."""
    _note_members(
        with_store(lambda store: store.groups.remove_member(name, username, now=utc_now(), actor=ACTOR))
    )


@groups.command("delete")
def delete_group(name: str) -> None:
    """Delete a group. Its members keep their accounts."""
    with_store(lambda store: store.groups.delete(name, now=utc_now(), actor=ACTOR))
    note(f"{name} is gone")


def _note_members(group: "Group") -> None:
    note(f"{group.name}: {' '.join(group.members) or 'nobody'}")
