"""What can be asked of the service: one builder per question, each with the reader of its answer. Pure.

Knows paths, bodies, statuses and shapes. Must not know how anything is sent: both clients send a `Call` and give
its reader the `Reply`, so they differ in nothing but the await.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

from caveats import Bundle, Caveat, Expires, MalformedCaveat
from caveats_client.api import responses
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from caveats_client.api.responses import Members
    from caveats_client.api.tokens import Token

T = TypeVar("T")

ScopeLike: TypeAlias = "str | Iterable[str]"
"""Scope patterns: one text with spaces between, or several texts."""
Lifetime: TypeAlias = int | str | timedelta
"""How long a token lives: seconds, a text such as `8h`, or a timedelta."""
CaveatLike: TypeAlias = Caveat | str | bytes
"""A caveat, or its predicate."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One question, and how to read the answer."""

    method: str
    path: str
    read: Callable[[Members], T] = field(repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    authenticated: bool = True
    """Whether a token goes along."""

    @property
    def content(self) -> bytes | None:
        """The body as bytes; every character beyond ASCII escaped, so that any text can be sent."""
        return None if self.body is None else json.dumps(self.body, allow_nan=False).encode("ascii")

    def answer(self, reply: Reply) -> T:
        """What `reply` says. Raises the `ClientError` that it is."""
        if not 200 <= reply.status < 300:
            raise problem(reply)
        try:
            return self.read(_object(reply.body) if reply.body else {})
        except responses.WrongShape as error:
            raise UnexpectedResponse(
                f"the answer to {self.method} {self.path} is not as a caveats service gives it: {error}",
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


def problem(reply: Reply) -> ClientError:
    """The error that a reply other than a success is."""
    try:
        members = _object(reply.body)
        code, title = _said(members, "code"), _said(members, "title")
        detail = _said(members, "detail") or title
    except responses.WrongShape:
        members, code, detail = {}, "", ""
    if reply.status < 400:
        where = "the service answers with a redirect, which is not followed: give its address as it is"
        return UnexpectedResponse(where, status=reply.status)
    if reply.status == 404 and not code:
        return UnexpectedResponse("whatever answers there is not a caveats service", status=reply.status)
    fallback = BadRequest if 400 < reply.status < 500 else UnexpectedResponse
    error = _BY_STATUS.get(reply.status, fallback)(
        detail or f"the service answers {reply.status}", code=code, status=reply.status
    )
    if isinstance(error, Forbidden):
        error.failures = _failures(members)
    if isinstance(error, RateLimited | Unavailable):
        error.retry_after = _seconds(reply.retry_after)
    return error


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        raise responses.WrongShape("it is not JSON") from None
    if not isinstance(members, dict):
        raise responses.WrongShape("it is not a JSON object")
    return members


def _said(members: Members, name: str) -> str:
    value = members.get(name)
    return value[:1000] if isinstance(value, str) else ""


def _failures(members: Members) -> tuple[Any, ...]:
    try:
        return responses.rows(members, "failures", responses.read_failure)
    except responses.WrongShape:
        return ()


def _seconds(value: str | None) -> int | None:
    return (
        int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 10 else None
    )


# Users


def register(username: str, password: str, *, as_admin: bool = False) -> Call[responses.UserRecord]:
    """A new account: anybody's where registration is open, else made with an administrator's token."""
    body = {"username": username, "password": password}
    return Call("POST", "/v1/users", responses.UserRecord.read, body, authenticated=as_admin)


def users(*, after: str | None = None, limit: int | None = None) -> Call[responses.UserPage]:
    """The accounts, for administrators."""
    return Call("GET", "/v1/users", responses.UserPage.read, query=_page(after, limit))


def change_password(username: str, password: str | None, new_password: str) -> Call[None]:
    """Another password. `password` is the present one; None for an administrator."""
    body = _given(password=password, new_password=new_password)
    path = f"/v1/users/{_segment(username)}/password"
    return Call("PUT", path, _nothing, body, authenticated=password is None)


def disable(username: str) -> Call[responses.UserRecord]:
    """No more signing in, and all tokens dead."""
    return Call("POST", f"/v1/users/{_segment(username)}/disable", responses.UserRecord.read, {})


def enable(username: str) -> Call[responses.UserRecord]:
    """Signing in is possible again; what was revoked stays so."""
    return Call("POST", f"/v1/users/{_segment(username)}/enable", responses.UserRecord.read, {})


# Tokens


def login(
    username: str,
    password: str,
    *,
    scope: ScopeLike | None = None,
    audience: str | None = None,
    expires_in: Lifetime | None = None,
    caveats: Iterable[CaveatLike] = (),
    note: str | None = None,
) -> Call[responses.Issued]:
    """A token for a user and their password."""
    body = {"username": username, "password": password, **_wish(scope, audience, expires_in, caveats, note)}
    return Call("POST", "/v1/tokens", responses.Issued.read, body, authenticated=False)


def issue(
    *,
    scope: ScopeLike | None = None,
    audience: str | None = None,
    expires_in: Lifetime | None = None,
    caveats: Iterable[CaveatLike] = (),
    note: str | None = None,
) -> Call[responses.Issued]:
    """A token against another one, which bounds it."""
    body = _wish(scope, audience, expires_in, caveats, note)
    return Call("POST", "/v1/tokens", responses.Issued.read, body)


def renew(*, expires_in: Lifetime | None = None) -> Call[responses.Issued]:
    """The presented token with a later expiry."""
    return Call("POST", "/v1/tokens/renew", responses.Issued.read, _given(expires_in=_lifetime(expires_in)))


def tokens(*, after: str | None = None, limit: int | None = None) -> Call[responses.TokenPage]:
    """The caller's labelled tokens."""
    return Call("GET", "/v1/tokens", responses.TokenPage.read, query=_page(after, limit))


def token(token_id: str) -> Call[responses.TokenRecord]:
    """One of the caller's labelled tokens."""
    return Call("GET", f"/v1/tokens/{_segment(token_id)}", responses.TokenRecord.read)


# Verification


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What is known of the request that came with a token. A caveat that asks for more refuses."""

    scope: ScopeLike | None = None
    audience: str | None = None
    method: str | None = None
    path: str | None = None
    client_ip: str | None = None
    user: str | None = None
    extra: Mapping[str, Any] | None = None
    """Facts for plug-in kinds, by name."""


def verify(token: Token, facts: RequestFacts) -> Call[responses.Verification]:
    """Whether this token is good, and for this request."""
    body = _question(token, facts)
    return Call("POST", "/v1/verify", responses.Verification.read, body, authenticated=False)


def whoami(token: Token) -> Call[responses.TokenIdentity]:
    """Whose token this is, asked as its own audience would; whether its caveats allow anything does not matter."""
    bundle = Bundle.decode(token) if isinstance(token, str) else token
    macaroon = bundle.macaroon if isinstance(bundle, Bundle) else bundle
    identifier = macaroon.unverified_identifier
    body = _question(bundle, RequestFacts(audience=identifier.audience if identifier else None))
    return Call("POST", "/v1/verify", _identity, body, authenticated=False)


def _identity(members: Members) -> responses.TokenIdentity:
    seen = responses.Verification.read(members)
    if any(caveat.kind == Expires.kind for caveat in seen.failures):
        raise NotAuthenticated("the token has expired", code="invalid_token")
    return responses.TokenIdentity(seen.user, seen.token_id, seen.audience, seen.scopes, seen.expires_at)


def verify_many(
    questions: Iterable[tuple[Token, RequestFacts]],
) -> Call[tuple[responses.Verification | responses.NotLive, ...]]:
    """As `verify`, for up to a hundred tokens; one that is not live spoils nothing for the others."""
    body = {"tokens": [_question(token, facts) for token, facts in questions]}
    return Call("POST", "/v1/verify", responses.read_results, body, authenticated=False)


# Revocation


def revoke_presented() -> Call[responses.RevocationEntry]:
    """The copy that is presented, and what descends from it, dies."""
    return Call("POST", "/v1/revocations", responses.RevocationEntry.read, {})


def revoke_token(token_id: str) -> Call[responses.RevocationEntry]:
    """All copies of a token die."""
    return Call("POST", "/v1/revocations", responses.RevocationEntry.read, {"token_id": token_id})


def revoke_branch(token_id: str, branch_id: str) -> Call[responses.RevocationEntry]:
    """A branch dies that a verification named."""
    body = {"token_id": token_id, "branch_id": branch_id}
    return Call("POST", "/v1/revocations", responses.RevocationEntry.read, body)


def revoke_user(username: str) -> Call[responses.RevocationEntry]:
    """Everything issued to a user up to now dies."""
    return Call("POST", "/v1/revocations", responses.RevocationEntry.read, {"user": username})


# Keys and health


def keys() -> Call[tuple[responses.KeyRecord, ...]]:
    """The master keys' lives, for administrators."""
    return Call("GET", "/v1/keys", responses.read_keys)


def rotate_keys(*, now: bool = False) -> Call[responses.KeyRecord]:
    """A new master key; `now`: issued under at once."""
    return Call("POST", "/v1/keys/rotate", responses.KeyRecord.read, {"now": True} if now else {})


def retire_key(key_id: str, *, force: bool = False) -> Call[responses.KeyRecord]:
    """A master key is destroyed; `force`: though tokens under it may be alive."""
    path = f"/v1/keys/{_segment(key_id)}/retire"
    return Call("POST", path, responses.KeyRecord.read, {"force": True} if force else {})


def ready() -> Call[None]:
    """Whether the service can serve."""
    return Call("GET", "/readyz", _nothing, authenticated=False)


# Members


def predicate(caveat: CaveatLike) -> str:
    """A caveat's predicate as text."""
    try:
        return caveat.decode("utf-8") if isinstance(caveat, bytes) else str(caveat)
    except UnicodeDecodeError:
        raise MalformedCaveat("a predicate is UTF-8") from None


def _wish(
    scope: ScopeLike | None,
    audience: str | None,
    expires_in: Lifetime | None,
    caveats: Iterable[CaveatLike],
    note: str | None,
) -> dict[str, Any]:
    return _given(
        scope=_scope(scope),
        audience=audience,
        expires_in=_lifetime(expires_in),
        caveats=[predicate(caveat) for caveat in caveats] or None,
        note=note,
    )


def _question(token: Token, facts: RequestFacts) -> dict[str, Any]:
    return _given(
        token=token if isinstance(token, str) else token.encode(),
        scope=_scope(facts.scope),
        audience=facts.audience,
        method=facts.method,
        path=facts.path,
        client_ip=facts.client_ip,
        user=facts.user,
        extra=dict(facts.extra) if facts.extra else None,
    )


def _given(**members: Any) -> dict[str, Any]:
    """Only the members that say something."""
    return {name: value for name, value in members.items() if value is not None}


def _scope(scope: ScopeLike | None) -> str | None:
    return scope if scope is None or isinstance(scope, str) else " ".join(scope)


def _lifetime(lifetime: Lifetime | None) -> int | str | None:
    return int(lifetime.total_seconds()) if isinstance(lifetime, timedelta) else lifetime


def _page(after: str | None, limit: int | None) -> dict[str, str]:
    return _given(after=after, limit=None if limit is None else str(limit))


def _segment(name: str) -> str:
    """One segment of a path, whatever it holds: a name of dots would climb otherwise."""
    try:
        segment = quote(name, safe="")
    except UnicodeEncodeError:
        segment = ""
    if segment in ("", ".", ".."):
        raise BadRequest(f"not a name: {name!r}")
    return segment


def _nothing(members: Members) -> None:
    """Whatever the answer holds, it says yes."""
