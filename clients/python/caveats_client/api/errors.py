"""The errors of the client: one class for each thing that a caller can do about it. Knows no HTTP library.

    ClientError
    ├── UnusableAddress      a token must not be sent to this address: give another
    ├── NotAuthenticated     401: sign in (again)
    ├── Forbidden            403: `failures` says which caveats refuse, and what would pass
    ├── NotFound             404
    ├── Conflict             409: the name is taken, or the thing has changed
    ├── BadRequest           400, 413, 415, 431: correct the request
    ├── RateLimited          429: try again after `retry_after`
    ├── Unavailable          502, 503, 504, a timeout, or no connection: try again after `retry_after`
    ├── UnexpectedResponse   not the answer of a caveats service: check the address
    ├── InteractionRequired  a third party wants to know who asks: give `interact`
    └── BadDischarge         a third party's answer is not the discharge that was asked for: tell its operator

An error has the status, the service's stable `code` and its message. Tokens are cut out of the message and control
characters are escaped, since any server may have written it: it can be printed and logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats.errors import reduce_error
from caveats.printable import printable, without_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats import Failure


class ClientError(Exception):
    """The base class. `status`: the answer's, None without an answer. `code`: the service's name for the error."""

    __reduce__ = reduce_error

    def __init__(self, detail: str, *, code: str = "", status: int | None = None) -> None:
        """`detail`: the message for people. Tokens are cut out of it, and control characters escaped."""
        self.detail = printable(without_tokens(detail))
        self.code = code
        self.status = status
        super().__init__(self.detail)


class UnusableAddress(ClientError):
    """The address is not http(s), or is plain http to another machine, or is no third party's that may be asked."""

    unlisted: str | None = None
    """The third party's origin, if it is not on the list of those that may be asked."""


class NotAuthenticated(ClientError):
    """The token or the password is not accepted, or none was given."""


class Forbidden(ClientError):
    """The token is live and does not allow this. `failures`: the caveats that refuse, if caveats refuse."""

    failures: Sequence[Failure] = ()


class NotFound(ClientError):
    """The thing does not exist, or the caller may not know that it does."""


class Conflict(ClientError):
    """The name is taken, or the thing was changed by another request."""


class BadRequest(ClientError):
    """The service does not accept the request: a value is wrong, or it is too large."""


class RateLimited(ClientError):
    """Too many requests. `retry_after`: whole seconds to wait, if the service said."""

    retry_after: int | None = None


class Unavailable(ClientError):
    """The service is busy, down or out of reach. `retry_after`: whole seconds to wait, if it said."""

    retry_after: int | None = None


class UnexpectedResponse(ClientError):
    """The answer is not that of a caveats service, or this client cannot read it."""


class InteractionRequired(ClientError):
    """A third party wants to know who asks, and `interact` has no way that it accepts."""


class BadDischarge(ClientError):
    """A third party's answer is not the discharge that was asked for: too large, for another caveat, or malformed."""
