"""`caveats-service agents`: programs that sign in with a key, for a user."""

from typing import TYPE_CHECKING, Annotated

import typer

from caveats_service.cli.output import Json, minute, note, print_json, print_table, record_json, wrong_usage
from caveats_service.cli.store import ACTOR, with_store
from caveats_service.core.clock import utc_now

if TYPE_CHECKING:
    from caveats_service.storage import Agent, Store

agents = typer.Typer(help="Agents, which sign in with a key: add, list, remove.", no_args_is_help=True)


@agents.command("add")
def add_agent(
    username: str,
    public_key: Annotated[str, typer.Argument(help="X25519, 32 bytes in base64.")],
    *,
    name: Annotated[str, typer.Option(help="A label for people.")] = "",
) -> None:
    """Register an agent's key: its holder signs in as the user."""
    from caveats import InvalidKey  # noqa: PLC0415  0.2 s
    from caveats_service.discharge.agents import read_agent_key  # noqa: PLC0415

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


@agents.command("list")
def list_agents(*, as_json: Json = False) -> None:
    """List all agents and the users they sign in as."""

    async def work(store: "Store") -> "list[Agent]":
        found: list[Agent] = []
        while page := await store.agents.list(after=found[-1].agent_id if found else "", limit=1000):
            found += page
        return found

    rows = with_store(work)
    if as_json:
        from caveats.token import encode_base64

        print_json([record_json(row) | {"public_key": encode_base64(row.public_key)} for row in rows])
        return
    print_table(
        ("id", "user", "name", "created"),
        ((row.agent_id, row.username, row.name, minute(row.created_at)) for row in rows),
    )


@agents.command("remove")
def remove_agent(agent_id: str) -> None:
    """Remove an agent's key: it signs in no more."""
    with_store(lambda store: store.agents.remove(agent_id, now=utc_now(), actor=ACTOR))
    note(f"{agent_id} is removed")
