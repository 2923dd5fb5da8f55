"""Accounts: register, change the password, disable, delete; administrators list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from caveats.http import PasswordCredential, TokenCredential, bad_request
from caveats_service.core.accounts import Actor, Anonymous
from caveats_service.core.errors import InvalidCredentials
from caveats_service.core.usernames import check_username, fold_username
from caveats_service.http import schemas
from caveats_service.http.credentials import owner_who_changes_password, require_account, require_admin
from caveats_service.http.errors import forbidden
from caveats_service.http.request import NO_STORE, RequestContext, reply

if TYPE_CHECKING:
    from caveats_service.storage import User


async def register(request: RequestContext) -> Response:
    """Add an account: for anybody where registration is open, else for an administrator."""
    body = await request.read(schemas.RegisterRequest)
    actor = Anonymous(request.throttle_key) if request.credential is None else await require_admin(request)
    user = await request.runtime.accounts.register(
        body.username, body.password, actor=actor, must_change_password=body.must_change_password
    )
    return reply(user_response(user), 201)


async def listing(request: RequestContext) -> Response:
    """The accounts, by name."""
    await require_admin(request)
    after, limit = request.page()
    found = await request.runtime.store.users.list(after=after, limit=limit)
    rows = [user_response(user) for user in found]
    return reply(schemas.UsersResponse(users=rows, next=rows[-1].username if len(rows) == limit else None))


async def change_password(request: RequestContext) -> Response:
    """Set a password, and revoke everything that was issued to the user until now."""
    body = await request.read(schemas.ChangePasswordRequest)
    username = check_username(request.param("username"))
    actor = await _who_changes(request, username, body.password)
    await request.runtime.accounts.set_password(
        username, body.new_password, actor=actor, must_change=body.must_change_password
    )
    return Response(status_code=204, headers=NO_STORE)


async def _who_changes(request: RequestContext, username: str, present: str | None) -> Actor:
    """The user, by their present password or by Basic, or an administrator of other users.

    A token that was stolen must not become the account itself.
    """
    if present is not None:
        if (
            isinstance(request.credential, TokenCredential)
            and (await require_account(request)).username != username
        ):
            raise bad_request("the present password is your own: leave it out to set another user's")
        return await owner_who_changes_password(request, PasswordCredential(username, present))
    if (
        isinstance(request.credential, PasswordCredential)
        and fold_username(request.credential.username) == username
    ):
        return await owner_who_changes_password(request, request.credential)
    if request.credential is None:
        raise InvalidCredentials
    actor = await require_admin(request)
    if actor.username == username and isinstance(request.credential, TokenCredential):
        raise forbidden(
            "your own password needs the present one, which a token does not show: give `password`"
        )
    return actor


async def disable(request: RequestContext) -> Response:
    """Let nobody sign in as this user, and revoke everything that was issued to them."""
    await request.read(schemas.EmptyRequest)
    actor = await require_admin(request)
    return reply(
        user_response(await request.runtime.accounts.disable(request.param("username"), actor=actor))
    )


async def enable(request: RequestContext) -> Response:
    """Let the user sign in again. What was revoked stays revoked."""
    await request.read(schemas.EmptyRequest)
    actor = await require_admin(request)
    return reply(user_response(await request.runtime.accounts.enable(request.param("username"), actor=actor)))


async def delete(request: RequestContext) -> Response:
    """Delete an account with all it had, and revoke everything that was issued to it. The name is never given again."""
    actor = await require_admin(request)
    await request.runtime.accounts.delete(request.param("username"), actor=actor)
    return Response(status_code=204, headers=NO_STORE)


def user_response(user: User) -> schemas.UserResponse:
    """A user as others see them."""
    return schemas.UserResponse(
        username=user.username,
        is_admin=user.is_admin,
        scope=user.scope,
        created_at=user.created_at,
        disabled_at=user.disabled_at,
        must_change_password=user.must_change_password,
    )
