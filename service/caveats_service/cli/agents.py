"""`caveats-service agents`: programs that sign in with a key, for a user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from caveats import InvalidKey
from caveats.token import encode_base64
from caveats_service.cli.output import (
    json_option,
    minute,
    note,
    print_json,
    print_table,
    record_json,
    wrong_usage,
)
from caveats_service.cli.store import ACTOR, with_store
from caveats_service.core.clock import utc_now
from caveats_service.discharge.agents import read_agent_key

if TYPE_CHECKING:
    from caveats_service.storage import Agent, Store


@click.command
@click.argument("username")
@click.argument("public_key")
@click.option("--name", default="", help="A label for people.")
def add_agent(*, username: str, public_key: str, name: str) -> None:
    """Register an agent's public key (X25519, 32 bytes in base64). Its holder signs in as the user."""
    try:
        key = read_agent_key(public_key)
    except InvalidKey:
        wrong_usage("a public key is 32 bytes in base64")
    agent = with_store(
        lambda store: store.agents.add(
            username=username, public_key=key, name=name, now=utc_now(), actor=ACTOR
        )
    )
    note(f"added {agent.agent_id}")


@click.command
@json_option
def list_agents(*, as_json: bool) -> None:
    """List all agents and the users they sign in as."""

    async def work(store: Store) -> list[Agent]:
        found: list[Agent] = []
        while page := await store.agents.list(after=found[-1].agent_id if found else "", limit=1000):
            found += page
        return found

    rows = with_store(work)
    if as_json:
        print_json([record_json(row) | {"public_key": encode_base64(row.public_key)} for row in rows])
        return
    print_table(
        ("id", "user", "name", "created"),
        ((row.agent_id, row.username, row.name, minute(row.created_at)) for row in rows),
    )


@click.command
@click.argument("agent_id")
def remove_agent(*, agent_id: str) -> None:
    """Remove an agent's key: it signs in no more."""
    with_store(lambda store: store.agents.remove(agent_id, now=utc_now(), actor=ACTOR))
    note(f"{agent_id} is removed")
