"""Accounts: register, change the password, disable; administrators list them."""

from starlette.responses import Response

from caveats.http import PasswordCredential, Problem, TokenCredential, bad_request, invalid_credentials
from caveats_service.core.usernames import check_username
from caveats_service.http import schemas
from caveats_service.http.request import NO_STORE, RequestContext, reply
from caveats_service.storage import User


async def register(request: RequestContext) -> Response:
    """A new account: by anybody where registration is open, else by an administrator."""
    body = await request.read(schemas.Register)
    actor = body.username
    if request.credential is not None:
        actor = (await request.admin()).username
    elif not request.runtime.settings.open_registration:
        raise Problem(403, "registration_closed")
    else:
        await request.runtime.rate_limiter.register(request.throttle_key)
    check_username(body.username)
    hashed = await request.runtime.passwords.hash(body.password)
    user = await request.runtime.store.users.create(body.username, hashed, now=request.now, actor=actor)
    return reply(shape(user), 201)


async def listing(request: RequestContext) -> Response:
    """The accounts, by name."""
    await request.admin()
    limit = max(1, request.number("limit", 100, 1000))
    found = await request.runtime.store.users.list(
        after=request.http.query_params.get("after", ""), limit=limit
    )
    rows = [shape(user) for user in found]
    return reply(schemas.Users(users=rows, next=rows[-1].username if len(rows) == limit else None))


async def change_password(request: RequestContext) -> Response:
    """A new password. Everything that was issued to the user until now is dead."""
    body = await request.read(schemas.ChangePassword)
    username = check_username(request.param("username"))
    if body.password is not None:
        if isinstance(request.credential, TokenCredential) and (await request.account()).username != username:
            raise bad_request("the present password is your own: leave it out to set another user's")
        await request.user_of(PasswordCredential(username, body.password))
        actor = username
    elif isinstance(request.credential, PasswordCredential) and request.credential.username == username:
        actor = (await request.account()).username
    else:
        if request.credential is None:
            raise invalid_credentials()
        actor = (await request.admin()).username
    hashed = await request.runtime.passwords.hash(body.new_password)
    await request.runtime.set_password(username, hashed, actor=actor)
    return Response(status_code=204, headers=NO_STORE)


async def disable(request: RequestContext) -> Response:
    """Nobody signs in as this user any more, and everything issued to them is dead."""
    await request.read(schemas.Empty)
    caller = await request.admin()
    username = check_username(request.param("username"))
    return reply(shape(await request.runtime.disable_user(username, actor=caller.username)))


async def enable(request: RequestContext) -> Response:
    """The user may sign in again. What was revoked stays revoked."""
    await request.read(schemas.Empty)
    caller = await request.admin()
    username = check_username(request.param("username"))
    return reply(
        shape(await request.runtime.store.users.enable(username, now=request.now, actor=caller.username))
    )


def shape(user: User) -> schemas.UserShape:
    """A user as others see them."""
    return schemas.UserShape(
        username=user.username,
        is_admin=user.is_admin,
        scope=user.scope,
        created_at=user.created_at,
        disabled_at=user.disabled_at,
    )
