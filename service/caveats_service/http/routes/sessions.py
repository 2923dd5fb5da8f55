"""Browser sessions: a token in a cookie that scripts cannot read. Signing out revokes it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.responses import Response

from caveats import CaveatsError, Expires
from caveats.http import (
    PasswordCredential,
    Problem,
    TokenCredential,
    credential_of,
    credential_required,
    invalid_token,
)
from caveats_service.core.errors import Forbidden, RateLimited, TooManyBranches, TooManyRevocations
from caveats_service.core.issuing import DEFAULT_AUDIENCE, IssueRequest, plan, renewal_expiry
from caveats_service.core.usernames import in_audit
from caveats_service.http import schemas
from caveats_service.http.credentials import live_token, require_token, user_of
from caveats_service.http.errors import problem_of
from caveats_service.http.request import NO_STORE, RequestContext, reply
from caveats_service.http.routes.tokens import user_bounds
from caveats_service.storage import LabelsFull, StoreUnavailable

if TYPE_CHECKING:
    from datetime import datetime

    from caveats_service.core.issuing import IssuedToken, Plan


async def sign_in(request: RequestContext) -> Response:
    """Begin a session; one that the browser had before ends."""
    body = await request.read(schemas.SignInRequest)
    request.require_same_site_if_browser()
    user = await user_of(request, PasswordCredential(body.username, body.password))
    bounds = user_bounds(user)
    everything = f"{bounds.default_scope} caveats:*" if user.is_admin else bounds.default_scope
    # One more expiry, which no renewal moves: not even one for tokens, which may live longer than sessions.
    ceiling = Expires(request.now + request.runtime.settings.session_max_life)
    asked = IssueRequest(scope=body.scope or everything, caveats=(str(ceiling),), note=body.note)
    planned = plan(asked, bounds, request.runtime.session_lives, request.runtime.checkers, now=request.now)
    await _end_previous(request)
    issued = await _issue(request, planned)
    session = schemas.SessionResponse(
        user=issued.user,
        token_id=issued.identifier.token_id,
        scope=issued.scope,
        expires_at=issued.expires_at,
    )
    return reply(session, 201, _set_cookie(request, issued.macaroon.encode(), issued.expires_at))


async def _issue(request: RequestContext, planned: Plan) -> IssuedToken:
    """The session's token, labelled if that was asked for and there is room. Nobody is kept out by a full list."""
    issue = request.runtime.issuer.issue
    actor = in_audit(planned.user)
    if planned.label is not None:
        with contextlib.suppress(RateLimited, LabelsFull):
            request.runtime.rate_limiter.keep(f"account {planned.user}", request.throttle_key)
            return await issue(planned, actor=actor, now=request.now)
    return await issue(replace(planned, label=None), actor=actor, now=request.now)


async def _end_previous(request: RequestContext) -> None:
    """Revoke the session that this browser had, if it is valid."""
    previous = credential_of(request.head.headers, request.runtime.settings.cookie_name)
    if isinstance(previous, TokenCredential) and previous.from_cookie:
        try:
            token = await request.runtime.tokens.introspect(previous.text)
        except CaveatsError:
            return
        with contextlib.suppress(
            TooManyBranches, TooManyRevocations
        ):  # of a copy; it does not keep anybody out
            await request.runtime.revocations.revoke_presented(token, counted_at=request.throttle_key)


async def who(request: RequestContext) -> Response:
    """Who is signed in. Asking keeps the session alive, up to its ceiling.

    With `?optional` it is no error that nobody is: 204. A browser writes an error into its console for every 401.
    """
    try:
        return await _who(request)
    except (Problem, CaveatsError) as error:
        if "optional" in request.http.query_params and problem_of(error).status == 401:
            return Response(None, 204, NO_STORE)
        raise


async def _who(request: RequestContext) -> Response:
    credential = require_token(request)
    if not credential.from_cookie:
        raise credential_required()
    authenticated = await live_token(request)
    identified = authenticated.identified
    if identified is None or identified.audience != DEFAULT_AUDIENCE:
        raise invalid_token()  # an app may have written who the user is: this is nobody's session
    try:
        expires_at = renewal_expiry(
            authenticated,
            request.runtime.settings.session_lifetime,
            request.runtime.session_lives,
            now=request.now,
        )
        text = (
            await request.runtime.issuer.renew(authenticated, expires_at, now=request.now)
        ).macaroon.encode()
    except (
        Forbidden,
        StoreUnavailable,
    ):  # at its ceiling, or without a store, a session goes on until it ends
        text = credential.text
    token = await request.runtime.tokens.introspect(text)
    assert token.expires_at is not None
    session = schemas.SessionResponse(
        user=token.user, token_id=token.token_id, scope=" ".join(token.scopes), expires_at=token.expires_at
    )
    return reply(session, 200, _set_cookie(request, text, token.expires_at))


async def sign_out(request: RequestContext) -> Response:
    """End the session: the token is revoked, every copy of it, and the cookie is taken back."""
    credential = require_token(request)
    if not credential.from_cookie:
        raise credential_required()
    token = await request.runtime.tokens.introspect(credential.text)
    await request.runtime.revocations.revoke_presented(token, counted_at=request.throttle_key)
    return Response(status_code=204, headers={**NO_STORE, **_cookie(request, "", 0)})


def _set_cookie(request: RequestContext, text: str, expires_at: datetime) -> dict[str, str]:
    return _cookie(request, text, max(1, int((expires_at - request.now).total_seconds())))


def _cookie(request: RequestContext, text: str, seconds: int) -> dict[str, str]:
    settings = request.runtime.settings
    secure = "; Secure" if settings.cookie_secure else ""
    path = settings.public_path or "/"
    value = f"{settings.cookie_name}={text}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    return {"Set-Cookie": value}
