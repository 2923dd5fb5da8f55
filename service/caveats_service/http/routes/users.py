"""Accounts: register, change the password, disable; administrators list them."""

from starlette.responses import Response

from caveats_service.core.usernames import check_username
from caveats_service.http import schemas
from caveats_service.http.errors import Problem, bad_request, invalid_credentials
from caveats_service.http.request import NO_STORE, Call, PasswordCredential, TokenCredential, reply
from caveats_service.storage import User


async def register(call: Call) -> Response:
    """A new account: by anybody where registration is open, else by an administrator."""
    body = await call.read(schemas.Register)
    actor = body.username
    if call.credential is not None:
        actor = (await call.admin()).username
    elif not call.node.settings.open_registration:
        raise Problem(403, "registration_closed")
    else:
        await call.node.throttle.register(call.throttle_key)
    check_username(body.username)
    hashed = await call.node.passwords.hash(body.password)
    user = await call.node.store.create_user(body.username, hashed, now=call.now, actor=actor)
    return reply(shape(user), 201)


async def listing(call: Call) -> Response:
    """The accounts, by name."""
    await call.admin()
    limit = max(1, call.number("limit", 100, 1000))
    found = await call.node.store.list_users(after=call.request.query_params.get("after", ""), limit=limit)
    rows = [shape(user) for user in found]
    return reply(schemas.Users(users=rows, next=rows[-1].username if len(rows) == limit else None))


async def change_password(call: Call) -> Response:
    """A new password. Everything that was issued to the user until now is dead."""
    body = await call.read(schemas.ChangePassword)
    username = check_username(call.param("username"))
    if body.password is not None:
        if isinstance(call.credential, TokenCredential) and (await call.account()).username != username:
            raise bad_request("the present password is your own: leave it out to set another user's")
        await call.user_of(PasswordCredential(username, body.password))
        actor = username
    elif isinstance(call.credential, PasswordCredential) and call.credential.username == username:
        actor = (await call.account()).username
    else:
        if call.credential is None:
            raise invalid_credentials()
        actor = (await call.admin()).username
    hashed = await call.node.passwords.hash(body.new_password)
    await call.node.set_password(username, hashed, actor=actor)
    return Response(status_code=204, headers=NO_STORE)


async def disable(call: Call) -> Response:
    """Nobody signs in as this user any more, and everything issued to them is dead."""
    await call.read(schemas.Empty)
    caller = await call.admin()
    username = check_username(call.param("username"))
    return reply(shape(await call.node.disable_user(username, actor=caller.username)))


async def enable(call: Call) -> Response:
    """The user may sign in again. What was revoked stays revoked."""
    await call.read(schemas.Empty)
    caller = await call.admin()
    username = check_username(call.param("username"))
    return reply(shape(await call.node.store.enable_user(username, now=call.now, actor=caller.username)))


def shape(user: User) -> schemas.UserShape:
    """A user as others see them."""
    return schemas.UserShape(
        username=user.username,
        is_admin=user.is_admin,
        scope=user.scope,
        created_at=user.created_at,
        disabled_at=user.disabled_at,
    )
