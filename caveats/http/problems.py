"""Problems: what the answer to a refused request looks like. Status, code, challenge and body, one table for all errors.

Knows the library's errors. Knows no framework. Sources: RFC 9457 (problems), RFC 6750 section 3 and RFC 7617 (challenges).
"""

from __future__ import annotations

import json
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from caveats import errors
from caveats.kinds import Expires
from caveats.token.wire import encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Problem(Exception):
    """An answer other than the one asked for, as application/problem+json (RFC 9457).

    `code` is stable, for programs; `detail` is for people. `members` are further members of the body, and
    `extra_headers` further headers: `WWW-Authenticate`, `Retry-After`, `Allow`.
    """

    __reduce__ = errors.reduce_error

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
        self.extra_headers = dict(headers or {})
        self.members = dict(members or {})

    @property
    def title(self) -> str:
        """The title of the code, from `TITLES`."""
        return TITLES.get(self.code, self.code.replace("_", " "))

    @property
    def document(self) -> dict[str, object]:
        """The members of the body (RFC 9457, section 3.1)."""
        detail = {"detail": self.detail} if self.detail else {}
        return {
            "type": f"urn:caveats:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            **detail,
            **self.members,
        }

    @cached_property
    def body(self) -> bytes:
        """The body: `document` as JSON in UTF-8."""
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

    @property
    def headers(self) -> dict[str, str]:
        """All headers of the answer."""
        return {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            **self.extra_headers,
        }


TITLES: Mapping[str, str] = MappingProxyType(
    {
        "bad_request": "The request is not what this endpoint takes",
        "body_timeout": "The request's body took too long",
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
        "password_change_required": "The password was set for once: change it first",
        "rate_limited": "Too many attempts; wait",
        "registration_closed": "Only an administrator can add users here",
        "too_large": "The request is too large",
        "too_many_branches": "Too many copies of this token are revoked one by one",
        "two_credentials": "One request carries one credential",
        "unavailable": "The service cannot do that now; try again",
        "unsupported_media_type": "Send application/json",
        "wrong_audience": "The token is for another audience",
    }
)
"""Every code of the service and of the guards, with its title."""

_REALM = 'Bearer realm="caveats"'
_BASIC = 'Basic realm="caveats", charset="UTF-8"'


def _challenge(error: str) -> dict[str, str]:
    """The challenge to a token that was refused (RFC 6750, section 3). `error`: a code of section 3.1."""
    return {"WWW-Authenticate": f'{_REALM}, error="{error}"'}


def bad_request(detail: str) -> Problem:
    """400: the form of the request, or a value in it, is wrong."""
    return Problem(400, "bad_request", detail)


def two_credentials(detail: str = "send one credential, in one header") -> Problem:
    """400: several credentials, of which each reader of the request might take another."""
    return Problem(400, "two_credentials", detail)


def credential_required() -> Problem:
    """401: no credential, or one of a scheme that this endpoint does not take."""
    return Problem(401, "credential_required", headers={"WWW-Authenticate": _REALM})


def invalid_token() -> Problem:
    """401: the token is not authentic, or not live. The same answer in every such case."""
    return Problem(401, "invalid_token", headers=_challenge("invalid_token"))


def damaged_token() -> Problem:
    """401: the checksum of the token's text does not match. The text was cut off or mistyped."""
    return Problem(401, "damaged_token", headers=_challenge("invalid_token"))


def invalid_credentials() -> Problem:
    """401: an unknown user, a wrong password or a disabled account. The same answer in every such case."""
    return Problem(401, "invalid_credentials", headers={"WWW-Authenticate": f"{_REALM}, {_BASIC}"})


def cross_site() -> Problem:
    """403: a page of another site sent the request, or may have, with a credential that the browser sends unasked."""
    return Problem(403, "cross_site")


def offering_basic(problem: Problem) -> Problem:
    """A 401 whose challenge also asks for Basic, for an app that takes a token as its password; another problem as it is.

    Basic is first: some programs read the first challenge only.
    """
    challenge = problem.extra_headers.get("WWW-Authenticate")
    if problem.status != 401 or challenge is None:
        return problem
    headers = {**problem.extra_headers, "WWW-Authenticate": f"{_BASIC}, {challenge}"}
    return Problem(401, problem.code, problem.detail, headers=headers, members=problem.members)


def unavailable(retry_after: float = 1, detail: str = "") -> Problem:
    """503: the client may try again after `retry_after` seconds, at least one."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(max(1, int(retry_after)))})


# The problem of each error of the library

Row: TypeAlias = "tuple[int, str] | Callable[[Any], Problem]"
"""A status and a code, with the error's message as the detail; or a function from the error to its problem."""


_LONGEST_WAIT = 3600
"""Seconds that clients are told to wait, at most: whatever is on the way to the service can ask for more."""


def unavailable_as_told(error: Exception) -> Problem:
    """503: the token cannot be judged now. `error.retry_after`, if it is a number, is the seconds to wait, an hour at most.

    Of the reason, only `error.clock` is told: the rest may name machines that are no business of the app's clients.
    """
    seconds = getattr(error, "retry_after", None)
    wait = min(seconds, _LONGEST_WAIT) if isinstance(seconds, int | float) and seconds >= 0 else 1
    return unavailable(wait, getattr(error, "clock", ""))


def _unsatisfied(error: errors.UnsatisfiedCaveats) -> Problem:
    """403 with every failure; for an expired token the 401 of every token that is not live."""
    if any(failure.kind == Expires.kind for failure in error.failures):
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
    return Problem(
        403, "caveats_unsatisfied", headers=_challenge("insufficient_scope"), members={"failures": failures}
    )


def _discharge_required(error: errors.MissingDischarge) -> Problem:
    """401 with the third party's location and the ticket to show there, in base64url."""
    asked = {"location": error.location, "ticket": encode_base64(error.ticket)}
    return Problem(401, "discharge_required", str(error), headers=_challenge("invalid_token"), members=asked)


PROBLEMS: Mapping[type[Exception], Row] = MappingProxyType(
    {
        errors.MalformedToken: lambda _: invalid_token(),
        errors.DamagedToken: lambda _: damaged_token(),
        errors.LimitExceeded: lambda _: invalid_token(),
        errors.Refused: lambda _: invalid_token(),
        errors.MissingDischarge: _discharge_required,
        errors.WrongAudience: (403, "wrong_audience"),
        errors.UnsatisfiedCaveats: _unsatisfied,
        errors.Stale: unavailable_as_told,
        errors.RejectedDelivery: unavailable_as_told,
        Problem: lambda problem: problem,
    }
)
"""The problem of each error class of the library. A service or a guard adds rows: `{**PROBLEMS, ...}`."""


def find_problem(error: Exception, table: Mapping[type[Exception], Row] = PROBLEMS) -> Problem | None:
    """The problem in the row of `error`'s class, or of its nearest base class. None if no row fits."""
    for kind in type(error).__mro__:
        row = table.get(kind)
        if row is not None:
            return row(error) if callable(row) else Problem(*row, str(error))
    return None
