"""What the service's core refuses, one class for each thing that a caller can do about it.

    ServiceError
    ├── InvalidRequest        mend the request: nobody can have what it asks for
    │   ├── BadName           ... the name of an account or a group
    │   └── BadPassword       ... a password that is to be set
    ├── InvalidCredentials    sign in again: no such user, not their password, or the account is disabled
    ├── Forbidden             ask somebody who may
    │   ├── PasswordChangeRequired    ... nobody: change the password first, it was set for once
    │   ├── RegistrationClosed    ... an administrator adds accounts here
    │   └── CeilingReached    ... nobody may: the token lives no longer, get a new one
    ├── NotFound              name another one: there is none of that name or id
    ├── TooManyBranches       revoke the copy that they were made from, or the token
    ├── RateLimited           wait `retry_after` seconds: too many attempts
    │   └── TooManyRevocations    ... or revoke the copy that they were made from, or the token
    └── Busy                  wait `retry_after` seconds: too much work at once

Knows no HTTP: `http/errors.py` has the table of their statuses. The message of each is for the caller and holds no
password, token or key. What the store and the library raise (`StoreError`, `CaveatsError`) passes through unchanged.
"""

from __future__ import annotations

from caveats.errors import reduce_error


class ServiceError(Exception):
    """The root of the family."""

    __reduce__ = reduce_error


class InvalidRequest(ServiceError):
    """Nobody can have what was asked for. The message says what is expected."""


class BadName(InvalidRequest):
    """Not a name of an account or a group."""


class BadPassword(InvalidRequest):
    """Not a password that can be used. The message says why and never repeats it."""


class InvalidCredentials(ServiceError):
    """An unknown user, a wrong password or a disabled account: always the same error."""


class Forbidden(ServiceError):
    """The caller is known, and may not do this."""


class PasswordChangeRequired(Forbidden):
    """The password is right, and signs in to nothing but its own change: an administrator has set it."""

    def __init__(self) -> None:
        super().__init__(
            "an administrator has set this password: change it, then sign in with the new one (`caveats passwd`, or PUT "
            "/v1/users/{username}/password)"
        )


class RegistrationClosed(Forbidden):
    """Accounts are added by administrators only."""


class CeilingReached(Forbidden):
    """The token has reached the longest life that it may have, renewals included."""


class NotFound(ServiceError):
    """There is nothing of that name or id, or the caller may not know of it."""


class TooManyBranches(ServiceError):
    """As many copies of this token are revoked as may be."""


class _Wait(ServiceError):
    """Something to try again later. `retry_after`: seconds, at least 1."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = max(1, retry_after)


class RateLimited(_Wait):
    """Too many attempts of this kind from this caller."""


class TooManyRevocations(RateLimited):
    """Too many copies of this token, or from this address, were revoked."""


class Busy(_Wait):
    """Too many callers at once, or the process is about to stop."""


class NotReady(ServiceError):
    """The service cannot do all it is for. `reason`: a word for programs; the message is for anybody."""

    def __init__(self, reason: str, message: str, *, said: str = "") -> None:
        """`said`: what the database said, for the log."""
        super().__init__(message)
        self.reason = reason
        self.said = said
