"""The error family. Knows no other module.

    CaveatsError
    ├── MalformedToken          the text or bytes are not a token
    │   ├── DamagedToken        ... and a checksum says that they once were
    │   └── MalformedTicket     not a ticket that this third party can read
    ├── MalformedCaveat         a predicate or a value breaks its kind's grammar
    ├── LimitExceeded           longer, more or deeper than the limits allow
    ├── InvalidKey              a key of a wrong type, length or value
    ├── NotPicklable            something that holds secrets or locks was to be pickled or copied
    ├── RejectedDelivery        keys or revocations that did not come from the service, or came too late
    └── Refused                 a well-formed token that is refused
        ├── UnknownKey          the keyring has no key for its identifier
        ├── BadSignature        not authentic
        │   └── BindingMismatch a discharge bound to something else
        ├── MissingDischarge    a third-party caveat has no discharge
        ├── UnusedDischarge     a discharge that no caveat, or more than one, asks for
        ├── DischargeRefused    a third party does not agree
        ├── Revoked             authentic, and revoked, or came of a token that is
        ├── Stale               the verifier's keys or revocations are too old to decide
        ├── WrongAudience       authentic, and meant for another app
        └── UnsatisfiedCaveats  authentic, and its caveats say no

Errors carry evidence (which caveat, which location), never a key, a token or a signature.
"""

from __future__ import annotations

import copyreg
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Failure:
    """One caveat that refuses a request: which caveat, who added it, what the request had, what would pass."""

    index: int
    """Its place among the caveats that were judged, from 0."""
    kind: str
    predicate: str
    """The caveat as text, `kind = value`; bytes that are not UTF-8 are shown as escapes."""
    added_by: str
    """`issuer`, `holder` or `discharger`."""
    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{self.predicate} (added by the {self.added_by}): {self.reason}; would pass: {self.hint}"


def reduce_error(error: BaseException) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The `__reduce__` of an exception that is copied and pickled whole, whatever its `__init__` takes.

    Python's own calls the class with `args`, which are the message: `__init__` then fails, or makes another message of it.
    """
    return copyreg.__newobj__, (type(error), *error.args), error.__dict__  # type: ignore[attr-defined]


class CaveatsError(Exception):
    """The base class of all errors of the library. They can be copied and pickled."""

    __reduce__ = reduce_error


class MalformedToken(CaveatsError, ValueError):
    """The text or bytes are not a token in any accepted encoding."""


class DamagedToken(MalformedToken):
    """The checksum of a `cav1_` text does not match: the text was cut off or mistyped."""


class MalformedTicket(MalformedToken):
    """The bytes are not a ticket for this third party: malformed, changed, too long, or made for another."""


class MalformedCaveat(CaveatsError, ValueError):
    """A predicate, or a value offered for one, breaks the grammar of its kind."""


class LimitExceeded(CaveatsError, ValueError):
    """The token is longer, holds more, or nests deeper than the limits allow."""


class InvalidKey(CaveatsError, ValueError):
    """A key has the wrong type, length or value. Never says what the key was."""


class NotPicklable(CaveatsError, TypeError):
    """A key, a verifier, a client or the like was to be pickled or copied. The message names its class."""


class RejectedDelivery(CaveatsError):
    """A key bundle or a page of the revocation feed is not authentic, not for this verifier, or out of date."""


class Refused(CaveatsError):
    """The token is well formed and is refused. `failures` is empty unless caveats refused."""

    failures: Sequence[Failure] = ()
    missing_key: str | None = None
    """The id of the key that the keyring lacks, where that is the reason: with it, the answer may be another."""


class UnknownKey(Refused):
    """The keyring has no key for the token's identifier. `missing_key` is None if the identifier is not ours."""

    def __init__(self, message: str, missing_key: str | None = None) -> None:
        super().__init__(message)
        self.missing_key = missing_key


class BadSignature(Refused):
    """The token, or one of its discharges, is not authentic."""


class BindingMismatch(BadSignature):
    """A discharge is not bound to this macaroon: unbound, or bound before it was narrowed."""


class MissingDischarge(Refused):
    """A third-party caveat has no discharge. Ask for it at `location` with `ticket`."""

    def __init__(self, location: str, ticket: bytes) -> None:
        super().__init__(f"a third-party caveat for {location!r} has no discharge")
        self.location = location
        self.ticket = ticket


class UnusedDischarge(Refused):
    """The bundle has a discharge that no caveat asks for, or that more than one asks for."""


class DischargeRefused(Refused):
    """A third party refuses: the ticket has expired, is for another location or audience, or a condition does not hold.

    `failures` has every condition that does not hold.
    """

    def __init__(self, message: str, failures: Sequence[Failure] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)


class Revoked(Refused):
    """The token, its branch, or everything its user held has been revoked; or a token that it was issued against.

    `missing_key`: the key of such a token, which the keyring lacks; None for a revocation.
    """

    def __init__(self, message: str, missing_key: str | None = None) -> None:
        super().__init__(message)
        self.missing_key = missing_key


class Stale(Refused):
    """The verifier's revocations or keys are older than it allows, or the service cannot be asked: it cannot decide.

    `retry_after`: seconds after which to try again, if they are known. `clock`: by how much the clock of the verifier's
    machine differs from the service's, in words, if it does.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, clock: str = "") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.clock = clock


class WrongAudience(Refused):
    """The token is for another audience than the verifier's."""

    def __init__(self, audience: str, expected: str) -> None:
        super().__init__(f"the token is for audience {audience!r}, this is {expected!r}")
        self.audience = audience
        self.expected = expected


class UnsatisfiedCaveats(Refused):
    """One or more caveats refuse. `failures` has every one of them, explained."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__("; ".join(str(failure) for failure in failures))
        self.failures = tuple(failures)
