"""Third-party caveats in the formats of Canonical's bakery, versions 1 to 3, for its clients and services.

Knows bytes and decisions, knows no HTTP. No other room of the library knows of this one.
"""

from __future__ import annotations

from caveats.bakery.conditions import (
    Allow,
    ClientIpAddr,
    Declared,
    Deny,
    Error,
    IsAuthenticatedUser,
    IsAuthenticatedUserId,
    IsMemberOf,
    Origin,
    TimeBefore,
    expiry_of,
    first_party_checkers,
    third_party_checkers,
)
from caveats.bakery.discharge import (
    LOCAL,
    LOCAL_CONDITION,
    Needed,
    collect,
    declared_by,
    discharge,
    discharge_local,
)
from caveats.bakery.macaroons import (
    BakeryMacaroon,
    decode_binaries,
    decode_header,
    encode_binaries,
    encode_header,
)
from caveats.bakery.namespace import HTTP, STANDARD, Namespace
from caveats.bakery.tickets import V1, V2, V3, BakeryParty, BakeryTicket, open_ticket, seal_ticket

__all__ = [
    "HTTP",
    "LOCAL",
    "LOCAL_CONDITION",
    "STANDARD",
    "V1",
    "V2",
    "V3",
    "Allow",
    "BakeryMacaroon",
    "BakeryParty",
    "BakeryTicket",
    "ClientIpAddr",
    "Declared",
    "Deny",
    "Error",
    "IsAuthenticatedUser",
    "IsAuthenticatedUserId",
    "IsMemberOf",
    "Namespace",
    "Needed",
    "Origin",
    "TimeBefore",
    "collect",
    "declared_by",
    "decode_binaries",
    "decode_header",
    "discharge",
    "discharge_local",
    "encode_binaries",
    "encode_header",
    "expiry_of",
    "first_party_checkers",
    "open_ticket",
    "seal_ticket",
    "third_party_checkers",
]
