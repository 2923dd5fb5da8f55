"""Who calls: the account that the credential of a request proves.

Knows accounts and tokens; knows no route. Each function returns what it promises or raises why not: a 401 or 403
`Problem`, or the error of the token or the password.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from caveats import Authenticated, Parent, UnsatisfiedCaveats
from caveats.http import (
    PasswordCredential,
    Problem,
    TokenCredential,
    bad_request,
    credential_required,
    invalid_token,
)
from caveats.kinds import ISSUER, OWN_NAMESPACE
from caveats_service.core.accounts import Actor
from caveats_service.core.issuing import DEFAULT_AUDIENCE
from caveats_service.core.shown_credentials import shown_password, shown_token
from caveats_service.http.errors import forbidden

if TYPE_CHECKING:
    from caveats_service.http.request import RequestContext
    from caveats_service.storage import IssuingClient, ShownCredential, User

ADMIN_SCOPE = f"{OWN_NAMESPACE}:admin"


async def require_account(request: RequestContext) -> Actor:
    """The caller, by a password or by a token for their whole account: scope `*`, default audience.

    A narrower copy, or one for an app, was given away for less than that.
    """
    match request.credential:
        case None:
            raise credential_required()
        case PasswordCredential() as credential:
            return Actor((await user_of(request, credential)).username)
        case TokenCredential() as credential:
            context = request.context(audience=DEFAULT_AUDIENCE)
            grant = await request.runtime.tokens.verify(credential.text, context)
            return Actor(grant.user)


async def shown_for_account(request: RequestContext) -> ShownCredential:
    """As `require_account`, the credential itself, so that it can be judged again later."""
    await require_account(request)
    match request.credential:
        case TokenCredential() as credential:
            tokens = request.runtime.tokens
            own_branches = (await tokens.authenticate(credential.text)).branches()
            return shown_token(await tokens.introspect(credential.text), own_branches)
        case credential:
            assert credential is not None
            return shown_password(await user_of(request, credential))


async def require_admin(request: RequestContext) -> Actor:
    """The caller, who is an administrator; a token needs the scope `caveats:admin` as well."""
    match request.credential:
        case None:
            raise credential_required()
        case PasswordCredential() as credential:
            user = await user_of(request, credential)
        case TokenCredential() as credential:
            context = request.context(ADMIN_SCOPE, audience=DEFAULT_AUDIENCE)
            grant = await request.runtime.tokens.verify(credential.text, context)
            found = await request.runtime.store.users.get(grant.user)
            if found is None or not found.is_enabled:
                raise invalid_token()
            user = found
    if not user.is_admin:
        raise forbidden("this is for administrators")
    return Actor(user.username, administers=True)


async def require_owner_or_admin(request: RequestContext, username: str | None) -> Actor:
    """The caller, by `require_account` if that is `username`, otherwise by `require_admin`."""
    try:
        caller = await require_account(request)
    except UnsatisfiedCaveats:  # perhaps a token for administration and nothing else
        with contextlib.suppress(UnsatisfiedCaveats):
            return await require_admin(request)
        raise
    if caller.username == username:
        return caller
    try:
        return await require_admin(request)
    except UnsatisfiedCaveats:
        raise forbidden(f"this is not yours, and for others' a token needs the scope {ADMIN_SCOPE}") from None


async def user_of(request: RequestContext, credential: PasswordCredential) -> User:
    """The user whose password this is; looked up once in a request. Raises as `Accounts.sign_in`."""
    if request.proven is not None and request.proven[0] == credential:
        return request.proven[1]
    user = await request.runtime.accounts.sign_in(
        credential.username, credential.password, address=request.throttle_key
    )
    request.proven = (credential, user)
    return user


async def owner_who_changes_password(request: RequestContext, credential: PasswordCredential) -> Actor:
    """The user whose password this is, who may do nothing but change it. Raises as `Accounts.sign_in`."""
    user = await request.runtime.accounts.sign_in(
        credential.username, credential.password, address=request.throttle_key, to_change_password=True
    )
    return Actor(user.username)


async def require_client(request: RequestContext, client_id: str | None, secret: str | None) -> IssuingClient:
    """The issuing client that asks, by its id and secret in the body (these) or as Basic. Raises `InvalidCredentials`."""
    if client_id is not None or secret is not None:
        if request.credential is not None:
            raise Problem(400, "two_credentials", "a client's secret in the body, or in the header")
        if client_id is None or secret is None:
            raise bad_request("client_id and client_secret come together")
    elif isinstance(request.credential, PasswordCredential):
        client_id, secret = request.credential.username, request.credential.password
    elif request.credential is None:
        raise credential_required()
    else:
        raise bad_request(
            "a token issues for its own user: `user` is for an issuing client, by its id and secret"
        )
    return await request.runtime.clients.authenticate(client_id, secret, address=request.throttle_key)


def require_room(request: RequestContext, username: str) -> None:
    """Count that something is kept for whoever asks this in the name of `username`. Raises `RateLimited`.

    Counted are a password's account, or a token with all that came of it; of tokens for apps the audience, since an app can
    write any id into them.
    """
    holder = f"account {username}"
    if isinstance(request.credential, TokenCredential):
        token = request.runtime.tokens.verifier.introspect(request.credential.text)
        by_issuer = zip(token.caveats, token.added_by, strict=True)
        parents = [c.token_id for c, who in by_issuer if isinstance(c, Parent) and who == ISSUER]
        holder = f"token {[*parents, token.token_id][0]}"
        if token.identifier.audience != DEFAULT_AUDIENCE:
            holder = f"audience {token.identifier.audience}"
    request.runtime.rate_limiter.keep(holder, request.throttle_key)


def require_token(request: RequestContext) -> TokenCredential:
    """The token that was presented, not verified."""
    if isinstance(request.credential, TokenCredential):
        return request.credential
    raise credential_required()


async def live_token(request: RequestContext) -> Authenticated:
    """The token that was presented: authentic, not revoked, and alive here and now."""
    return await request.runtime.tokens.authenticate_live(require_token(request).text, request.context())
