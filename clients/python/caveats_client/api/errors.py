"""What can go wrong with a request to the service. Knows no HTTP library, no token.

    ClientError
    ├── UnusableAddress      not an address that a token may be sent to: give another
    ├── NotAuthenticated     401: sign in (again)
    ├── Forbidden            403: `failures` says which caveats refuse, and what would pass
    ├── NotFound             404
    ├── Conflict             409: taken, or changed meanwhile
    ├── BadRequest           400 and its kin: correct the request
    ├── RateLimited          429: slow down, `retry_after`
    ├── Unavailable          503, a timeout, or nobody there: try again, `retry_after`
    ├── UnexpectedResponse   an answer that no caveats service gives: is this its address?
    ├── InteractionRequired  a third party wants to know who asks: give it a person or an agent
    └── BadDischarge         a third party's answer is no discharge of what was asked: tell who runs it

Errors carry the status, the service's stable `code` and its words, which may be a
stranger's: they can be printed and logged as they are. Never a token, never a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats import Failure

_TOKEN = re.compile(r"cav1_[\w.-]{4,}|[A-Za-z0-9_-]{64,}", re.ASCII)


def without_tokens(text: str) -> str:
    """`text`, with whatever looks like a token cut out of it."""
    return _TOKEN.sub(lambda found: "cav1_..." if found[0].startswith("cav1_") else "...", text)


def safe(text: str) -> str:
    """`text` without anything that a terminal would obey: such characters are written as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ClientError(Exception):
    """The root of the family: catch this to catch everything that a client raises about a request."""

    def __init__(self, detail: str, *, code: str = "", status: int | None = None) -> None:
        """`status` None: there was no answer, or none was asked for."""
        self.detail = safe(without_tokens(detail))
        self.code = code
        self.status = status
        super().__init__(self.detail)


class UnusableAddress(ClientError):
    """Not an http(s) address, or one that a token would reach in the clear."""


class NotAuthenticated(ClientError):
    """The token or the password was not accepted, or none was given. Sign in."""


class Forbidden(ClientError):
    """The token is good and does not allow this. `failures` holds the caveats that refused, if it was them."""

    failures: Sequence[Failure] = ()


class NotFound(ClientError):
    """There is no such thing, or it is nobody's business."""


class Conflict(ClientError):
    """Taken already, or changed meanwhile."""


class BadRequest(ClientError):
    """The request is not one that the service takes: too large, or a value that it does not accept."""


class RateLimited(ClientError):
    """Too many requests. `retry_after`: seconds to wait, if the service said."""

    retry_after: int | None = None


class Unavailable(ClientError):
    """The service is busy, down or out of reach. `retry_after`: seconds to wait, if it said."""

    retry_after: int | None = None


class UnexpectedResponse(ClientError):
    """Something answered that is not a caveats service, or not one that this client understands."""


class InteractionRequired(ClientError):
    """A third party wants a person at a browser, or an agent's key, and neither was given."""


class BadDischarge(ClientError):
    """What a third party answered is no discharge of what it was asked: too much, another's, leading elsewhere, nonsense."""
