"""Verification: one token or many, each with the facts of its request, each caveat explained."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import caveats
from caveats import Context, Failure, Introspection
from caveats.context import TEXT_FACTS
from caveats_service.core.issuing import DEFAULT_AUDIENCE
from caveats_service.http import schemas
from caveats_service.http.errors import problem_of
from caveats_service.http.request import RequestContext, reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.responses import Response

_MOST_REVOKED = 1000


async def verify(request: RequestContext) -> Response:
    """Granted or refused, caveat by caveat. Anybody who holds the token may ask."""
    body = await request.read_as(schemas.VerifyAnyRequest)
    asked = hashlib.sha256(request.body).hexdigest()
    if isinstance(body, schemas.VerifyManyRequest):
        results = [await _judged(request, each) for each in body.tokens]
        request.refused = not all(each.granted for each in results)
        return reply(schemas.VerifyManyResponse(results=results, request_sha256=asked))
    verdict = await _judge(request, body)
    verdict.request_sha256 = asked
    request.refused = not verdict.granted
    return reply(verdict)


async def _judged(request: RequestContext, asked: schemas.VerifyRequest) -> schemas.VerifyResponse:
    """As `_judge`, with the problem's code where there is nothing to judge."""
    try:
        return await _judge(request, asked)
    except caveats.CaveatsError as error:
        return schemas.VerifyResponse(granted=False, code=problem_of(error).code)


async def _judge(request: RequestContext, asked: schemas.VerifyRequest) -> schemas.VerifyResponse:
    now = request.runtime.now()  # of many tokens, those before may have waited for plug-ins
    context = Context(
        now=now,
        audience=asked.audience or DEFAULT_AUDIENCE,
        scopes=tuple(asked.scope.split(" ")) if asked.scope else (),
        extra=asked.extra,
        **{fact: getattr(asked, fact) for fact in TEXT_FACTS},
    )
    token, failures = await request.runtime.tokens.failures(asked.token, context)
    if not failures:
        request.runtime.tokens.used(token.identifier, now)
    return schemas.VerifyResponse(
        granted=not failures,
        code="caveats_unsatisfied" if failures else None,
        user=token.user,
        token_id=token.token_id,
        audience=token.audience,
        scope=" ".join(token.scopes),
        issued_at=token.issued_at,
        expires_at=token.expires_at,
        caveats=judged(token, failures),
        branches=[branch.hex() for branch in token.branches],
        revoked_branches=_revoked_branches(request, token.token_id),
        judged_at=now,
    )


def _revoked_branches(request: RequestContext, token_id: str) -> list[str] | None:
    """The revoked branches of the token in hex; None if there are more than an answer names."""
    revocations = request.runtime.feed.revocation_set
    if revocations.branch_count(token_id) > _MOST_REVOKED:
        return None
    return [branch.hex() for branch in revocations.branches_of(token_id)]


def judged(token: Introspection, failures: Iterable[Failure]) -> list[schemas.JudgedCaveat]:
    """Every caveat, and what it said."""
    rows = [
        schemas.JudgedCaveat(
            index=index, kind=caveat.kind, predicate=str(caveat), added_by=added_by, satisfied=True
        )
        for index, (caveat, added_by) in enumerate(zip(token.caveats, token.added_by, strict=True))
    ]
    for failure in failures:
        row = rows[failure.index]
        row.satisfied, row.reason, row.hint = False, failure.reason, failure.hint
    return rows
