"""What every guard does alike: read a request's head, have its token judged, turn errors into problems.

    guard = Guard(verifier, audience="photos", trusted_proxies=("10.0.0.0/8",))
    grant = guard.judge(request, scopes=["photos/42:read"])     # or raises `caveats.http.Problem`

Knows `caveats.http`, the library's errors and the client's. Knows no framework; opens nothing: verifier and clock
are arguments. A problem has the status, code, challenge and body that the service's /v1/authorize would give.
"""

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote

import caveats
from caveats import Context, Grant
from caveats.http import (
    PROBLEMS,
    IncomingRequest,
    Problem,
    Row,
    TrustedProxies,
    check_url,
    context_of,
    find_problem,
    token_of,
    unavailable_as_told,
)
from caveats.kinds import is_plain_path, parse_scope, path_covers
from caveats_client.api.errors import ClientError

_log = logging.getLogger("caveats_client.guards")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NO_FACTS: Final[Mapping[str, Any]] = MappingProxyType({})
_PROBLEMS: Final[Mapping[type[Exception], Row]] = {**PROBLEMS, ClientError: unavailable_as_told}

Extra: TypeAlias = Mapping[str, Any]
"""Facts for plug-in kinds, by name."""
Answers: TypeAlias = Mapping[type[Exception], Row]
"""A problem, or a status and a code, for each class of error."""


class Verifies(Protocol):
    """Anything that grants or refuses: `caveats.Verifier`, a local or a remote verifier, sync or async."""

    def verify(self, presented: str, context: Context, /) -> Grant | Awaitable[Grant]:
        """The grant, or something to await for it. Raises the library's errors."""


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


class Guard:
    """Judges requests. Made once, where the app is put together; safe to use from many threads and tasks.

    An error of the verifier that has no row in `caveats.http.PROBLEMS` or `answers` is a fault of the program. It
    goes on up, and the request is not let through.
    """

    def __init__(
        self,
        verifier: Verifies,
        *,
        audience: str | None = None,
        trusted_proxies: Iterable[str] = (),
        answers: Answers | None = None,
        now: Callable[[], datetime] = utc_now,
        wait: Callable[[Awaitable[Grant]], Grant] | None = None,
    ) -> None:
        """`audience`: of this app; None: the verifier's own. `trusted_proxies`: as for `caveats.http.TrustedProxies`.

        `answers`: problems of further errors; the nearest base class of an error counts.
        `wait`: how `judge` waits for an async verifier; None: in an event loop of its own.
        Raises `ValueError` for a proxy that is no network.
        """
        self.verifier = verifier
        self.audience = audience
        self._proxies = TrustedProxies(trusted_proxies)
        self._problems = {**_PROBLEMS, **(answers or {})}
        self._known = tuple(self._problems)
        self._now = now
        self._wait = wait or run_alone

    def judge(self, request: IncomingRequest, scopes: Sequence[str] = (), extra: Extra = _NO_FACTS) -> Grant:
        """The grant for this request. Raises `Problem`.

        For threads without an event loop; on one, use `judge_async`.
        """
        text, context = self._question(request, scopes, extra)
        try:
            answer = self.verifier.verify(text, context)
            return _granted(self._wait(answer) if inspect.isawaitable(answer) else answer)
        except self._known as error:
            raise self.problem(error) from error

    async def judge_async(
        self, request: IncomingRequest, scopes: Sequence[str] = (), extra: Extra = _NO_FACTS
    ) -> Grant:
        """The grant for this request, from a verifier of either kind. Raises `Problem`."""
        text, context = self._question(request, scopes, extra)
        try:
            answer = self.verifier.verify(text, context)
            return _granted(await answer if inspect.isawaitable(answer) else answer)
        except self._known as error:
            raise self.problem(error) from error

    def _question(self, request: IncomingRequest, scopes: Sequence[str], extra: Extra) -> tuple[str, Context]:
        """The token's text, and the facts to judge it by. Raises `Problem`: 400, or 401 without a token."""
        path = (request.path or "").encode("ascii", "backslashreplace")
        check_url(path, request.query, [value for name, value in request.headers if name == b"referer"])
        credential = token_of(request.headers)
        context = context_of(
            request, self._proxies, now=self._now(), audience=self.audience, scopes=scopes, extra=extra
        )
        return credential.text, context

    def problem(self, error: Exception) -> Problem:
        """The problem that one of the errors is that this guard knows. Raises the error itself if it knows it not."""
        problem = find_problem(error, self._problems)
        if problem is None:
            raise error
        if problem.status >= 500:
            _log.warning("a token could not be judged: %s: %s", type(error).__name__, error)
        return problem


async def awaited(answer: Awaitable[Grant]) -> Grant:
    """What `answer` comes to."""
    return await answer


def run_alone(answer: Awaitable[Grant]) -> Grant:
    """The same, in an event loop made for it."""
    return asyncio.run(awaited(answer))


def _granted(answer: object) -> Grant:
    """Only a grant is a grant."""
    if not isinstance(answer, Grant):
        raise TypeError(f"a verifier answers with a Grant or raises; this one gave {type(answer).__name__}")
    return answer


# What a request needs


def checked_scopes(scopes: str | Iterable[str]) -> tuple[str, ...]:
    """Scopes named once, where the app is put together; `{name}` stands for a parameter of the path.

    Raises `caveats.MalformedCaveat`, so that it is not a user who finds the mistyped one.
    """
    named = tuple(scopes.split(" ") if isinstance(scopes, str) else scopes)
    for scope in named:
        parse_scope(_PARAMETER.sub("x", scope))
    return named


def filled_scopes(scopes: Sequence[str], parameters: Mapping[str, object]) -> tuple[str, ...]:
    """`photos/{photo_id}:read`, with the path's parameters in it. Raises `KeyError` for one that is not there.

    A value fills one segment: with a slash, a colon or a dot segment in it, it makes a scope that no token covers.
    """
    return tuple(
        _PARAMETER.sub(lambda found: quote(str(parameters[found[1]]), safe="@~+"), scope)
        if "{" in scope
        else scope
        for scope in scopes
    )


def is_public(patterns: Sequence[str], request: IncomingRequest) -> bool:
    """Whether the path, as it came, is one of these or lies below one's `/*`. A path in disguise never is."""
    path = request.path
    return (
        path is not None and is_plain_path(path) and any(path_covers(pattern, path) for pattern in patterns)
    )


def checked_paths(patterns: Iterable[str]) -> tuple[str, ...]:
    """Path patterns, `/a/b` or `/a/*`. Raises `caveats.MalformedCaveat`."""
    named = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    return caveats.Path(*named).patterns if named else ()
