"""The head of a request, and the answer to one that is refused: the same for the service and for every guard.

    request = IncomingRequest("GET", "/photos/42", b"", headers, peer="192.0.2.7")
    check_url(request)                                   # no credential where logs would keep it
    credential = token_of(request.headers)               # exactly one, in a header
    context = context_of(request, TrustedProxies(("10.0.0.0/8",)), now=now, scopes=("photos/42:read",))
    verifier.verify(credential.text, context)            # raises the library's errors
    find_problem(error)                                  # status, code, challenge and body for each of them

Knows HTTP's words and the library's errors. Knows no framework, no route and no setting; opens nothing.
Sources: RFC 9110 (fields, authentication), 6750 (bearer tokens), 7617 (Basic), 6265 (cookies), 9457 (problems).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import unquote

from caveats import errors
from caveats.context import Context
from caveats.kinds import Expires, Network, parse_address
from caveats.token.wire import PREFIX, encode_base64

if TYPE_CHECKING:
    from datetime import datetime

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
"""A request's headers, one pair a line; names in lower case."""


# A problem: the answer to a request that is refused


class Problem(Exception):
    """An answer other than the one asked for, as application/problem+json (RFC 9457).

    `code` is stable, for programs; `detail` is for people. `members` are further members of the body, and
    `extra_headers` further headers: `WWW-Authenticate`, `Retry-After`, `Allow`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.status = status
        self.code = code
        self.detail = detail
        self.extra_headers = dict(headers or {})
        self.members = dict(members or {})

    @property
    def title(self) -> str:
        """The code in words, the same each time."""
        return TITLES.get(self.code, self.code.replace("_", " "))

    @property
    def document(self) -> dict[str, object]:
        """The members of the body."""
        detail = {"detail": self.detail} if self.detail else {}
        return {
            "type": f"urn:caveats:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            **detail,
            **self.members,
        }

    @cached_property
    def body(self) -> bytes:
        """The body: `document` as JSON in UTF-8."""
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

    @property
    def headers(self) -> dict[str, str]:
        """All headers that go with the body."""
        return {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            **self.extra_headers,
        }


TITLES: Mapping[str, str] = MappingProxyType(
    {
        "bad_request": "The request is not what this endpoint takes",
        "caveats_unsatisfied": "The token's caveats refuse this request",
        "ceiling_reached": "The token cannot live any longer",
        "conflict": "That is taken, or has changed meanwhile",
        "credential_required": "This needs a credential",
        "cross_site": "A page of another site may not do this",
        "damaged_token": "The token was cut off or mistyped",
        "discharge_required": "A third party has to agree first",
        "forbidden": "This credential does not allow that",
        "headers_too_large": "The request's headers are too large",
        "internal": "Something went wrong here",
        "invalid_credentials": "No such user, or not their password",
        "invalid_token": "The token is not valid",
        "key_in_use": "Tokens under that key may be alive",
        "method_not_allowed": "This endpoint does not know that method",
        "not_found": "There is no such thing here",
        "rate_limited": "Too many attempts; wait",
        "registration_closed": "Only an administrator can add users here",
        "too_large": "The request is too large",
        "two_credentials": "One request carries one credential",
        "unavailable": "The service cannot do that now; try again",
        "unsupported_media_type": "Send application/json",
        "wrong_audience": "The token is for another audience",
    }
)
"""Every code of the service and of the guards, with its title."""

_REALM = 'Bearer realm="caveats"'


def _challenge(error: str) -> dict[str, str]:
    """RFC 6750, section 3: the scheme, and what is wrong with the token that was sent."""
    return {"WWW-Authenticate": f'{_REALM}, error="{error}"'}


def bad_request(detail: str) -> Problem:
    """400: the form of the request, or a value in it, is wrong."""
    return Problem(400, "bad_request", detail)


def two_credentials(detail: str = "send one credential, in one header") -> Problem:
    """400: which of them counts would depend on who reads the request."""
    return Problem(400, "two_credentials", detail)


def credential_required() -> Problem:
    """401: no credential, or one of a scheme that this endpoint does not take."""
    return Problem(401, "credential_required", headers={"WWW-Authenticate": _REALM})


def invalid_token() -> Problem:
    """401, always the same: not authentic, or not live."""
    return Problem(401, "invalid_token", headers=_challenge("invalid_token"))


def damaged_token() -> Problem:
    """401: the checksum in the text does not match, so it was cut off or mistyped."""
    return Problem(401, "damaged_token", headers=_challenge("invalid_token"))


def invalid_credentials() -> Problem:
    """401, the same for an unknown user, a wrong password and a disabled account."""
    headers = {"WWW-Authenticate": f'{_REALM}, Basic realm="caveats"'}
    return Problem(401, "invalid_credentials", headers=headers)


def unavailable(retry_after: float = 1) -> Problem:
    """503: come back after `retry_after` seconds, one at least."""
    return Problem(503, "unavailable", headers={"Retry-After": str(max(1, int(retry_after)))})


# The table: which problem each error of the library is

Row: TypeAlias = "tuple[int, str] | Callable[[Any], Problem]"
"""A status and a code, with the error's message as the detail; or a function from the error to its problem."""


def unavailable_as_told(error: Exception) -> Problem:
    """503: the token cannot be judged now. An error's `retry_after` is the number of seconds to wait."""
    seconds = getattr(error, "retry_after", None)
    return unavailable(seconds if isinstance(seconds, int | float) else 1)


def _unsatisfied(error: errors.UnsatisfiedCaveats) -> Problem:
    """403 with every failure. A token that has expired is not live, and gets the 401 that all such tokens get."""
    if any(failure.kind == Expires.kind for failure in error.failures):
        return invalid_token()
    failures = [
        {
            "index": failure.index,
            "kind": failure.kind,
            "predicate": failure.predicate,
            "added_by": failure.added_by,
            "reason": failure.reason,
            "hint": failure.hint,
        }
        for failure in error.failures
    ]
    return Problem(
        403, "caveats_unsatisfied", headers=_challenge("insufficient_scope"), members={"failures": failures}
    )


def _discharge_required(error: errors.MissingDischarge) -> Problem:
    """401 with whom to ask, and the ticket to show there in base64url."""
    asked = {"location": error.location, "ticket": encode_base64(error.ticket)}
    return Problem(401, "discharge_required", str(error), headers=_challenge("invalid_token"), members=asked)


PROBLEMS: Mapping[type[Exception], Row] = MappingProxyType(
    {
        errors.MalformedToken: lambda _: invalid_token(),
        errors.DamagedToken: lambda _: damaged_token(),
        errors.LimitExceeded: lambda _: invalid_token(),
        errors.Refused: lambda _: invalid_token(),
        errors.MissingDischarge: _discharge_required,
        errors.WrongAudience: (403, "wrong_audience"),
        errors.UnsatisfiedCaveats: _unsatisfied,
        errors.Stale: unavailable_as_told,
        errors.RejectedDelivery: unavailable_as_told,
        Problem: lambda problem: problem,
    }
)
"""What the library's errors are to a client. A service or a guard adds rows of its own: `{**PROBLEMS, ...}`."""


def find_problem(error: Exception, table: Mapping[type[Exception], Row] = PROBLEMS) -> Problem | None:
    """The problem that `error` is by the row of its class, or of its nearest base class; None without one."""
    for kind in type(error).__mro__:
        row = table.get(kind)
        if row is not None:
            return row(error) if callable(row) else Problem(*row, str(error))
    return None


# The head of a request


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """The head of a request as it came in, nothing of it decoded."""

    method: str | None
    """As in the request line. None, as for `path`: not known."""
    path: str | None
    """The path as it stood in the request line, without the query; see `path_text`."""
    query: bytes
    """What stood after the `?`."""
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    """One pair a line, names in lower case."""
    peer: str | None
    """The address at the other end of the connection; None on a Unix socket."""

    @classmethod
    def from_asgi(cls, scope: Mapping[str, Any]) -> IncomingRequest:
        """The request of an ASGI scope, HTTP or WebSocket. A server that gives no `raw_path` gives no path."""
        raw_path, client = scope.get("raw_path"), scope.get("client")
        return cls(
            scope.get("method", "GET"),  # the handshake of a WebSocket, which is a GET, has none
            None if raw_path is None else path_text(raw_path),
            scope.get("query_string", b""),
            [(name.lower(), value) for name, value in scope["headers"]],
            client[0] if client else None,
        )


def path_text(raw: bytes) -> str:
    """A path as text. A byte beyond ASCII becomes a backslash, `x` and its hex digits: it passes for no letter."""
    return raw.decode("ascii", "backslashreplace")


# Its credential


@dataclass(frozen=True, slots=True)
class PasswordCredential:
    """A username and a password."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """A token's text. `from_cookie`: the browser sent it by itself."""

    text: str = field(repr=False)
    from_cookie: bool = False


Credential: TypeAlias = PasswordCredential | TokenCredential
_LONGEST_BASIC = 6_000
"""In base64 characters."""
_BLANK = " \t"
"""What may stand around a field's value (RFC 9110, section 5.5)."""


def token_of(headers: Headers, cookie_name: str = "") -> TokenCredential:
    """The one token in these headers; a password is none.

    `cookie_name`: of the session cookie; empty for a server that takes no cookies.
    Raises `Problem`: 400 for two credentials, 401 for none or one that is no token.
    """
    found = _only_credential(headers, cookie_name)
    if found is None or found[0] == "basic":
        raise credential_required()
    return _token(*found)


def credential_of(headers: Headers, cookie_name: str = "") -> Credential | None:
    """The one credential in these headers, a token or a Basic password; None if there is none.

    Raises `Problem`: 400 for two, 401 for one of another scheme or one that cannot be read.
    """
    found = _only_credential(headers, cookie_name)
    if found is None:
        return None
    return _password(found[1]) if found[0] == "basic" else _token(*found)


_Place: TypeAlias = Literal["bearer", "basic", "header", "cookie"]


def _only_credential(headers: Headers, cookie_name: str) -> tuple[_Place, str] | None:
    """Where the credential is, and its text as latin-1; all are counted before one is read.

    An `Authorization` or `X-Auth-Token` without a value counts too. A session cookie without one does not:
    that is what signing out leaves behind.
    """
    found: tuple[bytes, str] | None = None
    for name, value in headers:
        if name == b"authorization" or name == b"x-auth-token":  # noqa: PLR1714  # twice as fast as `in` a tuple
            text = value.decode("latin-1")
        elif name == b"cookie" and cookie_name:
            text = _session_cookie(value.decode("latin-1"), cookie_name)
            if not text:
                continue
        else:
            continue
        if found is not None:
            raise two_credentials()
        found = name, text
    if found is None:
        return None
    name, text = found
    if name == b"cookie":
        return "cookie", text
    if "," in text and _is_joined(name, text):
        raise two_credentials()
    text = text.strip(_BLANK)
    if name == b"x-auth-token":
        return "header", text
    scheme, _, text = text.partition(" ")
    scheme, text = scheme.lower(), text.lstrip(" ")
    if scheme == "bearer" and text:
        return "bearer", text
    if scheme == "basic" and text:
        return "basic", text
    raise credential_required()


def _is_joined(name: bytes, text: str) -> bool:
    """Whether a value with a comma is several lines that a server or proxy joined (RFC 9110, section 5.3).

    Neither a token nor Basic's base64 has a comma in it. The parameters of other schemes have.
    """
    if name == b"x-auth-token":
        return True
    schemes = (re.split("[ \t]", part.strip(_BLANK), maxsplit=1)[0] for part in text.lower().split(","))
    return any(scheme in ("bearer", "basic") for scheme in schemes)


def _session_cookie(text: str, name: str) -> str:
    """The value of the session cookie among the others; empty without it.

    Raises `Problem` for a second one, which a sibling domain may have set. A comma does not separate cookies, but
    joined header lines have one: a cookie behind a comma is counted, never taken.
    """
    wanted = f"{name}="
    if wanted not in text:
        return ""
    found = [cookie for cookie in _stripped(text.split(";")) if cookie.startswith(wanted)]
    if not found:
        return ""
    if sum(cookie.startswith(wanted) for cookie in _stripped(re.split("[;,]", text))) > 1:
        raise two_credentials("the session cookie came twice")
    return found[0].removeprefix(wanted)


def _stripped(parts: Iterable[str]) -> list[str]:
    return [part.strip(_BLANK) for part in parts]


def _token(place: _Place, text: str) -> TokenCredential:
    if not text.isascii():
        raise invalid_token()
    return TokenCredential(text, place == "cookie")


def _password(encoded: str) -> PasswordCredential:
    """RFC 7617: base64 of `username:password` in UTF-8."""
    if len(encoded) > _LONGEST_BASIC:
        raise invalid_credentials()
    try:
        username, colon, password = b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:  # not base64, not ASCII or not UTF-8
        raise invalid_credentials() from None
    if not colon:
        raise invalid_credentials()
    return PasswordCredential(username, password)


# Its URL

_SECRET_MEMBERS = ("access_token", "token", "password")
_IN_THE_URL = "a credential goes into a header or the body, never into a URL, which logs keep"


def check_url(raw_path: bytes, raw_query: bytes, referers: Iterable[bytes] = ()) -> None:
    """Refuse a credential in a URL, and NUL in a path. Raises a 400 `Problem`.

    A credential is a token of this format (`cav1_`) anywhere in the path, the query or a referer, and a member
    `access_token`, `token` or `password` of the query. Percent-encoding is undone once, as servers do.
    """
    path, query = raw_path.decode("latin-1"), raw_query.decode("latin-1")
    if "%" in path:
        path = _undone(path)
    if PREFIX in path:
        raise bad_request(_IN_THE_URL)
    if "\0" in path:
        raise bad_request("a path has no NUL")
    if query and (_holds_token(query) or _names_secret(query)):
        raise bad_request(_IN_THE_URL)
    for referer in referers:
        if _holds_token(referer.decode("latin-1")):
            raise bad_request(_IN_THE_URL)


def _undone(text: str) -> str:
    """`text` with its percent-encoding undone, once. An escape that is none stays as it is."""
    return unquote(text, "latin-1")


def _holds_token(text: str) -> bool:
    return PREFIX in text or ("%" in text and PREFIX in _undone(text))


def _names_secret(query: str) -> bool:
    """Whether a whole member name is one of those; members are separated by `&`, for some servers by `;`."""
    if "%" not in query and "token" not in query and "password" not in query:
        return False
    names = (member.partition("=")[0] for member in query.replace(";", "&").split("&"))
    return any((_undone(name) if "%" in name else name) in _SECRET_MEMBERS for name in names)


# Its facts

UNIX = "unix"
"""Among trusted proxies: all that connect through a Unix socket, which have no address."""


class TrustedProxies:
    """The proxies whose `X-Forwarded-*` headers are believed: networks, and `unix` for Unix sockets."""

    def __init__(self, trusted: str | Iterable[str | Network] = ()) -> None:
        """`trusted`: addresses, networks such as `10.0.0.0/8`, and `unix`. Raises `ValueError` for anything else."""
        words = (trusted,) if isinstance(trusted, str) else tuple(trusted)
        self._networks = tuple(ip_network(word) for word in words if word != UNIX)
        self._unix = UNIX in words

    def trusts(self, address: str | None) -> bool:
        """Whether this is the address of a trusted proxy; None is a Unix socket."""
        if not address:
            return self._unix
        if not self._networks:
            return False
        parsed = parse_address(address)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in self._networks
        )

    def client_address(self, request: IncomingRequest) -> str | None:
        """The peer's address or, while that is a trusted proxy's, the last one in `X-Forwarded-For`.

        None if it is not known: on a Unix socket without that header, and where a trusted proxy names something
        that is no address. The proxy's own address would be the wrong one.
        """
        address = request.peer or None
        if not self.trusts(address):
            return address
        lines = [value for name, value in request.headers if name == b"x-forwarded-for"]
        hops = [hop.strip(_BLANK) for line in lines for hop in line.decode("latin-1").split(",")]
        while hops and self.trusts(address):
            address = hops.pop()
            if parse_address(address) is None:
                return None
        return address

    def host(self, request: IncomingRequest) -> str | None:
        """The host that the request was made to: `Host`, or `X-Forwarded-Host` where the peer is a trusted proxy and sends it.

        None if it is not known: without such a header, and where there are several of it.
        """
        names = (b"x-forwarded-host", b"host") if self.trusts(request.peer) else (b"host",)
        for wanted in names:
            values = [value for name, value in request.headers if name == wanted]
            if values:
                return values[0].decode("ascii", "backslashreplace") if len(values) == 1 else None
        return None


def context_of(
    request: IncomingRequest,
    proxies: TrustedProxies,
    *,
    now: datetime,
    audience: str | None = None,
    scopes: Iterable[str] = (),
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> Context:
    """The facts that a request is judged by. A new fact of requests is a field of `Context`, and is read here.

    `now`, `audience`, `scopes` and `extra` are the verifying app's own; nothing that the client sends names them.
    """
    return Context(
        now=now,
        audience=audience,
        scopes=tuple(scopes),
        method=request.method,
        path=request.path,
        host=proxies.host(request),
        client_ip=proxies.client_address(request),
        extra=extra,
    )
