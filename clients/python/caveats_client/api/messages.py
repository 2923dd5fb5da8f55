"""One request to the service, and its reply. Does no I/O: knows statuses, headers and JSON; knows no endpoint."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from caveats_client.api.errors import (
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    RateLimited,
    Unavailable,
    UnexpectedResponse,
)
from caveats_client.api.members import WrongShape, rows
from caveats_client.api.responses import read_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caveats import Macaroon
    from caveats_client.api.members import Members

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response: its status, its body, and the headers that calls read."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None
    """The header `Retry-After`."""
    set_cookie: str | None = field(default=None, repr=False)
    """The header `Set-Cookie`."""
    date: str | None = None
    """The header `Date`."""
    location: str | None = field(default=None, repr=False)
    """The header `Location`."""
    origin: str = "the service"
    """Scheme, host and port that were asked, for messages."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request to the service, and the reader of its answer."""

    method: str
    path: str
    read: Callable[[Members], T] = field(repr=False)
    """Makes the result from the members of the answer. Raises `WrongShape`."""
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    authenticated: bool = True
    """Whether the client presents a token with it."""
    cookie: str | None = field(default=None, repr=False)
    """A session cookie, `name=value`, which is sent instead of a token."""
    named: bool = False
    """Whether the answer names this request by the SHA-256 of its body, in `request_sha256`."""
    check: Callable[[T, Macaroon | None], None] | None = field(default=None, repr=False)
    """Compares the result with what was asked and the token that was presented. Raises `WrongShape`."""

    @property
    def content(self) -> bytes | None:
        """The body as JSON in ASCII: other characters are escaped, lone surrogates too."""
        return None if self.body is None else json.dumps(self.body, allow_nan=False).encode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """The headers of this call, without the token."""
        headers = {} if self.body is None else {"Content-Type": "application/json"}
        return headers if self.cookie is None else {**headers, "Cookie": self.cookie}

    def answer(self, reply: Reply, presented: Macaroon | None = None) -> T:
        """The result, from a reply with a 2xx status. Raises a `ClientError` for any other.

        An answer to another question raises `UnexpectedResponse`: a proxy or a pool of connections can mix them up.
        `presented`: the token that went with the request.
        """
        if not 200 <= reply.status < 300:
            raise problem(reply)
        try:
            members = {} if reply.status == 204 else _object(reply.body)
            if reply.set_cookie is not None:
                members = {**members, "cookie": reply.set_cookie.partition(";")[0]}
            if (
                self.named
                and members.get("request_sha256") != hashlib.sha256(self.content or b"").hexdigest()
            ):
                raise WrongShape("it is the answer to another request")
            result = self.read(members)
            if self.check is not None:
                self.check(result, presented)
            return result
        except WrongShape as error:
            raise UnexpectedResponse(
                f"the answer of {reply.origin} to {self.method} {self.path} is not that of a caveats service: {error}",
                status=reply.status,
            ) from error


# Problems

_BY_STATUS: Mapping[int, type[ClientError]] = {
    400: BadRequest,
    401: NotAuthenticated,
    403: Forbidden,
    404: NotFound,
    405: UnexpectedResponse,
    409: Conflict,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_NOT_THE_SERVICE: Mapping[int, type[ClientError]] = {
    **dict.fromkeys((401, 403, 407, 408, 413, 421, 423, 425), Unavailable),
    429: RateLimited,
}


def problem(reply: Reply, *, coded: bool = False) -> ClientError:
    """The error for a reply whose status is not 2xx.

    What has no code was not said by the service but by something on the way, a proxy or a portal: it is `Unavailable`,
    or `UnexpectedResponse` where waiting would not help. `coded`: it has a code of another kind.
    """
    try:
        members = _object(reply.body)
        code, title = _said(members, "code"), _said(members, "title")
        detail = _said(members, "detail") or title
    except WrongShape:
        members, code, detail = {}, "", ""
    if reply.status < 400:
        return UnexpectedResponse(_redirect(reply), status=reply.status)
    fallback = BadRequest if 400 < reply.status < 500 else UnexpectedResponse
    kind = _BY_STATUS.get(reply.status, fallback)
    if not code and not coded and reply.status < 500:
        kind, detail = _NOT_THE_SERVICE.get(reply.status, UnexpectedResponse), ""
        said = f"something on the way answers {reply.status}, or what is at {reply.origin} is not a caveats service"
        if reply.origin.startswith("http:") and _WANTS_TLS.search(reply.body[:_LOOKED_AT]):
            said = f"{reply.origin} wants TLS: use https{reply.origin.removeprefix('http')}"
    else:
        said = f"{reply.origin} answers {reply.status}"
    error = kind(detail or said, code=code, status=reply.status)
    if isinstance(error, Forbidden):
        error.failures = _failures(members)
    if isinstance(error, RateLimited | Unavailable):
        error.retry_after = seconds_to_wait(reply.retry_after, reply.date)
    return error


_WANTS_TLS = re.compile(rb"plain HTTP|HTTP request to an HTTPS|SSL-enabled", re.IGNORECASE)
"""What nginx, Go's servers and Apache say of a request in plain http to a port for TLS."""
_LOOKED_AT = 2000
"""Bytes at the beginning of a body."""


def _redirect(reply: Reply) -> str:
    """The message for a redirect. It names the address that it leads to, without what belongs to the request."""
    try:
        target = urlsplit(reply.location or "")
        host, port = target.hostname, target.port
    except ValueError:
        host = None
    if not host or target.scheme not in ("http", "https"):
        return f"{reply.origin} answers with a redirect, which is not followed: is the address right?"
    name = f"[{host}]" if ":" in host else host
    origin = f"{target.scheme}://{name}" + ("" if port is None else f":{port}")
    base, own, _ = target.path.partition("/v1/")
    return (
        f"{reply.origin} answers with a redirect to {origin}{base if own else ''}, which is not followed: "
        "if that is the service, use that address"
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        is_page = body[:_LOOKED_AT].lstrip().startswith(b"<")
        raise WrongShape("it is a page of HTML, not JSON" if is_page else "it is not JSON") from None
    if not isinstance(members, dict):
        raise WrongShape("it is not a JSON object")
    return members


def _said(members: Members, name: str) -> str:
    value = members.get(name)
    return value[:1000] if isinstance(value, str) else ""


def _failures(members: Members) -> tuple[Any, ...]:
    try:
        return rows(members, "failures", read_failure)
    except WrongShape:
        return ()


def seconds_to_wait(retry_after: str | None, date: str | None = None) -> int | None:
    """The seconds in a header `Retry-After`, which has them or a date (RFC 9110, section 10.2.3); None for anything else.

    `date`: the header `Date` of the same answer. Without one, a date is compared with this machine's clock.
    """
    if retry_after is None or not retry_after.isascii():
        return None
    if retry_after.isdigit():
        return int(retry_after) if len(retry_after) < 10 else None
    until, sent = _http_date(retry_after), _http_date(date or "") or datetime.now(UTC)
    return None if until is None else max(0, math.ceil((until - sent).total_seconds()))


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
