"""The two clients: `Client`, and `AsyncClient` with the same methods awaited.

A client holds the service's address, the token that it presents and the time that an answer may take. `api.calls` says
what each call sends and how its answer is read; `transport` says how a request is sent. The methods are what apps do
every day; for everything else, use `client.send(calls....)`. The two classes differ only in `await`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from caveats import Bundle, Unbound
from caveats.pickling import Unpicklable
from caveats_client.api import calls
from caveats_client.api.calls import FactKeywords, RequestFacts, TokenKeywords
from caveats_client.api.errors import NotAuthenticated, Unavailable, UnexpectedResponse
from caveats_client.api.tokens import token_text
from caveats_client.auth import BearerAuth
from caveats_client.connections import AsyncConnections, Connections
from caveats_client.discharge import runner
from caveats_client.discharge.allowlist import Allowlist
from caveats_client.discharge.protocol import Interact, collecting, finding
from caveats_client.discharge.required import envelope, lacks_discharges
from caveats_client.discharge.runner import open_browser
from caveats_client.transport import (
    DEFAULT_TIMEOUT,
    TooSlow,
    UnreadableBody,
    aread_reply,
    checked_address,
    connection_errors,
    options,
    read_reply,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx2 as httpx

    from caveats import Caveat, Macaroon
    from caveats.bakery import BakeryMacaroon, BakeryParty
    from caveats_client.api.calls import Lifetime
    from caveats_client.api.messages import Call, Reply
    from caveats_client.api.responses import (
        Issued,
        NotLive,
        RevocationEntry,
        TokenIdentity,
        TokenPage,
        UserRecord,
        Verification,
    )
    from caveats_client.api.tokens import Token
    from caveats_client.discharge.protocol import Steps
    from caveats_client.ordinary_httpx import AsyncTransport, SyncTransport

T = TypeVar("T")

BROWSER = Interact(visit=open_browser)
"""Asks a person, who signs in with their browser."""
LARGEST_ANSWER = 8 * 1024 * 1024
"""The most bytes that an answer of the service may have."""


class _Base(Unpicklable):
    """What both clients share: the service's address, the token that they present, and how a request is built."""

    def __init__(self, url: str, token: Token | None, timeout: float, *, allow_http: bool) -> None:
        self._url = checked_address(url, allow_http=allow_http)
        self._allow_http = allow_http
        self._timeout = timeout
        self._token = None if token is None else token_text(token)

    @property
    def url(self) -> str:
        """The service's address."""
        return str(self._url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, {'a token' if self._token else 'no token'})"

    def _options(self) -> dict[str, Any]:
        return {**options(self._url), "base_url": self._url, "timeout": self._timeout}

    def _deadline(self) -> float:
        """The time by which the whole answer must have arrived, in seconds on `time.monotonic`."""
        return time.monotonic() + 2 * self._timeout

    def _request(
        self, http: httpx.Client | httpx.AsyncClient, call: Call[Any], token: Token | None
    ) -> tuple[httpx.Request, httpx.Auth | None]:
        """The request for `call`, and what adds the token to it: `token`, else this client's own."""
        headers = call.headers
        if call.cookie is not None:  # the service refuses changes with a cookie and no Origin
            headers = {**headers, "Origin": shown(self._url)}
        request = http.build_request(
            call.method, call.path, content=call.content, params=call.query, headers=headers
        )
        if not call.authenticated:
            return request, None
        return request, BearerAuth(self._own(token), self._url, allow_http=self._allow_http)

    def _own(self, token: Token | None) -> Token:
        """`token`, else this client's own. Raises `NotAuthenticated`."""
        own = self._token if token is None else token
        if own is None:
            raise NotAuthenticated("this client holds no token: sign in, or give it one")
        return own

    def _answer(self, call: Call[T], reply: Reply, token: Token | None) -> T:
        """The result of `call`. Errors name this client's service."""
        return call.answer(replace(reply, origin=shown(self._url)), self._presented(call, token))

    def _presented(self, call: Call[Any], token: Token | None) -> Macaroon | None:
        """The token that `call` presents, if its answer is compared with it."""
        if not call.authenticated or call.check is None:
            return None
        return Bundle.decode(token_text(self._own(token))).macaroon

    def _hold(self, issued: Issued) -> Issued:
        self._token = issued.token.encode()
        return issued

    def _collecting(
        self,
        token: Token | BakeryMacaroon,
        allow: Iterable[str],
        interact: Interact,
        *,
        allow_private: bool,
    ) -> tuple[Steps[Unbound], Allowlist]:
        """The steps that collect the discharges, and the third parties that may be asked: this service, and `allow`."""
        allowlist = Allowlist.to(
            allow, own=(self._url,), allow_private=allow_private, allow_http=self._allow_http
        )
        bearers = {}
        if self._token is not None and not lacks_discharges(Bundle.decode(self._token)):
            bearers[self._url.origin] = self._token
        macaroon = envelope(token)
        return collecting(macaroon, allowlist, interact, clock=runner.clock, bearers=bearers), allowlist

    def _finding(self, url: str | None) -> tuple[Steps[BakeryParty], Allowlist]:
        place = str(self._url) if url is None else url
        allowlist = Allowlist.to((), own=(place,), allow_http=self._allow_http)
        return finding(place, allowlist, clock=runner.clock), allowlist

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of httpx and of the answer's body into a `ClientError`."""
        try:
            with connection_errors(self._url, within=f"within {self._timeout:g} seconds"):
                yield
        except TooSlow as error:
            raise Unavailable(f"{shown(self._url)} {error}") from error
        except UnreadableBody as error:
            raise UnexpectedResponse(f"{shown(self._url)} {error}") from error


class Client(_Base):
    """A connection to a caveats service.

        with Client("https://auth.example") as client:
            token = client.login("alice", password, scope="photos:*", expires_in="8h")

    `login` stores the token in the client, and every call that needs a credential presents it. Endpoints without a
    method are reached by `send`: `client.send(calls.disable_user("bob"))`. The client follows no redirect, keeps no
    cookie, and refuses plain http except to this machine. It may be used from many threads, and in the children of a
    fork: each process has its own connections.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        transport: SyncTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """`token`: presented until `login` stores another.

        `timeout`: seconds for each step of a request. The whole answer may take twice as long.

        `transport`: one of httpx2 or httpx, for tests. `allow_http`: plain http to any machine.
        Raises `UnusableAddress`, `caveats.MalformedToken`.
        """
        super().__init__(url, token, timeout, allow_http=allow_http)
        self._connections = Connections(transport, self._options())

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, call: Call[T], token: Token | None = None) -> T:
        """The result of `call`, built by a function of `caveats_client.calls`. Raises `ClientError`.

        `token`: presented instead of this client's own, if the call needs a credential.
        """
        http = self._connections.here()
        request, auth = self._request(http, call, token)
        with self._errors():
            response = http.send(request, auth=auth, stream=True)
            reply = read_reply(response, largest=LARGEST_ANSWER, deadline=self._deadline())
        return self._answer(call, reply, token)

    # Accounts

    def register(self, username: str, password: str, *, as_admin: bool = False) -> UserRecord:
        """Make an account. `as_admin`: with this client's token; otherwise registration must be open. Raises `Conflict`."""
        return self.send(calls.register_user(username, password, as_admin=as_admin))

    def change_password(self, username: str, password: str | None, new_password: str) -> None:
        """Set a password, which revokes the user's tokens. `password`: the present one; None for an administrator."""
        return self.send(calls.change_password(username, password, new_password))

    # Tokens

    def login(self, username: str, password: str, **wanted: Unpack[TokenKeywords]) -> Macaroon:
        """A token for a user and their password. This client stores it and presents it from now on.

        `wanted`: the fields of `calls.TokenKeywords`: `scope`, `audience`, `expires_in`, `caveats`, `note`.
        """
        return self._hold(self.send(calls.login(username, password, **wanted))).token

    def issue(self, *, token: Token | None = None, **wanted: Unpack[TokenKeywords]) -> Issued:
        """A new token against `token` or this client's own. It allows no more than that one and lives no longer.

        `wanted`: as for `login`.
        """
        return self.send(calls.issue(**wanted), token)

    def renew(self, token: Token | None = None, *, expires_in: Lifetime | None = None) -> Issued:
        """`token` with a later expiry. Without `token`: this client's own, and the client stores the new one instead."""
        issued = self.send(calls.renew(expires_in=expires_in), token)
        return issued if token is not None else self._hold(issued)

    def whoami(self, token: Token | None = None) -> TokenIdentity:
        """The user, token id and scopes of `token`, or of this client's own. Raises `NotAuthenticated` if it is not live."""
        return self.send(calls.whoami(self._own(token)))

    def tokens(self, *, after: str | None = None, limit: int | None = None) -> TokenPage:
        """A page of the caller's labelled tokens, newest first. `after`: `next` of the page before. `limit`: 1 to 1000."""
        return self.send(calls.list_tokens(after=after, limit=limit))

    # Verification and revocation

    def verify(self, token: Token, **facts: Unpack[FactKeywords]) -> Verification:
        """Whether the service grants this token for a request. `facts`: the fields of `RequestFacts`.

        Raises `NotAuthenticated` if the token is not authentic or not live.
        """
        return self.send(calls.verify(token, RequestFacts(**facts)))

    def verify_many(
        self, questions: Iterable[tuple[Token, RequestFacts]]
    ) -> tuple[Verification | NotLive, ...]:
        """As `verify`, for up to 100 tokens, in the order asked."""
        return self.send(calls.verify_many(questions))

    def revoke(self, token: Token) -> RevocationEntry:
        """Revoke this copy of a token, and all tokens made from it. Who holds a copy may revoke it."""
        return self.send(calls.revoke_presented(), token)

    def revoke_token(self, token_id: str) -> RevocationEntry:
        """Revoke all copies of one of the caller's tokens. Administrators may revoke any user's."""
        return self.send(calls.revoke_token(token_id))

    # Third parties

    def collect(
        self,
        token: Token | BakeryMacaroon,
        *,
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Unbound:
        """A token and the discharges that it needs, unbound: keep it, and bind it again after each narrowing.

        Asks third parties at this service and at the origins in `allow`, and no others. `allow_private`: these may
        be on this machine or in a private network. `interact`: how to show a third party who asks. Raises
        `UnusableAddress`, `InteractionRequired`, `Forbidden`, `BadDischarge`, `Unavailable`.
        """
        steps, allowlist = self._collecting(token, allow, interact, allow_private=allow_private)
        return runner.run(steps, allowlist)

    def discharge(
        self,
        token: Token | BakeryMacaroon,
        *,
        attenuate: Iterable[Caveat | bytes] = (),
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Bundle:
        """A token with the discharges that it needs, ready to present. `attenuate`: caveats to add before they are bound.

        Asks the same third parties as `collect`, and raises the same. Discharges that `token` has are collected again.
        """
        unbound = self.collect(token, allow=allow, allow_private=allow_private, interact=interact)
        return unbound.attenuate(*attenuate).bind()

    def third_party(self, url: str | None = None) -> BakeryParty:
        """The third party at `url`, or this service, for `Macaroon.require_discharge`. Raises `BadDischarge`."""
        steps, allowlist = self._finding(url)
        return runner.run(steps, allowlist)


class AsyncClient(_Base):
    """`Client` with its methods awaited.

    async with AsyncClient("https://auth.example") as client:
        token = await client.login("alice", password, scope="photos:*", expires_in="8h")

    It may be used from several event loops: each has its own connections.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        transport: AsyncTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """As `Client`."""
        super().__init__(url, token, timeout, allow_http=allow_http)
        self._connections = AsyncConnections(transport, self._options())

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def send(self, call: Call[T], token: Token | None = None) -> T:
        """The result of `call`, built by a function of `caveats_client.calls`. Raises `ClientError`.

        `token`: presented instead of this client's own, if the call needs a credential.
        """
        http = await self._connections.here()
        request, auth = self._request(http, call, token)
        with self._errors():
            response = await http.send(request, auth=auth, stream=True)
            reply = await aread_reply(response, largest=LARGEST_ANSWER, deadline=self._deadline())
        return self._answer(call, reply, token)

    # Accounts

    async def register(self, username: str, password: str, *, as_admin: bool = False) -> UserRecord:
        """Make an account. `as_admin`: with this client's token; otherwise registration must be open. Raises `Conflict`."""
        return await self.send(calls.register_user(username, password, as_admin=as_admin))

    async def change_password(self, username: str, password: str | None, new_password: str) -> None:
        """Set a password, which revokes the user's tokens. `password`: the present one; None for an administrator."""
        return await self.send(calls.change_password(username, password, new_password))

    # Tokens

    async def login(self, username: str, password: str, **wanted: Unpack[TokenKeywords]) -> Macaroon:
        """A token for a user and their password. This client stores it and presents it from now on.

        `wanted`: the fields of `calls.TokenKeywords`: `scope`, `audience`, `expires_in`, `caveats`, `note`.
        """
        return self._hold(await self.send(calls.login(username, password, **wanted))).token

    async def issue(self, *, token: Token | None = None, **wanted: Unpack[TokenKeywords]) -> Issued:
        """A new token against `token` or this client's own. It allows no more than that one and lives no longer.

        `wanted`: as for `login`.
        """
        return await self.send(calls.issue(**wanted), token)

    async def renew(self, token: Token | None = None, *, expires_in: Lifetime | None = None) -> Issued:
        """`token` with a later expiry. Without `token`: this client's own, and the client stores the new one instead."""
        issued = await self.send(calls.renew(expires_in=expires_in), token)
        return issued if token is not None else self._hold(issued)

    async def whoami(self, token: Token | None = None) -> TokenIdentity:
        """The user, token id and scopes of `token`, or of this client's own. Raises `NotAuthenticated` if it is not live."""
        return await self.send(calls.whoami(self._own(token)))

    async def tokens(self, *, after: str | None = None, limit: int | None = None) -> TokenPage:
        """A page of the caller's labelled tokens, newest first. `after`: `next` of the page before. `limit`: 1 to 1000."""
        return await self.send(calls.list_tokens(after=after, limit=limit))

    # Verification and revocation

    async def verify(self, token: Token, **facts: Unpack[FactKeywords]) -> Verification:
        """Whether the service grants this token for a request. `facts`: the fields of `RequestFacts`.

        Raises `NotAuthenticated` if the token is not authentic or not live.
        """
        return await self.send(calls.verify(token, RequestFacts(**facts)))

    async def verify_many(
        self, questions: Iterable[tuple[Token, RequestFacts]]
    ) -> tuple[Verification | NotLive, ...]:
        """As `verify`, for up to 100 tokens, in the order asked."""
        return await self.send(calls.verify_many(questions))

    async def revoke(self, token: Token) -> RevocationEntry:
        """Revoke this copy of a token, and all tokens made from it. Who holds a copy may revoke it."""
        return await self.send(calls.revoke_presented(), token)

    async def revoke_token(self, token_id: str) -> RevocationEntry:
        """Revoke all copies of one of the caller's tokens. Administrators may revoke any user's."""
        return await self.send(calls.revoke_token(token_id))

    # Third parties

    async def collect(
        self,
        token: Token | BakeryMacaroon,
        *,
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Unbound:
        """A token and the discharges that it needs, unbound: keep it, and bind it again after each narrowing.

        Asks third parties at this service and at the origins in `allow`, and no others. `allow_private`: these may
        be on this machine or in a private network. `interact`: how to show a third party who asks. Raises
        `UnusableAddress`, `InteractionRequired`, `Forbidden`, `BadDischarge`, `Unavailable`.
        """
        steps, allowlist = self._collecting(token, allow, interact, allow_private=allow_private)
        return await runner.run_async(steps, allowlist)

    async def discharge(
        self,
        token: Token | BakeryMacaroon,
        *,
        attenuate: Iterable[Caveat | bytes] = (),
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Bundle:
        """A token with the discharges that it needs, ready to present. `attenuate`: caveats to add before they are bound.

        Asks the same third parties as `collect`, and raises the same. Discharges that `token` has are collected again.
        """
        unbound = await self.collect(token, allow=allow, allow_private=allow_private, interact=interact)
        return unbound.attenuate(*attenuate).bind()

    async def third_party(self, url: str | None = None) -> BakeryParty:
        """The third party at `url`, or this service, for `Macaroon.require_discharge`. Raises `BadDischarge`."""
        steps, allowlist = self._finding(url)
        return await runner.run_async(steps, allowlist)
