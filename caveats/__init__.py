"""Capability tokens: request one, narrow it offline, hand it on, verify it anywhere. Pure: no I/O.

    text --decode--> Bundle --authenticate--> Authenticated --unsatisfied--> Grant

Each stage is a type, and only the next stage's function takes it.
"""

from caveats.authentic import Authenticated, Discharged, authenticate
from caveats.authority import Authority, Repeated, effective, repeated
from caveats.bundle import Bundle, Unbound
from caveats.caveat import Caveat, UnknownCaveat
from caveats.checkers import Checkers, Failure, standard_checkers, unsatisfied
from caveats.collecting import collect
from caveats.context import Context
from caveats.discharging import Discharger, discharge
from caveats.errors import (
    BadSignature,
    BindingMismatch,
    CaveatsError,
    DamagedToken,
    DischargeRefused,
    InvalidKey,
    LimitExceeded,
    MalformedCaveat,
    MalformedTicket,
    MalformedToken,
    MissingDischarge,
    Refused,
    RejectedDelivery,
    Revoked,
    Stale,
    UnknownKey,
    UnsatisfiedCaveats,
    UnusedDischarge,
    WrongAudience,
)
from caveats.identifier import Identifier, new_token_id
from caveats.keyring import AudienceKey, AudienceKeyring, Keyring, KeyState, MasterKey, MasterKeyring
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon import Macaroon
from caveats.renewal import renew
from caveats.revocation import (
    BranchRevocation,
    Revocation,
    RevocationSet,
    TokenRevocation,
    UserRevocation,
)
from caveats.standard import (
    Audience,
    ClientIp,
    Expires,
    Method,
    NotBefore,
    Note,
    Parent,
    Path,
    Renewed,
    Scope,
    Unmet,
    User,
)
from caveats.third_party import PrivateKey, ThirdParty, Ticket, open_ticket
from caveats.verifier import Grant, Verifier, verify
from caveats.wire import ThirdPartyCaveat

__all__ = [
    "DEFAULT_LIMITS",
    "Audience",
    "AudienceKey",
    "AudienceKeyring",
    "Authenticated",
    "Authority",
    "BadSignature",
    "BindingMismatch",
    "BranchRevocation",
    "Bundle",
    "Caveat",
    "CaveatsError",
    "Checkers",
    "ClientIp",
    "Context",
    "DamagedToken",
    "DischargeRefused",
    "Discharged",
    "Discharger",
    "Expires",
    "Failure",
    "Grant",
    "Identifier",
    "InvalidKey",
    "KeyState",
    "Keyring",
    "LimitExceeded",
    "Limits",
    "Macaroon",
    "MalformedCaveat",
    "MalformedTicket",
    "MalformedToken",
    "MasterKey",
    "MasterKeyring",
    "Method",
    "MissingDischarge",
    "NotBefore",
    "Note",
    "Parent",
    "Path",
    "PrivateKey",
    "Refused",
    "RejectedDelivery",
    "Renewed",
    "Repeated",
    "Revocation",
    "RevocationSet",
    "Revoked",
    "Scope",
    "Stale",
    "ThirdParty",
    "ThirdPartyCaveat",
    "Ticket",
    "TokenRevocation",
    "Unbound",
    "UnknownCaveat",
    "UnknownKey",
    "Unmet",
    "UnsatisfiedCaveats",
    "UnusedDischarge",
    "User",
    "UserRevocation",
    "Verifier",
    "WrongAudience",
    "authenticate",
    "collect",
    "discharge",
    "effective",
    "new_token_id",
    "open_ticket",
    "renew",
    "repeated",
    "standard_checkers",
    "unsatisfied",
    "verify",
]
