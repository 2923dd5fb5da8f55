"""The Python client of a caveats service: ask for tokens, hand them on, have them verified, kill them.

    Client, AsyncClient    everything that the service does
    TokenAuth              a token attached to the requests that your own httpx client makes

Narrowing a token needs no client at all: that is `caveats.Macaroon.attenuate`.
"""

from caveats_client.auth import Token, TokenAuth
from caveats_client.client import AsyncClient, Client
from caveats_client.errors import (
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    RateLimited,
    Unavailable,
    UnexpectedResponse,
    UnusableAddress,
)
from caveats_client.requests import Facts
from caveats_client.shapes import (
    Identity,
    Issued,
    JudgedCaveat,
    KeyRecord,
    NotLive,
    RevocationEntry,
    TokenPage,
    TokenRecord,
    UserPage,
    UserRecord,
    Verification,
)

__all__ = [
    "AsyncClient",
    "BadRequest",
    "Client",
    "ClientError",
    "Conflict",
    "Facts",
    "Forbidden",
    "Identity",
    "Issued",
    "JudgedCaveat",
    "KeyRecord",
    "NotAuthenticated",
    "NotFound",
    "NotLive",
    "RateLimited",
    "RevocationEntry",
    "Token",
    "TokenAuth",
    "TokenPage",
    "TokenRecord",
    "Unavailable",
    "UnexpectedResponse",
    "UnusableAddress",
    "UserPage",
    "UserRecord",
    "Verification",
]
