"""The ordinary httpx: its clients take our auth classes, and our clients take its transports and URLs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from caveats import Macaroon, Method
from caveats_client import AsyncClient, BadDischarge, Client, TokenAuth, Unavailable, UnusableAddress
from caveats_client.auth import BearerAuth
from caveats_client.verifiers.local import LocalVerifier
from caveats_client.verifiers.remote import RemoteVerifier
from tests.support.bakery import FirstParty, Site, ThirdParty, said, site
from tests.support.local import World, context, options, outcome, wait_until
from tests.support.service import Service, new_user, serving

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHALLENGE = {"WWW-Authenticate": "Macaroon", "Content-Type": "application/json"}
of_both = pytest.mark.parametrize("kind", [httpx, httpx2], ids=["httpx", "httpx2"])
both_ways = pytest.mark.parametrize("awaiting", [False, True], ids=["sync", "async"])


@pytest.fixture
def app() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
def idm() -> Iterator[Site]:
    with site() as made:
        yield made


def get(kind: ModuleType, auth: TokenAuth, *urls: str, awaiting: bool = False, **how: Any) -> list[Any]:
    """The answers to requests with one client of this httpx, sync or async."""
    if not awaiting:
        with kind.Client(auth=auth, trust_env=False, follow_redirects=True) as client:
            return [client.request(how.get("method", "GET"), url, content=how.get("content")) for url in urls]

    async def run() -> list[Any]:
        async with kind.AsyncClient(auth=auth, trust_env=False, follow_redirects=True) as client:
            return [
                await client.request(how.get("method", "GET"), url, content=how.get("content"))
                for url in urls
            ]

    return asyncio.run(run())


# Auth classes


@of_both
@both_ways
def test_a_token_goes_to_its_own_origin_and_nowhere_else(
    token: Macaroon, kind: ModuleType, awaiting: bool
) -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: Any) -> Any:
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.path == "/away":
            return kind.Response(302, headers={"location": "https://evil.example/"})
        return kind.Response(200)

    transport = kind.MockTransport(answer)
    auth = TokenAuth(token, kind.URL("https://photos.example/any"))
    urls = (
        "https://photos.example:443/",
        "https://PHOTOS.example/away",
        "https://photos.example.evil.example/",
    )
    if awaiting:

        async def run() -> None:
            async with kind.AsyncClient(transport=transport, auth=auth, follow_redirects=True) as client:
                for url in urls:
                    await client.get(url)

        asyncio.run(run())
    else:
        with kind.Client(transport=transport, auth=auth, follow_redirects=True) as client:
            for url in urls:
                client.get(url)
    bearer = f"Bearer {token.encode()}"
    assert seen == [
        ("photos.example", bearer),
        ("photos.example", bearer),
        ("evil.example", None),
        ("photos.example.evil.example", None),
    ]


@pytest.mark.parametrize("make", [TokenAuth, BearerAuth])
def test_an_auth_class_is_one_of_both_and_remains_itself(token: Macaroon, make: Any) -> None:
    auth = make(token, "https://photos.example")
    assert isinstance(auth, httpx.Auth)
    assert isinstance(auth, httpx2.Auth)
    assert isinstance(auth, make)
    assert type(auth) is make
    assert (auth.__class__.__name__, auth.__class__.__module__) == (make.__name__, make.__module__)
    assert not isinstance(auth, httpx.BasicAuth)


@of_both
@both_ways
def test_an_auth_class_may_stand_on_a_request_or_on_a_client(
    app: Site, idm: Site, kind: ModuleType, awaiting: bool
) -> None:
    FirstParty(app, ThirdParty(idm))
    auth = TokenAuth(None, app.url, allow=[kind.URL(idm.url)], allow_private=True)
    answers = get(kind, auth, f"{app.url}/things", f"{app.url}/things", awaiting=awaiting)
    assert [answer.json()["done"] for answer in answers] == [True, True]
    assert len(app.asked) == 3, "the second request presents what the first one was given"
    assert kind.get(f"{app.url}/things", auth=auth, trust_env=False).json()["done"]


@of_both
@both_ways
def test_a_posted_body_goes_again_with_the_discharges(
    app: Site, idm: Site, kind: ModuleType, awaiting: bool
) -> None:
    FirstParty(app, ThirdParty(idm))
    auth = TokenAuth(None, app.url, allow=[idm.url], allow_private=True)
    [answer] = get(kind, auth, f"{app.url}/things", awaiting=awaiting, method="POST", content=b"hello")
    assert answer.json()["body"] == "hello"


@of_both
def test_a_body_that_is_gone_does_not_go_again(app: Site, idm: Site, kind: ModuleType) -> None:
    FirstParty(app, ThirdParty(idm))
    auth = TokenAuth(None, app.url, allow=[idm.url], allow_private=True)
    with kind.Client(auth=auth, trust_env=False) as client:
        gone = client.post(f"{app.url}/things", content=iter([b"hello"]), headers={"Content-Length": "5"})
    assert gone.status_code == 401


@of_both
@both_ways
def test_an_answer_that_asks_for_discharges_is_read_no_further_than_its_limit(
    app: Site, token: Macaroon, kind: ModuleType, awaiting: bool
) -> None:
    app.places["/large"] = lambda _: (401, CHALLENGE, b" " * (4 * 1024 * 1024))
    with pytest.raises(BadDischarge, match="more than"):
        get(kind, TokenAuth(token, app.url), f"{app.url}/large", awaiting=awaiting)


@of_both
def test_the_request_that_is_narrowed_for_is_of_the_clients_httpx(
    app: Site, token: Macaroon, kind: ModuleType
) -> None:
    given: list[Any] = []

    def narrow(request: Any) -> list[Method]:
        given.append(request)
        return [Method(request.method)]

    app.places["/things"] = lambda _: said({})
    get(kind, TokenAuth(token, app.url, narrow=narrow), f"{app.url}/things")
    assert isinstance(given[0], kind.Request)
    presented = Macaroon.decode(app.asked[0].headers["Authorization"].removeprefix("Bearer "))
    assert presented == token.attenuate(Method("GET"))


@pytest.mark.slow
@pytest.mark.parametrize("first", ["caveats_client", "httpx"])
def test_the_order_of_imports_does_not_matter_and_nothing_imports_httpx_by_itself(
    token: Macaroon, first: str
) -> None:
    program = f"""
        import sys
        if {first!r} == "httpx":
            import httpx
        from caveats_client import TokenAuth
        auth = TokenAuth({token.encode()!r}, "https://photos.example")
        assert ("httpx" in sys.modules) == ({first!r} == "httpx")
        import httpx
        answer = lambda request: httpx.Response(200, text=request.headers["authorization"])
        with httpx.Client(transport=httpx.MockTransport(answer), auth=auth) as client:
            print(client.get("https://photos.example/").text)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == (f"Bearer {token.encode()}\n", "")


# Transports


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as running:
        yield running


def test_our_clients_take_a_transport_of_the_ordinary_httpx(service: Service) -> None:
    user = new_user(service)
    with Client(service.url, transport=httpx.HTTPTransport()) as client:
        token = client.login(user.username, user.password)
        assert client.whoami().user == user.username
        assert client.verify(token, scope="photos:read").granted

    async def run() -> str:
        async with AsyncClient(service.url, token=token, transport=httpx.AsyncHTTPTransport()) as client:
            return (await client.whoami()).user

    assert asyncio.run(run()) == user.username


def test_our_verifiers_take_a_transport_of_the_ordinary_httpx(service: Service) -> None:
    """The feed of revocations included, which is one long answer."""
    world = World(service)
    text = world.token()
    with (
        closing(world.http),
        LocalVerifier(**options(world.register(), transport=httpx.AsyncHTTPTransport())) as local,
        RemoteVerifier(service.url, audience="photos", transport=httpx.HTTPTransport()) as remote,
    ):
        for verifier in (local, remote):
            assert verifier.verify(text, context()).user == "admin"
        world.revoke(text)
        wait_until(lambda: outcome(lambda: local.verify(text, context())) == "Revoked")


def test_a_verifier_that_cannot_ask_over_such_a_transport_is_stale(token: Macaroon) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("nothing came")

    transport = httpx.MockTransport(fail)
    with RemoteVerifier("https://auth.example", audience="default", transport=transport) as verifier:
        assert outcome(lambda: verifier.verify(token, context())) == "Stale"


def test_an_error_of_such_a_transport_is_the_clients_own(token: Macaroon) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no such host", request=request)

    with (
        Client("https://auth.example", token=token, transport=httpx.MockTransport(fail)) as client,
        pytest.raises(Unavailable, match="no such host"),
    ):
        client.tokens()


def test_an_answer_through_such_a_transport_is_read_no_further_than_its_limit(token: Macaroon) -> None:
    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" " * 65536

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    with (
        Client("https://auth.example", token=token, transport=transport) as client,
        pytest.raises(Exception, match="more than"),
    ):
        client.tokens()


def test_an_address_is_text_or_a_url_of_either_httpx_and_nothing_else(token: Macaroon) -> None:
    for address in (
        "https://photos.example",
        httpx.URL("https://photos.example"),
        httpx2.URL("https://photos.example"),
    ):
        assert repr(TokenAuth(token, address)) == "TokenAuth(https://photos.example:443)"
    for address in (httpx.URL("http://photos.example"), httpx.Headers(), 7):
        with pytest.raises(UnusableAddress):
            TokenAuth(token, address)  # type: ignore[arg-type]
