from __future__ import annotations

import httpx2 as httpx
import pytest

from caveats import Bundle, DamagedToken, Macaroon, MalformedToken
from caveats_client import TokenAuth, UnusableAddress
from caveats_client.api.tokens import token_text
from caveats_client.transport import checked_address


def sent(auth: TokenAuth, url: str) -> str | None:
    """The Authorization header of a request to `url`, as it arrives."""
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        client.get(url, auth=auth)
    return seen[0]


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("https://photos.example", "https://photos.example/albums/42?x=1"),
        ("https://photos.example", "https://photos.example:443/"),
        ("https://PHOTOS.example", "https://photos.example/"),
        ("https://photos.example/deep/inside", "https://photos.example/elsewhere"),
        ("https://photos.example:8443", "https://photos.example:8443/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/"),
    ],
)
def test_the_token_goes_to_its_own_origin(token: Macaroon, origin: str, url: str) -> None:
    assert sent(TokenAuth(token, origin), url) == f"Bearer {token.encode()}"


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.example/",
        "https://photos.example:8443/",
        "https://photos.example.evil.example/",
        "https://evil.example/",
        "https://photos.example@evil.example/",
        "https://sub.photos.example/",
        "https://photos.example./",
    ],
)
def test_the_token_goes_nowhere_else(token: Macaroon, url: str) -> None:
    sent_header = sent(TokenAuth(token, "https://photos.example"), url)
    assert sent_header is None or token.encode() not in sent_header


@pytest.mark.parametrize("following", [True, False])
def test_a_redirect_to_another_origin_goes_out_without_the_token(token: Macaroon, following: bool) -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        return httpx.Response(302, headers={"location": "https://evil.example/"})

    auth = TokenAuth(token, "https://photos.example")
    with httpx.Client(
        transport=httpx.MockTransport(answer), follow_redirects=following, max_redirects=1
    ) as client:
        try:
            client.get("https://photos.example/", auth=auth)
        except httpx.TooManyRedirects:
            pass
    assert seen[0] == ("photos.example", f"Bearer {token.encode()}")
    assert all(header is None for host, header in seen if host == "evil.example")
    assert len(seen) == (2 if following else 1)


async def test_the_same_class_serves_the_async_client(token: Macaroon) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200)

    async with httpx.AsyncClient(
        transport=httpx.MockTransport(answer), auth=TokenAuth(token, "https://photos.example")
    ) as client:
        await client.get("https://photos.example/")
        await client.get("https://other.example/")
    assert seen == [f"Bearer {token.encode()}", None]


@pytest.mark.parametrize(
    "address",
    [
        "http://photos.example",
        "http://10.0.0.1:8080",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0",
        "http://2130706433",
    ],
)
def test_plain_http_is_refused_except_to_this_machine(token: Macaroon, address: str) -> None:
    with pytest.raises(UnusableAddress, match="plain http"):
        TokenAuth(token, address)
    TokenAuth(token, address, allow_http=True)


@pytest.mark.parametrize(
    "address",
    ["http://localhost", "http://LOCALHOST:1", "http://127.0.0.1", "http://127.9.9.9:80", "http://[::1]"],
)
def test_plain_http_to_this_machine_is_fine(token: Macaroon, address: str) -> None:
    TokenAuth(token, address)


@pytest.mark.parametrize(
    "address",
    ["", "photos.example", "/v1", "ftp://photos.example", "https://", "https:photos.example", 7],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UnusableAddress):
        checked_address(address)


@pytest.mark.parametrize("address", ["https://alice:hunter2@auth.example", "alice:hunter2@auth.example"])
def test_an_address_with_a_password_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UnusableAddress) as refused:
        checked_address(address)
    assert "hunter2" not in str(refused.value)


def test_a_token_is_taken_as_macaroon_bundle_or_text_and_sent_in_canonical_form(token: Macaroon) -> None:
    text = token.encode()
    bare = token.to_pymacaroons().serialize()
    assert {token_text(given) for given in (token, Bundle(token), text, bare)} == {text}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", MalformedToken),
        ("nonsense", MalformedToken),
        ("cav1_AAAA\r\nX-Evil: 1", MalformedToken),
        (" ", MalformedToken),
    ],
)
def test_what_is_no_token_never_becomes_a_header(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        TokenAuth(text, "https://photos.example")


def test_a_damaged_token_is_told_apart(token: Macaroon) -> None:
    with pytest.raises(DamagedToken):
        TokenAuth(token.encode()[:-1], "https://photos.example")


def test_repr_shows_the_origin_and_no_token(token: Macaroon) -> None:
    auth = TokenAuth(token, "https://photos.example")
    assert repr(auth) == "TokenAuth(https://photos.example:443)"
