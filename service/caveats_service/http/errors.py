"""Every error as HTTP sees it: one table from exception to status and code (RFC 9457 problem+json).

Knows exceptions and statuses, no routes. A token that is not authentic or not live gets one uniform body; only
whoever holds an authentic token is told why it was refused. Nothing here repeats what was sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

import caveats
from caveats.durations import BadDuration
from caveats.token import wire
from caveats_service.core.errors import (
    Busy,
    CeilingReached,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    NotFound,
    RateLimited,
    RegistrationClosed,
)
from caveats_service.discharge.protocol import UnsupportedForm
from caveats_service.storage import (
    AgentExists,
    GroupExists,
    IdempotencyConflict,
    InteractionsFull,
    KeyConflict,
    KeyInUse,
    LabelExists,
    StoreUnavailable,
    UnknownAgent,
    UnknownGroup,
    UnknownInteraction,
    UnknownMasterKey,
    UnknownUser,
    UnknownVerifier,
    UserExists,
)

_log = structlog.get_logger("caveats")
_REALM: Final = 'Bearer realm="caveats"'


class Problem(Exception):
    """An answer that is not the one asked for."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def response(self) -> Response:
        """The problem+json response."""
        body: dict[str, object] = {
            "type": f"urn:caveats:problem:{self.code}",
            "title": TITLES.get(self.code, self.code.replace("_", " ")),
            "status": self.status,
            "code": self.code,
        }
        if self.detail:
            body["detail"] = self.detail
        body.update(self.members)
        headers = {"Cache-Control": "no-store", **self.headers}
        return JSONResponse(body, self.status, headers, media_type="application/problem+json")


TITLES: Final[Mapping[str, str]] = {
    "bad_request": "The request is not what this endpoint takes",
    "caveats_unsatisfied": "The token's caveats refuse this request",
    "ceiling_reached": "The token cannot live any longer",
    "conflict": "That is taken, or has changed meanwhile",
    "credential_required": "This needs a credential",
    "cross_site": "A page of another site may not do this",
    "damaged_token": "The token was cut off or mistyped",
    "discharge_required": "A third party has to agree first",
    "forbidden": "This credential does not allow that",
    "headers_too_large": "The request's headers are too large",
    "internal": "Something went wrong here",
    "invalid_credentials": "No such user, or not their password",
    "invalid_token": "The token is not valid",
    "key_in_use": "Tokens under that key may be alive",
    "method_not_allowed": "This endpoint does not know that method",
    "not_found": "There is no such thing here",
    "rate_limited": "Too many attempts; wait",
    "registration_closed": "Only an administrator can add users here",
    "too_large": "The request is too large",
    "two_credentials": "One request carries one credential",
    "unavailable": "The service cannot do that now; try again",
    "unsupported_media_type": "Send application/json",
    "wrong_audience": "The token is for another audience",
}


def bad_request(detail: str) -> Problem:
    """400: the shape or a value is wrong."""
    return Problem(400, "bad_request", detail)


def invalid_token() -> Problem:
    """401, always the same: not authentic or not live."""
    return Problem(401, "invalid_token", headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})


def damaged_token() -> Problem:
    """401: the checksum says that a paste went wrong."""
    return Problem(401, "damaged_token", headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})


def credential_required() -> Problem:
    """401: no credential was given."""
    return Problem(401, "credential_required", headers={"WWW-Authenticate": _REALM})


def invalid_credentials() -> Problem:
    """401, the same for an unknown user, a wrong password and a disabled account."""
    return Problem(
        401, "invalid_credentials", headers={"WWW-Authenticate": f'{_REALM}, Basic realm="caveats"'}
    )


def forbidden(detail: str) -> Problem:
    """403: authentic, and not enough."""
    return Problem(403, "forbidden", detail)


def not_found(detail: str = "") -> Problem:
    """404."""
    return Problem(404, "not_found", detail)


def rate_limited(retry_after: int) -> Problem:
    """429."""
    return Problem(429, "rate_limited", headers={"Retry-After": str(max(1, retry_after))})


def unavailable(retry_after: int = 1) -> Problem:
    """503."""
    return Problem(503, "unavailable", headers={"Retry-After": str(max(1, retry_after))})


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    code: str
    tell: bool = True
    """Whether the error's own words go out; they never hold a secret, but they may help a guesser."""


_TABLE: Final[Mapping[type[Exception], _Row]] = {
    caveats.MalformedCaveat: _Row(400, "bad_request"),
    BadDuration: _Row(400, "bad_request"),
    InvalidRequest: _Row(400, "bad_request"),
    Forbidden: _Row(403, "forbidden"),
    RegistrationClosed: _Row(403, "registration_closed", tell=False),
    CeilingReached: _Row(403, "ceiling_reached"),
    NotFound: _Row(404, "not_found"),
    UnsupportedForm: _Row(415, "unsupported_media_type"),
    UserExists: _Row(409, "conflict"),
    GroupExists: _Row(409, "conflict"),
    AgentExists: _Row(409, "conflict"),
    IdempotencyConflict: _Row(409, "conflict"),
    LabelExists: _Row(409, "conflict"),
    KeyConflict: _Row(409, "conflict"),
    UnknownVerifier: _Row(404, "not_found"),
    UnknownUser: _Row(404, "not_found"),
    UnknownGroup: _Row(404, "not_found"),
    UnknownAgent: _Row(404, "not_found"),
    UnknownInteraction: _Row(404, "not_found"),
    UnknownMasterKey: _Row(404, "not_found"),
}


def problem_of(error: Exception) -> Problem:
    """The problem that an exception is. What the table does not know is a 500, logged without its words."""
    match error:
        case Problem():
            return error
        case caveats.DamagedToken():
            return damaged_token()
        case caveats.UnsatisfiedCaveats():
            return _unsatisfied(error)
        case caveats.MissingDischarge():
            asked: dict[str, object] = {
                "location": error.location,
                "ticket": wire.encode_base64(error.ticket),
            }
            challenge = {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'}
            return Problem(401, "discharge_required", str(error), headers=challenge, members=asked)
        case caveats.DischargeRefused():
            return forbidden(str(error))
        case caveats.MalformedTicket():
            return bad_request(str(error))
        case caveats.WrongAudience():
            return Problem(403, "wrong_audience", str(error))
        case caveats.MalformedToken() | caveats.LimitExceeded() | caveats.Refused():
            return invalid_token()
        case InvalidCredentials():
            return invalid_credentials()
        case RateLimited():
            return rate_limited(error.retry_after)
        case Busy():
            return unavailable(error.retry_after)
        case InteractionsFull():
            return unavailable(60)
        case StoreUnavailable():
            _log.error("store_unavailable", error=type(error).__name__)
            return unavailable()
        case KeyInUse():
            members: dict[str, object] = {
                "until": f"{error.until:%Y-%m-%dT%H:%M:%SZ}",
                "labelled_tokens": error.labelled,
            }
            return Problem(409, "key_in_use", str(error), members=members)
        case HTTPException():
            return _of_starlette(error)
        case ClientDisconnect():  # nobody is there to read it
            return bad_request("the body is not whole")
        case _:
            pass
    for kind in type(error).__mro__:
        row = _TABLE.get(kind)
        if row is not None:
            return Problem(row.status, row.code, str(error) if row.tell else "")
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else ""
    _log.error("internal_error", error=type(error).__name__, where=where)
    return Problem(500, "internal")


def _unsatisfied(error: caveats.UnsatisfiedCaveats) -> Problem:
    """403 with every failure; a token that has expired is not live, and then the uniform 401."""
    if any(failure.kind == caveats.Expires.kind for failure in error.failures):
        return invalid_token()
    failures = [
        {
            "index": failure.index,
            "kind": failure.kind,
            "predicate": failure.predicate,
            "added_by": failure.added_by,
            "reason": failure.reason,
            "hint": failure.hint,
        }
        for failure in error.failures
    ]
    challenge = {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'}
    return Problem(403, "caveats_unsatisfied", headers=challenge, members={"failures": failures})


_STARLETTE: Final[Mapping[int, str]] = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def _of_starlette(error: HTTPException) -> Problem:
    code = _STARLETTE.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
    return Problem(error.status_code, code, headers=error.headers or {})
