"""Master keys: list, rotate, retire. For administrators; no key ever leaves through here."""

from starlette.responses import Response

from caveats_service.http import schemas
from caveats_service.http.request import Call, reply
from caveats_service.storage import MasterKey


async def listing(call: Call) -> Response:
    """Every key there ever was, and what it may do now."""
    await call.admin()
    await call.node.masters.refresh()
    return reply(schemas.Keys(keys=[shape(row) for row in call.node.masters.rows]))


async def rotate(call: Call) -> Response:
    """Publish a new key; it is activated when everybody has had time to get it, or at once if asked."""
    body = await call.read(schemas.RotateKeys)
    actor = (await call.admin()).username
    row = await call.node.masters.publish(actor=actor)
    if body.now:
        row = await call.node.masters.activate(row.key_id, actor=actor)
    return reply(shape(row), 201)


async def retire(call: Call) -> Response:
    """Destroy a key that issues no more. With `force` also while tokens under it may be alive: they die."""
    body = await call.read(schemas.RetireKey)
    caller = await call.admin()
    row = await call.node.masters.retire(call.param("key_id"), force=body.force, actor=caller.username)
    return reply(shape(row))


def shape(row: MasterKey) -> schemas.KeyShape:
    """A key's life."""
    return schemas.KeyShape(
        id=row.key_id,
        state=row.state.value,
        created_at=row.created_at,
        activated_at=row.activated_at,
        verifying_since=row.verifying_since,
        retire_after=row.retire_after,
        retired_at=row.retired_at,
    )
