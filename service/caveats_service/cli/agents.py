"""`caveats-service agents`: programs that sign in with a key, for a user."""

from __future__ import annotations

import click

from caveats import InvalidKey
from caveats_cli.commands import Command
from caveats_service.cli.output import json_option, minute, note, print_records, wrong_usage
from caveats_service.cli.store import ACTOR, all_pages, with_store
from caveats_service.core.clock import utc_now
from caveats_service.discharge.agents import read_agent_key


@click.command(cls=Command)
@click.argument("username")
@click.argument("public_key")
@click.option("--name", default="", help="A label for people.")
def add_agent(*, username: str, public_key: str, name: str) -> None:
    """Register an agent's public key (X25519, 32 bytes in base64). Its holder signs in as the user.

    For example:

      caveats-service agents add alice rIykf8xr7PFs2MlT5+5b50UsdKrWL3VAp+4sPo/5ly0= --name robot
    """
    try:
        key = read_agent_key(public_key)
    except InvalidKey as error:
        wrong_usage(f"public key: {error}")
    agent = with_store(
        lambda store: store.agents.add(
            username=username, public_key=key, name=name, now=utc_now(), actor=ACTOR
        )
    )
    note(f"added {agent.agent_id}")


@click.command(cls=Command)
@json_option
def list_agents(*, as_json: bool) -> None:
    """List all agents and the users they sign in as.

    For example:

      caveats-service agents list
    """
    print_records(
        with_store(lambda store: all_pages(store.agents.list, lambda agent: agent.agent_id)),
        {
            "id": lambda agent: agent.agent_id,
            "user": lambda agent: agent.username,
            "name": lambda agent: agent.name,
            "created": lambda agent: minute(agent.created_at),
        },
        as_json=as_json,
        none="there are no agents: to add one, caveats-service agents add USERNAME PUBLIC_KEY",
    )


@click.command(cls=Command)
@click.argument("agent_id")
def remove_agent(*, agent_id: str) -> None:
    """Remove an agent's key: it signs in no more.

    For example:

      caveats-service agents remove 01KAJ5M3W8E2RZ6V8Q4T0N9XCD
    """
    with_store(lambda store: store.agents.remove(agent_id, now=utc_now(), actor=ACTOR))
    note(f"{agent_id} is removed")
