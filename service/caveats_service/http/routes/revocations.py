"""Revocation: a holder revokes the copy that they present, a user any of their tokens, an administrator anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caveats import BranchRevocation, Introspection, UserRevocation
from caveats.http import Problem, TokenCredential, bad_request
from caveats.token import BRANCH_ID_SIZE, is_token_id
from caveats_service.core.issuing import DEFAULT_AUDIENCE, actor_of
from caveats_service.core.revoking import AlreadyDead
from caveats_service.core.usernames import check_username
from caveats_service.http import schemas
from caveats_service.http.credentials import require_admin, require_owner_or_admin, require_token
from caveats_service.http.errors import forbidden, not_found
from caveats_service.http.idempotency import Once, idempotent
from caveats_service.http.request import RequestContext, reply

if TYPE_CHECKING:
    from starlette.responses import Response

    from caveats_service.core.accounts import Actor
    from caveats_service.storage import RevocationRecord

_ONE_TARGET = (
    'name one target: {"presented": true} for the copy in the header, token, token_id (with branch_id, if you like), '
    "or user"
)
_NOT_YOURS = "you have no labelled token of this id; present the token itself, or revoke all of yours"


def revocation_response(record: RevocationRecord | AlreadyDead) -> schemas.RevocationResponse:
    """An entry as the feed shows it, or the one for which there is nothing to revoke."""
    revoked = record.entry
    of_user = revoked if isinstance(revoked, UserRevocation) else None
    of_token = None if isinstance(revoked, UserRevocation) else revoked
    return schemas.RevocationResponse(
        sequence=record.sequence,
        kind=revoked.kind,
        token_id=None if of_token is None else of_token.token_id,
        branch_id=revoked.branch_id.hex() if isinstance(revoked, BranchRevocation) else None,
        user=None if of_user is None else of_user.user,
        issued_up_to=None if of_user is None else of_user.issued_up_to,
        expires_at=revoked.expires_at,
        already=record.why if isinstance(record, AlreadyDead) else None,
    )


@idempotent(revocation_response)
async def create(request: RequestContext, once: Once) -> RevocationRecord | AlreadyDead:
    """Revoke the presented copy, or what the body names."""
    body = await request.read(schemas.RevokeRequest)
    targets = [body.presented, body.token is not None, body.token_id is not None, body.user is not None]
    if not any(targets):  # perhaps the body was lost, and it named another token
        await request.runtime.tokens.introspect(require_token(request).text, even_revoked=True)
        raise bad_request(_ONE_TARGET)
    if sum(map(bool, targets)) > 1 or (body.branch_id is not None and body.token_id is None):
        raise bad_request(_ONE_TARGET)
    if body.user is not None:
        return await _revoke_user(request, body.user, body, once)
    if body.token_id is not None and body.branch_id is not None:
        return await _revoke_branch(request, body.token_id, body.branch_id)
    if body.token_id is not None:
        return await revoke_whole(request, body.token_id)
    return await _revoke_presented(request, body.token)


async def _revoke_presented(request: RequestContext, text: str | None) -> RevocationRecord | AlreadyDead:
    """The copy that is presented, whatever its caveats say. It may be revoked already, and need not be discharged."""
    presented = text if text is not None else require_token(request).text
    token = await request.runtime.tokens.introspect(presented, even_revoked=True, even_undischarged=True)
    return await request.runtime.revocations.revoke_presented(token, counted_at=request.throttle_key)


async def revoke_whole(request: RequestContext, token_id: str) -> RevocationRecord | AlreadyDead:
    """A whole token: the one presented if no holder narrowed it, a labelled one of the caller's, or for an admin any."""
    presented = await _presented(request, token_id)
    if presented is not None and presented.whole:
        return await request.runtime.revocations.revoke_presented(presented, counted_at=request.throttle_key)
    try:
        caller = await _require_owner_or_admin(request, token_id)
    except Problem as problem:
        if problem.code == "forbidden":  # the caller is not told whether somebody else has such a token
            raise not_found(_NOT_YOURS) from None
        raise
    return await request.runtime.revocations.revoke_token(token_id, actor=caller.in_audit)


async def _revoke_branch(
    request: RequestContext, token_id: str, branch_id: str
) -> RevocationRecord | AlreadyDead:
    """A branch by its id: for the token's user, for a holder of the whole token or of that copy, or for an admin.

    An app can put any id into a token of its audience, and so it revokes no branch but its own: another may be one of
    a token for an account.
    """
    branch = _read_branch_id(branch_id)
    presented = await _presented(request, token_id)
    counted_at: str | None = request.throttle_key
    if presented is None:
        caller = await _require_owner_or_admin(request, token_id)
        actor = caller.in_audit
        counted_at = None if caller.administers else counted_at
    elif branch == presented.branches[-1]:
        return await request.runtime.revocations.revoke_presented(presented, counted_at=request.throttle_key)
    elif presented.whole and presented.audience == DEFAULT_AUDIENCE:
        actor = actor_of(presented)
    else:
        raise forbidden("a narrowed copy, or a token for an app, may revoke itself, not other branches")
    return await request.runtime.revocations.revoke_branch(
        token_id, branch, actor=actor, counted_at=counted_at
    )


def _read_branch_id(text: str) -> bytes:
    """The branch id, 16 bytes. Raises a 400 `Problem`."""
    try:
        branch = bytes.fromhex(text)
    except ValueError:
        branch = b""
    if len(branch) != BRANCH_ID_SIZE or branch.hex() != text:
        raise bad_request(f"a branch id is {BRANCH_ID_SIZE} bytes in lower-case hex")
    return branch


async def _presented(request: RequestContext, token_id: str) -> Introspection | None:
    """The token in the request's head, if it is the one with this id or a copy of it. Raises a 404 `Problem` for no id."""
    if not is_token_id(token_id):
        raise not_found("a token id is a ULID")
    if not isinstance(request.credential, TokenCredential):
        return None
    token = await request.runtime.tokens.introspect(request.credential.text, even_undischarged=True)
    return token if token.token_id == token_id else None


async def _require_owner_or_admin(request: RequestContext, token_id: str) -> Actor:
    """The caller, who labelled this token or is an administrator."""
    label = await request.runtime.store.labels.get(token_id)
    return await require_owner_or_admin(request, label.username if label is not None else None)


async def _revoke_user(
    request: RequestContext, username: str, body: schemas.RevokeRequest, once: Once
) -> RevocationRecord | AlreadyDead:
    username = check_username(username)
    actor = await require_owner_or_admin(request, username)
    return await request.runtime.accounts.revoke_all(
        username, actor=actor, once=once.by(actor.username, body, must_go_on=True)
    )


async def listing(request: RequestContext) -> Response:
    """A page of the feed, from a sequence on. For administrators."""
    await require_admin(request)
    after = request.number("after", 0, 2**53)
    limit = max(1, request.number("limit", 1000, 5000))
    page = await request.runtime.store.revocations.page(after, limit=limit)
    return reply(
        schemas.RevocationsResponse(
            epoch=page.epoch,
            last_sequence=page.last_sequence,
            resync=after > page.last_sequence or 0 < after < page.floor,
            revocations=[revocation_response(record) for record in page.records],
        )
    )
