"""What every gate does alike: the facts and the token of a request, the verdict, the words of a refusal.

Knows the library and HTTP's words. Knows no framework, opens nothing, takes the verifier and the clock as arguments.
A refusal has the status, code, challenge and body that the service's own /v1/authorize would give.
"""

import asyncio
import inspect
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import caveats
from caveats import Context, Grant
from caveats.kinds import Expires, is_plain_path, parse_address, parse_scope, path_covers
from caveats.token.wire import PREFIX, encode_base64
from caveats_client.api.errors import ClientError

UNIX: Final = "unix"
"""Among trusted proxies: whoever connects through a Unix socket, and so has no address."""
_log = logging.getLogger("caveats_client.guards")
_REALM: Final = 'Bearer realm="caveats"'
_PREFIX: Final = PREFIX.encode("ascii")
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NO_FACTS: Final[Mapping[str, Any]] = MappingProxyType({})

Extra: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = "Callable[[Any], Denied]"


class Verifies(Protocol):
    """Anything that grants or refuses: `caveats.Verifier`, a local or a remote verifier, sync or async."""

    def verify(self, presented: str, context: Context, /) -> Grant | Awaitable[Grant]:
        """The grant, or something to await for it. Raises the library's errors."""


def utc_now() -> datetime:
    """The clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """A request as it came in, nothing of it decoded."""

    method: str
    path: str | None
    """The path as it stood in the request line, without the query; None if the server keeps only a decoded one."""
    query: bytes
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    """Names in lower case."""
    peer: str | None
    """Whoever is at the other end of the connection; None on a Unix socket."""


def raw_text(raw: bytes) -> str:
    """A path's bytes as text in which no byte beyond ASCII can pass for a character: it becomes a backslash."""
    return raw.decode("ascii", "backslashreplace")


class Denied(Exception):
    """The answer no, ready to be sent: `status`, `headers`, `body`."""

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
        self._headers = dict(headers or {})
        self._members = dict(members or {})

    @property
    def problem(self) -> dict[str, object]:
        """The members of the problem (RFC 9457)."""
        said = {"detail": self.detail} if self.detail else {}
        return {
            "type": f"urn:caveats:problem:{self.code}",
            "title": TITLES.get(self.code, self.code.replace("_", " ")),
            "status": self.status,
            "code": self.code,
            **said,
            **self._members,
        }

    @cached_property
    def body(self) -> bytes:
        """The problem as JSON."""
        return json.dumps(self.problem, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with the body."""
        return {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            **self._headers,
        }


TITLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bad_request": "The request is not what this endpoint takes",
        "caveats_unsatisfied": "The token's caveats refuse this request",
        "credential_required": "This needs a credential",
        "damaged_token": "The token was cut off or mistyped",
        "discharge_required": "A third party has to agree first",
        "invalid_token": "The token is not valid",
        "two_credentials": "One request carries one credential",
        "unavailable": "The service cannot do that now; try again",
        "wrong_audience": "The token is for another audience",
    }
)
"""The service's titles, word for word."""


def credential_required() -> Denied:
    """401: no token was sent, or something else than a token."""
    return Denied(401, "credential_required", headers={"WWW-Authenticate": _REALM})


def invalid_token(error: object = None) -> Denied:
    """401, always the same: not authentic or not live."""
    return Denied(401, "invalid_token", headers=_challenge("invalid_token"))


def damaged_token(error: object = None) -> Denied:
    """401: the checksum says that a paste went wrong."""
    return Denied(401, "damaged_token", headers=_challenge("invalid_token"))


def unavailable(error: object = None) -> Denied:
    """503: nobody can say now whether the token is good. An error's `retry_after` says when to come back."""
    seconds = getattr(error, "retry_after", None)
    wait = max(1, int(seconds)) if isinstance(seconds, int | float) else 1
    return Denied(503, "unavailable", headers={"Retry-After": str(wait)})


def _two_credentials() -> Denied:
    return Denied(400, "two_credentials", "send one of Authorization and X-Auth-Token, once")


def _wrong_audience(error: caveats.WrongAudience) -> Denied:
    return Denied(403, "wrong_audience", str(error))


def _discharge_required(error: caveats.MissingDischarge) -> Denied:
    asked = {"location": error.location, "ticket": encode_base64(error.ticket)}
    return Denied(401, "discharge_required", str(error), headers=_challenge("invalid_token"), members=asked)


def _unsatisfied(error: caveats.UnsatisfiedCaveats) -> Denied:
    """403 with every failure; a token that has expired is not live, and then the uniform 401."""
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
    headers = _challenge("insufficient_scope")
    return Denied(403, "caveats_unsatisfied", headers=headers, members={"failures": failures})


def _challenge(error: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'{_REALM}, error="{error}"'}


ANSWERS: Final[Mapping[type[Exception], Answer]] = MappingProxyType(
    {
        caveats.DamagedToken: damaged_token,
        caveats.MalformedToken: invalid_token,
        caveats.LimitExceeded: invalid_token,
        caveats.Refused: invalid_token,
        caveats.UnsatisfiedCaveats: _unsatisfied,
        caveats.MissingDischarge: _discharge_required,
        caveats.WrongAudience: _wrong_audience,
        caveats.Stale: unavailable,
        caveats.RejectedDelivery: unavailable,
        ClientError: unavailable,
    }
)
"""How each error of a verifier is answered; the nearest base class counts. A gate's `answers` add to it."""


class Guard:
    """Judges requests. Made once, where the app is put together; safe to use from many threads and tasks.

    A verifier's error that neither `ANSWERS` nor `answers` knows is a fault of the program, and goes on up:
    the request is not let through.
    """

    def __init__(
        self,
        verifier: Verifies,
        *,
        audience: str | None = None,
        trusted_proxies: Iterable[str] = (),
        answers: Mapping[type[Exception], Answer] | None = None,
        now: Callable[[], datetime] = utc_now,
        wait: Callable[[Awaitable[Grant]], Grant] | None = None,
    ) -> None:
        """`audience` None: the verifier's own. `trusted_proxies`: networks whose X-Forwarded-For is believed, and `unix`.

        `wait`: how `judge` waits for an async verifier; None: in an event loop of its own.
        Raises `ValueError` for a network that is none.
        """
        self.verifier = verifier
        self.audience = audience
        self._proxies = Proxies(trusted_proxies)
        self._answers = {**ANSWERS, **(answers or {})}
        self._known = tuple(self._answers)
        self._now = now
        self._wait = wait or run_alone

    def judge(self, incoming: IncomingRequest, scopes: Sequence[str] = (), extra: Extra = _NO_FACTS) -> Grant:
        """The grant for this request. Raises `Denied`.

        For threads without an event loop; on one, use `judge_async`.
        """
        text, context = self.question(incoming, scopes, extra)
        try:
            answer = self.verifier.verify(text, context)
            return _granted(self._wait(answer) if inspect.isawaitable(answer) else answer)
        except self._known as error:
            raise self.refusal(error) from error

    async def judge_async(
        self, incoming: IncomingRequest, scopes: Sequence[str] = (), extra: Extra = _NO_FACTS
    ) -> Grant:
        """The grant for this request, from a verifier of either kind. Raises `Denied`."""
        text, context = self.question(incoming, scopes, extra)
        try:
            answer = self.verifier.verify(text, context)
            return _granted(await answer if inspect.isawaitable(answer) else answer)
        except self._known as error:
            raise self.refusal(error) from error

    def question(
        self, incoming: IncomingRequest, scopes: Sequence[str] = (), extra: Extra = _NO_FACTS
    ) -> tuple[str, Context]:
        """The token's text and what it is to be judged by. Raises `Denied`: 400, or 401 if there is no token."""
        _check_query(incoming.query)
        text = token_of(incoming.headers)
        forwarded = [value for name, value in incoming.headers if name == b"x-forwarded-for"]
        context = Context(
            now=self._now(),
            audience=self.audience,
            scopes=tuple(scopes),
            method=incoming.method,
            path=incoming.path,
            client_ip=self.client_address(incoming.peer, forwarded),
            extra=extra,
        )
        return text, context

    def client_address(self, peer: str | None, forwarded: Sequence[bytes]) -> str | None:
        """As `Proxies.client_address`."""
        return self._proxies.client_address(peer, forwarded)

    def refusal(self, error: Exception) -> Denied:
        """The answer to one of the errors that this gate knows."""
        answer = next(self._answers[kind] for kind in type(error).__mro__ if kind in self._answers)
        refusal = answer(error)
        if refusal.status >= 500:
            _log.warning("a token could not be judged: %s: %s", type(error).__name__, error)
        return refusal


class Proxies:
    """Those whose X-Forwarded-For is believed: networks, and `unix`."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """Raises `ValueError` for a network that is none."""
        words = (trusted,) if isinstance(trusted, str) else tuple(trusted)
        self._networks = tuple(ip_network(word) for word in words if word != UNIX)
        self._trusts_unix = UNIX in words

    def client_address(self, peer: str | None, forwarded: Sequence[bytes]) -> str | None:
        """The peer's address or, while that is a trusted proxy's, the last one in X-Forwarded-For.

        None where a trusted proxy names something that is no address: whoever that is, it is not the proxy.
        """
        address = peer or None
        hops = [hop.strip(" \t") for line in forwarded for hop in line.decode("latin-1").split(",")]
        while hops and self._trusts(address):
            address = hops.pop()
            if parse_address(address) is None:
                return None
        return address

    def _trusts(self, address: str | None) -> bool:
        if address is None:
            return self._trusts_unix
        parsed = parse_address(address)
        return parsed is not None and any(_inside(parsed, network) for network in self._networks)


def _inside(address: Any, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network


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


# The token


def token_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The one token in these headers. Raises `Denied`: 400 for two, 401 for none or one of another scheme.

    WSGI servers, and some proxies, join a repeated header with a comma, which no token has in it.
    """
    found = [(name, value) for name, value in headers if name in (b"authorization", b"x-auth-token")]
    if not found:
        raise credential_required()
    (name, value), *others = found
    if others or _is_joined(name, value):
        raise _two_credentials()
    if name == b"authorization":
        scheme, _, value = value.partition(b" ")
        value = value.strip(b" ")
        if scheme.lower() != b"bearer" or not value:
            raise credential_required()
    try:
        return value.strip(b" \t").decode("ascii")
    except UnicodeDecodeError:
        raise invalid_token() from None


def _is_joined(name: bytes, value: bytes) -> bool:
    """Whether there is a token on one side of a comma. Other schemes may have commas of their own."""
    if b"," not in value:
        return False
    schemes = [part.strip(b" \t").partition(b" ")[0].lower() for part in value.split(b",")]
    return name == b"x-auth-token" or b"bearer" in schemes


def _check_query(query: bytes) -> None:
    """A token in the query is on its way into every log. Raises `Denied`."""
    if query and (
        _PREFIX in unquote_to_bytes(query)
        or any(
            name == "access_token" for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        )
    ):
        raise Denied(400, "bad_request", "a token goes into a header, never into the URL, which logs keep")


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


def is_public(patterns: Sequence[str], incoming: IncomingRequest) -> bool:
    """Whether the path, as it came, is one of these or lies below one's `/*`. A path in disguise never is."""
    path = incoming.path
    return (
        path is not None and is_plain_path(path) and any(path_covers(pattern, path) for pattern in patterns)
    )


def checked_paths(patterns: Iterable[str]) -> tuple[str, ...]:
    """Path patterns, `/a/b` or `/a/*`. Raises `caveats.MalformedCaveat`."""
    named = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    return caveats.Path(*named).patterns if named else ()
