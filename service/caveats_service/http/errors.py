"""Every error as HTTP sees it: one table, from the class of an error to its problem (RFC 9457).

Knows errors and statuses. Knows no route and no request. Code below HTTP raises its own errors and never a
`Problem`; a new error is one row here. A token that is not authentic or not live gets one uniform body; the
reasons of a refusal are for holders of an authentic token. A detail may name what was wrong (a name, a scope, a caveat),
shortened; what looks like a token is cut out of it, and no message holds a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from caveats import DischargeRefused, MalformedCaveat, MalformedTicket
from caveats.durations import BadDuration
from caveats.http import PROBLEMS, Problem, Row, bad_request, find_problem, invalid_credentials, unavailable
from caveats.printable import printable
from caveats_service.core import log
from caveats_service.core.errors import (
    Busy,
    CeilingReached,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    NotFound,
    NotReady,
    PasswordChangeRequired,
    RateLimited,
    RegistrationClosed,
    TooManyBranches,
    TooManyRevocations,
)
from caveats_service.discharge.protocol import UnsupportedForm
from caveats_service.storage import (
    AgentExists,
    BadValue,
    ClientExists,
    DatabaseReplaced,
    GroupExists,
    IdempotencyConflict,
    InteractionsFull,
    KeyConflict,
    KeyInUse,
    LabelExists,
    LabelsFull,
    LastAdministrator,
    StoreBroken,
    StoreUnavailable,
    UnknownAgent,
    UnknownClient,
    UnknownGroup,
    UnknownInteraction,
    UnknownMasterKey,
    UnknownUser,
    UnknownVerifier,
    UserExists,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_DETAIL = 400
"""Characters of a detail."""
_SECRET = re.compile(r"cav1_[A-Za-z0-9_-]*|[A-Za-z0-9+/_=-]{48,}")
"""What looks like a token or a key, also if it was cut off."""
_FULL = 60
"""Seconds until a client comes back that found no place for its interaction."""


def forbidden(detail: str) -> Problem:
    """403: authentic, and not enough."""
    return Problem(403, "forbidden", detail)


def not_found(detail: str = "") -> Problem:
    """404."""
    return Problem(404, "not_found", detail)


def rate_limited(retry_after: int, detail: str = "") -> Problem:
    """429: come back after `retry_after` seconds."""
    return Problem(429, "rate_limited", detail, headers={"Retry-After": str(max(1, retry_after))})


def _store_unavailable(error: StoreUnavailable) -> Problem:
    log.error("store_unavailable", error=type(error).__name__, detail=str(error))
    return unavailable(detail=str(error) if isinstance(error, DatabaseReplaced) else "")


def _store_broken(error: StoreBroken) -> Problem:
    log.error("store_broken", detail=str(error))
    return Problem(
        500, "internal", "the database refuses this, also later; the service's log has what it said"
    )


def _not_ready(error: NotReady) -> Problem:
    return Problem(
        503, "unavailable", str(error), headers={"Retry-After": "1"}, members={"reason": error.reason}
    )


def _key_in_use(error: KeyInUse) -> Problem:
    members = {"until": f"{error.until:%Y-%m-%dT%H:%M:%SZ}", "labelled_tokens": error.labelled}
    return Problem(409, "key_in_use", str(error), members=members)


_TABLE: Mapping[type[Exception], Row] = {
    **PROBLEMS,  # the library's own
    # what was asked for is malformed
    MalformedCaveat: (400, "bad_request"),
    MalformedTicket: (400, "bad_request"),
    BadDuration: (400, "bad_request"),
    InvalidRequest: (400, "bad_request"),
    BadValue: (400, "bad_request"),
    ClientDisconnect: lambda _: bad_request("the body is not whole"),  # nobody is there to read it
    # the caller may not have it
    InvalidCredentials: lambda _: invalid_credentials(),
    Forbidden: (403, "forbidden"),
    DischargeRefused: (403, "forbidden"),
    PasswordChangeRequired: (403, "password_change_required"),
    RegistrationClosed: lambda _: Problem(403, "registration_closed"),
    CeilingReached: (403, "ceiling_reached"),
    # it is not there
    NotFound: (404, "not_found"),
    UnsupportedForm: (415, "unsupported_media_type"),
    UnknownVerifier: (404, "not_found"),
    UnknownUser: (404, "not_found"),
    UnknownGroup: (404, "not_found"),
    UnknownAgent: (404, "not_found"),
    UnknownClient: (404, "not_found"),
    UnknownInteraction: (404, "not_found"),
    UnknownMasterKey: (404, "not_found"),
    # it is there already, or has changed meanwhile
    UserExists: (409, "conflict"),
    LastAdministrator: (409, "conflict"),
    GroupExists: (409, "conflict"),
    AgentExists: (409, "conflict"),
    ClientExists: (409, "conflict"),
    IdempotencyConflict: (409, "conflict"),
    LabelExists: (409, "conflict"),
    LabelsFull: (409, "conflict"),
    KeyConflict: (409, "conflict"),
    KeyInUse: _key_in_use,
    TooManyBranches: (409, "too_many_branches"),
    # not now
    RateLimited: lambda error: rate_limited(error.retry_after),
    TooManyRevocations: lambda error: rate_limited(error.retry_after, str(error)),
    Busy: lambda error: unavailable(error.retry_after),
    InteractionsFull: lambda _: unavailable(_FULL),
    NotReady: _not_ready,
    StoreUnavailable: _store_unavailable,
    StoreBroken: _store_broken,
}
"""A row is a status and a code, with the error's message as the detail, or a function from the error to a
`Problem`. The message of an error with the first form of row goes out: it holds no secret."""


def problem_of(error: Exception) -> Problem:
    """The problem that an error is. One without a row is a 500, and is logged without its message."""
    problem = find_problem(error, _TABLE)
    if problem is not None:
        problem.detail = _detail(problem.detail)
        return problem
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else ""
    log.error("internal_error", error=type(error).__name__, where=where)
    return Problem(500, "internal")


def _detail(text: str) -> str:
    """A message for the answer. Most are constant; the others name what was wrong, and a caller may send a token as anything."""
    if len(text) > _LONGEST_DETAIL:
        text = f"{text[:_LONGEST_DETAIL]}..."
    return printable(_SECRET.sub("...", text))


def problem_response(error: Exception) -> Response:
    """The answer to an error, or to a `Problem` itself."""
    problem = problem_of(error)
    return Response(problem.body, problem.status, problem.headers)
