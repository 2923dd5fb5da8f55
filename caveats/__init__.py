"""Capability tokens: ask for one, narrow it offline, hand it on, verify it anywhere. Pure: no I/O.

A token here is a macaroon (Birgisson et al., "Macaroons: Cookies with Contextual Caveats", NDSS 2014): an identifier,
a list of caveats, and one HMAC over all of it. A caveat is a condition, such as `expires = 2026-12-01T00:00:00Z` or
`scope = photos/42:read`. Three laws hold for every token and every kind of caveat:

1. A caveat can only say no. Appending one never turns a refusal into a grant, so that anybody may append.
2. Authenticate, then judge. No caveat is read before the whole chain of HMACs is known good.
3. Fail closed. A kind that the verifier does not know refuses, and so does a check that answers anything but True.

The chain. Each step keys HMAC-SHA256 with the signature before it, and only the last signature travels:

    signature 0 = HMAC(derived root key, identifier)
    signature n = HMAC(signature n-1, caveat n)

Whoever holds a token can take the next step, offline and without a key; nobody can take one back. The issuer, or an
app with the keys of its own audience, starts from the root key, takes all steps and compares. Root keys are derived
from the identifier: nothing is stored for a token that lives.

A third-party caveat holds when somebody else agrees: it carries a ticket that only that party can read, and a key,
sealed under the chain, with which the party signs a discharge macaroon. Discharges travel bound to their token.

A branch is a copy and all that descends from it. Its id is an HMAC of its signature, so that one copy can be named and
revoked while its siblings live.

The format is libmacaroons v2 binary, which every macaroon library reads; as text `cav1_`, base64url, and six characters
of a checksum. `docs/format.md` has the bytes.

    text --decode--> Bundle --authenticate--> Authenticated --judge--> Grant

Each stage is a type, and only the next stage's function takes it; what is readable earlier says `unverified` in its
name. Usage:

    token = Macaroon.mint(keyring.root_key(identifier), identifier, caveats=[User("alice"), Expires(...), Scope("*")])
    narrow = token.attenuate(Scope("photos/42:read"), Note("for the printer"))
    grant = Verifier(keyring, audience="photos").verify(narrow.encode(), Context(now=..., scopes=("photos/42:read",)))

Rooms, the lowest first: `token` (the bytes), `keys` and `kinds` (what opens them, what they mean), `macaroon` (the
value), `revocation`, `third_party`, `verification` (the decision), `bakery` (Canonical's dialect), `testing` (the kit for
kinds of your own). Beside them `errors`, `pickling`, `forks`, `extras`, `limits`, `context`, `durations`, `printable` and
`http`, the head of a request. Everything below is importable from here; what only services need is handed on by its room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    NotPicklable,
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
    "NotPicklable",
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

if TYPE_CHECKING:
    __version__: str
    """The version of the distribution, as installed."""
else:

    def __getattr__(name: str) -> str:
        # Read when it is asked for: it stands in a file, and an import reads none.
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415  # 20 ms, for those who ask

            return version("caveats")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
