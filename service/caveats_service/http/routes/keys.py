"""Master keys: list, rotate, retire. For administrators; no key ever leaves through here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats_service.http import schemas
from caveats_service.http.credentials import require_admin
from caveats_service.http.request import RequestContext, reply

if TYPE_CHECKING:
    from starlette.responses import Response

    from caveats_service.storage import SealedKey


async def listing(request: RequestContext) -> Response:
    """Every key that was ever made, and what it may do now."""
    await require_admin(request)
    await request.runtime.master_keys.refresh()
    return reply(schemas.KeysResponse(keys=[key_response(row) for row in request.runtime.master_keys.rows]))


async def rotate(request: RequestContext) -> Response:
    """Publish a new key. It is activated when all have had time to get it, or at once if `now`."""
    body = await request.read(schemas.RotateKeysRequest)
    actor = (await require_admin(request)).in_audit
    row = await request.runtime.master_keys.publish(actor=actor)
    if body.now:
        row = await request.runtime.master_keys.activate(row.key_id, actor=actor)
    return reply(key_response(row), 201)


async def retire(request: RequestContext) -> Response:
    """Destroy a key that issues no more. `force`: also while tokens under it may be alive, and they die."""
    body = await request.read(schemas.RetireKeyRequest)
    caller = await require_admin(request)
    row = await request.runtime.master_keys.retire(
        request.param("key_id"), force=body.force, actor=caller.in_audit
    )
    return reply(key_response(row))


def key_response(row: SealedKey) -> schemas.KeyResponse:
    """A key's life."""
    return schemas.KeyResponse(
        id=row.key_id,
        state=row.state.value,
        created_at=row.created_at,
        activated_at=row.activated_at,
        verifying_since=row.verifying_since,
        retire_after=row.retire_after,
        retired_at=row.retired_at,
    )
