"""httpx auth classes that put a token on requests, with the discharges that it needs.

Knows origins, headers and cookies; `discharge` collects the discharges. Knows no endpoint of the service: the requests
are an app's own, to any server. One generator serves `Client` and `AsyncClient`, of httpx2 and of the ordinary httpx: what
a client gives here is of its own httpx, and only `ordinary_httpx` tells the two apart.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import httpx2 as httpx

from caveats import Bundle, ThirdPartyCaveat, Unbound
from caveats.bakery import BakeryMacaroon, encode_header, expiry_of
from caveats.forks import renewed_after_fork
from caveats.pickling import Unpicklable
from caveats_client.api.errors import BadDischarge
from caveats_client.api.messages import Reply
from caveats_client.api.tokens import Token, token_text
from caveats_client.discharge import runner
from caveats_client.discharge.allowlist import Allowlist, Place
from caveats_client.discharge.protocol import LARGEST_ANSWER, NOBODY, PROTOCOL, SECONDS, Interact, collecting
from caveats_client.discharge.required import (
    Required,
    envelope,
    has_third_parties,
    lacks_discharges,
    required,
    wants_discharges,
)
from caveats_client.ordinary_httpx import AnyUrl, Auth, is_ordinary, url_of
from caveats_client.single_flight import AsyncSingleFlight, SingleFlight
from caveats_client.transport import BodyLimit, LimitedStream, checked_address, packing_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from caveats import Caveat, Macaroon


T = TypeVar("T")

ROUNDS = 2
"""How many times one request is sent again with what its answer asked for."""
MOST_PATHS = 64
"""The most paths of an origin that have a macaroon of their own; the one given longest ago goes first."""


class BearerAuth(Auth):
    """Puts a token, unchanged, into `Authorization: Bearer` of the requests to one origin."""

    def __init__(self, token: Token, origin: AnyUrl, *, allow_http: bool = False) -> None:
        """`origin`: any URL of that origin. Raises `UnusableAddress`, `caveats.MalformedToken`."""
        self._origin = checked_address(origin, allow_http=allow_http).origin
        self._header = f"Bearer {token_text(token)}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request, with the token if it goes to the token's origin."""
        if _goes_to(request, self._origin):
            request.headers["Authorization"] = self._header
        yield request


class TokenAuth(Unpicklable, Auth):
    """Puts a token into `Authorization: Bearer` of the requests to one origin.

        httpx.get(url, auth=TokenAuth(narrow, "https://photos.example"))

    Scheme, host and port of a request must equal the origin's; all other requests, also after a redirect, are sent
    without the token. Plain http is refused except to this machine.

    Discharges are collected if the token has third-party caveats, or if the origin answers that a macaroon must be
    discharged: as a bakery does, or with the problem `discharge_required`. They are kept, and bound again for every
    request. Only third parties in `allow` are asked.
    """

    def __init__(
        self,
        token: Token | None,
        origin: AnyUrl,
        *,
        allow_http: bool = False,
        allow: Iterable[AnyUrl] = (),
        allow_private: bool = False,
        interact: Interact = NOBODY,
        narrow: Callable[[Any], Iterable[Caveat | bytes]] | None = None,
    ) -> None:
        """`token`: None if the origin gives its own macaroons. `origin`: any URL of that origin.

        `allow_http`: plain http to any machine. `allow`: the origins of third parties that may be asked.
        `allow_private`: these may be on this machine or in a private network. `interact`: how to show a third party
        who asks. `narrow`: returns the caveats to add to the token that a request (of your client's httpx) presents.
        Raises `UnusableAddress`, `caveats.MalformedToken`.
        """
        self._origin = checked_address(origin, allow_http=allow_http).origin
        self._allowlist = Allowlist.to(allow, allow_private=allow_private, allow_http=allow_http)
        self._interact = interact
        self._narrow = narrow
        bundle = Bundle.decode(token_text(token)) if token is not None else None
        self._text = None if bundle is None else bundle.encode()
        self._own: _Held | None = None
        if bundle is not None and (narrow or lacks_discharges(bundle)):
            self._own = _Held(envelope(bundle))
        self._given: Mapping[str, _Held] = {}
        """What the origin wants presented, by path. Replaced whole, so that threads read it without a lock."""
        renewed_after_fork(self, TokenAuth._renew)

    def _renew(self) -> None:
        """Make the locks. What is held is replaced whole, and is the child's as well as the parent's."""
        self._flights: SingleFlight[Unbound] = SingleFlight()
        self._async_flights: AsyncSingleFlight[Unbound] = AsyncSingleFlight()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with its credentials. Send it again, at most twice, if the answer asks for discharges."""
        flow = self._flow(request)
        answer: Any = None
        while True:
            try:
                wanted = flow.send(answer)
            except StopIteration:
                return
            if isinstance(wanted, BakeryMacaroon):
                answer = self._flights.share(id(wanted), functools.partial(self._collect, wanted))
                continue
            answer = yield wanted
            if _asks(answer):
                answer.stream = _limited(answer)
                answer.read()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `sync_auth_flow`."""
        flow = self._flow(request)
        answer: Any = None
        while True:
            try:
                wanted = flow.send(answer)
            except StopIteration:
                return
            if isinstance(wanted, BakeryMacaroon):
                collect = functools.partial(self._collect_async, wanted)
                answer = await self._async_flights.share(id(wanted), collect)
                continue
            answer = yield wanted
            if _asks(answer):
                answer.stream = _limited(answer)
                await answer.aread()

    def _collect(self, macaroon: BakeryMacaroon) -> Unbound:
        """The discharges of `macaroon`: those that another request has collected since, else new ones."""
        found = self._found(macaroon)
        if found is not None:
            return found
        unbound: Unbound = runner.run(self._collecting(macaroon), self._allowlist)
        self._put(macaroon, unbound)
        return unbound

    async def _collect_async(self, macaroon: BakeryMacaroon) -> Unbound:
        found = self._found(macaroon)
        if found is not None:
            return found
        unbound: Unbound = await runner.run_async(self._collecting(macaroon), self._allowlist)
        self._put(macaroon, unbound)
        return unbound

    def _collecting(self, macaroon: BakeryMacaroon) -> Any:
        return collecting(macaroon, self._allowlist, self._interact, clock=runner.clock)

    def _found(self, macaroon: BakeryMacaroon) -> Unbound | None:
        """The discharges that another request has collected in the meantime; None if there are none."""
        for held in (self._own, *self._given.values()):
            if held is not None and held.macaroon is macaroon and not held.is_dead:
                return held.unbound
        return None

    def _put(self, macaroon: BakeryMacaroon, unbound: Unbound) -> None:
        if self._own is not None and self._own.macaroon is macaroon:
            self._own = _Held(macaroon, unbound=unbound)

    def _flow(self, request: httpx.Request) -> _Part[None]:
        """Yields requests, and receives their responses; yields macaroons, and receives them with their discharges."""
        if not _goes_to(request, self._origin):
            yield request
            return
        for left in range(ROUNDS, -1, -1):
            yield from self._attach(request)
            response: httpx.Response = yield request
            sent, request = request, response.request  # the same, unless a redirect was followed
            if not _goes_to(request, self._origin):
                return
            asked, lacks = None, False
            if _asks(response):
                reply = Reply(response.status_code, response.content)
                asked, lacks = required(Place(url_of(request.url)), reply), wants_discharges(reply)
            if asked is not None:
                self._take(asked, request, was_redirected=sent is not request)
            elif not (lacks and self._lacks(request)) and not self._refused(
                request, is_refused=response.status_code == 401
            ):
                return
            if not left or not _can_go_again(request):
                return

    def _attach(self, request: httpx.Request) -> _Part[None]:
        """Put the credentials on the request. Collects missing discharges first."""
        request.headers.update(PROTOCOL)
        held, path = self._held(request)
        if held is None:
            if self._text is not None:
                request.headers["Authorization"] = f"Bearer {self._text}"
            return
        if held.is_dead:
            held = replace(held, unbound=(yield held.macaroon))
            self._keep(held, path)
        unbound = held.unbound or Unbound(held.macaroon.macaroon)
        bundle = unbound.attenuate(*(self._narrow(request) if self._narrow else ())).bind()
        if not held.cookie:
            request.headers["Authorization"] = f"Bearer {bundle.encode()}"
            return
        if self._text is not None:  # one credential is enough
            request.headers.pop("Authorization", None)
        _set_cookie(request, held.cookie, encode_header(bundle, held.macaroon.version))

    def _take(self, asked: Required, request: httpx.Request, *, was_redirected: bool) -> None:
        """Present from now on what the origin asked for."""
        held, path = self._held(request)
        if was_redirected and path is not None and held is not None and not held.is_dead:
            return  # httpx drops cookies at a redirect: the macaroon that is stored may be accepted
        if not _is_below(request.url.path, asked.path):
            raise BadDischarge(f"{shown(request.url)} gives a macaroon for other paths than the one asked")
        others = {path: held for path, held in self._given.items() if not _is_below(request.url.path, path)}
        newest = list(others.items())[1 - MOST_PATHS :]
        self._given = {**dict(newest), asked.path: _Held(asked.macaroon, asked.cookie)}

    def _lacks(self, request: httpx.Request) -> bool:
        """Whether the token was sent without discharges and has third-party caveats. Then they are collected."""
        if self._text is None or request.headers.get("Authorization") != f"Bearer {self._text}":
            return False
        bundle = Bundle.decode(self._text)
        if self._own is None and has_third_parties(bundle):
            self._own = _Held(envelope(bundle))
        return has_third_parties(bundle)

    def _refused(self, request: httpx.Request, *, is_refused: bool) -> bool:
        """Whether discharges that were accepted before are refused now. Then they are collected again."""
        held, path = self._held(request)
        if held is None or held.unbound is None or not held.unbound.discharges:
            return False
        if held.accepted and is_refused:
            self._keep(_Held(held.macaroon, held.cookie), path)
            return True
        if not (held.accepted or is_refused):
            self._keep(replace(held, accepted=True), path)
        return False

    def _held(self, request: httpx.Request) -> tuple[_Held | None, str | None]:
        """What this request presents, and the path that the origin gave it for; no path for the token itself."""
        given = self._given
        below = [path for path in given if _is_below(request.url.path, path)]
        path = max(below, key=len, default=None)
        return (self._own, None) if path is None else (given[path], path)

    def _keep(self, held: _Held, path: str | None) -> None:
        if path is None:
            self._own = held
        else:
            self._given = {**self._given, path: held}

    def __repr__(self) -> str:
        origin = self._origin
        return f"TokenAuth({origin.scheme}://{origin.host}:{origin.port})"


@dataclass(frozen=True, slots=True)
class _Held:
    """A macaroon, and the discharges that were collected for it."""

    macaroon: BakeryMacaroon
    cookie: str = ""
    """The name of the cookie that presents it; empty for a bearer token."""
    unbound: Unbound | None = None
    accepted: bool = False
    """Whether the origin has accepted these discharges."""

    @property
    def is_dead(self) -> bool:
        """Whether there are no discharges yet, or one of them has expired."""
        return self.unbound is None or any(map(_has_expired, self.unbound.discharges))


def _has_expired(discharge: Macaroon) -> bool:
    own = (caveat for caveat in discharge.wire.caveats if not isinstance(caveat, ThirdPartyCaveat))
    end = expiry_of(own)
    return end is not None and datetime.now(UTC) >= end


def _limited(response: httpx.Response) -> LimitedStream:
    """The stream of an answer. It raises `BadDischarge` if the body is too large or too slow."""
    limit = BodyLimit(
        response, largest=LARGEST_ANSWER, deadline=runner.clock() + SECONDS, clock=runner.clock, gzip=True
    )
    where = shown(response.request.url)
    return LimitedStream(response, limit, lambda error: BadDischarge(f"{where} {error}"))


def _goes_to(request: httpx.Request, origin: httpx.Origin) -> bool:
    url = url_of(request.url)
    return url.is_absolute_url and url.origin == origin


def _set_cookie(request: httpx.Request, name: str, value: str) -> None:
    """Set a cookie in this request's header, not in a jar. httpx drops that header at every redirect, and no other."""
    others = [part for part in request.headers.get("Cookie", "").split("; ") if part]
    kept = [part for part in others if not part.startswith(f"{name}=")]
    request.headers["Cookie"] = "; ".join([*kept, f"{name}={value}"])


def _asks(response: httpx.Response) -> bool:
    """Whether status and headers say that the body may ask for discharges, in one of the two forms."""
    if packing_of(response) not in ("", "gzip"):  # httpx unpacks other encodings without a limit on the size
        return False
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/problem+json":
        return response.status_code == 401
    challenge = response.headers.get("www-authenticate", "").strip().lower()
    challenged = response.status_code == 407 or (response.status_code == 401 and challenge == "macaroon")
    return challenged and kind == "application/json"


def _is_below(path: str, above: str) -> bool:
    """Whether `path` is `above` or below it, segment by segment, as cookies' paths are compared."""
    return path == above or path.startswith(above if above.endswith("/") else f"{above}/")


def _can_go_again(request: httpx.Request) -> bool:
    """Whether the request can be sent again: its body is bytes, not a stream that was read."""
    return isinstance(request.stream, httpx.ByteStream) or is_ordinary(request.stream, "ByteStream")


_Part: TypeAlias = Generator[httpx.Request | BakeryMacaroon, Any, T]
