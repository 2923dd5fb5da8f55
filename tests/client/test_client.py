"""Both clients against an in-process transport: one table of behaviours, sync and async."""

from __future__ import annotations

import hashlib
import inspect
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2 as httpx
import pytest

from caveats import Macaroon, MalformedToken, Note
from caveats_client import (
    AsyncClient,
    Client,
    ClientError,
    Forbidden,
    NotAuthenticated,
    RequestFacts,
    Unavailable,
    UnexpectedResponse,
    UnusableAddress,
    calls,
)
from caveats_client import client as client_module

URL = "https://auth.example"
Handler = Callable[[httpx.Request], httpx.Response]

PUBLIC = [name for name in vars(Client) if not name.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
def test_both_clients_have_the_same_methods(name: str) -> None:
    ours, theirs = getattr(Client, name), getattr(AsyncClient, name)
    assert inspect.iscoroutinefunction(theirs)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert ours.__doc__ == theirs.__doc__
    assert ours.__doc__


def test_neither_client_has_more() -> None:
    assert [name for name in vars(AsyncClient) if not name.startswith("_")] == PUBLIC


Run = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """`await run(handler, ask, **options)`: what `ask(client)` answers, the client being either kind."""

    async def go(handler: Handler, ask: Callable[[Any], Any], url: str = URL, **options: Any) -> Any:
        transport = httpx.MockTransport(handler)
        if request.param == "sync":
            with Client(url, transport=transport, **options) as client:
                return ask(client)
        async with AsyncClient(url, transport=transport, **options) as async_client:
            return await ask(async_client)

    return go


def issued_body(token: Macaroon) -> dict[str, str]:
    identifier = token.unverified_identifier
    assert identifier is not None
    return {
        "token": token.encode(),
        "token_id": identifier.token_id,
        "user": "alice",
        "audience": "default",
        "scope": "photos:*",
        "issued_at": "2026-11-21T12:00:00Z",
        "expires_at": "2026-11-21T20:00:00Z",
    }


async def test_login_answers_with_a_macaroon_that_the_client_holds_from_then_on(
    run: Run, token: Macaroon
) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.method == "GET":
            return httpx.Response(200, json={"tokens": [], "next": None})
        return httpx.Response(201, json=issued_body(token))

    for_async: list[Any] = []

    def ask(client: Any) -> Any:
        if isinstance(client, Client):
            for_async.append(client.login("alice", "hunter2", scope="photos:*", expires_in="8h"))
            return client.tokens()

        async def both() -> Any:
            for_async.append(await client.login("alice", "hunter2", scope="photos:*", expires_in="8h"))
            return await client.tokens()

        return both()

    assert (await run(handler, ask)).tokens == ()
    assert for_async == [token]
    assert seen[0].url == f"{URL}/v1/tokens"
    assert "authorization" not in seen[0].headers  # a password and a token would be two credentials
    assert json.loads(seen[0].content) == {
        "username": "alice",
        "password": "hunter2",
        "scope": "photos:*",
        "expires_in": "8h",
    }
    assert seen[1].headers["authorization"] == f"Bearer {token.encode()}"


async def test_a_path_before_the_service_is_kept(run: Run) -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"status": "ready"})

    await run(handler, lambda client: client.send(calls.ready()), url="https://example/auth/")
    await run(handler, lambda client: client.send(calls.ready()), url="https://example/auth")
    assert seen == ["https://example/auth/readyz"] * 2


async def test_revoke_presents_the_copy_and_not_the_clients_own_token(run: Run, token: Macaroon) -> None:
    narrow = token.attenuate(Note("copy"))
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["authorization"], request.content))
        return httpx.Response(
            201,
            json={
                "sequence": 1,
                "kind": "branch",
                "token_id": narrow.unverified_identifier.token_id,
                "branch_id": "00",
                "user": None,
                "expires_at": "2026-11-21T20:00:00Z",
            },
        )

    await run(handler, lambda client: client.revoke(narrow), token=token)
    await run(handler, lambda client: client.revoke(narrow.encode()))
    assert seen == [(f"Bearer {narrow.encode()}", b'{"presented": true}')] * 2


async def test_renew_replaces_the_clients_own_token_and_no_other(token: Macaroon) -> None:
    renewed = token.attenuate(Note("other"), Note("renewed"))
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"].removeprefix("Bearer "))
        return httpx.Response(200, json=issued_body(renewed))

    with Client(URL, token=token, transport=httpx.MockTransport(handler)) as client:
        client.renew(token.attenuate(Note("other")))
        client.renew()
        client.renew()
    async with AsyncClient(URL, token=token, transport=httpx.MockTransport(handler)) as async_client:
        await async_client.renew()
        await async_client.renew()
    assert seen[1:] == [token.encode(), renewed.encode()] * 2


async def test_without_a_token_nothing_is_asked_that_needs_one(run: Run) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise AssertionError("asked")

    for ask in (
        lambda client: client.tokens(),
        lambda client: client.whoami(),
        lambda client: client.issue(),
        lambda client: client.send(calls.list_keys()),
    ):
        with pytest.raises(NotAuthenticated, match="holds no token"):
            await run(handler, ask)


async def test_what_anybody_may_ask_is_asked_without_the_token(run: Run, token: Macaroon) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        asked = hashlib.sha256(request.content).hexdigest()
        return httpx.Response(200, json={"results": [], "request_sha256": asked})

    await run(handler, lambda client: client.verify_many([(token, RequestFacts())]), token=token)
    assert "authorization" not in seen[0].headers
    assert seen[0].headers["accept-encoding"] == "identity"
    assert seen[0].headers["content-type"] == "application/json"


async def test_redirects_are_not_followed(run: Run, token: Macaroon) -> None:
    hosts = []

    def handler(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"location": "https://evil.example/v1/tokens"})

    with pytest.raises(UnexpectedResponse, match="redirect"):
        await run(handler, lambda client: client.login("alice", "hunter2"))
    with pytest.raises(UnexpectedResponse, match="redirect"):
        await run(handler, lambda client: client.tokens(), token=token)
    assert hosts == ["auth.example"] * 2


async def test_cookies_are_not_kept(run: Run, token: Macaroon) -> None:
    cookies = []

    def handler(request: httpx.Request) -> httpx.Response:
        cookies.append(request.headers.get("cookie"))
        return httpx.Response(
            200, json={"tokens": [], "next": None}, headers={"set-cookie": "session=x; Path=/"}
        )

    def ask(client: Any) -> Any:
        if isinstance(client, Client):
            client.tokens()
            return client.tokens()

        async def twice() -> Any:
            await client.tokens()
            return await client.tokens()

        return twice()

    await run(handler, ask, token=token)
    assert cookies == [None, None]


async def test_an_answer_that_is_too_large_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 1000)
    with pytest.raises(UnexpectedResponse, match="more than 1000 bytes"):
        await run(
            lambda _: httpx.Response(200, content=b" " * 1001), lambda client: client.send(calls.ready())
        )
    await run(
        lambda _: httpx.Response(200, content=b"{}" + b" " * 998), lambda client: client.send(calls.ready())
    )


async def test_a_compressed_answer_is_refused_unread(run: Run) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        def bomb() -> Iterator[bytes]:
            raise AssertionError("read")

        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=_Stream())

    with pytest.raises(UnexpectedResponse, match="encoding"):
        await run(handler, lambda client: client.send(calls.ready()))


class _Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("read")

    async def __aiter__(self) -> Any:
        raise AssertionError("read")
        yield b""

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class _Trickle(_Stream):
    def __iter__(self) -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.02)
            yield b" "

    async def __aiter__(self) -> Any:
        for each in self.__iter__():
            yield each


async def test_an_answer_that_trickles_is_given_up(run: Run) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="too slowly"):
        await run(
            lambda _: httpx.Response(200, stream=_Trickle()),
            lambda client: client.send(calls.ready()),
            timeout=0.1,
        )
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (
            httpx.ConnectError("[Errno 111] Connection refused"),
            Unavailable,
            "cannot reach https://auth.example",
        ),
        (httpx.ConnectTimeout("x"), Unavailable, "did not answer within 10 seconds"),
        (httpx.ReadTimeout("x"), Unavailable, "did not answer within 10 seconds"),
        (httpx.ReadError("gone"), Unavailable, "cannot reach"),
        (httpx.WriteError("gone"), Unavailable, "cannot reach"),
        (httpx.RemoteProtocolError("illegal"), Unavailable, "does not speak HTTP"),
        (httpx.ProxyError("407"), Unavailable, "cannot reach"),
        (httpx.DecodingError("x"), UnexpectedResponse, "encoding"),
        (httpx.ReadError(""), Unavailable, "ReadError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_every_failure_on_the_way_is_of_the_clients_family(
    run: Run, raised: Exception, error: type[ClientError], words: str
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(error, match=words) as failed:
        await run(handler, lambda client: client.login("alice", "hunter2"))
    assert "hunter2" not in str(failed.value) + repr(failed.value) + repr(failed.value.__cause__)


async def test_problems_reach_the_caller(run: Run, token: Macaroon) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(403, json={"code": "forbidden", "detail": "no"})

    with pytest.raises(Forbidden, match="no"):
        await run(handler, lambda client: client.send(calls.list_keys()), token=token)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("url", ["http://auth.example", "auth.example", "https://alice:pw@auth.example"])
def test_an_address_that_a_token_must_not_go_to_is_refused_at_once(kind: Any, url: str) -> None:
    with pytest.raises(UnusableAddress):
        kind(url)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_that_is_none_is_refused_at_once(kind: Any) -> None:
    with pytest.raises(MalformedToken):
        kind(URL, token="nonsense")


def test_repr_shows_no_token(token: Macaroon) -> None:
    with Client(URL, token=token) as client:
        assert repr(client) == "Client('https://auth.example', a token)"
    with Client(URL) as client:
        assert repr(client) == "Client('https://auth.example', no token)"
        assert client.url == URL


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


async def test_no_proxy_comes_between_a_client_and_its_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http is allowed to this machine because nothing leaves it: a proxy would change that."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            for host in ("127.0.0.1", "localhost"):
                with Client(f"http://{host}:{server.server_port}") as client:
                    client.send(calls.ready())
                async with AsyncClient(f"http://{host}:{server.server_port}") as async_client:
                    await async_client.send(calls.ready())
        finally:
            server.shutdown()
            thread.join()
