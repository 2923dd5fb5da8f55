"""The errors of the client: one class for each thing that a caller can do. Knows no HTTP library and no token.

    ClientError
    ├── UnusableAddress      the address is none that a token may be sent to: give another
    ├── NotAuthenticated     401: sign in (again)
    ├── Forbidden            403: `failures` says which caveats refuse, and what would pass
    ├── NotFound             404
    ├── Conflict             409: taken, or changed meanwhile
    ├── BadRequest           400, 413, 415, 431: correct the request
    ├── RateLimited          429: slow down, `retry_after`
    ├── Unavailable          502, 503, 504, a timeout, or nobody there: try again, `retry_after`
    ├── UnexpectedResponse   an answer that no caveats service gives: is this its address?
    ├── InteractionRequired  a third party wants to know who asks: give it a person or an agent
    └── BadDischarge         a third party's answer is no discharge of what was asked: tell who runs it

Errors carry the status, the service's stable `code` and its words, which may come from a stranger: they are escaped and
free of tokens, so they can be printed and logged.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caveats import Failure

_TOKEN = re.compile(r"cav1_[\w.-]{4,}|[A-Za-z0-9_-]{64,}", re.ASCII)


def without_tokens(text: str) -> str:
    """`text`, with everything that looks like a token cut out of it."""
    return _TOKEN.sub(lambda found: "cav1_..." if found[0].startswith("cav1_") else "...", text)


def safe(text: str) -> str:
    """`text` with control characters as escapes, so that a terminal does not obey them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ClientError(Exception):
    """The root of the family. `status`: of the answer, None if there was none; `code`: the service's stable word."""

    def __init__(self, detail: str, *, code: str = "", status: int | None = None) -> None:
        """`detail`: for people; tokens are cut out and control characters escaped."""
        self.detail = safe(without_tokens(detail))
        self.code = code
        self.status = status
        super().__init__(self.detail)


class UnusableAddress(ClientError):
    """The address is not http(s), or a token would travel there in the clear."""


class NotAuthenticated(ClientError):
    """The token or the password is not accepted, or none was given."""


class Forbidden(ClientError):
    """The token is live and does not allow this. `failures`: the caveats that refuse, if it is they."""

    failures: Sequence[Failure] = ()


class NotFound(ClientError):
    """There is no such thing, or the caller may not know of it."""


class Conflict(ClientError):
    """The name is taken, or the thing has changed meanwhile."""


class BadRequest(ClientError):
    """The service does not accept the request: a value is wrong, or it is too large."""


class RateLimited(ClientError):
    """Too many requests. `retry_after`: whole seconds to wait, if the service said."""

    retry_after: int | None = None


class Unavailable(ClientError):
    """The service is busy, down or out of reach. `retry_after`: whole seconds to wait, if it said."""

    retry_after: int | None = None


class UnexpectedResponse(ClientError):
    """The answer is none that a caveats service gives, or none that this client understands."""


class InteractionRequired(ClientError):
    """A third party wants to know who asks, and neither a person nor an agent that it takes was given."""


class BadDischarge(ClientError):
    """A third party's answer is no discharge of what it was asked: too large, for another caveat, or nonsense."""
