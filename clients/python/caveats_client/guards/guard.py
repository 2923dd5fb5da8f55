"""What all guards share: read a request's head, verify its token, turn errors into problems.

    guard = Guard(verifier, audience="photos", trusted_proxies=("10.0.0.0/8",))
    grant = guard.judge(request, scopes=["photos/42:read"])     # or raises `caveats.http.Problem`

Knows `caveats.http`, the library's errors and the client's. Knows no framework and opens nothing: verifier and clock
are arguments. A problem has the same status, code, challenge and body as an answer of the service's /v1/authorize.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypedDict

from caveats import Context, Grant, Path, UnsatisfiedCaveats, Verifier
from caveats.forks import renewed_after_fork
from caveats.http import (
    PROBLEMS,
    IncomingRequest,
    Problem,
    Row,
    TrustedProxies,
    UnknownProxies,
    bad_request,
    check_url,
    context_of,
    cross_site,
    find_problem,
    offering_basic,
    opens_websocket,
    origins_of,
    token_of,
    unavailable_as_told,
)
from caveats_client.api.errors import ClientError

_log = logging.getLogger("caveats_client.guards")
_MOST_THREADS = 32
"""The most threads of a guard in which a sync verifier is asked."""
_NO_FACTS: Mapping[str, Any] = MappingProxyType({})
_NO_PATH = "this server does not give the path as it was sent; in development, make the guard with decoded_paths=True"
_SAFE = ("GET", "HEAD", "OPTIONS")
_PROBLEMS: Mapping[type[Exception], Row] = {**PROBLEMS, ClientError: unavailable_as_told}

Extra: TypeAlias = Mapping[str, Any]
"""Facts for plug-in kinds, by name."""
Answers: TypeAlias = Mapping[type[Exception], Row]
"""For each class of errors: a status and a code, or a function that makes a `Problem` from the error."""


class Verifies(Protocol):
    """An object that grants or refuses: `caveats.Verifier`, a local or a remote verifier, sync or async.

    In an event loop, `verify` is called in a thread unless it is a coroutine function, or `caveats.Verifier`'s, which
    waits for nobody.
    """

    def verify(self, presented: str, context: Context, /) -> Grant | Awaitable[Grant]:
        """The grant, or something to await for it. Raises the library's errors."""


def utc_now() -> datetime:
    """The time by the system's clock, in UTC."""
    return datetime.now(UTC)


class GuardOptions(TypedDict, total=False):
    """The options of `Guard` that every integration takes too, as keywords."""

    audience: str | None
    """The audience of this app; None: the verifier's own."""
    trusted_proxies: Iterable[str]
    """The networks of proxies whose headers are believed, as for `caveats.http.TrustedProxies`."""
    answers: Answers | None
    """Problems of further errors. For an error, its nearest base class counts."""
    now: Callable[[], datetime]
    """The time, with its zone. Default: the system's clock."""
    basic: bool
    """Take a token as the password of Basic, for programs that speak nothing else, and ask for it in the challenge.

    A page of another site that changes something with what a browser remembers is refused.
    """
    subprotocol: bool
    """Take a token among the subprotocols of a WebSocket's handshake, for browsers, which send no other header."""
    cookie: str
    """Take a token in the cookie of this name, for pages of the app's own; empty: in none.

    A request with it that may change something needs an `Origin` of the app's own. Name it `__Host-...` where the app is
    reached over https, and set it `Secure`, `HttpOnly` and `SameSite=Lax`.
    """


def no_facts(_native: object) -> Extra:
    """No facts for plug-in kinds: what an integration uses if it is given no `extra`."""
    return _NO_FACTS


class Guard:
    """Judges requests. Make one when the app starts; safe to use from many threads and tasks.

    An error of the verifier without a row in `caveats.http.PROBLEMS` or `answers` is a bug of the program: it is
    raised unchanged, and the request is not granted.
    """

    def __init__(
        self,
        verifier: Verifies,
        *,
        audience: str | None = None,
        trusted_proxies: Iterable[str] = (),
        answers: Answers | None = None,
        now: Callable[[], datetime] = utc_now,
        basic: bool = False,
        subprotocol: bool = False,
        cookie: str = "",
        wait: Callable[[Awaitable[Grant]], Grant] | None = None,
    ) -> None:
        """`audience`, `trusted_proxies`, `answers`, `now`, `basic`, `subprotocol`, `cookie`: as `GuardOptions` says.

        `wait`: runs an async verifier's answer for `judge`; None: in a new event loop.
        Raises `ValueError` if a proxy is not an IP network, or if the verifier has keys for another audience.
        """
        own = getattr(verifier, "audience", None)
        if audience is not None and isinstance(own, str) and own != audience:
            raise ValueError(f"this verifier verifies tokens of audience {own!r}, and none of {audience!r}")
        self.verifier = verifier
        self.audience = audience
        self._proxies = TrustedProxies(trusted_proxies)
        self._unknown_proxies = UnknownProxies(self._proxies, setting="trusted_proxies")
        self._told_of_paths = False
        self._problems = {**_PROBLEMS, **(answers or {})}
        self._known = tuple(self._problems)
        self._now = now
        self._basic = basic
        self._cookie = cookie
        self.subprotocol = subprotocol
        self._wait = wait or run_alone
        self._holds_up = not (inspect.iscoroutinefunction(verifier.verify) or isinstance(verifier, Verifier))
        renewed_after_fork(self, Guard._renew)

    def _renew(self) -> None:
        """Make the threads for a verifier that waits in its thread: they start when they are needed."""
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "caveats-guard") if self._holds_up else None

    def judge(self, request: IncomingRequest, scopes: Sequence[str] = (), extra: Extra = _NO_FACTS) -> Grant:
        """The grant for this request. Raises `Problem`.

        For threads without an event loop. In an event loop, use `judge_async`.
        """
        text, context = self._question(request, scopes, extra)
        try:
            answer = self.verifier.verify(text, context)
            return _granted(self._wait(answer) if inspect.isawaitable(answer) else answer)
        except self._known as error:
            raise self.problem(self._explained(error, request)) from error

    async def judge_async(
        self, request: IncomingRequest, scopes: Sequence[str] = (), extra: Extra = _NO_FACTS
    ) -> Grant:
        """The grant for this request, from a sync or async verifier. Raises `Problem`.

        The event loop goes on while a verifier waits for the network, a sync one in a thread.
        """
        text, context = self._question(request, scopes, extra)
        try:
            if self._threads is None:
                answer = self.verifier.verify(text, context)
            else:
                verify = functools.partial(copy_context().run, self.verifier.verify, text, context)
                answer = await asyncio.get_running_loop().run_in_executor(self._threads, verify)
            return _granted(await answer if inspect.isawaitable(answer) else answer)
        except self._known as error:
            raise self.problem(self._explained(error, request)) from error

    def _explained(self, error: Exception, request: IncomingRequest) -> Exception:
        """The error, with what to set in the app where a fact is not known. The log is told as well."""
        if not isinstance(error, UnsatisfiedCaveats):
            return error
        self._unknown_proxies.tell(request, _log)
        error = self._unknown_proxies.explained(error, request)
        if request.path is None and request.routed is not None:
            if not self._told_of_paths:
                self._told_of_paths = True
                _log.warning("path caveats refuse here: %s", _NO_PATH)
            failures = [
                replace(one, hint=f"{one.hint}; {_NO_PATH}") if one.kind == Path.kind else one
                for one in error.failures
            ]
            return UnsatisfiedCaveats(failures)
        return error

    def _question(self, request: IncomingRequest, scopes: Sequence[str], extra: Extra) -> tuple[str, Context]:
        """The token's text, and the facts of the request. Raises `Problem`: 400 if malformed, 401 without a token."""
        try:
            path = (request.path or "").encode("ascii", "backslashreplace")
            check_url(path, request.query, [value for name, value in request.headers if name == b"referer"])
            credential = token_of(
                request.headers, self._cookie, basic=self._basic, subprotocol=self.subprotocol
            )
            if credential.from_basic or credential.from_cookie:
                _refuse_other_sites(request, self._proxies, needs_origin=credential.from_cookie)
        except Problem as problem:
            raise self._offered(problem) from None
        now = self._now()
        try:
            context = context_of(
                request, self._proxies, now=now, audience=self.audience, scopes=scopes, extra=extra
            )
        except ValueError as error:
            # An app may pass on what the client sent, nested as deep as the client likes.
            raise bad_request(str(error)) from error
        return credential.text, context

    def problem(self, error: Exception) -> Problem:
        """The problem for a verifier's error. Raises the error itself if it has no row."""
        problem = find_problem(error, self._problems)
        if problem is None:
            raise error
        if problem.status >= 500:
            _log.warning("a token could not be judged: %s: %s", type(error).__name__, error)
        return self._offered(problem)

    def _offered(self, problem: Problem) -> Problem:
        """The problem, whose challenge says that Basic will do as well where it does."""
        return offering_basic(problem) if self._basic else problem


def _refuse_other_sites(request: IncomingRequest, proxies: TrustedProxies, *, needs_origin: bool) -> None:
    """Raises a 403 `Problem` if a page of another site makes a browser send a credential with what may change something.

    `needs_origin`: whether the request has to say that it comes from a page of this app. A program that sends Basic sends
    neither `Origin` nor `Sec-Fetch-Site`; a browser sends `Origin` with whatever may change something.
    """
    if request.method in _SAFE and not opens_websocket(request.headers):
        return
    named = dict(request.headers)
    origin = named.get(b"origin")
    own = origins_of(proxies.host(request))
    foreign = needs_origin if origin is None else origin.decode("latin-1") not in own
    if foreign or named.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        raise cross_site()


async def awaited(answer: Awaitable[Grant]) -> Grant:
    """The result of an awaitable, as a coroutine."""
    return await answer


def run_alone(answer: Awaitable[Grant]) -> Grant:
    """The result of an awaitable, run in a new event loop."""
    return asyncio.run(awaited(answer))


def _granted(answer: object) -> Grant:
    """The answer, if it is a `Grant`. Raises `TypeError` for anything else, also for True."""
    if not isinstance(answer, Grant):
        raise TypeError(f"a verifier answers with a Grant or raises; this one gave {type(answer).__name__}")
    return answer
