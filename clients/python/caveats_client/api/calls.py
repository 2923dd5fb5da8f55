"""The endpoints of the service: one function each, which builds the `Call` for it. Does no I/O.

    client.send(calls.disable_user("bob"))

Knows methods, paths, bodies and the readers of answers. Does not know how a call is sent: both clients send the same
`Call` and give the `Reply` to its `answer`. The functions are in the order of the service's route list.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack
from urllib.parse import quote

from caveats import Bundle, Caveat, Expires, MalformedCaveat
from caveats.context import Facts, facts_of
from caveats.token import encode_base64
from caveats_client.api import responses
from caveats_client.api.errors import BadRequest, NotAuthenticated
from caveats_client.api.matching import issued_as_asked, matches, renewed_as_presented, revoked_as_presented
from caveats_client.api.members import any_base64, binary, only, rows_of
from caveats_client.api.messages import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from caveats_client.api.members import Members
    from caveats_client.api.tokens import Token

ScopeLike: TypeAlias = "str | Iterable[str]"
"""Scope patterns: one text with single spaces between them, or several texts."""
Lifetime: TypeAlias = int | str | timedelta
"""How long a token lives: whole seconds, a text such as `8h`, or a timedelta."""
CaveatLike: TypeAlias = Caveat | str | bytes
"""A caveat, or its predicate."""


# Users


def register_user(
    username: str, password: str, *, as_admin: bool = False, must_change_password: bool = False
) -> Call[responses.UserRecord]:
    """Make an account. `as_admin`: with a token; otherwise registration must be open. Raises `Conflict`.

    `must_change_password`: at the first sign-in, for administrators.
    """
    body = _given(username=username, password=password, must_change_password=must_change_password or None)
    return Call("POST", "/v1/users", responses.UserRecord.read, body, authenticated=as_admin)


def list_users(*, after: str | None = None, limit: int | None = None) -> Call[responses.UserPage]:
    """A page of accounts in the order of their names, for administrators. `limit`: 1 to 1000."""
    return Call("GET", "/v1/users", responses.UserPage.read, query=_page(after, limit))


def change_password(
    username: str, password: str | None, new_password: str, *, must_change_password: bool = False
) -> Call[None]:
    """Set a password, which revokes the user's tokens. `password`: the present one; None for an administrator.

    `must_change_password`: the new one is good for its own change only.
    """
    body = _given(
        password=password,
        new_password=new_password,
        must_change_password=must_change_password or None,
    )
    path = f"/v1/users/{_segment(username)}/password"
    return Call("PUT", path, _nothing, body, authenticated=password is None)


def disable_user(username: str) -> Call[responses.UserRecord]:
    """Revoke the user's tokens and refuse their sign-ins, for administrators."""
    return Call("POST", f"/v1/users/{_segment(username)}/disable", responses.UserRecord.read, {})


def enable_user(username: str) -> Call[responses.UserRecord]:
    """Accept the user's sign-ins again, for administrators. Revoked tokens stay revoked."""
    return Call("POST", f"/v1/users/{_segment(username)}/enable", responses.UserRecord.read, {})


def delete_user(username: str) -> Call[None]:
    """Delete an account with all it had, for administrators. Nobody gets the name again. Raises `NotFound`, `Conflict`."""
    return Call("DELETE", f"/v1/users/{_segment(username)}", _nothing)


# Groups and agents, for administrators


def list_groups(*, after: str | None = None, limit: int | None = None) -> Call[responses.GroupPage]:
    """A page of groups in the order of their names. `limit`: 1 to 1000."""
    return Call("GET", "/v1/groups", responses.GroupPage.read, query=_page(after, limit))


def get_group(group: str) -> Call[responses.GroupRecord]:
    """One group. Raises `NotFound`."""
    return Call("GET", f"/v1/groups/{_segment(group)}", responses.GroupRecord.read)


def set_group(group: str, members: Iterable[str]) -> Call[responses.GroupRecord]:
    """Give a group exactly these members, at most 1000 usernames. Makes the group if it does not exist."""
    body = {"members": list(members)}
    return Call("PUT", f"/v1/groups/{_segment(group)}", responses.GroupRecord.read, body)


def delete_group(group: str) -> Call[None]:
    """Remove a group. Raises `NotFound`."""
    return Call("DELETE", f"/v1/groups/{_segment(group)}", _nothing)


def add_group_member(group: str, username: str) -> Call[responses.GroupRecord]:
    """Add a user to a group."""
    path = f"/v1/groups/{_segment(group)}/members/{_segment(username)}"
    return Call("PUT", path, responses.GroupRecord.read)


def remove_group_member(group: str, username: str) -> Call[responses.GroupRecord]:
    """Remove a user from a group."""
    path = f"/v1/groups/{_segment(group)}/members/{_segment(username)}"
    return Call("DELETE", path, responses.GroupRecord.read)


def register_agent(username: str, public_key: bytes, name: str = "") -> Call[responses.AgentRecord]:
    """Let the program with this X25519 public key, 32 bytes, sign in as `username` when it asks for a discharge."""
    body = {"username": username, "public_key": encode_base64(public_key), "name": name}
    return Call("POST", "/v1/agents", responses.AgentRecord.read, body)


def list_agents(*, after: str | None = None, limit: int | None = None) -> Call[responses.AgentPage]:
    """A page of agents, oldest first. `limit`: 1 to 1000."""
    return Call("GET", "/v1/agents", responses.AgentPage.read, query=_page(after, limit))


def remove_agent(agent_id: str) -> Call[None]:
    """Remove an agent: its key is no longer accepted. Raises `NotFound`."""
    return Call("DELETE", f"/v1/agents/{_segment(agent_id)}", _nothing)


# Issuing clients


def add_client(
    name: str,
    *,
    users: Iterable[str] = (),
    groups: Iterable[str] = (),
    audiences: Iterable[str],
    scope: ScopeLike,
    longest_life: Lifetime | None = None,
) -> Call[responses.NewClientRecord]:
    """Let a site issue tokens for these users and the members of these groups, for administrators. Raises `Conflict`.

    `audiences`, `scope`, `longest_life`: the most that its tokens have.
    """
    body = _given(
        name=name,
        users=list(users),
        groups=list(groups),
        audiences=list(audiences),
        scope=_scope(scope),
        longest_life=_lifetime(longest_life),
    )
    return Call("POST", "/v1/clients", responses.NewClientRecord.read, body)


def list_clients(*, after: str | None = None, limit: int | None = None) -> Call[responses.ClientPage]:
    """A page of clients, oldest first, for administrators. `limit`: 1 to 1000."""
    return Call("GET", "/v1/clients", responses.ClientPage.read, query=_page(after, limit))


def remove_client(client_id: str) -> Call[None]:
    """Remove a client and revoke all that it has issued, for administrators. Raises `NotFound`."""
    return Call("DELETE", f"/v1/clients/{_segment(client_id)}", _nothing)


# Third parties


def discharge_info() -> Call[responses.DischargeInfo]:
    """The service's public key as a third party, and the newest version of the protocol that it supports."""
    return Call("GET", "/discharge/info", responses.DischargeInfo.read, authenticated=False)


def public_key() -> Call[bytes]:
    """The same public key, 32 bytes, from the endpoint for the oldest clients."""
    return Call("GET", "/publickey", only("PublicKey", any_base64), authenticated=False)


# Tokens


class TokenKeywords(TypedDict, total=False):
    """What a caller asks of a new token, as keywords. For each that is missing or None, the service's default counts."""

    scope: ScopeLike | None
    """What the token allows."""
    audience: str | None
    """The app, or group of apps, that the token is for."""
    expires_in: Lifetime | None
    """How long the token lives, counted from now."""
    caveats: Iterable[CaveatLike]
    """More caveats, which the service adds in this order."""
    note: str | None
    """A label. The service lists labelled tokens and keeps nothing about others."""


def login(username: str, password: str, **wanted: Unpack[TokenKeywords]) -> Call[responses.Issued]:
    """Issue a token for a user and their password."""
    body = {"username": username, "password": password, **_wanted(**wanted)}
    check = issued_as_asked(body)
    return Call("POST", "/v1/tokens", responses.Issued.read, body, authenticated=False, check=check)


def issue(**wanted: Unpack[TokenKeywords]) -> Call[responses.Issued]:
    """Issue a token against the presented one. The new token allows no more and lives no longer."""
    body = _wanted(**wanted)
    return Call("POST", "/v1/tokens", responses.Issued.read, body, check=issued_as_asked(body))


def issue_for(
    user: str, *, client_id: str, client_secret: str, **wanted: Unpack[TokenKeywords]
) -> Call[responses.Issued]:
    """Issue a token for a user who is signed in at the site that asks, by the site's own secret: see `add_client`."""
    body = {"client_id": client_id, "client_secret": client_secret, "user": user, **_wanted(**wanted)}
    check = issued_as_asked(body)
    return Call("POST", "/v1/tokens", responses.Issued.read, body, authenticated=False, check=check)


def list_tokens(*, after: str | None = None, limit: int | None = None) -> Call[responses.TokenPage]:
    """A page of the caller's labelled tokens, newest first. `limit`: 1 to 1000."""
    return Call("GET", "/v1/tokens", responses.TokenPage.read, query=_page(after, limit))


def list_user_tokens(
    username: str, *, after: str | None = None, limit: int | None = None
) -> Call[responses.TokenPage]:
    """A page of a user's labelled tokens, newest first, for administrators and the user. `limit`: 1 to 1000."""
    path = f"/v1/users/{_segment(username)}/tokens"
    return Call("GET", path, responses.TokenPage.read, query=_page(after, limit))


def revoke_user_token(username: str, token_id: str) -> Call[None]:
    """Revoke all copies of a labelled token of this user, for administrators and the user. Raises `NotFound`."""
    return Call("DELETE", f"/v1/users/{_segment(username)}/tokens/{_segment(token_id)}", _nothing)


def renew(*, expires_in: Lifetime | None = None) -> Call[responses.Issued]:
    """Issue the presented token again with a later expiry."""
    body = _given(expires_in=_lifetime(expires_in))
    return Call("POST", "/v1/tokens/renew", responses.Issued.read, body, check=renewed_as_presented)


def get_token(token_id: str) -> Call[responses.TokenRecord]:
    """One of the caller's labelled tokens. Raises `NotFound`."""
    path = f"/v1/tokens/{_segment(token_id)}"
    return Call("GET", path, responses.TokenRecord.read, check=matches(token_id=token_id))


def delete_token(token_id: str) -> Call[None]:
    """Revoke all copies of a token, as `revoke_token` does. The answer is empty."""
    return Call("DELETE", f"/v1/tokens/{_segment(token_id)}", _nothing)


# Verification


@dataclass(frozen=True, slots=True)
class RequestFacts(Facts):
    """The facts of the request that presents a token. A caveat refuses if the fact that it needs is missing."""

    scope: ScopeLike | None = None
    audience: str | None = None


class FactKeywords(TypedDict, total=False):
    """The fields of `RequestFacts` as keywords, for type checkers."""

    scope: ScopeLike | None
    audience: str | None
    method: str | None
    path: str | None
    host: str | None
    client_ip: str | None
    user: str | None
    extra: Mapping[str, Any]


def verify(token: Token, facts: RequestFacts) -> Call[responses.Verification]:
    """Verify a token for a request. Raises `NotAuthenticated` for one that is not authentic or not live."""
    body = _question(token, facts)
    return Call("POST", "/v1/verify", responses.Verification.read, body, authenticated=False, named=True)


def verify_many(
    questions: Iterable[tuple[Token, RequestFacts]],
) -> Call[tuple[responses.Verification | responses.NotLive, ...]]:
    """Verify up to 100 tokens, each separately. The results are in the order of the questions."""
    body = {"tokens": [_question(token, facts) for token, facts in questions]}
    read = rows_of("results", responses.read_result)
    return Call("POST", "/v1/verify", read, body, authenticated=False, named=True)


def whoami(token: Token) -> Call[responses.TokenIdentity]:
    """The user, token id and scopes of a live token; its other caveats do not count. Raises `NotAuthenticated`."""
    bundle = Bundle.decode(token) if isinstance(token, str) else token
    macaroon = bundle.macaroon if isinstance(bundle, Bundle) else bundle
    identifier = macaroon.unverified_identifier
    body = _question(bundle, RequestFacts(audience=identifier.audience if identifier else None))
    return Call("POST", "/v1/verify", _identity, body, authenticated=False, named=True)


def _identity(members: Members) -> responses.TokenIdentity:
    seen = responses.Verification.read(members)
    if any(caveat.kind == Expires.kind for caveat in seen.failures):
        raise NotAuthenticated("the token has expired", code="invalid_token")
    return responses.TokenIdentity(seen.user, seen.token_id, seen.audience, seen.scopes, seen.expires_at)


# Sessions: a token in a cookie, for browsers and their tests. The clients keep no cookie.


def sign_in(username: str, password: str, *, scope: ScopeLike | None = None) -> Call[responses.Session]:
    """Begin a session. `get_session` and `sign_out` take the answer's `cookie`."""
    body = _given(username=username, password=password, scope=_scope(scope))
    return Call("POST", "/v1/session", responses.Session.read, body, authenticated=False)


def get_session(cookie: str) -> Call[responses.Session]:
    """The session of this cookie, `name=value`. The call extends the session, so the answer has a new cookie."""
    return Call("GET", "/v1/session", responses.Session.read, authenticated=False, cookie=cookie)


def sign_out(cookie: str) -> Call[None]:
    """End the session of this cookie, `name=value`, and revoke its token."""
    return Call("DELETE", "/v1/session", _nothing, authenticated=False, cookie=cookie)


# Revocation


def revoke_presented() -> Call[responses.RevocationEntry]:
    """Revoke the presented copy of a token, and all tokens made from it."""
    return Call(
        "POST",
        "/v1/revocations",
        responses.RevocationEntry.read,
        {"presented": True},
        check=revoked_as_presented,
    )


def revoke_token(token_id: str) -> Call[responses.RevocationEntry]:
    """Revoke all copies of a token."""
    read, body = responses.RevocationEntry.read, {"token_id": token_id}
    return Call("POST", "/v1/revocations", read, body, check=matches(token_id=token_id))


def revoke_branch(token_id: str, branch_id: str) -> Call[responses.RevocationEntry]:
    """Revoke one copy by its branch id: 32 hex digits, as in `Verification.branches`."""
    body = {"token_id": token_id, "branch_id": branch_id}
    return Call("POST", "/v1/revocations", responses.RevocationEntry.read, body, check=matches(**body))


def revoke_user(username: str) -> Call[responses.RevocationEntry]:
    """Revoke every token that was issued to a user up to now."""
    read, body = responses.RevocationEntry.read, {"user": username}
    return Call("POST", "/v1/revocations", read, body, check=matches(user=username))


def list_revocations(*, after: int = 0, limit: int | None = None) -> Call[responses.RevocationPage]:
    """A page of the revocations after the sequence `after`, for administrators. `limit`: 1 to 5000."""
    query = _page(str(after) if after else None, limit)
    return Call("GET", "/v1/revocations", responses.RevocationPage.read, query=query)


# Verifiers: apps that verify locally


def register_verifier(public_key: bytes, audience: str, name: str = "") -> Call[responses.VerifierRecord]:
    """Let an app with this X25519 public key, 32 bytes, fetch the audience's keys, for administrators."""
    body = {"public_key": encode_base64(public_key), "audience": audience, "name": name}
    return Call("POST", "/v1/verifiers", responses.VerifierRecord.read, body)


def list_verifiers() -> Call[tuple[responses.VerifierRecord, ...]]:
    """All registered verifiers, for administrators."""
    return Call("GET", "/v1/verifiers", rows_of("verifiers", responses.VerifierRecord.read))


def revoke_verifier(verifier_id: str) -> Call[None]:
    """Stop giving keys to a verifier, for administrators. Raises `NotFound`."""
    return Call("DELETE", f"/v1/verifiers/{_segment(verifier_id)}", _nothing)


def get_verifier_keys(verifier_id: str) -> Call[bytes]:
    """The audience's keys in a NaCl box. Only the verifier's private key opens it. Raises `NotFound`."""
    path = f"/v1/verifiers/{_segment(verifier_id)}/keys"
    return Call("GET", path, only("box", binary), authenticated=False)


# Master keys, for administrators


def list_counts() -> Call[tuple[responses.MinuteCount, ...]]:
    """The requests of each minute of the last hour, oldest first, at the process that answers. For administrators."""
    return Call("GET", "/v1/counts", rows_of("minutes", responses.MinuteCount.read))


def list_keys() -> Call[tuple[responses.KeyRecord, ...]]:
    """The states of all master keys."""
    return Call("GET", "/v1/keys", rows_of("keys", responses.KeyRecord.read))


def rotate_keys(*, now: bool = False) -> Call[responses.KeyRecord]:
    """Publish a new master key. `now`: issue tokens under it at once, before every node can have it."""
    return Call("POST", "/v1/keys/rotate", responses.KeyRecord.read, {"now": True} if now else {})


def retire_key(key_id: str, *, force: bool = False) -> Call[responses.KeyRecord]:
    """Destroy a master key. Raises `Conflict` while tokens under it may be live, except with `force`."""
    path = f"/v1/keys/{_segment(key_id)}/retire"
    return Call("POST", path, responses.KeyRecord.read, {"force": True} if force else {})


# Operations


def about() -> Call[responses.About]:
    """The service's name and version."""
    return Call("GET", "/", responses.About.read, authenticated=False)


def health() -> Call[None]:
    """None if the process answers."""
    return Call("GET", "/healthz", _nothing, authenticated=False)


def ready() -> Call[None]:
    """None if the service can issue and revoke. Raises `Unavailable` if not."""
    return Call("GET", "/readyz", _nothing, authenticated=False)


# Members


def predicate(caveat: CaveatLike) -> str:
    """The predicate of a caveat as text. Raises `caveats.MalformedCaveat`."""
    try:
        return caveat.decode("utf-8") if isinstance(caveat, bytes) else str(caveat)
    except UnicodeDecodeError:
        raise MalformedCaveat("a predicate is UTF-8") from None


def _wanted(
    *,
    scope: ScopeLike | None = None,
    audience: str | None = None,
    expires_in: Lifetime | None = None,
    caveats: Iterable[CaveatLike] = (),
    note: str | None = None,
) -> dict[str, Any]:
    """The members of the body that asks for a token."""
    return _given(
        scope=_scope(scope),
        audience=audience,
        expires_in=_lifetime(expires_in),
        caveats=[predicate(caveat) for caveat in caveats] or None,
        note=note,
    )


def _question(token: Token, facts: RequestFacts) -> dict[str, Any]:
    named = facts_of(facts)
    return _given(
        token=token if isinstance(token, str) else token.encode(),
        scope=_scope(facts.scope),
        audience=facts.audience,
        **named | {"extra": named["extra"] or None},
    )


def _given(**members: Any) -> dict[str, Any]:
    """The members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _scope(scope: ScopeLike | None) -> str | None:
    return scope if scope is None or isinstance(scope, str) else " ".join(scope)


def _lifetime(lifetime: Lifetime | None) -> int | str | None:
    return int(lifetime.total_seconds()) if isinstance(lifetime, timedelta) else lifetime


def _page(after: str | None, limit: int | None) -> dict[str, str]:
    return _given(after=after, limit=None if limit is None else str(limit))


def _segment(name: str) -> str:
    """`name` as one segment of a path. Raises `BadRequest` for the empty name, `.`, `..` and lone surrogates."""
    try:
        segment = quote(name, safe="")
    except UnicodeEncodeError:
        segment = ""
    if segment in ("", ".", ".."):
        raise BadRequest(f"{name!r} cannot be part of an address: give another name")
    return segment


def _nothing(members: Members) -> None:
    """The result of a call that has none."""
