"""The clients: `Client`, and `AsyncClient` with the same methods awaited. The only module here that opens sockets.

Knows how a call is sent and what an answer may weigh and last. What is asked and how answers are read stands in
`requests`; the two classes differ in the await and in nothing else.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2 as httpx

from caveats import Bundle, Unbound
from caveats_client.api import calls
from caveats_client.api.calls import Reply, RequestFacts
from caveats_client.api.errors import NotAuthenticated, Unavailable, UnexpectedResponse
from caveats_client.api.tokens import token_text
from caveats_client.auth import BearerAuth
from caveats_client.discharge import runner
from caveats_client.discharge.allowlist import Allowlist, checked_address, is_loopback
from caveats_client.discharge.protocol import Interact, collecting, envelope, finding, lacks_discharges
from caveats_client.discharge.runner import open_browser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from caveats import Caveat, Macaroon
    from caveats.bakery import BakeryMacaroon, BakeryParty
    from caveats_client.api.calls import Call, CaveatLike, Lifetime, ScopeLike
    from caveats_client.api.responses import (
        Issued,
        KeyRecord,
        NotLive,
        RevocationEntry,
        TokenIdentity,
        TokenPage,
        TokenRecord,
        UserPage,
        UserRecord,
        Verification,
    )
    from caveats_client.api.tokens import Token
    from caveats_client.discharge.protocol import Steps

T = TypeVar("T")

BROWSER = Interact(visit=open_browser)
"""A person, and their browser."""
DEFAULT_TIMEOUT = 10.0
LARGEST_ANSWER = 8 * 1024 * 1024


class _Base:
    """What both clients know: where the service is, and the token that they present."""

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
        """How both httpx clients are set up."""
        options: dict[str, Any] = {
            "base_url": self._url,
            "timeout": self._timeout,
            "follow_redirects": False,
            "headers": {
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # a compressed answer could be larger than what is counted
                "User-Agent": "caveats-client",
            },
            # A session cookie beside a token would be two credentials.
            "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        }
        if is_loopback(self._url):  # a proxy would carry to elsewhere what was allowed for this machine only
            options["mounts"] = {f"{self._url.scheme}://{self._url.netloc.decode('ascii')}": None}
        return options

    def _credential(self, call: Call[Any], token: Token | None) -> httpx.Auth | None:
        """The token that goes along with `call`: the one given, else this client's own."""
        if not call.authenticated:
            return None
        return BearerAuth(self._own(token), self._url, allow_http=self._allow_http)

    def _own(self, token: Token | None) -> Token:
        """`token`, else this client's own."""
        own = self._token if token is None else token
        if own is None:
            raise NotAuthenticated("this client holds no token: sign in, or give it one")
        return own

    def _adopt(self, issued: Issued) -> Issued:
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
        """How the discharges are collected, and from whom. This service is on the list, and may know who asks."""
        reach = Allowlist.to(
            allow, own=(self._url,), allow_private=allow_private, allow_http=self._allow_http
        )
        bearers = {}
        if self._token is not None and not lacks_discharges(Bundle.decode(self._token)):
            bearers[self._url.origin] = self._token
        macaroon = envelope(token)
        return collecting(macaroon, reach, interact, clock=runner.clock, bearers=bearers), reach

    def _finding(self, url: str | None) -> tuple[Steps[BakeryParty], Allowlist]:
        place = str(self._url) if url is None else url
        reach = Allowlist.to((), own=(place,), allow_http=self._allow_http)
        return finding(place, reach, clock=runner.clock), reach

    @contextmanager
    def _sending(self) -> Iterator[_Body]:
        """What goes wrong on the way, as errors of the client's family."""
        try:
            yield _Body(self._timeout)
        except httpx.TimeoutException as error:
            raise Unavailable(f"{self._shown} did not answer within {self._timeout:g} seconds") from error
        except httpx.DecodingError as error:
            raise UnexpectedResponse(f"{self._shown} answered in an encoding nobody asked for") from error
        except httpx.RemoteProtocolError as error:
            raise Unavailable(f"{self._shown} broke off, or does not speak HTTP: {error}") from error
        except (httpx.RequestError, httpx.StreamError) as error:
            raise Unavailable(f"cannot reach {self._shown}: {str(error) or type(error).__name__}") from error

    @property
    def _shown(self) -> str:
        return f"{self._url.scheme}://{self._url.netloc.decode('ascii')}"


class _Body:
    """An answer's body as it comes in: refused once it is too large, too late or compressed."""

    def __init__(self, timeout: float) -> None:
        self._left = LARGEST_ANSWER
        self._deadline = time.monotonic() + 2 * timeout
        self._chunks: list[bytes] = []

    def expect(self, response: httpx.Response) -> None:
        """Look at the head, before anything of the body is read."""
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UnexpectedResponse(
                "the answer came in an encoding nobody asked for", status=response.status_code
            )

    def take(self, chunk: bytes) -> None:
        """One more piece."""
        self._left -= len(chunk)
        if self._left < 0:
            raise UnexpectedResponse(f"the answer is larger than {LARGEST_ANSWER} bytes")
        if time.monotonic() > self._deadline:
            raise Unavailable("the answer came too slowly")
        self._chunks.append(chunk)

    def reply(self, response: httpx.Response) -> Reply:
        """All of it."""
        return Reply(response.status_code, b"".join(self._chunks), response.headers.get("retry-after"))


class Client(_Base):
    """A caveats service, spoken to.

        with Client("https://auth.example") as client:
            token = client.login("alice", password, scope="photos:*", expires_in="8h")

    `login` makes the client hold the token that it answers with; whatever needs a credential presents it. Redirects
    are not followed, cookies are not kept, and plain http is refused except to this machine.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        transport: httpx.BaseTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """`timeout`: seconds for each step. Raises `UnusableAddress`, `caveats.MalformedToken`."""
        super().__init__(url, token, timeout, allow_http=allow_http)
        self._http = httpx.Client(transport=transport, **self._options())

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call[T], token: Token | None = None) -> T:
        auth = self._credential(call, token)
        request = self._http.build_request(
            call.method, call.path, content=call.content, params=call.query, headers=_headers(call)
        )
        with self._sending() as body:
            response = self._http.send(request, auth=auth, stream=True)
            try:
                body.expect(response)
                for chunk in response.iter_bytes():
                    body.take(chunk)
            finally:
                response.close()
        return call.answer(body.reply(response))

    # Users

    def register(self, username: str, password: str, *, as_admin: bool = False) -> UserRecord:
        """Make an account: one's own where registration is open, anybody's `as_admin`. Raises `Conflict`."""
        return self._send(calls.register(username, password, as_admin=as_admin))

    def change_password(self, username: str, password: str | None, new_password: str) -> None:
        """Change a password: `password` is the present one, None for an administrator. Kills the user's tokens."""
        return self._send(calls.change_password(username, password, new_password))

    def users(self, *, after: str | None = None, limit: int | None = None) -> UserPage:
        """Some of the accounts, for administrators; `after`: the last page's `next`."""
        return self._send(calls.users(after=after, limit=limit))

    def disable(self, username: str) -> UserRecord:
        """Shut an account, for administrators: no signing in, all its tokens dead."""
        return self._send(calls.disable(username))

    def enable(self, username: str) -> UserRecord:
        """Open an account again, for administrators. What was revoked stays revoked."""
        return self._send(calls.enable(username))

    # Tokens

    def login(
        self,
        username: str,
        password: str,
        *,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        expires_in: Lifetime | None = None,
        caveats: Iterable[CaveatLike] = (),
        note: str | None = None,
    ) -> Macaroon:
        """Sign in: a token for a user and their password, which this client holds from now on."""
        call = calls.login(
            username,
            password,
            scope=scope,
            audience=audience,
            expires_in=expires_in,
            caveats=caveats,
            note=note,
        )
        return self._adopt(self._send(call)).token

    def issue(
        self,
        *,
        token: Token | None = None,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        expires_in: Lifetime | None = None,
        caveats: Iterable[CaveatLike] = (),
        note: str | None = None,
    ) -> Issued:
        """A new token against `token` or this client's own, which bounds it and which it does not outlive."""
        call = calls.issue(scope=scope, audience=audience, expires_in=expires_in, caveats=caveats, note=note)
        return self._send(call, token)

    def issue_to(
        self,
        username: str,
        password: str,
        *,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        expires_in: Lifetime | None = None,
        caveats: Iterable[CaveatLike] = (),
        note: str | None = None,
    ) -> Issued:
        """As `login`, with all that the service says of the token; the client goes on holding what it held."""
        call = calls.login(
            username,
            password,
            scope=scope,
            audience=audience,
            expires_in=expires_in,
            caveats=caveats,
            note=note,
        )
        return self._send(call)

    def renew(self, token: Token | None = None, *, expires_in: Lifetime | None = None) -> Issued:
        """The same token with a later expiry. Without `token`: this client's own, and it holds the new one."""
        issued = self._send(calls.renew(expires_in=expires_in), token)
        return issued if token is not None else self._adopt(issued)

    def whoami(self, token: Token | None = None) -> TokenIdentity:
        """Whose token this is, if it is authentic and alive; without `token`, of this client's own."""
        return self._send(calls.whoami(self._own(token)))

    def tokens(self, *, after: str | None = None, limit: int | None = None) -> TokenPage:
        """Some of the caller's labelled tokens; `after`: the last page's `next`."""
        return self._send(calls.tokens(after=after, limit=limit))

    def token(self, token_id: str) -> TokenRecord:
        """One of the caller's labelled tokens."""
        return self._send(calls.token(token_id))

    # Verification

    def verify(
        self,
        token: Token,
        *,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        method: str | None = None,
        path: str | None = None,
        client_ip: str | None = None,
        user: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Verification:
        """Whether this token is good for this request. Raises `NotAuthenticated` if it is not authentic or not alive."""
        return self._send(
            calls.verify(token, RequestFacts(scope, audience, method, path, client_ip, user, extra))
        )

    def verify_many(
        self, questions: Iterable[tuple[Token, RequestFacts]]
    ) -> tuple[Verification | NotLive, ...]:
        """As `verify`, for up to a hundred tokens at once, in the order asked."""
        return self._send(calls.verify_many(questions))

    # Revocation

    def revoke(self, token: Token) -> RevocationEntry:
        """Kill this copy of a token and all that was made of it. Having it is all it takes."""
        return self._send(calls.revoke_presented(), token)

    def revoke_token(self, token_id: str) -> RevocationEntry:
        """Kill all copies of one of the caller's tokens; of anybody's, for administrators."""
        return self._send(calls.revoke_token(token_id))

    def revoke_branch(self, token_id: str, branch_id: str) -> RevocationEntry:
        """Kill a copy that one does not have, by the branch id that a verification named."""
        return self._send(calls.revoke_branch(token_id, branch_id))

    def revoke_user(self, username: str) -> RevocationEntry:
        """Kill everything issued to this user up to now."""
        return self._send(calls.revoke_user(username))

    # Third parties

    def collect(
        self,
        token: Token | BakeryMacaroon,
        *,
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Unbound:
        """The discharges that a token needs, unbound: to be kept, and bound anew whenever it is narrowed.

        Asks third parties at this service and at the origins in `allow`, and no others; `allow_private`: also on
        this machine or in a private network. `interact`: for those that want to know who asks. Raises
        `UnusableAddress`, `InteractionRequired`, `Forbidden`, `BadDischarge`, `Unavailable`.
        """
        steps, reach = self._collecting(token, allow, interact, allow_private=allow_private)
        return runner.run(steps, reach)

    def discharge(
        self,
        token: Token | BakeryMacaroon,
        *,
        attenuate: Iterable[Caveat | bytes] = (),
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Bundle:
        """A token with the discharges that it needs, ready to present; `attenuate`: narrowed before they are bound.

        Asks as `collect` does, and raises the same. Discharges that were bound to it before are collected anew.
        """
        unbound = self.collect(token, allow=allow, allow_private=allow_private, interact=interact)
        return unbound.attenuate(*attenuate).bind()

    def third_party(self, url: str | None = None) -> BakeryParty:
        """The third party at `url`, or this service as one: for `Macaroon.require_discharge`. Raises `BadDischarge`."""
        steps, reach = self._finding(url)
        return runner.run(steps, reach)

    # Keys and health

    def keys(self) -> tuple[KeyRecord, ...]:
        """The master keys' lives, for administrators."""
        return self._send(calls.keys())

    def rotate_keys(self, *, now: bool = False) -> KeyRecord:
        """Publish a new master key; `now`: issue under it at once, before others can have it."""
        return self._send(calls.rotate_keys(now=now))

    def retire_key(self, key_id: str, *, force: bool = False) -> KeyRecord:
        """Destroy a master key; `force`: though tokens under it may be alive. Raises `Conflict` without."""
        return self._send(calls.retire_key(key_id, force=force))

    def check_ready(self) -> None:
        """Answer if the service can serve. Raises `Unavailable` if not."""
        return self._send(calls.ready())


class AsyncClient(_Base):
    """`Client` with its methods awaited.

    async with AsyncClient("https://auth.example") as client:
        token = await client.login("alice", password, scope="photos:*", expires_in="8h")
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_http: bool = False,
    ) -> None:
        """`timeout`: seconds for each step. Raises `UnusableAddress`, `caveats.MalformedToken`."""
        super().__init__(url, token, timeout, allow_http=allow_http)
        self._http = httpx.AsyncClient(transport=transport, **self._options())

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: Call[T], token: Token | None = None) -> T:
        auth = self._credential(call, token)
        request = self._http.build_request(
            call.method, call.path, content=call.content, params=call.query, headers=_headers(call)
        )
        with self._sending() as body:
            response = await self._http.send(request, auth=auth, stream=True)
            try:
                body.expect(response)
                async for chunk in response.aiter_bytes():
                    body.take(chunk)
            finally:
                await response.aclose()
        return call.answer(body.reply(response))

    # Users

    async def register(self, username: str, password: str, *, as_admin: bool = False) -> UserRecord:
        """Make an account: one's own where registration is open, anybody's `as_admin`. Raises `Conflict`."""
        return await self._send(calls.register(username, password, as_admin=as_admin))

    async def change_password(self, username: str, password: str | None, new_password: str) -> None:
        """Change a password: `password` is the present one, None for an administrator. Kills the user's tokens."""
        return await self._send(calls.change_password(username, password, new_password))

    async def users(self, *, after: str | None = None, limit: int | None = None) -> UserPage:
        """Some of the accounts, for administrators; `after`: the last page's `next`."""
        return await self._send(calls.users(after=after, limit=limit))

    async def disable(self, username: str) -> UserRecord:
        """Shut an account, for administrators: no signing in, all its tokens dead."""
        return await self._send(calls.disable(username))

    async def enable(self, username: str) -> UserRecord:
        """Open an account again, for administrators. What was revoked stays revoked."""
        return await self._send(calls.enable(username))

    # Tokens

    async def login(
        self,
        username: str,
        password: str,
        *,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        expires_in: Lifetime | None = None,
        caveats: Iterable[CaveatLike] = (),
        note: str | None = None,
    ) -> Macaroon:
        """Sign in: a token for a user and their password, which this client holds from now on."""
        call = calls.login(
            username,
            password,
            scope=scope,
            audience=audience,
            expires_in=expires_in,
            caveats=caveats,
            note=note,
        )
        return self._adopt(await self._send(call)).token

    async def issue(
        self,
        *,
        token: Token | None = None,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        expires_in: Lifetime | None = None,
        caveats: Iterable[CaveatLike] = (),
        note: str | None = None,
    ) -> Issued:
        """A new token against `token` or this client's own, which bounds it and which it does not outlive."""
        call = calls.issue(scope=scope, audience=audience, expires_in=expires_in, caveats=caveats, note=note)
        return await self._send(call, token)

    async def issue_to(
        self,
        username: str,
        password: str,
        *,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        expires_in: Lifetime | None = None,
        caveats: Iterable[CaveatLike] = (),
        note: str | None = None,
    ) -> Issued:
        """As `login`, with all that the service says of the token; the client goes on holding what it held."""
        call = calls.login(
            username,
            password,
            scope=scope,
            audience=audience,
            expires_in=expires_in,
            caveats=caveats,
            note=note,
        )
        return await self._send(call)

    async def renew(self, token: Token | None = None, *, expires_in: Lifetime | None = None) -> Issued:
        """The same token with a later expiry. Without `token`: this client's own, and it holds the new one."""
        issued = await self._send(calls.renew(expires_in=expires_in), token)
        return issued if token is not None else self._adopt(issued)

    async def whoami(self, token: Token | None = None) -> TokenIdentity:
        """Whose token this is, if it is authentic and alive; without `token`, of this client's own."""
        return await self._send(calls.whoami(self._own(token)))

    async def tokens(self, *, after: str | None = None, limit: int | None = None) -> TokenPage:
        """Some of the caller's labelled tokens; `after`: the last page's `next`."""
        return await self._send(calls.tokens(after=after, limit=limit))

    async def token(self, token_id: str) -> TokenRecord:
        """One of the caller's labelled tokens."""
        return await self._send(calls.token(token_id))

    # Verification

    async def verify(
        self,
        token: Token,
        *,
        scope: ScopeLike | None = None,
        audience: str | None = None,
        method: str | None = None,
        path: str | None = None,
        client_ip: str | None = None,
        user: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Verification:
        """Whether this token is good for this request. Raises `NotAuthenticated` if it is not authentic or not alive."""
        return await self._send(
            calls.verify(token, RequestFacts(scope, audience, method, path, client_ip, user, extra))
        )

    async def verify_many(
        self, questions: Iterable[tuple[Token, RequestFacts]]
    ) -> tuple[Verification | NotLive, ...]:
        """As `verify`, for up to a hundred tokens at once, in the order asked."""
        return await self._send(calls.verify_many(questions))

    # Revocation

    async def revoke(self, token: Token) -> RevocationEntry:
        """Kill this copy of a token and all that was made of it. Having it is all it takes."""
        return await self._send(calls.revoke_presented(), token)

    async def revoke_token(self, token_id: str) -> RevocationEntry:
        """Kill all copies of one of the caller's tokens; of anybody's, for administrators."""
        return await self._send(calls.revoke_token(token_id))

    async def revoke_branch(self, token_id: str, branch_id: str) -> RevocationEntry:
        """Kill a copy that one does not have, by the branch id that a verification named."""
        return await self._send(calls.revoke_branch(token_id, branch_id))

    async def revoke_user(self, username: str) -> RevocationEntry:
        """Kill everything issued to this user up to now."""
        return await self._send(calls.revoke_user(username))

    # Third parties

    async def collect(
        self,
        token: Token | BakeryMacaroon,
        *,
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Unbound:
        """The discharges that a token needs, unbound: to be kept, and bound anew whenever it is narrowed.

        Asks third parties at this service and at the origins in `allow`, and no others; `allow_private`: also on
        this machine or in a private network. `interact`: for those that want to know who asks. Raises
        `UnusableAddress`, `InteractionRequired`, `Forbidden`, `BadDischarge`, `Unavailable`.
        """
        steps, reach = self._collecting(token, allow, interact, allow_private=allow_private)
        return await runner.run_async(steps, reach)

    async def discharge(
        self,
        token: Token | BakeryMacaroon,
        *,
        attenuate: Iterable[Caveat | bytes] = (),
        allow: Iterable[str] = (),
        allow_private: bool = False,
        interact: Interact = BROWSER,
    ) -> Bundle:
        """A token with the discharges that it needs, ready to present; `attenuate`: narrowed before they are bound.

        Asks as `collect` does, and raises the same. Discharges that were bound to it before are collected anew.
        """
        unbound = await self.collect(token, allow=allow, allow_private=allow_private, interact=interact)
        return unbound.attenuate(*attenuate).bind()

    async def third_party(self, url: str | None = None) -> BakeryParty:
        """The third party at `url`, or this service as one: for `Macaroon.require_discharge`. Raises `BadDischarge`."""
        steps, reach = self._finding(url)
        return await runner.run_async(steps, reach)

    # Keys and health

    async def keys(self) -> tuple[KeyRecord, ...]:
        """The master keys' lives, for administrators."""
        return await self._send(calls.keys())

    async def rotate_keys(self, *, now: bool = False) -> KeyRecord:
        """Publish a new master key; `now`: issue under it at once, before others can have it."""
        return await self._send(calls.rotate_keys(now=now))

    async def retire_key(self, key_id: str, *, force: bool = False) -> KeyRecord:
        """Destroy a master key; `force`: though tokens under it may be alive. Raises `Conflict` without."""
        return await self._send(calls.retire_key(key_id, force=force))

    async def check_ready(self) -> None:
        """Answer if the service can serve. Raises `Unavailable` if not."""
        return await self._send(calls.ready())


def _headers(call: Call[Any]) -> dict[str, str]:
    return {} if call.body is None else {"Content-Type": "application/json"}
