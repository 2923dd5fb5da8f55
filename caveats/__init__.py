"""Capability tokens: request one, narrow it offline, hand it on, verify it anywhere. Pure: no I/O.

    text --decode--> Bundle --authenticate--> Authenticated --unsatisfied--> Grant

Each stage is a type, and only the next stage's function takes it.
"""

from caveats.context import Context
from caveats.errors import (
    BadSignature,
    BindingMismatch,
    CaveatsError,
    DamagedToken,
    DischargeRefused,
    Failure,
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
from caveats.keys.boxes import PrivateKey
from caveats.keys.keyring import AudienceKey, AudienceKeyring, Keyring, KeyState, MasterKey, MasterKeyring
from caveats.kinds import (
    Audience,
    Authority,
    Caveat,
    Checkers,
    ClientIp,
    Expires,
    Host,
    Method,
    NotBefore,
    Note,
    Parent,
    Path,
    Renewed,
    Repeated,
    Scope,
    UnknownCaveat,
    Unmet,
    User,
    effective,
    repeated,
    standard_checkers,
    unsatisfied,
)
from caveats.limits import DEFAULT_LIMITS, Limits
from caveats.macaroon.bundle import Bundle, Unbound
from caveats.macaroon.macaroon import Macaroon
from caveats.revocation.entries import BranchRevocation, Revocation, TokenRevocation, UserRevocation
from caveats.revocation.revocation_set import RevocationSet
from caveats.third_party.collect import collect
from caveats.third_party.discharge import Discharger, discharge
from caveats.third_party.ticket import ThirdParty, Ticket, open_ticket
from caveats.token.identifier import Identifier, new_token_id
from caveats.token.wire import ThirdPartyCaveat
from caveats.verification.authenticate import Authenticated, Discharged, authenticate
from caveats.verification.grant import Grant, Introspection
from caveats.verification.renewal import renew
from caveats.verification.verifier import Verifier, verify

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
    "Host",
    "Identifier",
    "Introspection",
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
