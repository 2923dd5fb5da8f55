"""Tokens: issue, renew, and the ones that their users labelled."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from starlette.responses import Response

from caveats import WrongAudience
from caveats.durations import parse_duration, unit_of
from caveats.http import PasswordCredential, Problem, TokenCredential, bad_request, credential_required
from caveats_service.core.clients import client_actor
from caveats_service.core.issuing import (
    DEFAULT_AUDIENCE,
    Bounds,
    IssuedToken,
    IssueRequest,
    bounds_of_token,
    bounds_of_user,
    plan,
    renewal_expiry,
)
from caveats_service.core.usernames import check_username, in_audit
from caveats_service.http import schemas
from caveats_service.http.credentials import (
    live_token,
    require_account,
    require_client,
    require_owner_or_admin,
    require_room,
    user_of,
)
from caveats_service.http.idempotency import Once, idempotent
from caveats_service.http.request import NO_STORE, RequestContext, reply
from caveats_service.http.routes.revocations import revoke_whole

if TYPE_CHECKING:
    from datetime import timedelta

    from caveats_service.core.accounts import Actor
    from caveats_service.core.labels import ListedToken
    from caveats_service.storage import User


def token_response(issued: IssuedToken) -> schemas.TokenResponse:
    """A new or renewed token, and what all its caveats together allow."""
    return schemas.TokenResponse(
        token=issued.macaroon.encode(),
        token_id=issued.identifier.token_id,
        user=issued.user,
        audience=issued.identifier.audience,
        scope=issued.scope,
        issued_at=issued.identifier.issued_at,
        expires_at=issued.expires_at,
    )


@idempotent(token_response)
async def issue(request: RequestContext, once: Once) -> IssuedToken:
    """A new token, against a password or bounded by another token."""
    body = await request.read_as(schemas.IssueAnyRequest)
    if isinstance(body, schemas.IssueForUserRequest):
        return await _issue_by_client(request, body, once)
    bounds = await _bounds(request, body)
    if not request.body:  # perhaps it was lost, and what it asked for was less than everything
        raise bad_request(
            'say in the body what the token is for: {"scope": ...}, or {} for all that you may have'
        )
    asked = IssueRequest(
        body.scope,
        body.audience,
        lifetime(body.expires_in),
        tuple(body.caveats),
        body.note,
        unit_of(body.expires_in or ""),
    )
    planned = plan(asked, bounds, request.runtime.lives, request.runtime.checkers, now=request.now)
    kept = once.by(bounds.user, body)
    if kept is None and planned.label is not None:
        require_room(request, bounds.user)
    return await request.runtime.issuer.issue(
        planned, actor=in_audit(bounds.user), now=request.now, once=kept, for_account=bounds.audience is None
    )


async def _issue_by_client(
    request: RequestContext, body: schemas.IssueForUserRequest, once: Once
) -> IssuedToken:
    """A token for a user who is signed in at the client that asks."""
    runtime = request.runtime
    client = await require_client(request, body.client_id, body.client_secret)
    bounds = await runtime.clients.bounds(client, body.user, body.audience, runtime.master_keys)
    asked = IssueRequest(body.scope, body.audience, lifetime(body.expires_in), tuple(body.caveats), body.note)
    planned = plan(asked, bounds, runtime.lives, runtime.checkers, now=request.now)
    actor = client_actor(client)
    kept = once.by(actor, body)
    if kept is None and planned.label is not None:
        require_room(request, actor)
    return await runtime.issuer.issue(
        planned, actor=actor, now=request.now, once=kept, for_account=False, by_client=True
    )


async def _bounds(request: RequestContext, body: schemas.IssueTokenRequest) -> Bounds:
    if body.username is not None or body.password is not None:
        if request.credential is not None:
            raise Problem(400, "two_credentials", "a password in the body, or a credential in the header")
        if body.username is None or body.password is None:
            raise Problem(400, "bad_request", "username and password come together")
        return user_bounds(await user_of(request, PasswordCredential(body.username, body.password)))
    match request.credential:
        case None:
            raise credential_required()
        case PasswordCredential() as credential:
            return user_bounds(await user_of(request, credential))
        case TokenCredential() as credential:
            authenticated = await live_token(request)
            token = await request.runtime.tokens.introspect(credential.text)
            whole = await _whole(request, credential.text)
            return bounds_of_token(authenticated, token.branches, any_audience=whole)


async def _whole(request: RequestContext, text: str) -> bool:
    """Whether this token stands for the whole account, and not for what one app may do."""
    try:
        _, failures = await request.runtime.tokens.failures(text, request.context(audience=DEFAULT_AUDIENCE))
    except WrongAudience:
        return False
    return not failures


def user_bounds(user: User) -> Bounds:
    """The most that this user may have."""
    bounds = bounds_of_user(user.username, user.scope, is_admin=user.is_admin)
    return replace(bounds, account=user)


def lifetime(value: int | str | None) -> timedelta | None:
    """A duration as bodies give it. Raises `BadDuration`."""
    return None if value is None else parse_duration(value)


async def renew(request: RequestContext) -> Response:
    """The presented token with a later expiry; whatever holders added stays."""
    body = await request.read(schemas.RenewTokenRequest)
    authenticated = await live_token(request)
    expires_at = renewal_expiry(
        authenticated,
        lifetime(body.expires_in),
        request.runtime.lives,
        now=request.now,
        unit=unit_of(body.expires_in or ""),
    )
    return reply(
        token_response(await request.runtime.issuer.renew(authenticated, expires_at, now=request.now))
    )


async def listing(request: RequestContext) -> Response:
    """The caller's labelled tokens, newest first."""
    caller = await require_account(request)
    return await _page_of(request, caller.username, caller)


async def one(request: RequestContext) -> Response:
    """One labelled token of the caller's."""
    caller = await require_account(request)
    found = await request.runtime.labels.get(caller.username, request.param("token_id"), actor=caller)
    return reply(_label_response(found))


async def listing_of_user(request: RequestContext) -> Response:
    """A user's labelled tokens, newest first: for the user, and for administrators."""
    username = check_username(request.param("username"))
    return await _page_of(request, username, await require_owner_or_admin(request, username))


async def delete_of_user(request: RequestContext) -> Response:
    """Revoke a labelled token of a user's: for the user, and for administrators."""
    username = check_username(request.param("username"))
    caller = await require_owner_or_admin(request, username)
    await request.runtime.labels.revoke(username, request.param("token_id"), actor=caller)
    return Response(status_code=204, headers=NO_STORE)


async def _page_of(request: RequestContext, username: str, caller: Actor) -> Response:
    after, limit = request.page()
    found = await request.runtime.labels.list(username, actor=caller, after=after, limit=limit)
    rows = list(map(_label_response, found))
    return reply(schemas.LabelsResponse(tokens=rows, next=rows[-1].token_id if len(rows) == limit else None))


def _label_response(listed: ListedToken) -> schemas.LabelResponse:
    """A labelled token, its last use as this node knows it."""
    return schemas.LabelResponse(**asdict(listed))


async def delete(request: RequestContext) -> Response:
    """Revoke a token of the caller's: a labelled one, or the very one presented."""
    await revoke_whole(request, request.param("token_id"))
    return Response(status_code=204, headers=NO_STORE)
