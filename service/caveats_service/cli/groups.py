"""`caveats-service groups`: groups of users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caveats_cli.commands import Command
from caveats_service.cli.output import json_option, minute, note, print_records, wrong_usage
from caveats_service.cli.store import ACTOR, all_pages, with_store
from caveats_service.core.clock import utc_now
from caveats_service.core.errors import BadName
from caveats_service.core.usernames import check_group, fold_username

if TYPE_CHECKING:
    from caveats_service.storage import Group


@click.command(cls=Command)
@json_option
def list_groups(*, as_json: bool) -> None:
    """List all groups and their members.

    For example:

      caveats-service groups list
    """
    print_records(
        with_store(lambda store: all_pages(store.groups.list, lambda group: group.name)),
        {
            "group": lambda group: group.name,
            "members": lambda group: " ".join(group.members),
            "created": lambda group: minute(group.created_at),
        },
        as_json=as_json,
        none="there are no groups: to make one, caveats-service groups set NAME MEMBER",
    )


@click.command(cls=Command)
@click.argument("name")
@click.argument("members", nargs=-1)
def set_group(*, name: str, members: tuple[str, ...]) -> None:
    """Make a group, or replace the members of one.

    For example:

      caveats-service groups set ops alice bob
    """
    try:
        check_group(name)
    except BadName as error:
        wrong_usage(str(error))
    _note_members(
        with_store(
            lambda store: store.groups.put(
                name, [fold_username(member) for member in members], now=utc_now(), actor=ACTOR
            )
        )
    )


@click.command(cls=Command)
@click.argument("name")
@click.argument("username")
def add_member(*, name: str, username: str) -> None:
    """Add a user to a group.

    For example:

      caveats-service groups add ops carol
    """
    _note_members(
        with_store(
            lambda store: store.groups.add_member(name, fold_username(username), now=utc_now(), actor=ACTOR)
        )
    )


@click.command(cls=Command)
@click.argument("name")
@click.argument("username")
def remove_member(*, name: str, username: str) -> None:
    """Remove a user from a group.

    For example:

      caveats-service groups remove ops bob
    """
    _note_members(
        with_store(
            lambda store: store.groups.remove_member(
                name, fold_username(username), now=utc_now(), actor=ACTOR
            )
        )
    )


@click.command(cls=Command)
@click.argument("name")
def delete_group(*, name: str) -> None:
    """Delete a group. Its members keep their accounts.

    For example:

      caveats-service groups delete ops
    """
    with_store(lambda store: store.groups.delete(name, now=utc_now(), actor=ACTOR))
    note(f"{name} is gone")


def _note_members(group: Group) -> None:
    note(f"{group.name}: {' '.join(group.members) or 'nobody'}")
