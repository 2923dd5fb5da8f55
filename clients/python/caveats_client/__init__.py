"""The Python client of a caveats service: ask for tokens, hand them on, have them verified, kill them.

    Client, AsyncClient    everything that the service does
    TokenAuth              a token attached to the requests that your own httpx client makes, discharges included
    Interact, Agent        what to show third parties that want to know who asks

Narrowing a token needs no client at all: that is `caveats.Macaroon.attenuate`.
"""

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
    Issued,
    JudgedCaveat,
    KeyRecord,
    NotLive,
    RevocationEntry,
    TokenIdentity,
    TokenPage,
    TokenRecord,
    UserPage,
    UserRecord,
    Verification,
)
from caveats_client.api.tokens import Token
from caveats_client.auth import TokenAuth
from caveats_client.client import AsyncClient, Client
from caveats_client.discharge.protocol import Agent, Interact
from caveats_client.discharge.runner import open_browser

__all__ = [
    "Agent",
    "AsyncClient",
    "BadDischarge",
    "BadRequest",
    "Client",
    "ClientError",
    "Conflict",
    "Forbidden",
    "Interact",
    "InteractionRequired",
    "Issued",
    "JudgedCaveat",
    "KeyRecord",
    "NotAuthenticated",
    "NotFound",
    "NotLive",
    "RateLimited",
    "RequestFacts",
    "RevocationEntry",
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
    "open_browser",
]
