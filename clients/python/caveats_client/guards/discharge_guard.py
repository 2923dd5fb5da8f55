"""A guard that asks a third party: it grants requests that present a discharge. For any ASGI app; imports no framework.

    auth = BakeryParty("https://auth.example", public_key)
    guard = DischargeGuard(secret, auth, "member-of = ops")
    app = DischargeMiddleware(app, guard, public=("/healthz",))

Clients of the bakery's protocol get its error; others get a problem with the location, the ticket and the token to
complete. Both send the token back with its discharge: in a cookie `macaroon-...`, in the header `Macaroons`, or as
`Authorization: Bearer`. Nothing is stored: the keys are derived from `secret`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any, TypeAlias

from caveats import (
    Bundle,
    CaveatsError,
    Checkers,
    Expires,
    Macaroon,
    ThirdPartyCaveat,
    UnsatisfiedCaveats,
    authenticate,
    standard_checkers,
    unsatisfied,
)
from caveats.bakery import (
    HTTP,
    BakeryMacaroon,
    BakeryParty,
    TimeBefore,
    declared_by,
    decode_header,
    first_party_checkers,
)
from caveats.http import IncomingRequest, Problem, TrustedProxies, UnknownProxies, context_of
from caveats.keys import hkdf
from caveats.pickling import Unpicklable
from caveats.token import encode_base64, mac, pads
from caveats_client.guards.asgi import App, Receive, Scope, Send, routes_behind, send_problem
from caveats_client.guards.guard import utc_now
from caveats_client.guards.rules import SiteRule

_log = logging.getLogger("caveats_client.guards")
_LEAST_SECRET = 32
_MOST_PRESENTED = 8
_NEWEST = 3
_IDENTIFIER_SIZE = 18
_Presented: TypeAlias = tuple[Callable[[str], Bundle], str]
"""A decoder and the text that it is for."""
_CHALLENGE = 'Bearer realm="caveats", error="invalid_token"'
_MESSAGE = "a third party has to agree first"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a third party has agreed to."""

    user: str | None
    """The asker's name, as the third party says; None if it does not say."""
    declared: Mapping[str, str]
    """The values that the third party declares, by name; only names that the guard asked for."""
    agreement_id: str
    """The same each time that this agreement is presented."""


class DischargeRequired(Problem):
    """The bakery's answer that asks for a discharge: 401, or 407 for version 0 of the protocol."""

    def __init__(self, version: int, info: Mapping[str, Any]) -> None:
        super().__init__(401 if version else 407, "discharge_required", _MESSAGE)
        self._info = dict(info)

    @cached_property
    def body(self) -> bytes:
        """The bakery's error as JSON."""
        error = {"Code": "macaroon discharge required", "Message": _MESSAGE, "Info": self._info}
        return json.dumps(error, separators=(",", ":")).encode()

    @property
    def headers(self) -> dict[str, str]:
        """All headers. At least one client compares the whole content type and challenge: add nothing to them."""
        return {
            "Content-Type": "application/json",
            "WWW-Authenticate": "Macaroon",
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
        }


class DischargeGuard(Unpicklable):
    """Asks one third party for one condition, and judges the discharges. Make one; safe to use from many threads."""

    def __init__(
        self,
        secret: bytes,
        party: BakeryParty,
        condition: str,
        *,
        name: str = "auth",
        declared: Sequence[str] = ("username",),
        life: timedelta = timedelta(hours=1),
        path: str = "/",
        checkers: Checkers | None = None,
        accept: Callable[[Agreement], bool] | None = None,
        trusted_proxies: Iterable[str] = (),
        now: Callable[[], datetime] = utc_now,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`secret`: 32 bytes or more, the same on all nodes. Raises `ValueError` for one that is shorter, or all zero.

        `name`: of the cookie. A token is valid for one name, condition and third party.
        `declared`: the names whose values the third party must declare. `life`: of the token; the discharge may end
        earlier. `path`: clients send the token at this path and below. `accept`: called last, with an agreement that
        is valid; if it returns False, the third party is asked again. `trusted_proxies`: as for a `Guard`.
        """
        if len(secret) < _LEAST_SECRET or not any(secret):
            raise ValueError(f"a secret has at least {_LEAST_SECRET} bytes, and is not all zero")
        self.party = party
        self.condition = condition
        asked = json.dumps([name, condition, *declared]).encode() + party.public_key
        self._keys = pads(hkdf(secret, b"caveats/v1/first-party/" + asked, 32))
        self._name = name
        self._declared = tuple(declared)
        self._life = life
        self._path = path
        self._checkers = first_party_checkers(standard_checkers() if checkers is None else checkers)
        self._accept = accept
        self._proxies = TrustedProxies(trusted_proxies)
        self._unknown_proxies = UnknownProxies(self._proxies, setting="trusted_proxies")
        self._now = now
        self._random = random

    def judge(self, request: IncomingRequest) -> Agreement:
        """The agreement that this request presents. Raises a `Problem` that asks for a discharge."""
        for read, text in islice(self._presented(request.headers), _MOST_PRESENTED):
            try:
                agreed = self._agreed(read(text), request)
            except CaveatsError:
                continue
            if self._accept is None or self._accept(agreed):
                return agreed
        raise self._required(request)

    def _presented(self, headers: Sequence[tuple[bytes, bytes]]) -> Iterator[_Presented]:
        """The credentials in these headers, not decoded. This guard's own cookie is first."""
        others: list[_Presented] = []
        for name, raw in headers:
            value = raw.decode("latin-1")
            if name == b"macaroons":
                others += [(decode_header, part.strip()) for part in value.split(",", _MOST_PRESENTED)]
            elif name == b"cookie":
                for part in value.split(";"):
                    cookie, _, text = part.strip().partition("=")
                    if cookie == f"macaroon-{self._name}":
                        yield decode_header, text.strip('"')
                    elif cookie.startswith("macaroon-"):
                        others.append((decode_header, text.strip('"')))
            elif name == b"authorization" and value[:7].lower() == "bearer ":
                others.append((Bundle.decode, value[7:].strip()))
        yield from others

    def _agreed(self, bundle: Bundle, request: IncomingRequest) -> Agreement:
        root_key = self._root_key(bundle.macaroon.identifier)
        authenticated = authenticate(bundle, root_key, kinds=self._checkers.kinds)
        context = context_of(request, self._proxies, now=self._now(), extra=_origin(request.headers))
        failures = unsatisfied(authenticated.caveats, self._checkers, context)
        if failures:
            self._unknown_proxies.tell(request, _log)
            raise UnsatisfiedCaveats(failures)
        declared = declared_by(authenticated, self.party, root_key, self._declared) if self._declared else {}
        user = authenticated.user_asserted_by(self.party, root_key) or declared.get("username")
        return Agreement(user, declared, bundle.macaroon.identifier.decode())

    def _required(self, request: IncomingRequest) -> Problem:
        version = _version_of(request.headers)
        identifier = encode_base64(self._random(_IDENTIFIER_SIZE)).encode()
        root_key = self._root_key(identifier)
        minted, now = Macaroon.mint(root_key, identifier), self._now()
        if version is not None:
            envelope = BakeryMacaroon(minted, max(1, min(version, self.party.version)), HTTP)
            envelope = envelope.attenuate(TimeBefore.at((now + self._life).replace(microsecond=0)))
            envelope = envelope.require_discharge(
                self.party,
                self.condition,
                declared=self._declared,
                root_key=root_key if self._declared else None,
                random=self._random,
            )
            info = {
                "Macaroon": envelope.to_members(),
                "MacaroonPath": self._path,
                "CookieNameSuffix": self._name,
            }
            return DischargeRequired(version, info)
        token = minted.attenuate(Expires.after(self._life, now=now)).require_discharge(
            self.party, self.condition, expires_at=now + self._life, root_key=root_key, random=self._random
        )
        asked = token.unverified_caveats[-1]
        assert isinstance(asked, ThirdPartyCaveat)
        members = {
            "location": asked.location,
            "ticket": encode_base64(asked.ticket),
            "token": token.encode(),
            "path": self._path,
        }
        challenge = {"WWW-Authenticate": _CHALLENGE}
        return Problem(401, "discharge_required", _MESSAGE, headers=challenge, members=members)

    def _root_key(self, identifier: bytes) -> bytes:
        return mac(self._keys, identifier)


class DischargeMiddleware:
    """Lets requests through to the app that the third party has agreed to; answers the others with a problem.

    The app finds what was agreed in `scope["state"]["agreed"]`; in Starlette and FastAPI it is `request.state.agreed`.
    """

    def __init__(self, app: App, guard: DischargeGuard, *, public: Iterable[str] = ()) -> None:
        """`public`: paths (`/healthz`, `/static/*`) for which no discharge is needed."""
        self.app = app
        self._guard = guard
        self._rule: SiteRule[Scope] = SiteRule((), public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the request, then call the app or answer."""
        self._rule.check_routes(lambda: routes_behind(self.app, scope), scope.get("root_path", ""))
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request = IncomingRequest.from_asgi(scope)
        if self._rule.is_public(scope, request):
            await self.app(scope, receive, send)
            return
        try:
            agreed = self._guard.judge(request)
        except Problem as problem:
            await send_problem(problem, scope, send)
            return
        await self.app({**scope, "state": {**scope.get("state", {}), "agreed": agreed}}, receive, send)


def _version_of(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """The version of the bakery's protocol that the client speaks; None for a client that does not speak it."""
    found = [value for name, value in headers if name == b"bakery-protocol-version"]
    if not found:
        return None
    text = found[0].decode("latin-1")
    return min(int(text), _NEWEST) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _origin(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """The fact `origin`: the site whose page sent the request, empty for none. Not known where two are named."""
    named = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    return {} if len(named) > 1 else {"origin": "".join(named)}
