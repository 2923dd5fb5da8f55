"""Browser sessions: a token in a cookie that scripts cannot read. Signing out revokes it."""

from datetime import datetime

from starlette.responses import Response

from caveats import CaveatsError, Expires, effective
from caveats_service.core.issuing import Asked, Plan, plan, renewal_expiry
from caveats_service.http import schemas
from caveats_service.http.errors import credential_required, problem_of
from caveats_service.http.request import (
    NO_STORE,
    Call,
    PasswordCredential,
    TokenCredential,
    reply,
    token_of_headers,
)
from caveats_service.http.routes.tokens import user_bounds


async def sign_in(call: Call) -> Response:
    """A new session, whoever was signed in before."""
    body = await call.read(schemas.SignIn)
    call.require_same_site_if_browser()
    user = await call.user_of(PasswordCredential(body.username, body.password))
    bounds = user_bounds(user)
    everything = f"{bounds.default_scope} caveats:*" if user.is_admin else bounds.default_scope
    # One more expiry, which no renewal moves: not even one for tokens, which may live longer than sessions.
    ceiling = Expires(call.now + call.node.settings.session_max_life)
    asked = Asked(scope=body.scope or everything, caveats=(str(ceiling),))
    planned = plan(asked, bounds, call.node.session_lives, call.node.checkers, now=call.now)
    await _end_previous(call)
    macaroon, identifier = await call.node.issue(planned, actor=user.username, now=call.now)
    session = _session(planned, identifier.token_id)
    return reply(session, 201, _set_cookie(call, macaroon.encode(), planned.expires_at))


async def _end_previous(call: Call) -> None:
    """A session that this browser had is over; one that is not valid any more is no matter."""
    previous = token_of_headers(call.request.headers.raw, call.node.settings.cookie_name)
    if isinstance(previous, TokenCredential) and previous.from_cookie:
        try:
            authenticated = await call.node.authenticate(previous.text)
        except CaveatsError:
            return
        await call.node.revoke_presented(authenticated)


def _session(planned: Plan, token_id: str) -> schemas.Session:
    scope = " ".join(effective(planned.caveats).scopes)
    return schemas.Session(user=planned.user, token_id=token_id, scope=scope, expires_at=planned.expires_at)


async def who(call: Call) -> Response:
    """Who is signed in. Asking keeps the session alive, up to its ceiling."""
    credential = call.token()
    if not credential.from_cookie:
        raise credential_required()
    authenticated = await call.live_token()
    try:
        expires_at = renewal_expiry(
            authenticated, call.node.settings.session_lifetime, call.node.session_lives, now=call.now
        )
        text = call.node.renew(authenticated, expires_at).encode()
    except Exception as error:  # at its ceiling a session simply goes on until it ends
        if problem_of(error).code not in ("ceiling_reached", "forbidden"):
            raise
        text = credential.text
    again = await call.node.authenticate(text)
    authority = effective(again.caveats)
    assert again.identified is not None
    assert authority.expires_at is not None
    session = schemas.Session(
        user=authority.user or "",
        token_id=again.identified.token_id,
        scope=" ".join(authority.scopes),
        expires_at=authority.expires_at,
    )
    return reply(session, 200, _set_cookie(call, text, authority.expires_at))


async def sign_out(call: Call) -> Response:
    """End the session: the token is revoked, every copy of it, and the cookie is taken back."""
    credential = call.token()
    if not credential.from_cookie:
        raise credential_required()
    authenticated = await call.node.authenticate(credential.text)
    await call.node.revoke_presented(authenticated)
    return Response(status_code=204, headers={**NO_STORE, **_cookie(call, "", 0)})


def _set_cookie(call: Call, text: str, expires_at: datetime) -> dict[str, str]:
    return _cookie(call, text, max(1, int((expires_at - call.now).total_seconds())))


def _cookie(call: Call, text: str, seconds: int) -> dict[str, str]:
    settings = call.node.settings
    secure = "; Secure" if settings.cookie_secure else ""
    value = f"{settings.cookie_name}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    return {"Set-Cookie": value}
