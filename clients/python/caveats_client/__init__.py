"""The Python client of a caveats service: issue tokens, verify them, revoke them, hand them on.

    Client, AsyncClient    the everyday methods, and `send` for everything else
    calls                  one function for each endpoint of the service: `client.send(calls.list_keys())`
    TokenAuth              a token on the requests that your own httpx client makes, discharges included
    Interact, Agent        how to show third parties who asks for a discharge

Narrowing a token needs no client: that is `caveats.Macaroon.attenuate`. Apps that verify tokens by themselves use
`caveats_client.verifiers`, apps that guard endpoints `caveats_client.guards`.

Layers, each of which knows only those after it: cli > guards, verifiers > client > auth > discharge > transport > api.
`files` is for all of them. Reading order: api, transport, client, auth, discharge, verifiers, guards, cli.

The names are imported when they are first used: what never sends a request need not wait for an HTTP library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caveats_client.api import calls
    from caveats_client.api.calls import RequestFacts
    from caveats_client.api.errors import (
        BadDischarge,
        BadRequest,
        ClientError,
        Conflict,
        Forbidden,
        InteractionRequired,
        NotAuthenticated,
        NotFound,
        RateLimited,
        Unavailable,
        UnexpectedResponse,
        UnusableAddress,
    )
    from caveats_client.api.responses import (
        About,
        AgentPage,
        AgentRecord,
        ClientPage,
        ClientRecord,
        DischargeInfo,
        GroupPage,
        GroupRecord,
        Issued,
        JudgedCaveat,
        KeyRecord,
        MinuteCount,
        NewClientRecord,
        NotLive,
        RevocationEntry,
        RevocationPage,
        Session,
        TokenIdentity,
        TokenPage,
        TokenRecord,
        UserPage,
        UserRecord,
        Verification,
        VerifierRecord,
    )
    from caveats_client.api.tokens import Token
    from caveats_client.auth import TokenAuth
    from caveats_client.client import AsyncClient, Client
    from caveats_client.discharge.agent import Agent
    from caveats_client.discharge.protocol import Interact
    from caveats_client.discharge.runner import open_browser

__all__ = [
    "About",
    "Agent",
    "AgentPage",
    "AgentRecord",
    "AsyncClient",
    "BadDischarge",
    "BadRequest",
    "Client",
    "ClientError",
    "ClientPage",
    "ClientRecord",
    "Conflict",
    "DischargeInfo",
    "Forbidden",
    "GroupPage",
    "GroupRecord",
    "Interact",
    "InteractionRequired",
    "Issued",
    "JudgedCaveat",
    "KeyRecord",
    "MinuteCount",
    "NewClientRecord",
    "NotAuthenticated",
    "NotFound",
    "NotLive",
    "RateLimited",
    "RequestFacts",
    "RevocationEntry",
    "RevocationPage",
    "Session",
    "Token",
    "TokenAuth",
    "TokenIdentity",
    "TokenPage",
    "TokenRecord",
    "Unavailable",
    "UnexpectedResponse",
    "UnusableAddress",
    "UserPage",
    "UserRecord",
    "Verification",
    "VerifierRecord",
    "calls",
    "open_browser",
]

_NAMES = {
    "api.calls": "RequestFacts",
    "api.errors": """
        BadDischarge BadRequest ClientError Conflict Forbidden InteractionRequired NotAuthenticated
        NotFound RateLimited Unavailable UnexpectedResponse UnusableAddress
    """,
    "api.responses": """
        About AgentPage AgentRecord ClientPage ClientRecord DischargeInfo GroupPage GroupRecord Issued JudgedCaveat
        KeyRecord MinuteCount NewClientRecord NotLive RevocationEntry RevocationPage Session TokenIdentity TokenPage
        TokenRecord UserPage UserRecord Verification VerifierRecord
    """,
    "api.tokens": "Token",
    "auth": "TokenAuth",
    "client": "AsyncClient Client",
    "discharge.agent": "Agent",
    "discharge.protocol": "Interact",
    "discharge.runner": "open_browser",
}
"""Where each public name is defined."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "calls":
        return import_module("caveats_client.api.calls")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from caveats.extras import needs  # noqa: PLC0415  # the program `caveats` imports no library for its help

    with needs("client"):
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
