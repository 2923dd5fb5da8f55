"""Apps that verify locally: an admin registers a public key for an audience, the app fetches its keys in a box."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.responses import Response

from caveats import InvalidKey
from caveats.http import Problem, bad_request
from caveats.keys import KeyBundle, check_box_key, key_from_text, seal_bundle
from caveats.token import encode_base64, is_audience, is_token_id
from caveats_service.core.issuing import require_shareable
from caveats_service.http import schemas
from caveats_service.http.credentials import require_admin
from caveats_service.http.errors import not_found
from caveats_service.http.request import NO_STORE, RequestContext, reply

if TYPE_CHECKING:
    from caveats_service.storage import VerifierApp

_BUNDLE_LIFE = timedelta(hours=24)


async def register(request: RequestContext) -> Response:
    """Register a verifier. The answer holds the service's public key, which the app pins."""
    body = await request.read(schemas.RegisterVerifierRequest)
    caller = await require_admin(request)
    if not is_audience(body.audience):
        raise bad_request("an audience reads a-z, then a-z, 0-9 and -, at most 32 characters")
    require_shareable(body.audience, request.runtime.settings)
    try:
        public_key = key_from_text(body.public_key)
        check_box_key(public_key)
    except InvalidKey as error:
        raise bad_request(f"public_key: {error}") from None
    app = await request.runtime.store.verifiers.add(
        audience=body.audience, public_key=public_key, name=body.name, now=request.now, actor=caller.in_audit
    )
    return reply(verifier_response(request, app), 201)


async def listing(request: RequestContext) -> Response:
    """The registered verifiers."""
    await require_admin(request)
    found = await request.runtime.store.verifiers.list()
    return reply(schemas.VerifiersResponse(verifiers=[verifier_response(request, app) for app in found]))


async def revoke(request: RequestContext) -> Response:
    """Give this verifier no more keys, and end its streams. The keys that it has stay good until they are rotated away."""
    caller = await require_admin(request)
    await request.runtime.store.verifiers.revoke(_id(request), now=request.now, actor=caller.in_audit)
    return Response(status_code=204, headers=NO_STORE)


async def keys(request: RequestContext) -> Response:
    """The audience's keys, in a box that only this verifier can open."""
    app = await request.runtime.store.verifiers.get(_id(request))
    if app is None or app.revoked_at is not None:
        raise not_found("there is no such verifier")
    require_shareable(app.audience, request.runtime.settings)  # it may be registered since that was allowed
    # One time for the boxes of all nodes.
    now = await request.runtime.store.instance.server_time() or request.now
    bundle = KeyBundle(
        verifier_id=app.verifier_id,
        keyring=request.runtime.master_keys.keyring.export(app.audience),
        epoch=request.runtime.feed.epoch,
        serial=int(now.timestamp() * 1000),
        not_after=now + _BUNDLE_LIFE,
    )
    try:
        box = seal_bundle(bundle, app.public_key, request.runtime.service_keys.box)
    except InvalidKey:
        raise Problem(
            409, "conflict", "this verifier's public key cannot be used: register another"
        ) from None
    return reply(schemas.VerifierKeysResponse(box=encode_base64(box)))


def _id(request: RequestContext) -> str:
    verifier_id = request.param("verifier_id")
    if not is_token_id(verifier_id):
        raise not_found("there is no such verifier")
    return verifier_id


def verifier_response(request: RequestContext, app: VerifierApp) -> schemas.VerifierResponse:
    """A verifier, with what it has to pin."""
    progress = request.runtime.feed.progress(app.verifier_id)
    return schemas.VerifierResponse(
        verifier_id=app.verifier_id,
        audience=app.audience,
        name=app.name,
        public_key=encode_base64(app.public_key),
        service_public_key=encode_base64(request.runtime.service_keys.box.public_key),
        created_at=app.created_at,
        revoked_at=app.revoked_at,
        following=progress.following,
        last_read_at=progress.last_read_at,
        entries_behind=progress.entries_behind,
    )
